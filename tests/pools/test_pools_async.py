"""The asynchronous pool against the local cluster. What it shares with the synchronous one is tested there."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import psycopg
import psycopg_pool
import pytest
from psycopg.rows import dict_row

import dsql_fast
from dsql_fast.psycopg._pool_async import _Sweep
from waiting import eventually_async

if TYPE_CHECKING:
    from collections.abc import Callable

    from dsql_fast.local import LocalCluster


def test_gives_connections_and_takes_them_back(cluster: LocalCluster) -> None:
    async def main() -> None:
        async with dsql_fast.AsyncConnectionPool(**cluster.connect_kwargs(), min_size=2) as pool:
            await pool.wait()
            assert isinstance(pool, psycopg_pool.AsyncConnectionPool)
            async with pool.connection() as conn:
                assert type(conn) is dsql_fast.AsyncConnection
                assert await (await conn.execute("select current_user")).fetchone() == ("admin",)
            assert pool.get_stats()["pool_available"] == 2

    asyncio.run(main())


def test_twenty_connections_past_their_time_cost_no_pause(cluster: LocalCluster) -> None:
    async def main() -> None:
        async with dsql_fast.AsyncConnectionPool(
            **cluster.connect_kwargs(), min_size=20, max_size=20, timeout=5.0
        ) as pool:
            await pool.wait()
            stale = list(pool._pool)
            for conn in stale:
                conn._expire_at = time.monotonic() - 1.0
            async with pool.connection() as conn:
                assert conn not in stale
            await eventually_async(lambda: pool.get_stats()["pool_available"] == 20)
            assert pool.get_stats()["pool_size"] == 20
            assert all(conn.closed for conn in stale)

    asyncio.run(main())


def test_the_sweep_opens_the_successor_before_the_old_one_goes(cluster: LocalCluster) -> None:
    async def main() -> None:
        async with dsql_fast.AsyncConnectionPool(
            **cluster.connect_kwargs(), min_size=2, health_check_period=0.05
        ) as pool:
            await pool.wait()
            old = list(pool._pool)
            for conn in old:
                conn._expire_at = time.monotonic() + 0.2
            sizes: list[int] = []
            while any(conn in pool._pool for conn in old):
                sizes.append(len(pool._pool))
                await asyncio.sleep(0)
            assert min(sizes) == 2  # never a gap
            await eventually_async(lambda: all(conn.closed for conn in old))
            assert pool.get_stats()["pool_size"] == 2
            assert len(pool._pool) == 2

    asyncio.run(main())


def test_retiring_under_load_leaves_the_pool_whole(cluster: LocalCluster) -> None:
    async def main() -> None:
        async with dsql_fast.AsyncConnectionPool(
            **cluster.connect_kwargs(), min_size=4, max_size=4, max_lifetime=1.0, health_check_period=0.1
        ) as pool:
            await pool.wait()
            seen: set[int] = set()

            async def work() -> None:
                for _ in range(60):
                    async with pool.connection() as conn:
                        seen.add(conn.info.backend_pid)
                        await conn.execute("select 1")
                    await asyncio.sleep(0.02)

            await asyncio.gather(*(work() for _ in range(3)))
            assert len(seen) > 4
            await eventually_async(lambda: pool.get_stats()["pool_size"] == 4 and len(pool._pool) == 4)
            assert pool.get_stats().get("requests_errors", 0) == 0

    asyncio.run(main())


def test_the_users_hooks_class_and_kwargs(cluster: LocalCluster) -> None:
    calls: list[str] = []

    class Mine(psycopg.AsyncConnection[Any]):
        pass

    def hook(name: str) -> Callable[[Any], Any]:
        async def call(_conn: Any) -> None:
            calls.append(name)

        return call

    kwargs = cluster.connect_kwargs()
    credentials = kwargs.pop("credentials")

    async def late_kwargs() -> dict[str, Any]:
        return {"autocommit": True, "row_factory": dict_row, "credentials": credentials}

    async def main() -> None:
        async with dsql_fast.AsyncConnectionPool(
            **kwargs,
            connection_class=Mine,
            kwargs=late_kwargs,
            configure=hook("configure"),
            check=hook("check"),
            reset=hook("reset"),
            min_size=1,
        ) as pool:
            await pool.wait()
            async with pool.connection() as conn:
                assert isinstance(conn, Mine)
                assert conn.autocommit
                assert await (await conn.execute("select 1 as one")).fetchone() == {"one": 1}
            await eventually_async(lambda: calls == ["configure", "check", "reset"])

    asyncio.run(main())


def test_an_asynchronous_source_of_credentials(cluster: LocalCluster) -> None:
    kwargs = cluster.connect_kwargs()
    found = kwargs.pop("credentials")
    calls: list[int] = []

    async def load() -> Any:
        calls.append(1)
        await asyncio.sleep(0.01)
        return found

    async def main() -> None:
        async with dsql_fast.AsyncConnectionPool(**kwargs, credentials=load, min_size=8) as pool:
            await pool.wait()

    asyncio.run(main())
    assert calls == [1]


def test_a_permanent_refusal_fails_fast_and_tells_why(cluster: LocalCluster) -> None:
    wrong = {**cluster.connect_kwargs(), "credentials": dsql_fast.Credentials("AKIAWRONG", "wrong")}

    async def main() -> None:
        async with dsql_fast.AsyncConnectionPool(**wrong, min_size=1, timeout=3600) as pool:
            with pytest.raises(dsql_fast.PoolTimeout, match="access denied") as caught:
                await pool.getconn()
            assert isinstance(caught.value, psycopg_pool.PoolTimeout)
        pool = dsql_fast.AsyncConnectionPool(**wrong, min_size=2)
        with pytest.raises(dsql_fast.PoolTimeout, match="access denied"):
            await pool.open(wait=True, timeout=3600)
        assert pool.closed

    asyncio.run(main())


def test_bare_psycopg_pool_by_pool_kwargs(cluster: LocalCluster) -> None:
    async def main() -> None:
        arguments = dsql_fast.pool_kwargs(**cluster.connect_kwargs(), asynchronous=True)
        async with (
            psycopg_pool.AsyncConnectionPool(**arguments, min_size=1, open=False) as pool,
            pool.connection() as conn,
        ):
            assert type(conn) is dsql_fast.AsyncConnection

    asyncio.run(main())


def test_pools_that_are_opened_together_do_not_sweep_together(cluster: LocalCluster) -> None:
    async def main() -> None:
        at = set()
        for _ in range(3):
            async with dsql_fast.AsyncConnectionPool(**cluster.connect_kwargs(), min_size=0, max_size=1) as pool:
                await pool.wait()
                await eventually_async(lambda: sweep_of(pool) is not None)
                ahead = sweep_of(pool)
                assert ahead is not None
                assert 10.0 < ahead <= 45.0
                at.add(ahead)
        assert len(at) == 3

    asyncio.run(main())


def sweep_of(pool: dsql_fast.AsyncConnectionPool[Any]) -> float | None:
    """Seconds until the sweep that is scheduled."""
    for task in list(pool._sched._queue):
        if isinstance(getattr(task.action, "__self__", None), _Sweep):
            return float(task.time) - time.monotonic()
    return None
