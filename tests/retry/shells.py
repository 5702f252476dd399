"""One transaction, run by each shell (sync, async, psycopg2, asyncpg): what holds for one is to hold for all.

What the function in the transaction does is written once, as a generator: it yields SQL (or a callable, called
with the connection), is sent what came back or has the error thrown into it, and returns the function's result.
"""

from __future__ import annotations

import asyncio
import contextlib
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import psycopg2
import psycopg2.errors
import psycopg2.extensions
import psycopg2.pool
import psycopg_pool
from psycopg.pq import TransactionStatus

import dsql_fast

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import TypeAlias

    Body: TypeAlias = Callable[[], Generator[Any, Any, Any]]


def execute(conn: Any, statement: str, arguments: Any = None) -> Any:
    """Execute a statement on a connection of either driver's; return what has its rows (or will have)."""
    if not isinstance(conn, psycopg2.extensions.connection):
        return conn.execute(statement, arguments)
    cursor = conn.cursor()
    cursor.execute(statement, arguments)
    return cursor


def driven(body: Body, conn: Any) -> Any:
    """Run a body on a connection."""
    steps = body()
    try:
        step = next(steps)
        while True:
            try:
                came = step(conn) if callable(step) else execute(conn, step)
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(came)
    except StopIteration as end:
        return end.value


async def driven_async(body: Body, conn: Any) -> Any:
    """As `driven`."""
    steps = body()
    try:
        step = next(steps)
        while True:
            try:
                came = step(conn) if callable(step) else await conn.execute(step)
                if isawaitable(came):
                    came = await came
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(came)
    except StopIteration as end:
        return end.value


class _Psycopg:
    """What tests ask about connections and errors, of psycopg's.

    Attributes:
        Error: all that the driver raises.
        Conflict: SQLSTATE 40001.
        Unique: SQLSTATE 23505.
        Internal: SQLSTATE XX000.
        Lost: a connection that went, or was closed.
        refuses_commit: what it says to a commit in a transaction of ours.
    """

    Error: Any = psycopg.Error
    Conflict: Any = psycopg.errors.SerializationFailure
    Unique: Any = psycopg.errors.UniqueViolation
    Internal: Any = psycopg.errors.InternalError_
    Lost: Any = psycopg.OperationalError
    refuses_commit = "forbidden"

    def is_idle(self, conn: Any) -> bool:
        return bool(conn.info.transaction_status == TransactionStatus.IDLE)

    def is_closed(self, conn: Any) -> bool:
        return bool(conn.closed)

    def is_in_transaction(self, conn: Any) -> bool:
        return conn.info.transaction_status in {TransactionStatus.INTRANS, TransactionStatus.INERROR}


class Sync(_Psycopg):
    """Plain psycopg connections, and psycopg_pool's pools."""

    def in_transaction(self, conn: Any, statement: str) -> Any:
        """Have a statement executed, well or not, in a transaction of the user's."""
        with contextlib.suppress(psycopg.Error):
            conn.execute(statement)

    def run(self, pool_or_connection: Any, body: Body, **arguments: Any) -> Any:
        return dsql_fast.run_transaction(pool_or_connection, lambda conn: driven(body, conn), **arguments)

    def on_connection(
        self,
        conninfo: str,
        body: Body,
        *,
        before: Callable[[Any], Any] | None = None,
        after: Callable[[Any], Any] | None = None,
        autocommit: bool = False,
        **arguments: Any,
    ) -> Any:
        with psycopg.connect(conninfo, autocommit=autocommit) as conn:
            try:
                if before is not None:
                    before(conn)
                return self.run(conn, body, **arguments)
            finally:
                if after is not None:
                    after(conn)

    def on_pool(self, conninfo: str, body: Body, **arguments: Any) -> Any:
        with psycopg_pool.ConnectionPool(conninfo, min_size=1, max_size=1) as pool:
            return self.run(pool, body, **arguments)


class Async(_Psycopg):
    """As `Sync`."""

    async def in_transaction(self, conn: Any, statement: str) -> Any:
        with contextlib.suppress(psycopg.Error):
            await conn.execute(statement)

    async def run(self, pool_or_connection: Any, body: Body, **arguments: Any) -> Any:
        return await dsql_fast.run_transaction_async(
            pool_or_connection, lambda conn: driven_async(body, conn), **arguments
        )

    def on_connection(
        self,
        conninfo: str,
        body: Body,
        *,
        before: Callable[[Any], Any] | None = None,
        after: Callable[[Any], Any] | None = None,
        autocommit: bool = False,
        **arguments: Any,
    ) -> Any:
        async def main() -> Any:
            async with await psycopg.AsyncConnection.connect(conninfo, autocommit=autocommit) as conn:
                try:
                    if before is not None:
                        done = before(conn)
                        if isawaitable(done):
                            await done
                    return await self.run(conn, body, **arguments)
                finally:
                    if after is not None:
                        after(conn)

        return asyncio.run(main())

    def on_pool(self, conninfo: str, body: Body, **arguments: Any) -> Any:
        async def main() -> Any:
            async with psycopg_pool.AsyncConnectionPool(conninfo, min_size=1, max_size=1, open=False) as pool:
                return await self.run(pool, body, **arguments)

        return asyncio.run(main())


class Psycopg2:
    """As `Sync`: plain psycopg2 connections, and psycopg2's pools."""

    Error: Any = psycopg2.Error
    Conflict: Any = psycopg2.errors.SerializationFailure
    Unique: Any = psycopg2.errors.UniqueViolation
    Internal: Any = psycopg2.errors.InternalError_
    Lost: Any = (psycopg2.OperationalError, psycopg2.InterfaceError)
    refuses_commit = "cannot be used during a two-phase transaction"

    def is_idle(self, conn: Any) -> bool:
        return bool(conn.info.transaction_status == psycopg2.extensions.TRANSACTION_STATUS_IDLE)

    def is_closed(self, conn: Any) -> bool:
        return bool(conn.closed)

    def is_in_transaction(self, conn: Any) -> bool:
        status = conn.info.transaction_status
        extensions = psycopg2.extensions
        return status in {extensions.TRANSACTION_STATUS_INTRANS, extensions.TRANSACTION_STATUS_INERROR}

    def in_transaction(self, conn: Any, statement: str) -> Any:
        with contextlib.suppress(psycopg2.Error):
            execute(conn, statement)

    def run(self, pool_or_connection: Any, body: Body, **arguments: Any) -> Any:
        return dsql_fast.run_transaction(pool_or_connection, lambda conn: driven(body, conn), **arguments)

    def on_connection(
        self,
        conninfo: str,
        body: Body,
        *,
        before: Callable[[Any], Any] | None = None,
        after: Callable[[Any], Any] | None = None,
        autocommit: bool = False,
        **arguments: Any,
    ) -> Any:
        conn = psycopg2.connect(conninfo)
        try:
            conn.autocommit = autocommit
            if before is not None:
                before(conn)
            return self.run(conn, body, **arguments)
        finally:
            if after is not None:
                after(conn)
            conn.close()

    def on_pool(self, conninfo: str, body: Body, **arguments: Any) -> Any:
        pool = psycopg2.pool.ThreadedConnectionPool(1, 1, conninfo)
        try:
            return self.run(pool, body, **arguments)
        finally:
            pool.closeall()


def asyncpg_arguments(conninfo: str) -> dict[str, Any]:
    """Write a `ScriptedServer.conninfo` as asyncpg takes it."""
    given = dict(pair.split("=") for pair in conninfo.split())
    return {
        "host": given["host"],
        "port": int(given["port"]),
        "user": given["user"],
        "database": given["dbname"],
        "password": "of-no-use",
        "ssl": False,
    }


class Asyncpg:
    """Plain asyncpg connections, and asyncpg's pools."""

    Error: Any = (asyncpg.PostgresError, asyncpg.InterfaceError)
    Conflict: Any = asyncpg.SerializationError
    Unique: Any = asyncpg.UniqueViolationError
    Internal: Any = asyncpg.InternalServerError
    Lost: Any = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError)

    def is_idle(self, conn: Any) -> bool:
        return not conn.is_closed() and not conn.is_in_transaction()

    def is_closed(self, conn: Any) -> bool:
        return bool(conn.is_closed())

    def is_in_transaction(self, conn: Any) -> bool:
        return bool(conn.is_in_transaction())

    async def in_transaction(self, conn: Any, statement: str) -> Any:
        await conn.execute("BEGIN")
        with contextlib.suppress(asyncpg.PostgresError):
            await conn.execute(statement)

    async def run(self, pool_or_connection: Any, body: Body, **arguments: Any) -> Any:
        return await dsql_fast.run_transaction_async(
            pool_or_connection, lambda conn: driven_async(body, conn), **arguments
        )

    def on_connection(
        self,
        conninfo: str,
        body: Body,
        *,
        before: Callable[[Any], Any] | None = None,
        after: Callable[[Any], Any] | None = None,
        **arguments: Any,
    ) -> Any:
        async def main() -> Any:
            conn = await asyncpg.connect(**asyncpg_arguments(conninfo))
            try:
                if before is not None:
                    await before(conn)
                return await self.run(conn, body, **arguments)
            finally:
                if after is not None:
                    after(conn)
                await conn.close()

        return asyncio.run(main())

    def on_pool(self, conninfo: str, body: Body, **arguments: Any) -> Any:
        async def main() -> Any:
            async with asyncpg.create_pool(**asyncpg_arguments(conninfo), min_size=1, max_size=1) as pool:
                return await self.run(pool, body, **arguments)

        return asyncio.run(main())


class SyncBlock(Sync):
    """The same by the block form."""

    def run(self, pool_or_connection: Any, body: Body, **arguments: Any) -> Any:
        result = None
        for attempt in dsql_fast.conflict_attempts(pool_or_connection, **arguments):
            with attempt as conn:
                result = driven(body, conn)
        return result


class SyncCommit(Sync):
    """The same by the block form, with COMMIT inside of the block."""

    def run(self, pool_or_connection: Any, body: Body, **arguments: Any) -> Any:
        for attempt in dsql_fast.conflict_attempts(pool_or_connection, **arguments):
            with attempt as conn:
                result = driven(body, conn)
                attempt.commit()
                return result
        raise AssertionError


class AsyncBlock(Async):
    """As `SyncBlock`."""

    async def run(self, pool_or_connection: Any, body: Body, **arguments: Any) -> Any:
        result = None
        async for attempt in dsql_fast.conflict_attempts(pool_or_connection, **arguments):
            async with attempt as conn:
                result = await driven_async(body, conn)
        return result


class AsyncCommit(Async):
    """As `SyncCommit`."""

    async def run(self, pool_or_connection: Any, body: Body, **arguments: Any) -> Any:
        async for attempt in dsql_fast.conflict_attempts(pool_or_connection, **arguments):
            async with attempt as conn:
                result = await driven_async(body, conn)
                await attempt.commit()
                return result
        raise AssertionError


class Psycopg2Block(Psycopg2):
    """As `SyncBlock`."""

    run = SyncBlock.run


class Psycopg2Commit(Psycopg2):
    """As `SyncCommit`."""

    run = SyncCommit.run


class AsyncpgBlock(Asyncpg):
    """As `SyncBlock`."""

    run = AsyncBlock.run


class AsyncpgCommit(Asyncpg):
    """As `SyncCommit`."""

    run = AsyncCommit.run
