"""`bulk_insert_async`: the same run, by tasks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pytest

import dsql_fast
import dsql_fast.asyncpg
from dsql_fast import (
    BulkError,
    BulkOutcomeUnknown,
    BulkResult,
    CommitOutcomeUnknown,
    ConfigError,
    RetryPolicy,
    bulk_insert_async,
)
from dsql_fast.bulk import RowRange
from waiting import run_to_the_end

from .test_bulk_insert import FAULTS, KNOWN, ONCE, ONCE_IDS, into, items

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from dsql_fast.local import LocalCluster

    from .conftest import Table


T = TypeVar("T")


class WithPool(Protocol):
    def __call__(self, fn: Callable[[Any], Awaitable[T]]) -> T: ...


@pytest.fixture(params=["psycopg", "asyncpg"])
def with_pool(request: pytest.FixtureRequest, faulty: LocalCluster) -> WithPool:
    """Runs an async function with a pool of each driver's."""

    def run(fn: Callable[[Any], Awaitable[T]]) -> T:
        async def main() -> T:
            kwargs = faulty.connect_kwargs()
            if request.param == "asyncpg":
                async with dsql_fast.asyncpg.create_pool(**kwargs, min_size=1, max_size=4) as of_asyncpg:
                    return await fn(of_asyncpg)
            async with dsql_fast.AsyncConnectionPool(**kwargs, min_size=1, max_size=4) as pool:
                return await fn(pool)

        return run_to_the_end(main())

    return run


async def items_async(count: int) -> AsyncIterator[tuple[int, str]]:
    for row in items(count):
        await asyncio.sleep(0)
        yield row


@pytest.mark.parametrize("rows", [items, items_async])
@pytest.mark.parametrize("once", [{}, *ONCE], ids=["neither", *ONCE_IDS])
def test_rows_are_written(
    with_pool: WithPool, table: Table, rows: Callable[[int], Any], once: dict[str, Any]
) -> None:
    result = with_pool(lambda pool: bulk_insert_async(pool, into(once), rows(95), batch_rows=10, **once))
    assert (result.rows, result.drawn, result.inserted, result.complete) == (95, 95, 95, True)
    assert table.ids(into(once)) == list(range(95))


def test_on_one_connection(faulty: LocalCluster, table: Table) -> None:
    async def main() -> None:
        async with await dsql_fast.connect_async(**faulty.connect_kwargs()) as conn:
            await dsql_fast.create_ledger_async(conn, "bulk_ledger")
            faulty.faults.fail_commits(2)
            await bulk_insert_async(conn, "loose", items(50), batch_rows=10, ledger="bulk_ledger")

    asyncio.run(main())
    assert table.ids() == list(range(50))


def test_on_one_connection_of_asyncpg(faulty: LocalCluster, table: Table) -> None:
    async def main() -> None:
        conn = await dsql_fast.asyncpg.connect(**faulty.connect_kwargs())
        try:
            await dsql_fast.create_ledger_async(conn, "bulk_ledger")
            faulty.faults.fail_commits(2)
            await bulk_insert_async(conn, "loose", items(50), batch_rows=10, ledger="bulk_ledger")
        finally:
            await conn.close()

    run_to_the_end(main())
    assert table.ids() == list(range(50))


def test_a_value_that_the_driver_cannot_send(with_pool: WithPool, table: Table) -> None:
    async def run(pool: Any) -> None:
        rows: list[tuple[Any, ...]] = [*items(10), (10, object()), *items(12, 11)]
        with pytest.raises(BulkError, match="row 10 was refused") as caught:
            await bulk_insert_async(pool, "loose", rows)
        assert caught.value.row == 10

    with_pool(run)
    assert table.ids() == []


def test_tables_that_are_not_there(with_pool: WithPool, table: Table) -> None:
    async def run(pool: Any) -> None:
        with pytest.raises(BulkError, match=r"rows 0 to 4 were refused \(UndefinedTable") as caught:
            await bulk_insert_async(pool, "nowhere", items(5))
        assert caught.value.row is None

    with_pool(run)
    assert table.ids() == []


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("once", ONCE, ids=ONCE_IDS)
def test_every_row_is_written_once(
    faulty: LocalCluster, with_pool: WithPool, table: Table, fault: str, once: dict[str, Any]
) -> None:
    async def run(pool: Any) -> BulkResult:
        FAULTS[fault](faulty.faults)
        return await bulk_insert_async(pool, into(once), items_async(100), batch_rows=10, **once)

    assert with_pool(run).complete
    assert table.ids(into(once)) == list(range(100))
    assert faulty.faults.pending() == []


@pytest.mark.parametrize("fault", KNOWN)
def test_what_is_known_needs_neither(faulty: LocalCluster, with_pool: WithPool, table: Table, fault: str) -> None:
    async def run(pool: Any) -> BulkResult:
        FAULTS[fault](faulty.faults)
        return await bulk_insert_async(pool, "loose", items(100), batch_rows=10)

    assert with_pool(run).complete
    assert table.ids() == list(range(100))


@pytest.mark.parametrize("when", ["before", "after"])
def test_without_either_an_unknown_outcome_ends_it(
    faulty: LocalCluster, with_pool: WithPool, table: Table, when: str
) -> None:
    async def run(pool: Any) -> BulkResult:
        faulty.faults.cut_commits(1, when=when)
        with pytest.raises(BulkOutcomeUnknown) as caught:
            await bulk_insert_async(pool, "loose", items(100), batch_rows=10)
        result: BulkResult = caught.value.result
        with pytest.raises(ConfigError, match="cannot be resumed as it is"):
            await bulk_insert_async(pool, "loose", items(100), resume=result)
        (unknown,) = result.unknown
        settled = result.settled(unknown.start, committed=unknown.start in table.ids())
        return await bulk_insert_async(pool, "loose", items(100), resume=settled)

    assert with_pool(run).complete
    assert table.ids() == list(range(100))


@pytest.mark.parametrize("connections", [1, 3])
def test_few_batches_are_held(with_pool: WithPool, table: Table, connections: int) -> None:
    committed = 0

    def watched() -> Iterator[tuple[int, str]]:
        for row in items(400):
            assert row[0] - committed < (connections + 1) * 10
            yield row

    async def note(result: BulkResult) -> None:
        nonlocal committed
        await asyncio.sleep(0)
        committed = result.rows

    with_pool(
        lambda pool: bulk_insert_async(
            pool, "loose", watched(), batch_rows=10, connections=connections, on_progress=note
        ),
    )
    assert committed == 400


def test_the_row_that_is_refused_is_named(with_pool: WithPool, table: Table) -> None:
    async def run(pool: Any) -> None:
        rows = [(None if at == 13 else at, "body") for at in range(25)]
        with pytest.raises(BulkError, match="row 13 was refused") as caught:
            await bulk_insert_async(pool, "loose", rows)
        assert caught.value.row == 13

    with_pool(run)
    assert table.ids() == []


def test_rows_that_end_in_an_error_are_resumed(with_pool: WithPool, table: Table) -> None:
    async def broken() -> AsyncIterator[tuple[int, str]]:
        async for row in items_async(35):
            yield row
        raise LookupError("no more")

    async def run(pool: Any) -> BulkResult:
        with pytest.raises(BulkError, match="LookupError ended it after 35 rows") as caught:
            await bulk_insert_async(pool, "loose", broken(), batch_rows=10)
        assert caught.value.result.committed == (RowRange(0, 30, 0),)
        return await bulk_insert_async(pool, "loose", items_async(50), resume=caught.value.result)

    assert with_pool(run).complete
    assert table.ids() == list(range(50))


@pytest.mark.parametrize("where", ["drawing", "waiting for COMMIT"])
@pytest.mark.parametrize("once", [{}, *ONCE], ids=["neither", *ONCE_IDS])
def test_a_cancelled_run_carries_the_result(
    faulty: LocalCluster, with_pool: WithPool, table: Table, where: str, once: dict[str, Any]
) -> None:
    async def run(pool: Any) -> BulkResult:
        drawing = asyncio.Event()

        async def rows() -> AsyncIterator[tuple[int, str]]:
            for row in items(100):
                if row[0] == 45:
                    drawing.set()
                    if where == "drawing":
                        await asyncio.Event().wait()
                yield row

        if where != "drawing":
            faulty.faults.latency(commit=0.05)
        task = asyncio.create_task(bulk_insert_async(pool, into(once), rows(), batch_rows=10, **once))
        await drawing.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        faulty.faults.clear()
        error = caught.value.__cause__
        assert isinstance(error, BulkError)
        result: BulkResult = error.result
        assert isinstance(error, CommitOutcomeUnknown) is bool(result.unknown)
        while not once and result.unknown:
            start = result.unknown[0].start
            result = result.settled(start, committed=start in table.ids())
        return await bulk_insert_async(pool, into(once), items(100), batch_rows=10, resume=result, **once)

    result = with_pool(run)
    assert result.complete
    assert table.ids(into(once)) == list(range(100))


def test_a_cancellation_while_others_end_is_not_swallowed(
    faulty: LocalCluster, with_pool: WithPool, table: Table
) -> None:
    async def run(pool: Any) -> BulkResult:
        failing = asyncio.Event()

        def rows() -> Iterator[tuple[int, str]]:
            yield from items(20)
            failing.set()
            raise LookupError

        faulty.faults.latency(commit=600)  # longer than anybody waits for
        task = asyncio.create_task(
            bulk_insert_async(pool, "loose", rows(), batch_rows=10, ledger="bulk_ledger", connections=2)
        )
        await failing.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        faulty.faults.clear()
        error = caught.value.__cause__
        assert isinstance(error, BulkError)
        return await bulk_insert_async(
            pool, "loose", items(40), batch_rows=10, ledger="bulk_ledger", resume=error.result
        )

    assert with_pool(run).complete
    assert table.ids() == list(range(40))


def test_attempts_that_are_used_up(faulty: LocalCluster, with_pool: WithPool, table: Table) -> None:
    async def run(pool: Any) -> None:
        faulty.faults.fail_commits(2)
        with pytest.raises(BulkError, match="ConflictRetriesExhausted"):
            await bulk_insert_async(
                pool, "loose", items(30), batch_rows=10, connections=1, policy=RetryPolicy(max_attempts=2)
            )

    with_pool(run)
    assert table.ids() == []


def test_what_is_no_pool() -> None:
    with pytest.raises(ConfigError, match="not int"):
        asyncio.run(bulk_insert_async(7, "loose", []))
