"""Many rows into a table, in as many transactions as Aurora DSQL's limits ask for, each of them once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import _transactions
from .._drivers import async_driver_of, driver_of
from .._errors import ConfigError
from .._retry import RetryPolicy
from .._statements import AsyncSession, Session, Statement, Transact, carry_out, carry_out_async
from ._account import BulkResult, RowRange
from ._run import Run, checked
from ._tasks import Tasks
from ._threads import Threads
from ._writing import ledger_ddl

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
    from uuid import UUID

    from .._statements import Body, Described

__all__ = [
    "BulkResult",
    "RowRange",
    "bulk_insert",
    "bulk_insert_async",
    "create_ledger",
    "create_ledger_async",
    "ledger_ddl",
]

POLICY = RetryPolicy(max_attempts=10, base_delay=0.01, max_delay=1.0)
"""A batch that is given up ends the run, and is dear to repeat: more patient than for other transactions."""

BATCH_ROWS = 1_000
BATCH_BYTES = 4 * 1024 * 1024


def bulk_insert(
    pool: Any,
    table: str,
    rows: Iterable[Any],
    *,
    columns: Sequence[str] | None = None,
    batch_rows: int = BATCH_ROWS,
    batch_bytes: int = BATCH_BYTES,
    connections: int = 4,
    key: Sequence[str] | None = None,
    ledger: str | None = None,
    policy: RetryPolicy | None = None,
    on_progress: Callable[[BulkResult], object] | None = None,
    resume: BulkResult | UUID | None = None,
) -> BulkResult:
    """Insert rows, in batches that are each a transaction of its own, over several connections at once.

    Batches commit in any order. Conflicts are run again batch by batch. No more than ``connections + 1`` batches
    are held at a time, whatever `rows` gives.

    Args:
        pool: a pool of psycopg_pool's or psycopg2's (ours, or any); or an idle connection of psycopg's or
            psycopg2's, over which all goes then.
        table: ``"table"`` or ``"schema.table"``, each part taken as it is.
        rows: tuples (or other iterables) of values, or mappings with the names of columns.
        columns: their names; default: all of the table in their order, for mappings those of the first row.
        batch_rows: the most rows of a transaction; default 1,000, at most 3,000, with a ledger 2,999.
        batch_bytes: the most bytes of one, as estimated; default 4 MiB. A row that has more goes alone.
        connections: how many batches are written at once; default 4. No more than the pool has.
        key: the columns of a unique index: rows whose key is there already are left out (ON CONFLICT DO NOTHING),
            so that writing a batch twice is as good as once.
        ledger: a table that `create_ledger` made: each batch notes itself in it in its own transaction, so that
            it is known whether a batch is committed.
        policy: how often a batch is run, and how long between; default 10 attempts, 0.01 to 1 s.
        on_progress: called with a `BulkResult` after each batch, in the caller's thread.
        resume: the result of an earlier run with the same arguments, whose rows are given again from their
            beginning: those that are committed are drawn, compared and left out. With a ledger the run's id will
                do.

    Returns:
        A result that is complete.

    Raises:
        ConfigError: an argument cannot be used, or that run cannot be resumed. Nothing was written.
        BulkError: it ended before its end; ``result`` tells what is committed, ``row`` which row was refused,
            ``__cause__`` why. What `rows` and `on_progress` raise ends it so, too.
        BulkOutcomeUnknown: with neither key nor ledger, the outcome of a batch's COMMIT is unknown; with one of
            them, it was still after the last attempt.
    """
    driver = driver_of(pool)
    session = Session(driver, pool, POLICY if policy is None else _transactions.checked(policy))
    order = checked(table, columns=columns, batch_rows=batch_rows, batch_bytes=batch_bytes, key=key, ledger=ledger)
    run = Run(order, resume)
    most = _at_once(connections, driver, pool)
    _check_hook(on_progress)
    carry_out(run.prepare(), session)
    return Threads(run, session, most, on_progress).insert(rows)


async def bulk_insert_async(
    pool: Any,
    table: str,
    rows: Iterable[Any] | AsyncIterable[Any],
    *,
    columns: Sequence[str] | None = None,
    batch_rows: int = BATCH_ROWS,
    batch_bytes: int = BATCH_BYTES,
    connections: int = 4,
    key: Sequence[str] | None = None,
    ledger: str | None = None,
    policy: RetryPolicy | None = None,
    on_progress: Callable[[BulkResult], Awaitable[None] | object] | None = None,
    resume: BulkResult | UUID | None = None,
) -> BulkResult:
    """As `bulk_insert`, over asynchronous pools and connections, asyncpg's too.

    `rows` may be an async iterable, `on_progress` ``async def``. A cancellation is raised when all batches are
    rolled back or committed; the `BulkError` that has the result is its ``__cause__``.
    """
    driver = async_driver_of(pool)
    session = AsyncSession(driver, pool, POLICY if policy is None else _transactions.checked(policy))
    order = checked(table, columns=columns, batch_rows=batch_rows, batch_bytes=batch_bytes, key=key, ledger=ledger)
    run = Run(order, resume)
    most = _at_once(connections, driver, pool)
    _check_hook(on_progress)
    await carry_out_async(run.prepare(), session)
    return await Tasks(run, session, most, on_progress).insert(rows)


def create_ledger(connection_or_pool: Any, ledger: str, *, policy: RetryPolicy | None = None) -> None:
    """Make a ledger for `bulk_insert`, unless it is there: see `ledger_ddl`.

    Args:
        connection_or_pool: as for `bulk_insert`.
        ledger: ``"table"`` or ``"schema.table"``. One will do for all runs; rows of runs that are over may be
            deleted.
        policy: as for `bulk_insert`.
    """
    request = _creation(ledger)
    session = Session(
        driver_of(connection_or_pool),
        connection_or_pool,
        POLICY if policy is None else _transactions.checked(policy),
    )
    session.transact(request)


async def create_ledger_async(connection_or_pool: Any, ledger: str, *, policy: RetryPolicy | None = None) -> None:
    """As `create_ledger`, over asynchronous pools and connections."""
    request = _creation(ledger)
    session = AsyncSession(
        async_driver_of(connection_or_pool),
        connection_or_pool,
        POLICY if policy is None else _transactions.checked(policy),
    )
    await session.transact(request)


def _creation(ledger: str) -> Transact:
    statement = Statement(ledger_ddl(ledger))

    def body() -> Body[None]:
        yield statement

    return Transact(body, idempotent=True)


def _at_once(connections: int, driver: Described, pool: Any) -> int:
    if not isinstance(connections, int) or isinstance(connections, bool) or connections < 1:
        raise ConfigError(f"connections must be a whole number from 1 on, not {connections!r}")
    most = driver.most(pool)
    return connections if most is None else min(connections, most)


def _check_hook(on_progress: Any) -> None:
    if on_progress is not None and not callable(on_progress):
        raise ConfigError("on_progress must be callable, or None")
