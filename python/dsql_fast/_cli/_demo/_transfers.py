"""Step: money moves between accounts, from threads and from tasks, and none is lost."""

from __future__ import annotations

import asyncio
import time
from random import Random
from typing import TYPE_CHECKING, Any

from ...psycopg import AsyncConnectionPool, ConnectionPool, connect
from ._stage import in_threads

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    import psycopg

    from ._stage import Stage

_THREADS = 4
_TASKS = 8
_ACCOUNTS_EACH = 5
# No account can go below zero: a worker's transfers, all of the largest amount from one account, are less.
_OPENING_BALANCE = 100_000
_LARGEST_AMOUNT = 100

# DSQL takes one DDL statement a transaction, hence autocommit for these.
_TABLES = (
    "create table accounts (id int primary key, owner int not null, balance bigint not null)",
    (
        "create table ledger (id uuid primary key default gen_random_uuid(),"
        " source int not null, target int not null, amount bigint not null)"
    ),
)
_WITHDRAW = "update accounts set balance = balance - %s where id = %s"
_DEPOSIT = "update accounts set balance = balance + %s where id = %s"
_RECORD = "insert into ledger (source, target, amount) values (%s, %s, %s)"
_TOTALS = "select (select sum(balance) from accounts), (select count(*) from ledger)"
_UNEXPLAINED = """
    select count(*) from accounts a
    where balance <> %s
        - (select coalesce(sum(amount), 0) from ledger where source = a.id)
        + (select coalesce(sum(amount), 0) from ledger where target = a.id)
"""


def show_transfers(stage: Stage) -> None:
    """Create accounts, move money between them from threads and tasks, and count it.

    Each worker has accounts of its own, so that no two transactions conflict.
    """
    workers = _THREADS + _TASKS
    with connect(**stage.arguments(autocommit=True)) as connection:
        for table in _TABLES:
            connection.execute(table)
        accounts = [
            (number, number // _ACCOUNTS_EACH, _OPENING_BALANCE) for number in range(workers * _ACCOUNTS_EACH)
        ]
        connection.cursor().executemany("insert into accounts values (%s, %s, %s)", accounts)
    before = len(accounts) * _OPENING_BALANCE
    by_thread, by_task = stage.scale.transfers // _THREADS, stage.scale.transfers // _TASKS
    expected = by_thread * _THREADS + by_task * _TASKS
    with stage.progress("transfers", expected) as advance:
        began = time.perf_counter()
        _from_threads(stage, by_thread, advance)
        between = time.perf_counter()
        asyncio.run(_from_tasks(stage, by_task, advance))
        ended = time.perf_counter()
    with connect(**stage.arguments()) as connection:
        after, recorded = _row(connection, _TOTALS)
        (unexplained,) = _row(connection, _UNEXPLAINED, (_OPENING_BALANCE,))
    stage.fact("accounts", len(accounts))
    threaded, asynchronous = by_thread * _THREADS, by_task * _TASKS
    stage.fact("from threads", f"{threaded} by {_THREADS} threads, {threaded / (between - began):.0f} a second")
    stage.fact("from tasks", f"{asynchronous} by {_TASKS} tasks, {asynchronous / (ended - between):.0f} a second")
    stage.fact("money before, after", f"{before}, {after}")
    stage.check("the sum of all accounts is unchanged", after == before, f"{before} before, {after} after")
    stage.check("the ledger has a row for each transfer", recorded == expected, f"{recorded} of {expected}")
    stage.check("each balance is what the ledger says", unexplained == 0, f"{unexplained} are not")


def _from_threads(stage: Stage, transfers: int, advance: Callable[[float], None]) -> None:
    with ConnectionPool(**stage.arguments(), min_size=_THREADS) as pool:

        def work(number: int, stop: Event) -> None:
            for source, target, amount in _plan(number, transfers):
                if stop.is_set():
                    return
                with pool.connection() as connection:  # commits, or rolls back on an error
                    connection.execute(_WITHDRAW, (amount, source))
                    connection.execute(_DEPOSIT, (amount, target))
                    connection.execute(_RECORD, (source, target, amount))
                advance(1)

        in_threads(_THREADS, work)


async def _from_tasks(stage: Stage, transfers: int, advance: Callable[[float], None]) -> None:
    async with AsyncConnectionPool(**stage.arguments(), min_size=_THREADS, max_size=_TASKS) as pool:

        async def work(number: int) -> None:
            for source, target, amount in _plan(number, transfers):
                async with pool.connection() as connection:
                    await connection.execute(_WITHDRAW, (amount, source))
                    await connection.execute(_DEPOSIT, (amount, target))
                    await connection.execute(_RECORD, (source, target, amount))
                advance(1)

        await asyncio.gather(*(work(_THREADS + number) for number in range(_TASKS)))


def _plan(worker: int, transfers: int) -> list[tuple[int, int, int]]:
    """Draw a worker's transfers: from, to, amount. The same ones each time."""
    random = Random(worker)  # noqa: S311 (an example, no secret)
    own = range(worker * _ACCOUNTS_EACH, (worker + 1) * _ACCOUNTS_EACH)
    plan = []
    for _ in range(transfers):
        source, target = random.sample(own, 2)
        plan.append((source, target, random.randint(1, _LARGEST_AMOUNT)))
    return plan


def _row(connection: psycopg.Connection[Any], query: str, parameters: tuple[int, ...] = ()) -> tuple[Any, ...]:
    row = connection.execute(query.encode(), parameters).fetchone()
    return row if row is not None else ()
