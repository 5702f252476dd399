"""The drivers behind one face, so that a test is written once and runs by each: psycopg, psycopg2 and asyncpg.

The face is synchronous. Behind it an asynchronous driver runs on an event loop that is the test's own.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import asyncpg
import psycopg
import psycopg2
import psycopg2.errors

import dsql_fast
import dsql_fast.asyncpg
import dsql_fast.psycopg2
from waiting import sockets_closed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Sequence
    from typing import TypeAlias

    from typing_extensions import Self

    Rows: TypeAlias = list[tuple[Any, ...]]
    # What runs in a transaction: yields SQL and is sent its rows, or yields a body that is to be a transaction of
    # its own inside of this one.
    Body: TypeAlias = Callable[[], Generator[Any, Any, Any]]

T = TypeVar("T")

LONG_AGO = float("-inf")


class Way(Protocol):
    """One way to use a driver. What is called ``raw`` is an object of the driver's.

    Attributes:
        driver: its name, as `application_name` has it.
        Error: what programs catch, that know only the driver, when a connect fails.
        Conflict: the driver's class for SQLSTATE 40001.
    """

    driver: str
    Error: Any
    Conflict: Any

    def done(self, result: Any) -> Any:
        """Return a result, or for an asynchronous driver what its coroutine returns."""

    def finish(self) -> None:
        """End what is the test's own."""

    # Each returns a result for `done`.

    def open(self, where: Any, settings: dict[str, Any]) -> Any:
        """Connect: each statement is a transaction of its own, unless BEGIN was said."""

    def rows(self, raw: Any, sql: str, values: Sequence[Any] = ()) -> Any:
        """Execute a statement with parameters ``$1``, ``$2`` (in this order), and fetch its rows."""

    def close(self, raw: Any) -> Any: ...

    def transaction(self, raw: Any, body: Body, arguments: dict[str, Any]) -> Any:
        """Run a body by `run_transaction` on a connection."""

    def open_pool(self, size: int, where: Any, settings: dict[str, Any]) -> Any:
        """Open a pool that keeps so many connections and has no more."""

    def close_pool(self, raw: Any) -> Any: ...

    def rows_of_pool(self, raw: Any, sql: str) -> Any:
        """Take a connection, execute, give it back."""

    def pool_transaction(self, raw: Any, body: Body, arguments: dict[str, Any]) -> Any:
        """Run a body by the pool's own `run_transaction`."""

    def age(self, raw: Any) -> None:
        """Have the pool take all its connections for older than they may be."""

    def bulk_insert(self, raw: Any, table: str, rows: Any, arguments: dict[str, Any]) -> Any: ...

    def execute_ddl(self, raw: Any, statements: Any, arguments: dict[str, Any]) -> Any: ...


class Session:
    """A connection."""

    def __init__(self, way: Way, where: Any, settings: dict[str, Any]) -> None:
        self._way = way
        self._raw = way.done(way.open(where, settings))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._way.done(self._way.close(self._raw))

    def execute(self, sql: str, *values: Any) -> Rows:
        rows: Rows = self._way.done(self._way.rows(self._raw, sql, values))
        return rows

    def one(self, sql: str, *values: Any) -> Any:
        ((value,),) = self.execute(sql, *values)
        return value

    def run_transaction(self, body: Body, **arguments: Any) -> Any:
        return self._way.done(self._way.transaction(self._raw, body, arguments))


class Pool:
    """A pool."""

    def __init__(self, way: Way, size: int, where: Any, settings: dict[str, Any]) -> None:
        self._way = way
        self._raw = way.done(way.open_pool(size, where, settings))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._way.done(self._way.close_pool(self._raw))

    def one(self, sql: str) -> Any:
        ((value,),) = self._way.done(self._way.rows_of_pool(self._raw, sql))
        return value

    def run_transaction(self, body: Body, **arguments: Any) -> Any:
        return self._way.done(self._way.pool_transaction(self._raw, body, arguments))

    def age(self) -> None:
        self._way.age(self._raw)

    def bulk_insert(self, table: str, rows: Any, **arguments: Any) -> dsql_fast.BulkResult:
        result: dsql_fast.BulkResult = self._way.done(self._way.bulk_insert(self._raw, table, rows, arguments))
        return result

    def execute_ddl(self, statements: Any, **arguments: Any) -> dsql_fast.DDLReport:
        report: dsql_fast.DDLReport = self._way.done(self._way.execute_ddl(self._raw, statements, arguments))
        return report


def connect(way: Way, where: Any = "", **settings: Any) -> Session:
    return Session(way, where, settings)


def pool(way: Way, size: int, where: Any = "", **settings: Any) -> Pool:
    return Pool(way, size, where, settings)


def as_drivers_write(sql: str, values: Sequence[Any]) -> str:
    """Write ``$1`` as psycopg and psycopg2 have it."""
    for number in range(1, len(values) + 1):
        sql = sql.replace(f"${number}", "%s")
    return sql


class _Synchronous:
    def done(self, result: T) -> T:
        return result

    def finish(self) -> None:
        pass

    def driven(self: Any, raw: Any, body: Body) -> Any:
        steps = body()
        try:
            step = next(steps)
            while True:
                came = self.transaction(raw, step, {}) if callable(step) else self.rows(raw, step)
                step = steps.send(came)
        except StopIteration as end:
            return end.value

    def transaction(self, raw: Any, body: Body, arguments: dict[str, Any]) -> Any:
        return dsql_fast.run_transaction(raw, lambda conn: self.driven(conn, body), **arguments)

    def pool_transaction(self, raw: Any, body: Body, arguments: dict[str, Any]) -> Any:
        return raw.run_transaction(lambda conn: self.driven(conn, body), **arguments)

    def close(self, raw: Any) -> Any:
        raw.close()

    def bulk_insert(self, raw: Any, table: str, rows: Any, arguments: dict[str, Any]) -> Any:
        return dsql_fast.bulk_insert(raw, table, rows, **arguments)

    def execute_ddl(self, raw: Any, statements: Any, arguments: dict[str, Any]) -> Any:
        return dsql_fast.execute_ddl(raw, statements, **arguments)


class _Asynchronous:
    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def done(self, result: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(result)

    def finish(self) -> None:
        try:
            self.done(sockets_closed())
            self.done(self._loop.shutdown_asyncgens())
            self.done(self._loop.shutdown_default_executor())
        finally:
            self._loop.close()

    async def driven(self: Any, raw: Any, body: Body) -> Any:
        steps = body()
        try:
            step = next(steps)
            while True:
                came = await (self.transaction(raw, step, {}) if callable(step) else self.rows(raw, step))
                step = steps.send(came)
        except StopIteration as end:
            return end.value

    async def transaction(self, raw: Any, body: Body, arguments: dict[str, Any]) -> Any:
        return await dsql_fast.run_transaction_async(raw, lambda conn: self.driven(conn, body), **arguments)

    async def pool_transaction(self, raw: Any, body: Body, arguments: dict[str, Any]) -> Any:
        return await raw.run_transaction(lambda conn: self.driven(conn, body), **arguments)

    async def close(self, raw: Any) -> Any:
        await raw.close()

    async def close_pool(self, raw: Any) -> Any:
        await raw.close()

    async def bulk_insert(self, raw: Any, table: str, rows: Any, arguments: dict[str, Any]) -> Any:
        return await dsql_fast.bulk_insert_async(raw, table, rows, **arguments)

    async def execute_ddl(self, raw: Any, statements: Any, arguments: dict[str, Any]) -> Any:
        return await dsql_fast.execute_ddl_async(raw, statements, **arguments)


class _OfPsycopg:
    driver = "psycopg"
    Error: Any = psycopg.OperationalError
    Conflict: Any = psycopg.errors.SerializationFailure

    def age(self, raw: Any) -> None:
        for conn in raw._pool:
            conn._expire_at = LONG_AGO


class Psycopg(_OfPsycopg, _Synchronous):
    """psycopg, synchronous."""

    def open(self, where: Any, settings: dict[str, Any]) -> Any:
        return dsql_fast.connect(where, autocommit=True, **settings)

    def rows(self, raw: Any, sql: str, values: Sequence[Any] = ()) -> Any:
        cursor = raw.execute(as_drivers_write(sql, values), values or None)
        return cursor.fetchall() if cursor.description is not None else []

    def open_pool(self, size: int, where: Any, settings: dict[str, Any]) -> Any:
        raw: Any = dsql_fast.ConnectionPool(where, min_size=size, max_size=size, open=False, **settings)
        raw.open()
        try:
            raw.wait()
        except BaseException:
            raw.close()
            raise
        return raw

    def close_pool(self, raw: Any) -> Any:
        raw.close()

    def rows_of_pool(self, raw: Any, sql: str) -> Any:
        with raw.connection() as conn:
            return self.rows(conn, sql)


class PsycopgAsync(_OfPsycopg, _Asynchronous):
    """psycopg, asynchronous."""

    async def open(self, where: Any, settings: dict[str, Any]) -> Any:
        return await dsql_fast.connect_async(where, autocommit=True, **settings)

    async def rows(self, raw: Any, sql: str, values: Sequence[Any] = ()) -> Any:
        cursor = await raw.execute(as_drivers_write(sql, values), values or None)
        return await cursor.fetchall() if cursor.description is not None else []

    async def open_pool(self, size: int, where: Any, settings: dict[str, Any]) -> Any:
        raw: Any = dsql_fast.AsyncConnectionPool(where, min_size=size, max_size=size, open=False, **settings)
        await raw.open()
        try:
            await raw.wait()
        except BaseException:
            await raw.close()
            raise
        return raw

    async def rows_of_pool(self, raw: Any, sql: str) -> Any:
        async with raw.connection() as conn:
            return await self.rows(conn, sql)


class Psycopg2(_Synchronous):
    """psycopg2."""

    driver = "psycopg2"
    Error: Any = psycopg2.OperationalError
    Conflict: Any = psycopg2.errors.SerializationFailure

    def open(self, where: Any, settings: dict[str, Any]) -> Any:
        raw = dsql_fast.psycopg2.connect(where, **settings)
        raw.autocommit = True
        return raw

    def rows(self, raw: Any, sql: str, values: Sequence[Any] = ()) -> Any:
        with raw.cursor() as cursor:
            cursor.execute(as_drivers_write(sql, values), values or None)
            return cursor.fetchall() if cursor.description is not None else []

    def open_pool(self, size: int, where: Any, settings: dict[str, Any]) -> Any:
        return dsql_fast.psycopg2.ThreadedConnectionPool(size, size, where, **settings)

    def close_pool(self, raw: Any) -> Any:
        raw.closeall()

    def rows_of_pool(self, raw: Any, sql: str) -> Any:
        with raw.connection() as conn:
            return self.rows(conn, sql)

    def age(self, raw: Any) -> None:
        for one in raw._ages.values():
            one.expire_at = LONG_AGO


class Asyncpg(_Asynchronous):
    """asyncpg, which has no class for the failures of the network and of TLS."""

    driver = "asyncpg"
    Error: Any = (asyncpg.PostgresError, OSError, asyncio.TimeoutError)
    Conflict: Any = asyncpg.SerializationError

    async def open(self, where: Any, settings: dict[str, Any]) -> Any:
        return await dsql_fast.asyncpg.connect(where, **settings)

    async def rows(self, raw: Any, sql: str, values: Sequence[Any] = ()) -> Any:
        return [tuple(row) for row in await raw.fetch(sql, *values)]

    async def open_pool(self, size: int, where: Any, settings: dict[str, Any]) -> Any:
        return await dsql_fast.asyncpg.create_pool(where, min_size=size, max_size=size, **settings)

    async def rows_of_pool(self, raw: Any, sql: str) -> Any:
        async with raw.acquire() as conn:
            return await self.rows(conn, sql)

    def age(self, raw: Any) -> None:
        for holder in raw._holders:
            if holder.is_connected():
                raw._expire_at[holder._con] = LONG_AGO


SYNCHRONOUS: dict[str, Callable[[], Way]] = {"psycopg": Psycopg, "psycopg2": Psycopg2}
ASYNCHRONOUS: dict[str, Callable[[], Way]] = {"psycopg_async": PsycopgAsync, "asyncpg": Asyncpg}
WAYS: dict[str, Callable[[], Way]] = {**SYNCHRONOUS, **ASYNCHRONOUS}
