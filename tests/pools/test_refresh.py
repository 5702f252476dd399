"""`pool.refresh()`: connections before and after differ, nobody gets an error, and the pool keeps its size."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg_pool
import pytest
from psycopg_pool.pool import MaintenanceTask

import dsql_fast
from dsql_fast.psycopg._age import Succession
from waiting import eventually, eventually_async

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg
    from typing_extensions import Self

    from dsql_fast.local import LocalCluster


def pid_of(conn: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> int:
    return conn.info.backend_pid


def idle(pool: Any) -> set[int]:
    return {pid_of(conn) for conn in pool._pool}


def test_connections_before_and_after_differ(cluster: LocalCluster) -> None:
    with dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=4, max_size=8) as pool:
        pool.wait()
        with pool.connection() as conn:
            first = pid_of(conn)
        before, pids = pool.get_stats(), idle(pool)
        assert len(pids) == 4
        replaced = dsql_fast.counters().get("connection_replaced", 0)
        pool.refresh()
        after = pool.get_stats()
        assert len(idle(pool)) == 4
        assert pids.isdisjoint(idle(pool))
        for name in ("pool_size", "pool_available", "pool_min", "pool_max", "requests_num"):
            assert after[name] == before[name], name
        assert after["connections_num"] == before["connections_num"] + 4
        assert dsql_fast.counters()["connection_replaced"] == replaced + 4
        with pool.connection() as conn:
            assert pid_of(conn) != first
            assert conn.execute("select 1").fetchone() == (1,)
        eventually(lambda: not pids & {session.pid for session in cluster.sessions()})


def test_the_same_from_asyncio(cluster: LocalCluster) -> None:
    async def main() -> None:
        async with dsql_fast.AsyncConnectionPool(**cluster.connect_kwargs(), min_size=4) as pool:
            await pool.wait()
            before, pids = pool.get_stats(), idle(pool)
            await pool.refresh()
            after = pool.get_stats()
            assert len(idle(pool)) == 4
            assert pids.isdisjoint(idle(pool))
            assert (after["pool_size"], after["pool_available"]) == (before["pool_size"], before["pool_available"])
            assert after["connections_num"] == before["connections_num"] + 4
            async with pool.connection() as conn:
                assert pid_of(conn) not in pids

    asyncio.run(main())


def test_one_in_use_is_closed_when_it_comes_back(cluster: LocalCluster) -> None:
    with dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=2) as pool:
        pool.wait()
        with pool.connection() as conn:
            (other,) = pool._pool
            pool.refresh()  # waits for the idle one only
            assert other.closed
            assert not conn.closed
            assert conn.execute("select 1").fetchone() == (1,)
        assert conn.closed
        eventually(lambda: len(pool._pool) == 2)
        assert pool.get_stats()["pool_size"] == 2


def test_no_gap_and_at_most_one_more_a_worker(cluster: LocalCluster) -> None:
    with dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=6, num_workers=2) as pool:
        pool.wait()
        old = list(pool._pool)
        sizes: list[int] = []
        open_ones: list[int] = []
        thread = threading.Thread(target=pool.refresh)
        thread.start()
        while thread.is_alive():
            with pool._lock:
                sizes.append(len(pool._pool))
                open_ones.append(len({*pool._pool, *(conn for conn in old if not conn.closed)}))
        thread.join()
        # A worker takes the old one out and puts the successor in, which it has, one after the other.
        assert min(sizes) >= 6 - 2
        assert max(open_ones) <= 6 + 2
        assert all(conn.closed for conn in old)


def test_without_waiting(cluster: LocalCluster) -> None:
    with dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=2) as pool:
        pool.wait()
        old = list(pool._pool)
        pool.refresh(wait=False)
        eventually(lambda: all(conn.closed for conn in old) and len(pool._pool) == 2)
        assert pool.get_stats()["pool_size"] == 2


class Workers:
    """Threads that take connections and give them back, until they are told to stop."""

    def __init__(self, pool: dsql_fast.ConnectionPool[Any], count: int) -> None:
        self.pool = pool
        self.uses: list[tuple[float, int]] = []
        self.failures: list[BaseException] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                began = time.monotonic()
                with self.pool.connection() as conn:
                    row = conn.execute("select pg_backend_pid()").fetchone()
                    assert row is not None
                    self.uses.append((began, row[0]))
        except BaseException as error:
            self.failures.append(error)

    def have_used(self, more: int) -> None:
        target = len(self.uses) + more
        eventually(lambda: len(self.uses) >= target or bool(self.failures))


@pytest.mark.parametrize("workers", [2, 4, 8], ids=["some idle", "none idle", "some wait"])
def test_under_load_nobody_gets_an_error(cluster: LocalCluster, workers: int) -> None:
    with dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=4, max_size=4) as pool:
        pool.wait()
        before = {pid_of(conn) for conn in pool._pool}
        with Workers(pool, workers) as load:
            load.have_used(20)
            pool.refresh()
            # Each worker may still hold, or just have been given, one from before; the next is a new one.
            load.have_used(4 * workers)
            later = len(load.uses)
            load.have_used(20)
        assert not load.failures
        after = {pid for _, pid in load.uses[later:]}
        assert {pid for _, pid in load.uses[:20]} <= before
        assert before.isdisjoint(after)
        eventually(lambda: pool.get_stats()["pool_available"] == 4)
        assert pool.get_stats()["pool_size"] == 4
        assert pool.get_stats().get("requests_errors", 0) == 0
        assert not pool._successions or all(conn.closed for conn in pool._successions)


def test_under_load_from_asyncio(cluster: LocalCluster) -> None:
    async def main() -> None:
        async with dsql_fast.AsyncConnectionPool(**cluster.connect_kwargs(), min_size=4, max_size=4) as pool:
            await pool.wait()
            before = idle(pool)
            used: list[int] = []
            stop = asyncio.Event()

            async def work() -> None:
                while not stop.is_set():
                    async with pool.connection() as conn:
                        await conn.execute("select 1")
                        used.append(pid_of(conn))

            async def have_used(more: int) -> None:
                target = len(used) + more
                await eventually_async(lambda: len(used) >= target)

            tasks = [asyncio.create_task(work()) for _ in range(6)]
            await have_used(20)
            await pool.refresh()
            await have_used(4 * 6)
            later = len(used)
            await have_used(20)
            stop.set()
            await asyncio.gather(*tasks)
            assert before.isdisjoint(used[later:])
            await eventually_async(lambda: pool.get_stats()["pool_available"] == 4)
            assert pool.get_stats()["pool_size"] == 4
            assert pool.get_stats().get("requests_errors", 0) == 0

    asyncio.run(main())


def test_refreshes_at_once_replace_once(cluster: LocalCluster) -> None:
    with dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=3) as pool:
        pool.wait()
        before, pids = pool.get_stats()["connections_num"], idle(pool)
        # While the lock is held, no successor can take its place: all find the same connections.
        with pool._lock:
            for _ in range(5):
                pool._begin_refresh()
        pool.refresh()
        assert pids.isdisjoint(idle(pool))
        # The last call found some successors that were there already, if it came late.
        assert 3 <= pool.get_stats()["connections_num"] - before <= 6
        assert pool.get_stats()["pool_size"] == 3 == len(pool._pool)


def test_threads_that_refresh_at_once_all_return(cluster: LocalCluster) -> None:
    with dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=4) as pool:
        pool.wait()
        pids = idle(pool)
        threads = [threading.Thread(target=pool.refresh) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert pids.isdisjoint(idle(pool))
        eventually(lambda: len(pool._pool) == 4)
        assert pool.get_stats()["pool_size"] == 4


def test_connections_that_grow_old_meanwhile(cluster: LocalCluster) -> None:
    """One idle connection is being replaced for its age, one is past its time, one is nearly so and in use."""
    with dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=4, health_check_period=3600) as pool:
        pool.wait()
        in_use = pool.getconn()
        in_use._expire_at = time.monotonic() + 60
        replaced, past, plain = list(pool._pool)
        replaced._expire_at = time.monotonic() + 60
        with pool._lock:
            pool._replace_due()
            past._expire_at = time.monotonic() - 1
            pool._begin_refresh()
            pool._pool.rotate(-1)
            pool._discard_old()  # finds the one past its time in front
        pool.refresh()
        pool.putconn(in_use)
        eventually(lambda: len(pool._pool) == 4)
        eventually(lambda: all(conn.closed for conn in (in_use, replaced, past, plain)))
        assert pool.get_stats()["pool_size"] == 4


def test_one_taken_before_its_turn_gets_no_successor_until_it_is_back(cluster: LocalCluster) -> None:
    with dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=3, max_size=3, num_workers=1) as pool:
        pool.wait()
        with pool._lock:
            pool._begin_refresh()  # three are due, one worker is at it, and waits for the lock
            taken = [pool._get_ready_connection(1.0) for _ in range(3)]
        for conn in taken:
            assert conn is not None
            conn._pool = pool
        pool.refresh()
        turns_over = threading.Event()

        class Last(MaintenanceTask):
            def _run(self, _: Any) -> None:
                turns_over.set()

        pool.run_task(Last(pool))  # behind those of the three, and there is one worker
        assert turns_over.wait(30)
        assert not pool._pool
        for conn in taken:
            assert conn is not None
            pool.putconn(conn)
        eventually(lambda: len(pool._pool) == 3)
        assert pool.get_stats()["pool_size"] == 3
        assert not {conn for conn in pool._pool if conn in taken}


def test_one_that_comes_back_while_its_successor_is_opened_leaves_it_the_place(cluster: LocalCluster) -> None:
    with dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=1) as pool:
        pool.wait()
        conn = pool.getconn()
        pool.refresh()
        opened = pool.get_stats()["connections_num"]
        with pool._lock:  # as if a worker were connecting
            succession = pool._successions[conn] = Succession()
            assert pool._take_returned(conn, from_getconn=False)
            assert succession.gone
        pool._put_in_place_of(conn)
        eventually(lambda: conn.closed)
        assert (len(pool._pool), pool.get_stats()["pool_size"]) == (1, 1)
        assert pool.get_stats()["connections_num"] == opened + 1


def test_one_that_is_given_back_just_then_is_replaced_too(cluster: LocalCluster) -> None:
    """It was past psycopg_pool's look at its age, and not yet in the pool."""
    with dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=1) as pool:
        pool.wait()
        conn = pool.getconn()
        pool.refresh()
        pool._add_to_pool(conn)
        eventually(lambda: conn.closed and len(pool._pool) == 1)
        assert pool.get_stats()["pool_size"] == 1


def test_an_empty_pool_and_a_pool_that_is_filling(cluster: LocalCluster) -> None:
    with dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=0, max_size=2) as pool:
        pool.refresh()
        assert pool.get_stats().get("connections_num", 0) == 0
    with dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=4) as pool:
        pool.refresh()
        pool.wait()
        assert pool.get_stats()["pool_size"] == 4


class TestTrouble:
    def test_a_pool_that_is_not_open(self, cluster: LocalCluster) -> None:
        pool = dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=1, open=False)
        with pytest.raises(psycopg_pool.PoolClosed, match="not open yet"):
            pool.refresh()
        with pool:
            pool.wait()
        with pytest.raises(psycopg_pool.PoolClosed, match="already closed"):
            pool.refresh()

    def test_a_pool_that_is_closed_meanwhile(self, fresh_cluster: Callable[..., LocalCluster]) -> None:
        cluster = fresh_cluster(rate=None)
        raised: list[BaseException] = []
        with dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=1) as pool:
            pool.wait()
            cluster.faults.refuse_connections(1)  # the successor does not come: the next sweep is far away

            def refresh() -> None:
                try:
                    pool.refresh(timeout=3600)
                except psycopg_pool.PoolClosed as error:
                    raised.append(error)

            thread = threading.Thread(target=refresh)
            thread.start()
            eventually(lambda: pool.get_stats().get("connections_errors", 0) == 1)
        thread.join()
        assert raised

    def test_the_old_ones_stay_where_none_can_be_opened(self, fresh_cluster: Callable[..., LocalCluster]) -> None:
        cluster = fresh_cluster(rate=None)
        with dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=2, health_check_period=0.05) as pool:
            pool.wait()
            pids = idle(pool)
            cluster.faults.refuse_connections(1000)
            with pytest.raises(dsql_fast.PoolTimeout, match=r"not all connections were replaced(?s:.*)waking up"):
                pool.refresh(timeout=0.2)
            assert idle(pool) == pids
            with pool.connection() as conn:
                assert pid_of(conn) in pids
            cluster.faults.clear()  # the sweep replaces what is left, and that which comes back is replaced too
            eventually(lambda: len(idle(pool)) == 2 and pids.isdisjoint(idle(pool)))
            assert pool.get_stats()["pool_size"] == 2

    def test_a_permanent_refusal_is_told_at_once(self, fresh_cluster: Callable[..., LocalCluster]) -> None:
        cluster = fresh_cluster(rate=None)
        key = cluster.issue_credentials("one")
        credentials = dsql_fast.Credentials(key.access_key, key.secret_key)
        kwargs = {**cluster.connect_kwargs(), "credentials": credentials}
        with dsql_fast.ConnectionPool(**kwargs, min_size=2) as pool:
            pool.wait()
            pids = idle(pool)
            cluster.revoke_credentials(key.access_key)
            with pytest.raises(dsql_fast.PoolTimeout, match="trying again does not help"):
                pool.refresh(timeout=3600)
            assert idle(pool) == pids

    def test_the_same_from_asyncio(self, fresh_cluster: Callable[..., LocalCluster]) -> None:
        cluster = fresh_cluster(rate=None)

        async def main() -> None:
            async with dsql_fast.AsyncConnectionPool(**cluster.connect_kwargs(), min_size=2) as pool:
                await pool.wait()
                cluster.faults.refuse_connections(1000)
                with pytest.raises(dsql_fast.PoolTimeout, match="not all connections were replaced"):
                    await pool.refresh(timeout=0.2)
                waiting = asyncio.create_task(pool.refresh(timeout=3600))
                tried = pool.get_stats()["connections_errors"]
                await eventually_async(lambda: pool.get_stats()["connections_errors"] > tried)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                last = asyncio.create_task(pool.refresh(timeout=3600))
                await asyncio.sleep(0)
            with pytest.raises(psycopg_pool.PoolClosed):
                await last
            with pytest.raises(psycopg_pool.PoolClosed):
                await pool.refresh()

        asyncio.run(main())
