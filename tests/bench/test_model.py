"""The model of workers at few rows: it is what it says, and the default policy is what the documents say of it."""

from __future__ import annotations

import pytest

from dsql_fast import RetryPolicy
from dsql_fast._bench._model import FULL_JITTER, OFFICIAL, OURS, Setting, simulate


def test_one_worker_never_collides() -> None:
    outcome = simulate(Setting(1, 1), OFFICIAL)
    assert outcome.attempts == outcome.committed
    # Three round trips, two statements, and COMMIT: one after the other.
    assert outcome.rate == pytest.approx(1 / (3 * 0.0006 + 0.001 + 0.03), rel=0.02)


def test_nothing_passes_the_limit_of_one_row() -> None:
    alone = simulate(Setting(1, 1), OURS).rate
    for policy in (OFFICIAL, FULL_JITTER, OURS, RetryPolicy(base_delay=0)):
        for turns in (False, True):
            assert 0.8 * alone < simulate(Setting(1, 8), policy, turns=turns).rate <= 1.02 * alone


def test_it_is_the_same_in_each_run() -> None:
    setting = Setting(2, 4, rows=3, processors=2)
    assert simulate(setting, OURS, turns=True) == simulate(setting, OURS, turns=True)
    assert simulate(setting, OURS) != simulate(setting, OURS, seed=2)


def test_processors_limit_it() -> None:
    many = Setting(1, 32, rows=1_000, latency=0.005)
    one = Setting(1, 32, rows=1_000, latency=0.005, processors=1)
    assert simulate(one, OURS).rate < 1 / 0.001 < simulate(many, OURS).rate


@pytest.mark.parametrize("workers", [2, 8, 32])
@pytest.mark.parametrize("latency", [0.005, 0.03])
def test_on_a_hot_row_nobody_starves(workers: int, latency: float) -> None:
    setting = Setting(1, workers, latency=latency)
    ours, official = simulate(setting, OURS, turns=True), simulate(setting, OFFICIAL)
    assert ours.rate > official.rate
    assert ours.attempts_for_each < 2
    assert ours.share_given_up < 0.02
    assert official.share_given_up > 0.1


@pytest.mark.parametrize("latency", [0.005, 0.03])
def test_where_rows_are_many_nobody_waits(latency: float) -> None:
    setting = Setting(1, 32, rows=1_000, latency=latency)
    assert simulate(setting, OURS, turns=True).rate > 0.99 * simulate(setting, OFFICIAL).rate


def test_where_processes_know_nothing_of_each_other_the_waits_spread_them() -> None:
    setting = Setting(8, 1)
    ours, official = simulate(setting, OURS, turns=True), simulate(setting, OFFICIAL)
    assert ours.share_given_up < 0.15
    assert official.share_given_up > 0.5
    assert ours.attempts_for_each < official.attempts_for_each / 2


def test_where_attempts_in_vain_cost_the_others_turns_are_more_commits() -> None:
    setting = Setting(1, 32, latency=0.005, processors=1)
    assert simulate(setting, OURS, turns=True).rate > 5 * simulate(setting, OFFICIAL).rate
