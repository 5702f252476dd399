"""Transactions of one kind that keep colliding take turns."""

from __future__ import annotations

import asyncio
import functools
import gc
import random
import threading
from typing import TYPE_CHECKING, Any

import pytest

import dsql_fast
from dsql_fast import RetryPolicy
from dsql_fast._turns import Patience, Turn, Turns, turns_of

if TYPE_CHECKING:
    from dsql_fast.local import LocalCluster


class Waiter:
    woken = False

    def wake(self) -> None:
        assert not self.woken
        self.woken = True


def enter(turns: Turns, number: int) -> list[Waiter]:
    waiters = [Waiter() for _ in range(number)]
    for waiter in waiters:
        waiter.woken = turns.enters(waiter)
    return waiters


def narrow(turns: Turns) -> None:
    """Make the width 1."""
    while turns.width > 1:
        enter(turns, 1)
        turns.leaves(collided=True)


def test_nobody_waits_where_nothing_collides() -> None:
    turns = Turns()
    for _ in range(3):
        assert all(each.woken for each in enter(turns, 1000))
        for _ in range(1000):
            turns.leaves(collided=False)


def test_a_collision_makes_it_as_narrow_as_what_was_under_way() -> None:
    turns = Turns()
    enter(turns, 8)
    turns.leaves(collided=True)
    assert 7 < turns.width < 8


def test_it_is_never_too_narrow_for_one() -> None:
    turns = Turns()
    for _ in range(20):
        enter(turns, 1)
        turns.leaves(collided=True)
    assert turns.width == 1


def test_first_come_first_served() -> None:
    turns = Turns()
    narrow(turns)
    first, second, third = enter(turns, 3)
    assert [first.woken, second.woken, third.woken] == [True, False, False]
    turns.leaves(collided=False)
    assert [second.woken, third.woken] == [True, False]
    # Who comes now does not pass by the one who waits.
    (fourth,) = enter(turns, 1)
    turns.leaves(collided=False)
    assert [third.woken, fourth.woken] == [True, False]


def test_it_widens_while_nothing_collides_and_only_where_that_was_tried() -> None:
    turns = Turns()
    narrow(turns)
    for _ in range(300):
        enter(turns, 1)
        turns.leaves(collided=False)
    assert turns.width < 3  # one at a time tells nothing about many at a time
    waiters = enter(turns, 100)
    for _ in range(300):
        turns.leaves(collided=False)
        waiters += enter(turns, 1)
    assert turns.width > 50


def run_on(rows: int, turns: Turns, waiters: list[Waiter], rounds: int = 2000) -> tuple[int, int]:
    """Let a crowd work on so many rows, each round on rows by chance. Of those who meet on a row one is committed.

    Returns:
        Attempts and commits, after the first hundred rounds.
    """
    chance = random.Random(1)
    attempts = commits = 0
    for number in range(rounds):
        under_way = [each for each in waiters if each.woken]
        taken: set[int] = set()
        for each in under_way:
            waiters.remove(each)
            row = chance.randrange(rows)
            turns.leaves(collided=row in taken)
            if number >= 100:
                attempts, commits = attempts + 1, commits + (row not in taken)
            taken.add(row)
        for _ in under_way:
            waiters += enter(turns, 1)
    return attempts, commits


def test_on_one_row_hardly_an_attempt_is_in_vain() -> None:
    turns = Turns()
    attempts, commits = run_on(1, turns, enter(turns, 32))
    assert commits == 1900  # one in each round: nobody can do better
    assert attempts / commits < 1.15


def test_on_a_few_rows_many_are_under_way_and_two_attempts_in_five_are_in_vain() -> None:
    turns = Turns()
    attempts, commits = run_on(8, turns, enter(turns, 32))
    assert 1.4 < attempts / commits < 1.9
    assert commits / 1900 > 4


def test_it_sees_that_a_row_is_not_hot_any_more() -> None:
    turns = Turns()
    waiters = enter(turns, 32)
    run_on(1, turns, waiters)
    assert turns.width < 3
    run_on(10_000, turns, waiters, 200)
    assert turns.width > 32


def test_who_goes_on_or_gives_up_keeps_nobody_else_from_it() -> None:
    turns = Turns()
    narrow(turns)
    _, impatient, interrupted, fourth = enter(turns, 4)
    assert not turns.goes_on(impatient)
    turns.gives_up(interrupted)
    turns.leaves(collided=True)
    assert fourth.woken  # the impatient one has no room that another could have
    assert turns.goes_on(fourth)  # it was let in meanwhile
    turns.leaves(collided=True)
    assert [each.woken for each in enter(turns, 2)] == [True, False]


def test_who_collided_goes_before_those_who_wait() -> None:
    turns = Turns()
    narrow(turns)
    _, second, third = enter(turns, 3)
    turns.leaves(collided=True)
    assert second.woken
    first_again = Waiter()
    assert not turns.enters(first_again, again=True)
    turns.leaves(collided=False)
    assert (first_again.woken, third.woken) == (True, False)


def test_a_wait_is_no_longer_than_the_policy_says() -> None:
    turns = Turns()
    narrow(turns)
    enter(turns, 1)
    for turn, time_left in ((Turn(turns, 0.001), None), (Turn(turns, 60), 0.002)):
        turn.take(time_left)  # a deadline leaves time for the attempt
        turn.give()

    async def wait() -> None:
        turn = Turn(turns, 0.001)
        await turn.take_async(None)
        turn.give()

    asyncio.run(wait())
    turns.leaves(collided=True)
    assert [each.woken for each in enter(turns, 2)] == [True, False]


def test_patience_is_lost_where_nobody_gets_on() -> None:
    turns, now = Turns(), 0.0
    narrow(turns)
    enter(turns, 20)
    patience = Patience(turns, 1, None, lambda: now)
    for _ in range(9):
        assert patience.seconds() == 1
        turns.leaves(collided=True)
    assert patience.seconds() == 1
    assert patience.seconds() is None


def test_patience_ends_in_a_queue_that_moves_too() -> None:
    turns, now = Turns(), 0.0
    narrow(turns)
    enter(turns, 20)
    patience = Patience(turns, 1, 2.5, lambda: now)
    waits = []
    while (seconds := patience.seconds()) is not None:
        waits.append(seconds)
        now += seconds
        turns.leaves(collided=True)
    assert waits == [1, 1, 0.5]


def test_a_cancelled_wait_leaves_nothing_behind() -> None:
    turns = Turns()
    narrow(turns)
    enter(turns, 1)

    async def wait() -> None:
        await Turn(turns, 60).take_async(None)
        raise AssertionError("it has no turn")

    async def cancel() -> None:
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    turns.leaves(collided=True)
    assert [each.woken for each in enter(turns, 2)] == [True, False]


# Who is of one kind.


class Pool:
    """Anything that can be referred to weakly."""


def work(conn: Any, amount: int = 0) -> None: ...


class Account:
    def pay(self, conn: Any) -> None: ...

    def __call__(self, conn: Any) -> None: ...


def test_a_kind_is_a_function_on_a_pool() -> None:
    pool, other = Pool(), Pool()
    assert turns_of(pool, work) is turns_of(pool, functools.partial(work, amount=2))
    assert turns_of(pool, work) is not turns_of(other, work)
    assert turns_of(pool, Account().pay) is turns_of(pool, Account().pay)
    assert turns_of(pool, Account()) is turns_of(pool, Account())
    assert turns_of(pool, Account()) is not turns_of(pool, Account().pay)
    lambdas = [lambda conn, n=n: work(conn, n) for n in range(2)]
    assert turns_of(pool, lambdas[0]) is turns_of(pool, lambdas[1])
    assert turns_of(pool, lambdas[0]) is not turns_of(pool, work)


def test_pools_that_cannot_be_told_apart_have_no_turns() -> None:
    assert turns_of((), work) is None


def test_what_is_known_of_a_pool_goes_with_it() -> None:
    from dsql_fast._turns import _kinds

    gc.collect()
    before = len(_kinds)
    pool = Pool()
    turns_of(pool, work)
    assert len(_kinds) == before + 1
    del pool
    gc.collect()
    assert len(_kinds) == before


# With a cluster: nobody loses, and nobody is kept.

WORKERS, EACH = 8, 6
PATIENT = RetryPolicy(max_delay=60)


@pytest.fixture
def counter(cluster: LocalCluster) -> LocalCluster:
    with dsql_fast.connect(**cluster.connect_kwargs(), autocommit=True) as conn:
        conn.execute("DROP TABLE IF EXISTS turns_counter")
        conn.execute("CREATE TABLE turns_counter (id int PRIMARY KEY, n int NOT NULL)")
        conn.execute("INSERT INTO turns_counter VALUES (1, 0)")
    return cluster


ADD = "UPDATE turns_counter SET n = n + 1 WHERE id = 1"


def add(conn: Any) -> None:
    conn.execute(ADD)


def add_as_block(pool: Any) -> None:
    for attempt in dsql_fast.conflict_attempts(pool, policy=PATIENT):
        with attempt as conn:
            conn.execute(ADD)


def counted(cluster: LocalCluster) -> int:
    with dsql_fast.connect(**cluster.connect_kwargs()) as conn:
        row = conn.execute("SELECT n FROM turns_counter").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("way", ["function", "decorator", "block"])
def test_threads_on_one_row_all_get_there_with_few_attempts(counter: LocalCluster, way: str) -> None:
    errors: list[BaseException] = []
    decorated = dsql_fast.retry_on_conflict(policy=PATIENT)(add)

    def crowd(pool: Any) -> None:
        try:
            for _ in range(EACH):
                if way == "function":
                    pool.run_transaction(add, policy=PATIENT)
                elif way == "decorator":
                    decorated(pool)
                else:
                    add_as_block(pool)
        except BaseException as error:
            errors.append(error)

    with dsql_fast.ConnectionPool(**counter.connect_kwargs(), min_size=WORKERS) as pool:
        threads = [threading.Thread(target=crowd, args=(pool,)) for _ in range(WORKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []
    assert counted(counter) == WORKERS * EACH
    # Without turns it would be five to seven for each.
    assert dsql_fast.counters().get("conflict_data", 0) < 2 * WORKERS * EACH


def test_tasks_on_one_row_too(counter: LocalCluster) -> None:
    async def add_async(conn: Any) -> None:
        await conn.execute(ADD)
        await asyncio.sleep(random.random() / 1000)

    async def main() -> None:
        async with dsql_fast.AsyncConnectionPool(**counter.connect_kwargs(), min_size=WORKERS) as pool:

            async def one() -> None:
                for _ in range(EACH):
                    await pool.run_transaction(add_async, policy=PATIENT)

            await asyncio.gather(*(one() for _ in range(WORKERS)))

    asyncio.run(main())
    assert counted(counter) == WORKERS * EACH
    assert dsql_fast.counters().get("conflict_data", 0) < 2 * WORKERS * EACH


def test_one_inside_of_another_of_its_kind_is_late_and_not_stuck(counter: LocalCluster) -> None:
    policy = RetryPolicy(max_delay=0.01)
    with dsql_fast.ConnectionPool(**counter.connect_kwargs(), min_size=2) as pool:

        def nested(conn: Any) -> None:
            conn.execute("SELECT 1")
            if depth.pop():
                pool.run_transaction(nested, policy=policy)

        turns = turns_of(pool, nested)
        assert turns is not None
        narrow(turns)
        depth = [False, True]
        pool.run_transaction(nested, policy=policy)
    assert depth == []


def test_nobody_waits_who_has_a_connection_of_his_own(counter: LocalCluster) -> None:
    with dsql_fast.connect(**counter.connect_kwargs()) as conn:
        dsql_fast.run_transaction(conn, add)
        turns = turns_of(conn, add)
        assert turns is not None
        narrow(turns)
        enter(turns, 1)
        dsql_fast.run_transaction(conn, add)
    assert counted(counter) == 2
