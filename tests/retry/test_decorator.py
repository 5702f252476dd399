"""`retry_on_conflict`: bare and with arguments, for functions of both kinds."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import psycopg
import psycopg_pool
import pytest

import dsql_fast
from dsql_fast import RetryPolicy, retry_on_conflict
from retry.scripted import CUT, DATA, ScriptedServer

WRITE = "UPDATE t SET a = 1"


@retry_on_conflict
def double(conn: psycopg.Connection[Any], number: int, *, plus: int = 0) -> int:
    """Double a number."""
    conn.execute(WRITE)
    return 2 * number + plus


@retry_on_conflict(policy=RetryPolicy(max_attempts=2), idempotent=True)
async def double_async(conn: psycopg.AsyncConnection[Any], number: int) -> int:
    await conn.execute(WRITE)
    return 2 * number


def test_with_a_connection_and_with_a_pool() -> None:
    with ScriptedServer(COMMIT=[DATA, DATA]) as server:
        with psycopg.connect(server.conninfo) as conn:
            assert double(conn, 2, plus=1) == 5
        with psycopg_pool.ConnectionPool(server.conninfo, min_size=1) as pool:
            assert double(pool, 3) == 6
        assert server.executed("COMMIT") == 4


def test_with_arguments_and_async() -> None:
    async def main(server: ScriptedServer) -> None:
        async with psycopg_pool.AsyncConnectionPool(server.conninfo, min_size=1, open=False) as pool:
            assert await double_async(pool, 2) == 4
            with pytest.raises(psycopg.errors.SerializationFailure):
                await double_async(pool, 2)

    with ScriptedServer(COMMIT=[CUT, "well", DATA, DATA, DATA]) as server:
        asyncio.run(main(server))
        assert server.executed("COMMIT") == 4


def test_it_stays_the_function() -> None:
    assert (double.__name__, double.__doc__) == ("double", "Double a number.")
    assert list(inspect.signature(double).parameters) == ["conn", "number", "plus"]
    assert inspect.iscoroutinefunction(double_async)


def test_what_it_is_not_for_is_refused() -> None:
    def generator() -> Any:
        yield

    with pytest.raises(dsql_fast.ConfigError, match="for functions"):
        retry_on_conflict(generator)  # type: ignore[arg-type]
    with pytest.raises(dsql_fast.ConfigError, match="RetryPolicy"):
        retry_on_conflict(policy=3)  # type: ignore[call-overload]
    with pytest.raises(dsql_fast.ConfigError, match=r"double\(\) needs a pool or a connection"):
        double()  # type: ignore[call-arg]


def test_a_method_is_told_what_to_do() -> None:
    class Bank:
        @retry_on_conflict
        def transfer(self: Any, conn: Any) -> None: ...

    with pytest.raises(dsql_fast.ConfigError, match="not Bank"):
        Bank().transfer(object())
