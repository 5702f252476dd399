"""One transaction, run by each shell (sync, async, psycopg2): what holds for one is to hold for all.

What the function in the transaction does is written once, as a generator: it yields SQL (or a callable, called
with the connection), is sent what came back or has the error thrown into it, and returns the function's result.
"""

from __future__ import annotations

import asyncio
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

import psycopg
import psycopg2
import psycopg2.errors
import psycopg2.extensions
import psycopg2.pool
import psycopg_pool

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


async def driven_async(body: Body, conn: psycopg.AsyncConnection[Any]) -> Any:
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


class Sync:
    """Plain psycopg connections, and psycopg_pool's pools.

    Attributes:
        driver: has the exceptions.
        closed_error: what the driver says to a statement on a connection that is closed.
        refuses_commit: what it says to a commit in a transaction of ours.
    """

    driver: Any = psycopg
    closed_error: type[Exception] = psycopg.OperationalError
    refuses_commit = "forbidden"

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


class Async:
    """As `Sync`."""

    driver: Any = psycopg
    closed_error: type[Exception] = psycopg.OperationalError
    refuses_commit = "forbidden"

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

    driver: Any = psycopg2
    closed_error: type[Exception] = psycopg2.InterfaceError
    refuses_commit = "cannot be used during a two-phase transaction"

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
