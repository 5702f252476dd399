"""Exactly once, whatever goes wrong: runs under random faults, resumed until they are complete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dsql_fast
from dsql_fast import BulkError, BulkResult, RetryPolicy, bulk_insert

from .test_bulk_insert import into

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dsql_fast.local import LocalCluster

    from .conftest import Table

    Pool = dsql_fast.ConnectionPool[Any]

ORDERS = [
    "fail_commits",
    "cut_before",
    "cut_after",
    "unavailable",
    "unavailable_after",
    "cut_transactions",
    "rows",
]


def order(cluster: LocalCluster, what: str, share: float, seed: int) -> None:
    faults = cluster.faults
    if what == "fail_commits":
        faults.fail_commits(share=share, seed=seed)
    elif what.startswith("cut_") and what != "cut_transactions":
        faults.cut_commits(share=share, seed=seed, when=what.removeprefix("cut_"))
    elif what == "unavailable":
        faults.fail_statements(share=share, seed=seed)
    elif what == "unavailable_after":
        faults.fail_commits(share=share, seed=seed, kind="XX000", when="after")
    elif what == "cut_transactions":
        faults.cut_transactions(share=share, seed=seed)


def until_complete(
    cluster: LocalCluster,
    pool: Pool,
    rows: list[tuple[int, str]],
    faults: list[str],
    share: float,
    **arguments: Any,
) -> BulkResult:
    """Run, and resume with other batches, until all rows are in; the last runs go undisturbed."""
    result: BulkResult | None = None
    breaks = "rows" in faults
    for attempt in range(10):
        cluster.faults.clear()
        if attempt < 7:
            for at, what in enumerate(faults):
                order(cluster, what, share, attempt * 10 + at)

        def given_rows(stop: int = len(rows) * (attempt + 1) // 4 if breaks else len(rows) + 1) -> Iterator[Any]:
            for at, row in enumerate(rows):
                if at == stop:
                    raise LookupError
                yield row

        try:
            result = bulk_insert(
                pool, rows=given_rows(), policy=RetryPolicy(max_attempts=3), resume=result, **arguments
            )
        except BulkError as error:
            result = error.result
        else:
            return result
    raise AssertionError("undisturbed, and not complete")


@pytest.mark.parametrize("once", [{"ledger": "bulk_ledger"}, {"key": ("id",)}], ids=["ledger", "key"])
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(0, 300), max_size=60),
    batch_rows=st.integers(1, 12),
    batch_bytes=st.integers(1, 2000),
    connections=st.integers(1, 4),
    faults=st.lists(st.sampled_from(ORDERS), max_size=3, unique=True),
    share=st.floats(0.05, 0.6),
)
def test_in_short(faulty: LocalCluster, pool: Pool, table: Table, once: dict[str, Any], **case: Any) -> None:
    _once(faulty, pool, table, once, **case)


@pytest.mark.full
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("once", [{"ledger": "bulk_ledger"}, {"key": ("id",)}], ids=["ledger", "key"])
@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(0, 300), max_size=300),
    batch_rows=st.integers(1, 40),
    batch_bytes=st.integers(1, 20_000),
    connections=st.integers(1, 4),
    faults=st.lists(st.sampled_from(ORDERS), max_size=4, unique=True),
    share=st.floats(0.05, 0.6),
)
def test_in_full(faulty: LocalCluster, pool: Pool, table: Table, once: dict[str, Any], **case: Any) -> None:
    _once(faulty, pool, table, once, **case)


def _once(
    cluster: LocalCluster,
    pool: Pool,
    table: Table,
    once: dict[str, Any],
    *,
    sizes: list[int],
    faults: list[str],
    share: float,
    **arguments: Any,
) -> None:
    table.empty()
    rows = [(at, "x" * size) for at, size in enumerate(sizes)]
    try:
        result = until_complete(cluster, pool, rows, faults, share, table=into(once), **once, **arguments)
    finally:
        cluster.faults.clear()
    assert result.rows == len(rows)
    assert table(f"SELECT id, body FROM {into(once)} ORDER BY id") == rows
