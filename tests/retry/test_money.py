"""Money between shared accounts, under conflicts, kills and lost answers to COMMIT: conserved, and rightly told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import dsql_fast
from retry.money import Bank

if TYPE_CHECKING:
    from dsql_fast.local import LocalCluster


def order_faults(cluster: LocalCluster, *, seed: int) -> None:
    """All that can go wrong between BEGIN and the answer to COMMIT, by chance, the same in each run."""
    faults = cluster.faults
    faults.cut_commits(when="before", share=0.03, seed=seed)
    faults.cut_commits(when="after", share=0.03, seed=seed + 1)
    faults.fail_commits(kind="XX000", when="before", share=0.02, seed=seed + 2)
    faults.fail_commits(kind="XX000", when="after", share=0.02, seed=seed + 3)
    faults.fail_commits(kind="OC000", share=0.05, seed=seed + 4)
    faults.fail_commits(kind="OC001", share=0.03, seed=seed + 5)
    faults.fail_statements(kind="XX000", share=0.005, seed=seed + 6)
    faults.fail_statements(kind="OC001", share=0.005, seed=seed + 7)
    faults.cut_transactions(share=0.005, seed=seed + 8)


def move_money(cluster: LocalCluster, way: str, transfers: int, *, idempotent: bool) -> None:
    bank = Bank(cluster, transfers, idempotent=idempotent)
    bank.open()
    order_faults(cluster, seed=transfers)
    if way == "threads":
        bank.run_threads(workers=4)
    elif way == "psycopg2":
        bank.run_psycopg2(workers=4)
    elif way == "tasks":
        bank.run_tasks(workers=8)
    else:
        bank.run_asyncpg(workers=8)
    cluster.faults.clear()
    there = bank.audit()

    counted = dsql_fast.counters()
    told = bank.told
    # What was ordered did happen, real conflicts beside it.
    for event in ("conflict_data", "conflict_schema", "transaction_lost", "commit_outcome_unknown"):
        assert counted[event] > 0, event
    if idempotent:
        # Run again until it was known, but for those whose attempts ended.
        assert counted["commit_outcome_unknown"] > len(told.unknown)
    else:
        assert counted["commit_outcome_unknown"] == len(told.unknown)
        # Both are among them: no guess would be right for all.
        assert told.unknown & there
        assert told.unknown - there
    assert len(told.applied) > transfers * 0.7


@pytest.mark.parametrize("idempotent", [False, True], ids=["plain", "idempotent"])
@pytest.mark.parametrize("way", ["threads", "tasks", "psycopg2", "asyncpg"])
def test_money_is_conserved_and_every_outcome_told(faulty: LocalCluster, way: str, idempotent: bool) -> None:
    move_money(faulty, way, 200, idempotent=idempotent)


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("idempotent", [False, True], ids=["plain", "idempotent"])
@pytest.mark.parametrize("way", ["threads", "tasks", "psycopg2", "asyncpg"])
def test_ten_thousand_transfers(faulty: LocalCluster, way: str, idempotent: bool) -> None:
    move_money(faulty, way, 10_000, idempotent=idempotent)
