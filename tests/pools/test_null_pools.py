"""Pools that keep no connection: what they share with the others, and what is theirs. Both kinds, by one body."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import psycopg
import psycopg_pool
import pytest
from psycopg.rows import dict_row

import dsql_fast
from waiting import eventually, eventually_async

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    from dsql_fast.local import LocalCluster

    Body: TypeAlias = Callable[["Asynchronous"], Awaitable[None]]


class Asynchronous:
    """An asynchronous null pool, or a synchronous one made to look so: each of its calls in a thread of its own."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool
        self.is_async = isinstance(pool, psycopg_pool.AsyncConnectionPool)

    async def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self.is_async:
            return await function(*args, **kwargs)
        return await asyncio.to_thread(function, *args, **kwargs)

    async def getconn(self, *args: Any, **kwargs: Any) -> Any:
        return await self.call(self.pool.getconn, *args, **kwargs)

    async def putconn(self, conn: Any) -> None:
        await self.call(self.pool.putconn, conn)

    async def one(self, conn: Any, query: str) -> Any:
        cursor = await self.call(conn.execute, query)
        return await self.call(cursor.fetchone)


@pytest.fixture(params=[dsql_fast.NullConnectionPool, dsql_fast.AsyncNullConnectionPool], ids=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Callable[..., None]:
    """A function that makes a pool, opens it, runs a body with it, and closes it."""

    def run(body: Body, **settings: Any) -> None:
        async def main() -> None:
            both = Asynchronous(request.param(**settings, open=False))
            await both.call(both.pool.open)
            try:
                await body(both)
            finally:
                await both.call(both.pool.close)

        asyncio.run(main())

    return run


def test_a_connection_for_each_checkout_and_none_kept(cluster: LocalCluster, run: Any) -> None:
    async def body(both: Asynchronous) -> None:
        assert isinstance(both.pool, (psycopg_pool.NullConnectionPool, psycopg_pool.AsyncNullConnectionPool))
        await both.call(both.pool.wait)
        pids = set()
        for _ in range(3):
            conn = await both.getconn()
            assert type(conn) in {dsql_fast.Connection, dsql_fast.AsyncConnection}
            assert await both.one(conn, "select current_user") == ("admin",)
            pids.add(conn.info.backend_pid)
            await both.putconn(conn)
            assert conn.closed
        assert len(pids) == 3
        stats = both.pool.get_stats()
        assert (stats["pool_size"], stats["pool_available"], stats["connections_num"]) == (0, 0, 4)

    run(body, **cluster.connect_kwargs())


def test_a_transaction_is_run_again(cluster: LocalCluster, run: Any) -> None:
    tries = []

    async def body(both: Asynchronous) -> None:
        def fn(conn: Any) -> Any:
            tries.append(conn.info.backend_pid)
            if len(tries) == 1:
                raise psycopg.errors.SerializationFailure("change conflicts with another transaction (OC000)")
            return conn.execute("select 7")

        cursor = await both.call(both.pool.run_transaction, fn)
        assert await both.call(cursor.fetchone) == (7,)

    run(body, **cluster.connect_kwargs(), max_size=1)
    assert len(set(tries)) == 2


def test_the_users_hooks_class_and_kwargs(cluster: LocalCluster, run: Any) -> None:
    calls: list[str] = []

    async def body(both: Asynchronous) -> None:
        def hook(name: str) -> Any:
            async def call_async(_: Any) -> None:
                calls.append(name)

            return call_async if both.is_async else lambda _: calls.append(name)

        both.pool._configure, both.pool._check, both.pool._reset = map(hook, ("configure", "check", "reset"))
        conn = await both.getconn()
        assert conn.autocommit
        assert await both.one(conn, "select 1 as one") == {"one": 1}
        # To one who waits it is given as it is: that is when it is reset.
        waiting = asyncio.create_task(both.getconn())
        await eventually_async(lambda: both.pool.get_stats()["requests_waiting"] == 1)
        await both.putconn(conn)
        assert await waiting is conn
        await both.putconn(conn)
        assert calls == ["configure", "check", "reset", "check"]

    run(body, **cluster.connect_kwargs(), max_size=1, kwargs={"autocommit": True, "row_factory": dict_row})


def test_a_connection_that_came_back_broken_is_not_handed_on(cluster: LocalCluster, run: Any) -> None:
    async def body(both: Asynchronous) -> None:
        conn = await both.getconn()
        waiting = asyncio.create_task(both.getconn())
        await eventually_async(lambda: both.pool.get_stats()["requests_waiting"] == 1)
        await both.call(conn.close)
        await both.putconn(conn)
        other = await waiting
        assert other is not conn
        assert await both.one(other, "select 1") == (1,)
        await both.putconn(other)
        assert both.pool.get_stats()["pool_size"] == 0

    run(body, **cluster.connect_kwargs(), max_size=1)


class TestTrouble:
    def wrong(self, cluster: LocalCluster) -> dict[str, Any]:
        return {**cluster.connect_kwargs(), "credentials": dsql_fast.Credentials("AKIAWRONG", "wrong")}

    def test_a_permanent_refusal_is_told_as_by_the_other_pools(self, cluster: LocalCluster, run: Any) -> None:
        async def body(both: Asynchronous) -> None:
            with pytest.raises(dsql_fast.PoolTimeout, match="access denied") as caught:
                await both.getconn()
            assert isinstance(caught.value, psycopg_pool.PoolTimeout)
            assert isinstance(caught.value.__cause__, psycopg.OperationalError)
            tried = both.pool.get_stats()["connections_num"]
            with pytest.raises(dsql_fast.PoolTimeout, match="trying again does not help"):
                await both.getconn()  # at once again, without a connect
            assert both.pool.get_stats()["connections_num"] == tried

        run(body, **self.wrong(cluster), timeout=3600)

    def test_waiting_for_the_pool_fails_fast(self, cluster: LocalCluster, run: Any) -> None:
        async def body(both: Asynchronous) -> None:
            with pytest.raises(dsql_fast.PoolTimeout, match="access denied"):
                await both.call(both.pool.wait, timeout=3600)
            assert both.pool.closed

        run(body, **self.wrong(cluster))

    def test_those_who_wait_hear_of_it_too(self, fresh_cluster: Callable[..., LocalCluster], run: Any) -> None:
        cluster = fresh_cluster(rate=None)
        key = cluster.issue_credentials("one")

        async def body(both: Asynchronous) -> None:
            conn = await both.getconn()
            waiting = asyncio.create_task(both.getconn(timeout=3600))
            await eventually_async(lambda: both.pool.get_stats()["requests_waiting"] == 1)
            cluster.revoke_credentials(key.access_key)
            await both.call(conn.close)
            await both.putconn(conn)  # broken: another one is to be opened, and cannot be
            with pytest.raises(dsql_fast.PoolTimeout, match="access denied"):
                await waiting

        kwargs = {
            **cluster.connect_kwargs(),
            "credentials": lambda: dsql_fast.Credentials(key.access_key, key.secret_key),
        }
        run(body, **kwargs, max_size=1)

    def test_no_credentials(self, cluster: LocalCluster, run: Any) -> None:
        async def body(both: Asynchronous) -> None:
            with pytest.raises(dsql_fast.PoolTimeout, match="no AWS credentials") as caught:
                await both.getconn()
            assert isinstance(caught.value.__cause__, dsql_fast.CredentialsNotFound)

        run(body, **{name: value for name, value in cluster.connect_kwargs().items() if name != "credentials"})

    def test_a_passing_failure_is_told_at_once_and_the_next_caller_tries_again(
        self, cluster: LocalCluster, run: Any
    ) -> None:
        async def body(both: Asynchronous) -> None:
            for _ in range(2):
                with pytest.raises(dsql_fast.PoolTimeout, match=r"the last connect failed(?s:.*)refused"):
                    await both.getconn()
            assert both.pool.get_stats()["connections_num"] == 2

        run(body, **{**cluster.connect_kwargs(), "port": 1}, timeout=3600)

    def test_all_in_use(self, cluster: LocalCluster, run: Any) -> None:
        async def body(both: Asynchronous) -> None:
            conn = await both.getconn()
            with pytest.raises(dsql_fast.PoolTimeout, match="all connections are in use"):
                await both.getconn(timeout=0.1)
            await both.putconn(conn)

        run(body, **cluster.connect_kwargs(), max_size=1)

    def test_too_many_who_wait(self, cluster: LocalCluster, run: Any) -> None:
        async def body(both: Asynchronous) -> None:
            conn = await both.getconn()
            waiting = asyncio.create_task(both.getconn())
            await eventually_async(lambda: both.pool.get_stats()["requests_waiting"] == 1)
            with pytest.raises(psycopg_pool.TooManyRequests):
                await both.getconn()
            await both.putconn(conn)
            await both.putconn(await waiting)

        run(body, **cluster.connect_kwargs(), max_size=1, max_waiting=1)


@pytest.mark.parametrize("kind", [dsql_fast.NullConnectionPool, dsql_fast.AsyncNullConnectionPool])
def test_bad_settings_are_refused_by_the_constructor(cluster: LocalCluster, kind: Any) -> None:
    with pytest.raises(dsql_fast.ConfigError, match="did you mean region"):
        kind(cluster.host, regoin="us-east-1")
    with pytest.raises(dsql_fast.ConfigError, match="connection_class"):
        kind(**cluster.connect_kwargs(), connection_class=int)
    with pytest.raises(ValueError, match="min_size = 0"):
        kind(**cluster.connect_kwargs(), min_size=1)


def test_a_refresh_keeps_old_connections_from_those_who_wait(cluster: LocalCluster, run: Any) -> None:
    async def body(both: Asynchronous) -> None:
        conn = await both.getconn()
        waiting = asyncio.create_task(both.getconn())
        await eventually_async(lambda: both.pool.get_stats()["requests_waiting"] == 1)
        await both.call(both.pool.refresh)
        assert await both.one(conn, "select 1") == (1,)
        await both.putconn(conn)
        other = await waiting
        assert other is not conn
        assert conn.closed
        await both.putconn(other)
        await both.call(both.pool.close)
        with pytest.raises(psycopg_pool.PoolClosed):
            await both.call(both.pool.refresh)

    run(body, **cluster.connect_kwargs(), max_size=1)


def test_a_reconnection_that_is_given_up_is_told(fresh_cluster: Callable[..., LocalCluster]) -> None:
    """psycopg_pool's own null pool forgets `reconnect_failed`."""
    cluster = fresh_cluster(rate=None)
    told = threading.Event()
    with dsql_fast.NullConnectionPool(
        **cluster.connect_kwargs(), max_size=1, reconnect_timeout=0.0, reconnect_failed=lambda _: told.set()
    ) as pool:
        conn = pool.getconn()
        heard: list[BaseException] = []

        def want() -> None:
            try:
                pool.getconn(timeout=1)
            except dsql_fast.PoolTimeout as error:
                heard.append(error)

        thread = threading.Thread(target=want)
        thread.start()
        eventually(lambda: pool.get_stats()["requests_waiting"] == 1)
        cluster.stop()
        conn.close()
        pool.putconn(conn)
        eventually(told.is_set)
        thread.join()
        assert heard
