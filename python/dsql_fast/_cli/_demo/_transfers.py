"""Step: money moves between accounts that all share; conflicts are retried, and nothing is lost or done twice."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..._retry import RetryPolicy
from ...psycopg import AsyncConnectionPool, ConnectionPool, connect
from ._accounts import OPENING_BALANCE, Transfer, audit, draw, open_accounts, transfer, transfer_async
from ._collision import collide, collide_async
from ._stage import in_threads
from ._tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from threading import Event

    import psycopg

    from dsql_fast.local import LocalCluster

    from ._accounts import Books
    from ._collision import Collision
    from ._report import Value
    from ._stage import Stage

_THREADS = 4
_TASKS = 8
# Few, for many workers: conflicts come of themselves.
_SHARED = range(10)
# For the conflict that is made, while nobody else writes them; numbers below those of the drawn transfers.
_APART = (10, 11)
_ACCOUNTS = (*_SHARED, *_APART)
_COLLIDING = (
    (Transfer(1, *_APART, amount=10), Transfer(2, *_APART, amount=20)),
    (Transfer(3, *_APART, amount=30), Transfer(4, *_APART, amount=40)),
)
_FIRST_NUMBER = 5


@dataclass
class _Half:
    """One kind of workers at work: what it was given, and what came out.

    Attributes:
        orders: the transfers to do.
        tally: how they went.
        collision: the conflict that was made first.
        seconds: how long the transfers took.
        conflicts: how many the cluster counted meanwhile.
    """

    orders: list[Transfer]
    tally: Tally
    collision: Collision
    seconds: float
    conflicts: int


def show_transfers(stage: Stage) -> None:
    """Move money between shared accounts, from threads and from tasks, and compare all accounts of it."""
    with connect(**stage.arguments(autocommit=True)) as connection:
        open_accounts(connection, _ACCOUNTS)
    before = len(_ACCOUNTS) * OPENING_BALANCE
    each = stage.scale.transfers
    numbers = [range(first, first + each) for first in (_FIRST_NUMBER, _FIRST_NUMBER + each)]
    with stage.progress("transfers", 2 * each) as advance:
        threads = _from_threads(stage, draw(numbers[0], _SHARED), advance)
        tasks = _in_a_loop(lambda stop: _from_tasks(stage, draw(numbers[1], _SHARED), advance, stop))
    with connect(**stage.arguments()) as connection:
        books = audit(connection)
    stage.fact("two write one account", str(threads.collision))
    stage.fact("the same with asyncio", str(tasks.collision))
    stage.fact("attempts allowed", f"{each} a transfer: one is lost only to another's COMMIT, once to each")
    _tell_halves(stage, threads, tasks)
    stage.fact("money before, after", f"{before}, {books.total}")
    _check_conflicts(stage, threads, tasks)
    _check_books(stage, before, books, threads, tasks)


def _from_threads(stage: Stage, orders: list[Transfer], advance: Callable[[float], None]) -> _Half:
    tally, policy = _counted(orders)
    with ConnectionPool(**stage.arguments(), min_size=_THREADS) as pool:
        pool.wait()
        collision = collide(pool, *_COLLIDING[0])

        def move(order: Transfer) -> None:
            def run(connection: psycopg.Connection[Any]) -> None:
                tally.run(order)
                transfer(connection, order)

            with tally.outcome_of(order):
                pool.run_transaction(run, policy=policy)

        def work(number: int, stop: Event) -> None:
            for order in orders[number::_THREADS]:
                if stop.is_set():
                    return
                move(order)
                advance(1)

        conflicts, began = _conflicts(stage.cluster), time.perf_counter()
        in_threads(_THREADS, work)
        seconds = time.perf_counter() - began
    return _Half(orders, tally, collision, seconds, _conflicts(stage.cluster) - conflicts)


async def _from_tasks(
    stage: Stage, orders: list[Transfer], advance: Callable[[float], None], stop: Event
) -> _Half:
    tally, policy = _counted(orders)
    async with AsyncConnectionPool(**stage.arguments(), min_size=_TASKS) as pool:
        await pool.wait()
        collision = await collide_async(pool, *_COLLIDING[1])

        async def move(order: Transfer) -> None:
            async def run(connection: psycopg.AsyncConnection[Any]) -> None:
                tally.run(order)
                await transfer_async(connection, order)

            with tally.outcome_of(order):
                await pool.run_transaction(run, policy=policy)

        async def work(number: int) -> None:
            for order in orders[number::_TASKS]:
                if stop.is_set():
                    return
                await move(order)
                advance(1)

        conflicts, began = _conflicts(stage.cluster), time.perf_counter()
        await asyncio.gather(*(work(number) for number in range(_TASKS)))
        seconds = time.perf_counter() - began
    return _Half(orders, tally, collision, seconds, _conflicts(stage.cluster) - conflicts)


def _in_a_loop(work: Callable[[Event], Coroutine[Any, Any, _Half]]) -> _Half:
    """Run it in an event loop of another thread, so that Ctrl-C asks it to end.

    In this thread Ctrl-C would cancel the tasks in the middle of their queries, and the driver, which then has to
    leave connections whose state it does not know, says so for each.
    """
    done: list[_Half] = []
    in_threads(1, lambda _number, stop: done.append(asyncio.run(work(stop))))
    return done[0]


def _counted(orders: list[Transfer]) -> tuple[Tally, RetryPolicy]:
    """Return a tally, and a policy that counts into it and cannot run out of attempts.

    The default's 10 may be too few where everybody writes the same rows. An attempt loses only to a transfer
    that is committed while it runs, and each of the others is committed once: with as many attempts as there
    are transfers, one is left for when all others are done. A program that has no end of them gives a deadline.
    """
    tally = Tally()
    return tally, RetryPolicy(max_attempts=len(orders), before_retry=tally.retry)


def _conflicts(cluster: LocalCluster) -> int:
    happened = cluster.stats()["happened"]
    return sum(sum(happened.get(kind, {}).values()) for kind in ("conflict", "schema-conflict"))


def _tell_halves(stage: Stage, threads: _Half, tasks: _Half) -> None:
    halves = (threads, tasks)
    runs = [sum(half.tally.runs.values()) for half in halves]
    rows: dict[str, Sequence[Value]] = {
        "transfers wanted": [len(half.orders) for half in halves],
        "committed": [len(half.tally.ended("committed")) for half in halves],
        "refused: too little money": [len(half.tally.ended("refused")) for half in halves],
        "transactions run": runs,
        "transactions a transfer": [run / len(half.orders) for run, half in zip(runs, halves, strict=True)],
        "most for one transfer": [max(half.tally.runs.values()) for half in halves],
        "conflicts retried (OC000)": [half.tally.retried["data"] for half in halves],
        "conflicts retried (OC001)": [half.tally.retried["schema"] for half in halves],
        "conflicts, the cluster says": [half.conflicts for half in halves],
        "transfers a second": [round(len(half.orders) / half.seconds) for half in halves],
    }
    stage.table(
        f"All between the same {len(_SHARED)} accounts",
        ("", f"{_THREADS} threads", f"{_TASKS} tasks"),
        [(label, *values) for label, values in rows.items()],
    )


def _check_conflicts(stage: Stage, *halves: _Half) -> None:
    collisions = [half.collision for half in halves]
    stage.check(
        "the second of two writers was run again, and saw what the first had left",
        all(collision.as_it_must_be for collision in collisions),
        collisions,
    )
    retried = [sum(half.tally.retried.values()) for half in halves]
    raised = [half.tally.ended("conflict") for half in halves]
    # Each run ended the transfer, or was followed by another one.
    unfollowed = [
        sum(half.tally.runs.values()) - len(half.orders) - again
        for half, again in zip(halves, retried, strict=True)
    ]
    stage.check(
        "every conflict was retried, and none reached the caller",
        not any(raised) and not any(unfollowed),
        f"raised: {raised}; runs that are not accounted for: {unfollowed}",
    )
    counted = [half.conflicts for half in halves]
    stage.check(
        "the cluster counted as many conflicts as were retried",
        counted == retried,
        f"{counted} there, {retried} here",
    )


def _check_books(stage: Stage, before: int, books: Books, *halves: _Half) -> None:
    stage.check(
        "the sum of all accounts is unchanged", books.total == before, f"{before} before, {books.total} after"
    )
    committed = [order.number for half in halves for order in (half.collision.winner, half.collision.loser)]
    committed += [number for half in halves for number in half.tally.ended("committed")]
    stage.check(
        "each committed transfer is in the ledger exactly once, and no other",
        books.transfers == sorted(committed),
        f"{len(books.transfers)} rows for {len(set(books.transfers))} transfers, {len(committed)} committed",
    )
    stage.check("each balance is what the ledger says", books.unexplained == 0, f"{books.unexplained} are not")
    stage.check("no account was overdrawn", books.lowest >= 0, f"the lowest has {books.lowest}")
