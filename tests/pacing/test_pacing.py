"""When to try: decided in virtual time, by what was seen."""

from __future__ import annotations

import math
import os
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dsql_fast
from dsql_fast._config import parse_config
from dsql_fast._pacing import Pace, Pacing, pacing_from

if TYPE_CHECKING:
    from collections.abc import Callable

HOST = "cluster000000000000000000a.dsql.us-east-1.on.aws"


def always(value: float) -> Callable[[], float]:
    return lambda: value


# --- one connect ------------------------------------------------------------------------------------------


def test_the_first_try_comes_at_once() -> None:
    course = Pace().course(50.0)
    assert course.at == 50.0
    assert not course.has_waited


def test_waits_grow_with_the_time_since_the_first_refusal_up_to_a_bound() -> None:
    course = Pace(always(0.5)).course(0.0)
    now, waits = 0.0, []
    for _ in range(12):
        at = course.refused(now)
        assert at is not None
        waits.append(round(at - now, 6))
        now = at
    assert waits == sorted(waits)
    assert 1.0 <= waits[0] <= 2.1
    assert waits[-1] == waits[-2] == 18.8


def test_no_try_after_the_deadline_and_a_last_one_before_it() -> None:
    course = Pace(always(0.0)).course(0.0, deadline=10.0)
    now, tries = 0.0, []
    while (at := course.refused(now)) is not None:
        tries.append(at)
        now = at
    assert tries[-1] < 10.0
    assert tries[-1] >= 5.0
    assert course.refusals == len(tries) + 1


@given(st.floats(0.1, 200), st.integers(0, 2**32), st.none() | st.integers(1, 20_000))
def test_every_try_is_before_the_deadline_and_later_than_the_one_before(
    patience: float, seed: int, fleet: int | None
) -> None:
    pace, began = Pace(random.Random(seed).random), 100.0
    for _ in range(3):
        course = pace.course(began, Pacing(fleet=fleet), began + patience)
        now = course.at
        assert began <= now < began + patience
        while (at := course.refused(now)) is not None:
            assert now < at < began + patience
            now = at
        assert course.refusals < 40
        began = now


# --- what a process learns ----------------------------------------------------------------------------------


def test_others_are_kept_back_after_a_refusal_and_go_on_after_admissions() -> None:
    pace = Pace(always(0.5))
    refused = pace.course(0.0)
    refused.refused(0.0)
    assert pace.course(0.1).at > 0.1
    for _ in range(4):
        refused.admitted(0.15)
    # The one that was refused has its place; a second after, there is room for another.
    assert pace.course(1.5).at == 1.5


def test_a_refusal_is_forgotten() -> None:
    pace = Pace(always(0.5))
    courses = [pace.course(0.0) for _ in range(2)]
    for course in courses:
        course.refused(0.0)
    assert pace.course(0.5).at > 0.5
    courses[0].at = 1.5
    courses[0].refused(1.5)
    assert pace.course(1.6).at > 1.6
    assert pace.course(42.0).at == 42.0
    again = pace.course(42.0)
    again.refused(42.0)
    assert 43.0 <= again.at <= 44.1  # as after a first refusal


def test_a_deadline_that_comes_before_the_wait_leaves_a_try() -> None:
    pace = Pace(always(0.5))
    pace.course(0.0).refused(0.0)
    pace.course(0.0).refused(20.0)
    course = pace.course(20.0, deadline=22.0)
    assert 20.0 < course.at < 22.0


def test_a_cluster_that_does_not_answer_teaches_nothing() -> None:
    pace = Pace()
    for _ in range(100):
        pace.course(0.0)  # begun, and nothing was heard of them
    assert pace.course(1.0).at == 1.0


# --- the fleet's size ---------------------------------------------------------------------------------------


def test_first_tries_take_their_turn_in_a_fleet_of_known_size() -> None:
    pace, pacing = Pace(random.Random(0).random), Pacing(fleet=10_000)
    at = [pace.course(0.0, pacing).at for _ in range(2_000)]
    assert min(at) < 1.0
    assert 89.0 < max(at) <= 90.0
    assert abs(sum(at) / len(at) - 45.0) < 2.0


def test_who_came_back_long_ago_connects_at_once() -> None:
    pace, pacing = Pace(), Pacing(fleet=10_000)
    pace.course(0.0, pacing)
    pace.course(80.0, pacing)
    assert pace.course(95.0, pacing).at == 95.0  # a pool that grows
    assert pace.course(95.0 + 91.0, pacing).has_waited  # a quiet time, and the fleet may be back
    assert not pace.course(1_000.0, pacing, spread=False).has_waited


def test_the_turn_takes_at_most_half_of_the_time_there_is() -> None:
    pace = Pace(random.Random(0).random)
    assert max(pace.course(0.0, Pacing(fleet=10_000), 10.0).at for _ in range(500)) <= 5.0


@pytest.mark.parametrize("fleet", [None, 1, 500, 1_000])
def test_a_fleet_within_the_burst_is_not_delayed(fleet: int | None) -> None:
    pace = Pace()
    assert not any(pace.course(0.0, Pacing(fleet=fleet)).has_waited for _ in range(500))


def test_a_queue_is_let_go_one_after_the_other() -> None:
    pace = Pace(always(0.5))
    courses = [pace.course(0.0) for _ in range(10)]
    for course in courses:
        course.refused(0.0)
        assert course.at <= 2.1  # the more there are, the faster it goes
    for course in courses:
        course.look(0.0)
    at = [course.at for course in courses]
    assert at == sorted(set(at))
    assert max(at) <= 2.1


def test_an_admission_brings_the_others_forward_and_a_refusal_puts_them_off() -> None:
    pace = Pace(always(0.5))
    courses = [pace.course(0.0) for _ in range(10)]
    for course in courses:
        course.refused(0.0)
    last = courses[-1]
    last.look(0.1)
    before = last.at
    courses[0].admitted(0.1)
    last.look(0.1)
    sooner = last.at
    assert 0.1 < sooner < before
    courses[1].at = 0.2
    courses[1].refused(0.2)
    last.look(0.2)
    assert last.at > sooner


def test_who_waits_with_others_looks_again_and_in_the_end_tries() -> None:
    pace = Pace(always(0.5))
    courses = [pace.course(0.0) for _ in range(100)]
    for course in courses:
        course.refused(0.0)
    now, looks = 0.0, 0
    while (seconds := courses[-1].look(now)) > 0:
        assert seconds <= max(0.25, 0.2 * (courses[-1].at - now)) + 1e-9
        now += seconds
        looks += 1
    assert 3 < looks < 40
    assert courses[-1].look(now + 1) <= 0


def test_refusals_of_tries_that_were_on_their_way_count_once() -> None:
    once, often = Pace(always(0.5)), Pace(always(0.5))
    for pace, refusals in ((once, 1), (often, 5)):
        courses = [pace.course(0.0) for _ in range(50)]
        for course in courses:
            course.refused(0.0)
        for course in courses[:refusals]:
            course.at = 1.0
            course.refused(1.1)
    # As fast as before but for the one that was news; that more are in the queue makes it faster.
    assert often._clock[0] <= once._clock[0]


def test_a_place_that_nobody_uses_is_given_back() -> None:
    pace = Pace(always(0.5))
    pace.course(0.0).refused(0.0)
    course = pace.course(0.1)
    course.leave()
    assert pace.course(0.1).at == course.at


def test_a_wait_that_the_others_make_longer_ends_before_the_deadline() -> None:
    pace = Pace(always(0.5))
    courses = [pace.course(0.0, deadline=12.0) for _ in range(20)]
    for course in courses:
        course.refused(0.0)
    last, now = courses[-1], 0.0
    while (seconds := last.look(now)) > 0:
        now += seconds
        courses[0].at = now
        courses[0].refused(now)  # and what another time is slower
    assert now < 12.0


# --- settings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"fleet": 0},
        {"fleet": True},
        {"fleet": 1.5},
        {"fleet": "10000"},
        {"rate": 0},
        {"rate": math.inf},
        {"rate": math.nan},
        {"rate": True},
        {"burst": -1},
    ],
)
def test_values_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(dsql_fast.ConfigError):
        Pacing(**wrong)  # type: ignore[arg-type]


def test_what_was_given_wins_over_the_environment() -> None:
    environ = {"DSQL_FAST_FLEET": "10000"}
    assert pacing_from(None, {}) == pacing_from(True, {}) == Pacing()
    assert pacing_from(None, environ) == pacing_from(True, environ) == Pacing(fleet=10_000)
    assert pacing_from(Pacing(), environ) == Pacing()
    assert pacing_from(False, environ) is None


@pytest.mark.parametrize("value", ["0", "-1", "many", "1e4", "10000000000", "\u0661"])
def test_the_environments_size_must_be_a_whole_number(value: str) -> None:
    with pytest.raises(dsql_fast.ConfigError, match="DSQL_FAST_FLEET"):
        pacing_from(None, {"DSQL_FAST_FLEET": value})


@pytest.mark.parametrize("given", ["on", 1, 0, object()])
def test_nothing_but_a_pacing_or_a_truth_value(given: object) -> None:
    with pytest.raises(dsql_fast.ConfigError, match="a dsql_fast"):
        pacing_from(given, {})


def test_it_is_one_of_a_connections_settings(aws_keys: object) -> None:
    pacing = Pacing(fleet=5_000)
    assert parse_config("", {"host": HOST, "pacing": pacing}, os.environ).pacing == pacing
    assert parse_config("", {"host": HOST, "pacing": False}, os.environ).pacing is None
    assert parse_config(HOST, {}, {**os.environ, "DSQL_FAST_FLEET": "7"}).pacing == Pacing(fleet=7)
    with pytest.raises(dsql_fast.ConfigError, match="a dsql_fast"):
        parse_config(f"host={HOST} pacing=true", {}, os.environ)
