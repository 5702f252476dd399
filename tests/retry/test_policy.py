"""The policy and its decisions: pure, with a clock and a chance of the test's own."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dsql_fast
from dsql_fast import CommitOutcomeUnknown, ConfigError, RetryPolicy, RetryState
from dsql_fast._retry import Failure, Phase, Run

DATA = psycopg.errors.SerializationFailure("(OC000)")
SCHEMA = psycopg.errors.SerializationFailure("(OC001)")
LOST = psycopg.OperationalError("server closed the connection unexpectedly")
OTHER = ValueError()

seconds = st.floats(min_value=0, max_value=100, allow_nan=False)
policies = st.builds(
    lambda attempts, base, more, jitter, deadline: RetryPolicy(
        attempts, base, (base or 0) + more, jitter, deadline
    ),
    st.integers(1, 12),
    st.none() | seconds,
    seconds,
    st.floats(0, 1),
    st.none() | st.floats(min_value=0.001, max_value=100),
)


def failure(error: BaseException, phase: Phase = Phase.OPEN, *, lost: bool = False, on: bool = True) -> Failure:
    return Failure(error, phase, lost, on)


def test_the_defaults() -> None:
    assert dataclasses.astuple(RetryPolicy()) == (10, None, 1.0, 1.0, None, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        RetryPolicy().jitter = 0.0  # type: ignore[misc]


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_attempts": 0},
        {"max_attempts": 2.5},
        {"max_attempts": True},
        {"base_delay": -0.001},
        {"base_delay": float("nan")},
        {"base_delay": "1"},
        {"max_delay": float("inf")},
        {"max_delay": 0.0001, "base_delay": 0.001},  # less than that
        {"jitter": 1.1},
        {"jitter": -0.1},
        {"jitter": True},
        {"deadline": 0},
        {"deadline": -1},
        {"before_retry": "hook"},
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        RetryPolicy(**wrong)


@given(policies, st.integers(1, 10_000), st.floats(0, 1, exclude_max=True), seconds)
def test_delays_are_within_their_bounds(policy: RetryPolicy, attempt: int, chance: float, took: float) -> None:
    if policy.base_delay is not None:
        bound = min(policy.base_delay * 2.0 ** min(attempt - 1, 63), policy.max_delay)
    elif attempt == 1:
        bound = 0.0
    else:
        bound = min(max(took, 0.001) * 2.0 ** min(attempt - 2, 63), policy.max_delay)
    delay = policy.delay(attempt, lambda: chance, took=took)
    assert (1 - policy.jitter) * bound * 0.999 <= delay <= bound <= policy.max_delay


def test_delays_double_up_to_the_bound() -> None:
    policy = RetryPolicy(base_delay=1, max_delay=10, jitter=0)
    assert [policy.delay(attempt) for attempt in range(1, 7)] == [1, 2, 4, 8, 10, 10]


def test_without_a_base_the_first_retry_is_at_once_and_the_next_wait_as_long_as_the_attempts_took() -> None:
    now = 0.0
    run = Run(RetryPolicy(jitter=0, max_delay=1.0), clock=lambda: now)
    delays = []
    for took in (0.03, 0.02, 0.02, 0.05, 0.0, 0.4):
        now += 7.0  # for a connection, say: that is not the transaction's
        run.begins()
        now += took
        state = run.failed(failure(DATA))
        assert state is not None
        delays.append(round(state.delay, 6))
        now += state.delay
        run.resume(state)
    assert delays == [0, 0.02, 0.04, 0.2, 0.008, 1.0]


def test_full_jitter_fills_the_whole_range() -> None:
    policy = RetryPolicy(base_delay=1, max_delay=1)
    draw = random.Random(1).random
    drawn = [policy.delay(1, draw) for _ in range(1000)]
    assert min(drawn) < 0.02
    assert max(drawn) > 0.98
    assert 0.45 < sum(drawn) / len(drawn) < 0.55


@settings(max_examples=200)
@given(policies, st.lists(st.tuples(seconds, st.sampled_from([DATA, SCHEMA, LOST])), min_size=12, max_size=12))
def test_attempts_end_by_number_or_deadline(policy: RetryPolicy, course: list[tuple[float, Exception]]) -> None:
    """Whatever fails, and however long it takes: a clock that only the test moves."""
    now = 0.0
    run = Run(policy, clock=lambda: now, random=lambda: 0.5)
    waits = 0
    for number, (took, error) in enumerate(course, start=1):
        if policy.deadline is not None:
            assert now < policy.deadline  # no attempt begins after it
        run.begins()
        now += took
        state = run.failed(failure(error, lost=error is LOST))
        if state is None:
            delay = policy.delay(number, lambda: 0.5, took=took)
            in_time = policy.deadline is None or now + delay < policy.deadline
            assert number == policy.max_attempts or not in_time
            break
        assert state.attempt == number < policy.max_attempts
        assert state.elapsed == now
        if policy.deadline is not None:
            assert now + state.delay < policy.deadline
            assert run.time_left() == policy.deadline - now
        else:
            assert run.time_left() is None
        waits += 1
        now += state.delay
        run.resume(state)
    else:
        raise AssertionError("it did not end")
    assert waits < policy.max_attempts


def test_a_wait_that_took_too_long_ends_it() -> None:
    now = 0.0
    run = Run(RetryPolicy(deadline=1.0), clock=lambda: now)
    error = psycopg.errors.SerializationFailure("(OC000)")
    state = run.failed(failure(error))
    assert state is not None
    now = 1.5
    assert run.time_left() == 0.0
    with pytest.raises(psycopg.errors.SerializationFailure) as caught:
        run.resume(state)
    assert caught.value is error


def test_the_first_schema_conflict_is_run_again_at_once() -> None:
    run = Run(RetryPolicy(base_delay=0.001, jitter=0))
    states = [run.failed(failure(error)) for error in (DATA, SCHEMA, SCHEMA)]
    assert [(state.kind, state.delay) for state in states if state] == [
        ("data", 0.001),
        ("schema", 0.0),
        ("schema", 0.004),
    ]


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("idempotent", [False, True])
@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize(
    "error",
    [DATA, LOST, psycopg.errors.InternalError_("server unavailable"), OTHER, KeyboardInterrupt()],
    ids=lambda error: type(error).__name__,
)
def test_each_decision(error: BaseException, phase: Phase, idempotent: bool, goes_on: bool) -> None:
    """The rules, stated once more: what may be applied is run again only if that does no harm."""
    run = Run(RetryPolicy(), idempotent=idempotent)
    lost = error is LOST
    given_to_run = type(error)(*error.args)
    what = failure(given_to_run, phase, lost=lost, on=goes_on)
    may_be_applied = phase in {Phase.COMMITTING, Phase.COMMITTED}
    interrupted = isinstance(error, KeyboardInterrupt)
    again: RetryState | None
    if may_be_applied and not interrupted and not (idempotent and goes_on):
        with pytest.raises(CommitOutcomeUnknown) as caught:
            run.failed(what)
        assert caught.value.__cause__ is given_to_run
    else:
        again = run.failed(what)
        runs_again = goes_on and not interrupted and (may_be_applied or error is not OTHER)
        assert (again is not None) == runs_again
        assert isinstance(given_to_run.__cause__, CommitOutcomeUnknown) == (interrupted and may_be_applied)
    assert ("commit_outcome_unknown" in dsql_fast.counters()) == may_be_applied


def test_what_stops_the_next_attempt_does_not_make_an_unknown_one_known() -> None:
    run = Run(RetryPolicy(), idempotent=True)
    assert run.failed(failure(LOST, Phase.COMMITTING)) is not None
    with pytest.raises(CommitOutcomeUnknown) as caught:
        run.stopped(TimeoutError())
    assert isinstance(caught.value.__cause__, TimeoutError)
    cancelled = KeyboardInterrupt()
    run.stopped(cancelled)
    assert isinstance(cancelled.__cause__, CommitOutcomeUnknown)
