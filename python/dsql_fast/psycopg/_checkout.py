"""Taking a connection out of a pool for a block.

What psycopg_pool's ``connection()`` does, as a class of its own: a generator behind a context manager costs as
much as our pools add to a checkout elsewhere, where they look at ages.
"""

from __future__ import annotations

from contextlib import AsyncContextDecorator, ContextDecorator
from time import monotonic
from typing import TYPE_CHECKING, Generic

from psycopg import AsyncConnection, Connection
from psycopg_pool.abc import ACT, CT

if TYPE_CHECKING:
    from types import TracebackType

    from psycopg_pool import AsyncConnectionPool, ConnectionPool


class Checkout(ContextDecorator, Generic[CT]):
    """A block that has a connection of a pool's: committed, or rolled back, and given back when it ends.

    Args:
        pool: whose.
        timeout: seconds to wait for a connection; None: as the pool has it.

    Attributes:
        ends_itself: the block ends its transaction; psycopg's own COMMIT, which finds nothing to do, is left out.
    """

    __slots__ = ("_began", "_connection", "_pool", "_timeout", "ends_itself")

    def __init__(self, pool: ConnectionPool[CT], timeout: float | None) -> None:
        self.ends_itself = False
        self._pool = pool
        self._timeout = timeout

    def __enter__(self) -> CT:
        self._connection = connection = self._pool.getconn(self._timeout)
        self._began = monotonic()
        try:
            connection.__enter__()
        except BaseException:
            self._pool.putconn(connection)
            raise
        return connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        connection = self._connection
        try:
            if self.ends_itself and type(connection).__exit__ is Connection.__exit__:
                return None
            # psycopg's gives nothing back; one of the caller's may keep an error to itself.
            return connection.__exit__(kind, error, traceback)
        finally:
            pool = self._pool
            pool.putconn(connection)
            pool._stats[pool._USAGE_MS] += int(1000.0 * (monotonic() - self._began))

    def _recreate_cm(self) -> Checkout[CT]:  # as a decorator: a connection for each call
        return type(self)(self._pool, self._timeout)


class AsyncCheckout(AsyncContextDecorator, Generic[ACT]):
    """As `Checkout`."""

    __slots__ = ("_began", "_connection", "_pool", "_timeout", "ends_itself")

    def __init__(self, pool: AsyncConnectionPool[ACT], timeout: float | None) -> None:
        self.ends_itself = False
        self._pool = pool
        self._timeout = timeout

    async def __aenter__(self) -> ACT:
        self._connection = connection = await self._pool.getconn(self._timeout)
        self._began = monotonic()
        try:
            await connection.__aenter__()
        except BaseException:
            await self._pool.putconn(connection)
            raise
        return connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        connection = self._connection
        try:
            if self.ends_itself and type(connection).__aexit__ is AsyncConnection.__aexit__:
                return None
            return await connection.__aexit__(kind, error, traceback)  # type: ignore[func-returns-value]
        finally:
            pool = self._pool
            await pool.putconn(connection)
            pool._stats[pool._USAGE_MS] += int(1000.0 * (monotonic() - self._began))

    def _recreate_cm(self) -> AsyncCheckout[ACT]:
        return type(self)(self._pool, self._timeout)
