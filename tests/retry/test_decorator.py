"""`retry_on_conflict`: bare and with arguments, for functions of both kinds."""

from __future__ import annotations

import asyncio
import functools
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
    with pytest.raises(
        dsql_fast.ConfigError, match=r"double\(\) needs a pool or a connection as its argument 'conn'"
    ):
        double()  # type: ignore[call-arg]
    with pytest.raises(
        dsql_fast.ConfigError, match=r"double\(\) has no argument 'pool'; it has conn, number, plus"
    ):
        retry_on_conflict(connection="pool")(double)
    with pytest.raises(dsql_fast.ConfigError, match="by position"):
        retry_on_conflict(max)()  # type: ignore[call-overload]


class Bank:
    """As methods are written with tenacity and stamina: decorated where they are defined."""

    @retry_on_conflict(connection="conn")
    def transfer(self, amount: int, conn: psycopg.Connection[Any], *, to: str = "") -> str:
        conn.execute(WRITE)
        return f"{amount} {to} {type(self).__name__}"

    @retry_on_conflict(connection="conn", policy=RetryPolicy(max_attempts=2))
    async def transfer_async(self, *, conn: psycopg.AsyncConnection[Any]) -> None:
        await conn.execute(WRITE)

    @classmethod
    @retry_on_conflict(connection="conn")
    def of_the_class(cls, conn: psycopg.Connection[Any]) -> str:
        conn.execute(WRITE)
        return cls.__name__

    @staticmethod
    @retry_on_conflict
    def of_nobody(conn: psycopg.Connection[Any], /, *more: int) -> int:
        conn.execute(WRITE)
        return sum(more)


def test_methods_by_position_and_by_name() -> None:
    with ScriptedServer(COMMIT=[DATA]) as server, psycopg_pool.ConnectionPool(server.conninfo, min_size=1) as pool:
        bank = Bank()
        assert bank.transfer(1, pool) == "1  Bank"
        assert bank.transfer(1, conn=pool, to="b") == "1 b Bank"
        assert bank.transfer(conn=pool, amount=2) == "2  Bank"
        assert Bank.transfer(bank, 3, pool, to="c") == "3 c Bank"
        assert Bank.of_the_class(pool) == Bank.of_the_class(conn=pool) == "Bank"
        assert Bank.of_nobody(pool, 1, 2) == bank.of_nobody(pool, 3) == 3
        assert server.executed("COMMIT") == 9


def test_async_methods() -> None:
    async def main(server: ScriptedServer) -> None:
        async with await psycopg.AsyncConnection.connect(server.conninfo) as conn:
            await Bank().transfer_async(conn=conn)
            with pytest.raises(dsql_fast.ConfigError, match=r"transfer_async\(\) needs .* as its argument 'conn'"):
                await Bank().transfer_async()

    with ScriptedServer(COMMIT=[DATA]) as server:
        asyncio.run(main(server))
        assert server.executed("COMMIT") == 2


def test_a_functions_connection_by_name() -> None:
    with ScriptedServer() as server, psycopg.connect(server.conninfo) as conn:
        assert double(number=3, conn=conn) == 6  # type: ignore[call-arg]
        assert server.executed("COMMIT") == 1


def test_a_method_that_does_not_say_is_told_what_to_do() -> None:
    with pytest.raises(dsql_fast.ConfigError, match=r"first argument is self.*@retry_on_conflict\(connection="):

        class _Bank:
            @retry_on_conflict
            def transfer(self: Any, conn: Any) -> None: ...


def test_callables_of_all_kinds() -> None:
    class Adder:
        def __call__(self, conn: psycopg.Connection[Any], number: int) -> int:
            conn.execute(WRITE)
            return number

    with ScriptedServer() as server, psycopg.connect(server.conninfo) as conn:
        assert retry_on_conflict(Adder())(conn, 3) == 3
        assert retry_on_conflict(functools.partial(Adder(), number=4))(conn) == 4
        assert server.executed("COMMIT") == 2


@pytest.mark.parametrize("name", ["conn", "self"])
def test_the_signature_stays(name: str) -> None:
    assert name in inspect.signature(Bank.transfer).parameters
