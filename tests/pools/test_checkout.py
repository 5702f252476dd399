"""`pool.connection()`: what psycopg_pool's does, by a class of ours."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
import psycopg_pool
import pytest

import dsql_fast

if TYPE_CHECKING:
    from types import TracebackType

    from dsql_fast.local import LocalCluster


class KeepsErrors(psycopg.Connection[Any]):
    """A caller's class, whose blocks keep an error to themselves."""

    def __exit__(  # type: ignore[override]
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        super().__exit__(kind, error, traceback)
        return True


class CannotBegin(psycopg.Connection[Any]):
    def __enter__(self) -> Any:
        raise LookupError("not to be entered")


class AsyncKeepsErrors(psycopg.AsyncConnection[Any]):
    async def __aexit__(  # type: ignore[override]
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        await super().__aexit__(kind, error, traceback)
        return True


class AsyncCannotBegin(psycopg.AsyncConnection[Any]):
    async def __aenter__(self) -> Any:
        raise LookupError("not to be entered")


def ended(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    return connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_a_block(cluster: LocalCluster) -> None:
    with dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=1) as pool:
        pool.wait()
        with pool.connection() as conn:
            conn.execute("select pg_sleep(0.002)")
            assert not ended(conn)
            assert pool.get_stats()["pool_available"] == 0
        assert ended(conn)
        stats = pool.get_stats()
        assert stats["pool_available"] == 1
        assert stats["requests_num"] == 1
        assert stats["usage_ms"] >= 2
        with pytest.raises(psycopg.errors.DivisionByZero), pool.connection() as conn:
            conn.execute("select 1 / 0")
        assert ended(conn)
        assert pool.get_stats()["pool_available"] == 1
        with pool.connection() as conn, pytest.raises(psycopg_pool.PoolTimeout):
            pool.connection(timeout=0.01).__enter__()
    with pytest.raises(psycopg_pool.PoolClosed), pool.connection():
        pass


def test_a_function(cluster: LocalCluster) -> None:
    with dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=2) as pool:
        pool.wait()

        @pool.connection()
        def available(depth: int) -> list[int]:
            found = [pool.get_stats()["pool_available"]]
            return found + available(depth - 1) if depth else found

        assert available(1) == [1, 0]
        assert pool.get_stats()["pool_available"] == 2


def test_a_class_of_the_callers(cluster: LocalCluster) -> None:
    keywords = cluster.connect_kwargs()
    with dsql_fast.ConnectionPool(**keywords, min_size=1, connection_class=KeepsErrors) as pool:
        pool.wait()
        with pool.connection():
            1 / 0  # noqa: B018
        assert pool.get_stats()["pool_available"] == 1
    with dsql_fast.ConnectionPool(**keywords, min_size=1, connection_class=CannotBegin) as pool:
        pool.wait()
        with pytest.raises(LookupError), pool.connection():
            pass
        assert pool.get_stats()["pool_available"] == 1


def test_async(cluster: LocalCluster) -> None:
    keywords = cluster.connect_kwargs()

    async def main() -> None:
        async with dsql_fast.AsyncConnectionPool(**keywords, min_size=1) as pool:
            await pool.wait()
            async with pool.connection() as conn:
                await conn.execute("select pg_sleep(0.002)")
                assert pool.get_stats()["pool_available"] == 0
            assert ended(conn)
            assert pool.get_stats()["pool_available"] == 1
            assert pool.get_stats()["usage_ms"] >= 2
            with pytest.raises(psycopg.errors.DivisionByZero):
                async with pool.connection() as conn:
                    await conn.execute("select 1 / 0")
            assert ended(conn)

            @pool.connection()
            async def available() -> int:
                return pool.get_stats()["pool_available"]

            assert [await available(), await available()] == [0, 0]
            assert pool.get_stats()["pool_available"] == 1
        async with dsql_fast.AsyncConnectionPool(
            **keywords, min_size=1, connection_class=AsyncKeepsErrors
        ) as keeping:
            await keeping.wait()
            async with keeping.connection():
                1 / 0  # noqa: B018
            assert keeping.get_stats()["pool_available"] == 1
        async with dsql_fast.AsyncConnectionPool(
            **keywords, min_size=1, connection_class=AsyncCannotBegin
        ) as failing:
            await failing.wait()
            with pytest.raises(LookupError):
                async with failing.connection():
                    pass
            assert failing.get_stats()["pool_available"] == 1

    asyncio.run(main())


class CountsBlocks(psycopg.Connection[Any]):
    blocks = 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        CountsBlocks.blocks += 1  # the pool's own class derives from this one
        super().__exit__(kind, error, traceback)


class AsyncCountsBlocks(psycopg.AsyncConnection[Any]):
    blocks = 0

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        AsyncCountsBlocks.blocks += 1
        await super().__aexit__(kind, error, traceback)


def test_a_callers_own_block_is_left_after_a_transaction_too(cluster: LocalCluster) -> None:
    with dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=1, connection_class=CountsBlocks) as pool:
        assert pool.run_transaction(lambda conn: conn.execute("select 1").fetchone()) == (1,)
        assert CountsBlocks.blocks == 1

    async def go() -> None:
        async def one(conn: Any) -> Any:
            return await (await conn.execute("select 1")).fetchone()

        async with dsql_fast.AsyncConnectionPool(
            **cluster.connect_kwargs(), min_size=1, connection_class=AsyncCountsBlocks
        ) as pool:
            assert await pool.run_transaction(one) == (1,)
        assert AsyncCountsBlocks.blocks == 1

    asyncio.run(go())


def test_a_connection_comes_back_idle_from_a_transaction(cluster: LocalCluster) -> None:
    seen = []

    def fail(conn: Any) -> None:
        seen.append(conn)
        conn.execute("select 1 / 0")

    with dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=1, max_size=1) as pool:
        pool.run_transaction(seen.append)
        with pytest.raises(psycopg.errors.DivisionByZero):
            pool.run_transaction(fail)
        assert seen[0] is seen[1]
        assert ended(seen[0])
        stats = pool.get_stats()
        assert (stats["pool_available"], stats["requests_num"]) == (1, 2)
