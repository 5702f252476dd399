"""Connects that DSQL refuses for now, against the local cluster: threads, tasks, pools."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import psycopg_pool
import pytest

import dsql_fast
import dsql_fast.asyncpg
import dsql_fast.psycopg2
from dsql_fast import _connecting
from dsql_fast._pacing import Pace, Pacing
from dsql_fast.psycopg._attempt import DRIVER
from waiting import eventually, eventually_async, run_to_the_end

if TYPE_CHECKING:
    from collections.abc import Callable

    from dsql_fast.local import LocalCluster

    Start = Callable[..., LocalCluster]

HERD = 60
# Of 60 that come at once 20 get in; at 50 a second the others are in after less than a second. Each is refused
# once, keeps back for 1 to 2.5 s, and has room then; a few more for what chance does.
MOST_REFUSED = 2 * HERD

KINDS = {
    "waking-up": dsql_fast.WakingUp,
    "rate": dsql_fast.RateExceeded,
    "connections": dsql_fast.TooManyConnections,
}


def by_connect(**settings: Any) -> None:
    dsql_fast.connect(**settings).close()


def by_connect_async(**settings: Any) -> None:
    async def main() -> None:
        await (await dsql_fast.connect_async(**settings)).close()

    asyncio.run(main())


def by_psycopg2(**settings: Any) -> None:
    dsql_fast.psycopg2.connect(**settings).close()


def by_asyncpg(**settings: Any) -> None:
    async def main() -> None:
        await (await dsql_fast.asyncpg.connect(**settings)).close()

    run_to_the_end(main())


@pytest.fixture(params=[by_connect, by_connect_async, by_psycopg2, by_asyncpg])
def door(request: pytest.FixtureRequest) -> Callable[..., None]:
    """A driver's connect, and the close."""
    by: Callable[..., None] = request.param
    return by


def herd(fresh_cluster: Start) -> LocalCluster:
    return fresh_cluster(rate=50, burst=20, handshake_seconds=None)


def refused(cluster: LocalCluster) -> int:
    return int(cluster.stats()["refused"])


# --- herds --------------------------------------------------------------------------------------------------


def test_sixty_threads_at_once_all_get_in(fresh_cluster: Start) -> None:
    cluster = herd(fresh_cluster)
    ready = threading.Barrier(HERD)

    def connect(_: int) -> psycopg.Connection[Any]:
        ready.wait()
        return dsql_fast.connect(**cluster.connect_kwargs())

    with ThreadPoolExecutor(HERD) as threads:
        connections = list(threads.map(connect, range(HERD)))
    assert cluster.stats()["open"] == HERD
    assert refused(cluster) <= MOST_REFUSED
    for connection in connections:
        connection.close()


def test_sixty_tasks_at_once_all_get_in(fresh_cluster: Start) -> None:
    cluster = herd(fresh_cluster)

    async def main() -> None:
        connections = await asyncio.gather(
            *(dsql_fast.connect_async(**cluster.connect_kwargs()) for _ in range(HERD))
        )
        assert cluster.stats()["open"] == HERD
        for connection in connections:
            await connection.close()

    asyncio.run(main())
    assert refused(cluster) <= MOST_REFUSED


def test_a_known_size_keeps_the_herd_from_being_refused(fresh_cluster: Start) -> None:
    cluster = fresh_cluster(rate=50, burst=20, handshake_seconds=None)
    pacing = Pacing(fleet=HERD, rate=40, burst=10)  # a little less than there is

    async def main() -> None:
        connections = await asyncio.gather(
            *(dsql_fast.connect_async(**cluster.connect_kwargs(), pacing=pacing) for _ in range(HERD))
        )
        for connection in connections:
            await connection.close()

    asyncio.run(main())
    assert refused(cluster) <= HERD // 10
    assert dsql_fast.counters()["connect_put_off"] >= HERD // 2


# --- one connect --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", KINDS)
def test_every_driver_tries_again(fresh_cluster: Start, door: Callable[..., None], reason: str) -> None:
    cluster = fresh_cluster()
    cluster.faults.refuse_connections(1, reason)
    door(**cluster.connect_kwargs())
    assert refused(cluster) == 1
    cluster.faults.refuse_connections(1, reason)
    with pytest.raises(KINDS[reason]):
        door(**cluster.connect_kwargs(), pacing=False)
    assert refused(cluster) == 2


def test_with_every_driver_the_deadline_ends_it(cluster: LocalCluster, door: Callable[..., None]) -> None:
    cluster.faults.refuse_connections(reason="rate", share=1.0)
    before = refused(cluster)
    try:
        with pytest.raises(dsql_fast.RateExceeded, match="Next step: ") as caught:
            door(**cluster.connect_kwargs(), connect_timeout=5)
    finally:
        cluster.faults.clear()
    tries = refused(cluster) - before
    assert 2 <= tries <= 4
    assert any(note.startswith(f"refused for now {tries} times in ") for note in caught.value.__notes__)
    assert dsql_fast.counters()["connect_given_up"] == 1
    assert caught.value.__context__ is None


def test_asyncpgs_own_timeout_ends_it_too(cluster: LocalCluster) -> None:
    cluster.faults.refuse_connections(reason="rate", share=1.0)
    before = refused(cluster)
    try:
        with pytest.raises(asyncpg.PostgresError, match="rate exceeded"):
            by_asyncpg(**cluster.connect_kwargs(), timeout=5)
    finally:
        cluster.faults.clear()
    assert 2 <= refused(cluster) - before <= 4
    # Of the time until then the fleet's turn takes half at most.
    pacing = Pacing(fleet=10_000_000)
    by_asyncpg(**cluster.connect_kwargs(), timeout=6, pacing=pacing)


def test_an_interrupt_ends_a_wait(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C: it is raised as it is, wherever it comes."""

    def sleep(_: float) -> None:
        raise KeyboardInterrupt

    cluster.faults.refuse_connections(1, "rate")
    monkeypatch.setattr(time, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt) as caught:
        dsql_fast.connect(**cluster.connect_kwargs())
    assert caught.value.__context__ is None
    assert "connect_given_up" not in dsql_fast.counters()


def test_without_pacing_there_is_one_try(cluster: LocalCluster) -> None:
    cluster.faults.refuse_connections(1, "rate")
    with pytest.raises(psycopg.OperationalError, match="rate exceeded"):
        dsql_fast.connect(**cluster.connect_kwargs(), pacing=False)
    assert "connect_put_off" not in dsql_fast.counters()


def test_what_was_waited_counts_against_the_timeout(cluster: LocalCluster) -> None:
    now = time.monotonic()
    attempt = _connecting.begin(DRIVER, "", {**cluster.connect_kwargs(), "connect_timeout": 30})
    assert attempt.arguments()["connect_timeout"] == "30"
    assert attempt.again(psycopg.OperationalError("Unable to accept connection, rate exceeded."))
    course = attempt._course
    assert course is not None
    assert 29.0 < course.left(now) <= 31.0
    attempt._deadline = time.monotonic() + 7.5  # as if the rest had gone by
    assert attempt.arguments()["connect_timeout"] == "8"
    attempt._deadline = time.monotonic() - 1.0
    assert attempt.arguments()["connect_timeout"] == "2"


def test_a_cancelled_wait_leaves_nothing_behind(cluster: LocalCluster) -> None:
    cluster.faults.refuse_connections(1, "rate")

    async def main() -> None:
        task = asyncio.create_task(dsql_fast.connect_async(**cluster.connect_kwargs()))
        await eventually_async(lambda: dsql_fast.counters().get("connect_put_off") == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    _connecting._paces.clear()
    with dsql_fast.connect(**cluster.connect_kwargs()):
        pass


def test_a_refusing_cluster_delays_no_other(fresh_cluster: Start, cluster: LocalCluster) -> None:
    other = fresh_cluster()
    other.faults.refuse_connections(reason="rate", share=1.0)
    with pytest.raises(psycopg.OperationalError):
        dsql_fast.connect(**other.connect_kwargs(), connect_timeout=2)
    put_off = dsql_fast.counters()["connect_put_off"]
    with dsql_fast.connect(**cluster.connect_kwargs()):
        pass
    assert dsql_fast.counters()["connect_put_off"] == put_off


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_forked_processes_draw_differently() -> None:
    """Workers forked together must not come back together."""
    drawn = set()
    for _ in range(3):
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            course = Pace().course(0.0)
            os.write(writing, repr(course.refused(0.0)).encode())
            os._exit(0)
        os.close(writing)
        drawn.add(os.read(reading, 100))
        os.close(reading)
        os.waitpid(child, 0)
    assert len(drawn) == 3


# --- pools --------------------------------------------------------------------------------------------------


def test_a_pools_workers_do_not_wait(fresh_cluster: Start) -> None:
    """One worker, refused time and again, serves the other connections meanwhile."""
    cluster = fresh_cluster()
    with dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=1, max_size=4, num_workers=1) as pool:
        pool.wait()
        cluster.faults.refuse_connections(reason="rate", share=1.0)
        pool.resize(3, 4)  # two more are wanted
        eventually(lambda: refused(cluster) >= 1)
        # The worker is there: what it is asked to do is done while the next try is ahead.
        done = threading.Event()

        class Task(psycopg_pool.pool.MaintenanceTask):
            def _run(self, pool: Any) -> None:  # noqa: ARG002
                done.set()

        pool.run_task(Task(pool))
        assert done.wait(30)
        with pool.connection() as conn:
            assert conn.execute("select 1").fetchone() == (1,)
        cluster.faults.clear()
        eventually(lambda: len(pool._pool) == 3)


def test_a_herd_of_pools_gets_in(fresh_cluster: Start) -> None:
    cluster = herd(fresh_cluster)
    with dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=HERD, max_size=HERD) as pool:
        pool.wait(60)
        assert cluster.stats()["open"] == HERD
    assert refused(cluster) <= MOST_REFUSED


def test_a_herd_of_an_asynchronous_pool_gets_in(fresh_cluster: Start) -> None:
    cluster = herd(fresh_cluster)

    async def main() -> None:
        async with dsql_fast.AsyncConnectionPool(
            **cluster.connect_kwargs(), min_size=HERD, max_size=HERD, num_workers=10
        ) as pool:
            await pool.wait(60)
            assert cluster.stats()["open"] == HERD

    asyncio.run(main())
    assert refused(cluster) <= MOST_REFUSED


def test_pool_timeout_tells_of_the_refusal(cluster: LocalCluster) -> None:
    cluster.faults.refuse_connections(reason="rate", share=1.0)
    try:
        with (
            dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=1) as pool,
            pytest.raises(dsql_fast.PoolTimeout, match="rate exceeded"),
        ):
            pool.getconn(1.5)
    finally:
        cluster.faults.clear()


def test_pool_timeout_tells_of_the_fleets_turn(cluster: LocalCluster) -> None:
    pacing = Pacing(fleet=10_000_000)
    with (
        dsql_fast.ConnectionPool(**cluster.connect_kwargs(), pacing=pacing, min_size=1) as pool,
        pytest.raises(dsql_fast.PoolTimeout, match="to keep to the cluster's rate, the next connect comes in"),
    ):
        pool.getconn(0.5)
    assert pool.get_stats()["connections_num"] == 0
    assert pool.get_stats().get("connections_errors", 0) == 0


def test_a_pools_turn_is_scheduled_and_comes(cluster: LocalCluster) -> None:
    pacing = Pacing(fleet=20, burst=10, rate=20)

    async def main() -> None:
        async with dsql_fast.AsyncConnectionPool(
            **cluster.connect_kwargs(), pacing=pacing, min_size=8, num_workers=1
        ) as pool:
            await pool.wait()
            assert pool.get_stats()["connections_num"] == 8

    asyncio.run(main())
    assert dsql_fast.counters()["connect_put_off"] >= 1


def test_a_pool_gives_up_after_reconnect_timeout(cluster: LocalCluster) -> None:
    failed = threading.Event()
    cluster.faults.refuse_connections(reason="rate", share=1.0)
    try:
        with dsql_fast.ConnectionPool(
            **cluster.connect_kwargs(),
            min_size=1,
            reconnect_timeout=1.0,
            reconnect_failed=lambda _pool: failed.set(),
        ):
            assert failed.wait(60)
    finally:
        cluster.faults.clear()


def test_a_successor_that_is_refused_comes_later(fresh_cluster: Start) -> None:
    cluster = fresh_cluster()
    with dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=1, health_check_period=0.05) as pool:
        pool.wait()
        (old,) = pool._pool
        cluster.faults.refuse_connections(1, "rate")
        old._expire_at = time.monotonic() + 0.04
        eventually(lambda: refused(cluster) == 1)
        eventually(lambda: len(pool._pool) == 1 and pool._pool[0] is not old)
        assert pool.get_stats()["pool_size"] == 1


# --- null pools: they connect in the caller ---------------------------------------------------------------------


def test_a_null_pools_caller_waits_and_keeps_nobody(fresh_cluster: Start) -> None:
    """psycopg_pool holds its lock while a null pool connects: others must be able to give back all the same."""
    cluster = fresh_cluster()
    with (
        dsql_fast.NullConnectionPool(**cluster.connect_kwargs(), timeout=3600) as pool,
        ThreadPoolExecutor(1) as thread,
    ):
        first, second = pool.getconn(), pool.getconn()
        cluster.faults.refuse_connections(reason="rate", share=1.0)
        waiting = thread.submit(pool.getconn)
        eventually(lambda: refused(cluster) >= 1)
        pool.putconn(first)
        pool.putconn(second)
        assert pool.get_stats()["pool_size"] == 0
        cluster.faults.clear()
        pool.putconn(waiting.result())
        assert pool.get_stats()["requests_num"] == 3


def test_an_asynchronous_null_pools_caller_waits_and_keeps_nobody(fresh_cluster: Start) -> None:
    cluster = fresh_cluster()

    async def main() -> None:
        async with dsql_fast.AsyncNullConnectionPool(**cluster.connect_kwargs(), timeout=3600) as pool:
            conn = await pool.getconn()
            cluster.faults.refuse_connections(reason="rate", share=1.0)
            waiting = asyncio.create_task(pool.getconn())
            cancelled = asyncio.create_task(pool.getconn())
            await eventually_async(lambda: refused(cluster) >= 2)
            await pool.putconn(conn)
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            cluster.faults.clear()
            await pool.putconn(await waiting)
            assert pool.get_stats()["pool_size"] == 0

    asyncio.run(main())


def test_a_null_pools_caller_waits_no_longer_than_it_said(cluster: LocalCluster) -> None:
    cluster.faults.refuse_connections(reason="rate", share=1.0)
    before = refused(cluster)
    try:
        with (
            dsql_fast.NullConnectionPool(**cluster.connect_kwargs()) as pool,
            pytest.raises(dsql_fast.PoolTimeout, match="rate exceeded") as caught,
        ):
            pool.getconn(5)
    finally:
        cluster.faults.clear()
    assert isinstance(caught.value.__cause__, dsql_fast.RateExceeded)
    assert 2 <= refused(cluster) - before <= 4
    assert pool.get_stats()["connections_num"] == refused(cluster) - before


def test_a_null_pools_caller_who_waits_hears_that_it_is_closed(fresh_cluster: Start) -> None:
    cluster = fresh_cluster()
    with ThreadPoolExecutor(1) as thread:
        pool = dsql_fast.NullConnectionPool(**cluster.connect_kwargs(), timeout=3600)
        cluster.faults.refuse_connections(reason="rate", share=1.0)
        waiting = thread.submit(pool.getconn)
        eventually(lambda: refused(cluster) >= 1)
        pool.close()
        with pytest.raises(psycopg_pool.PoolClosed):
            waiting.result()


def test_a_null_pools_caller_waits_for_the_fleets_turn(cluster: LocalCluster) -> None:
    pacing = Pacing(fleet=10_000_000)  # of the timeout half at most
    with dsql_fast.NullConnectionPool(**cluster.connect_kwargs(), pacing=pacing, timeout=6) as pool:
        pool.putconn(pool.getconn())
        assert pool.get_stats()["connections_num"] == 1
    assert dsql_fast.counters()["connect_put_off"] == 1


def test_a_null_pools_worker_does_not_wait(fresh_cluster: Start) -> None:
    cluster = fresh_cluster()
    with dsql_fast.NullConnectionPool(**cluster.connect_kwargs(), num_workers=1) as pool:
        cluster.faults.refuse_connections(1, "rate")
        pool.wait()
    assert refused(cluster) == 1


# --- bare pools -------------------------------------------------------------------------------------------------


def test_a_bare_pool_schedules_as_psycopg_pool_does(cluster: LocalCluster) -> None:
    assert dsql_fast.pool_kwargs(**cluster.connect_kwargs())["kwargs"]["pacing"] is False
    asked = dsql_fast.pool_kwargs(**cluster.connect_kwargs(), pacing=Pacing())
    assert asked["kwargs"]["pacing"] == Pacing()
