"""Where `run_transaction_async` gets its connections: asyncpg's connections and pools, ours or not."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import asyncpg

from .._errors import CommitOutcomeUnknown
from .._retry import Phase
from ._transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .._transactions import AsyncSource


def source(_: object) -> None:
    """Find nothing: asyncpg is asynchronous only."""


def async_source(given: object) -> AsyncSource[Any] | None:
    """Return what `given` is as a source of connections; None if it is none of asyncpg's."""
    if isinstance(given, asyncpg.Pool):
        return _Pool(given)
    if isinstance(given, asyncpg.Connection):  # proxies too
        return _OneConnection(given)
    return None


class _OneConnection:
    has_others = False

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def connection(self, time_left: float | None) -> AbstractAsyncContextManager[Any]:  # noqa: ARG002 (it is there)
        return nullcontext(self._connection)

    def transaction(self, connection: Any) -> Transaction:
        return Transaction(connection)


class _Pool:
    has_others = True

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        # The last one on each connection that is lent: several run at once on one source.
        self._last: dict[Any, Transaction] = {}

    @asynccontextmanager
    async def connection(self, time_left: float | None) -> AsyncIterator[Any]:
        connection = await self._pool.acquire(timeout=time_left)
        try:
            yield connection
        finally:
            await self._give_back(connection)

    async def _give_back(self, connection: Any) -> None:
        """Release a connection; what goes wrong by that is no failure of the transaction, which is over."""
        last = self._last.pop(connection, None)
        try:
            await self._pool.release(connection)
        except asyncio.CancelledError as error:
            # The release goes on by itself. What the transaction brought is lost to the caller.
            if last is not None and last.phase is Phase.COMMITTED:
                error.__cause__ = CommitOutcomeUnknown("the program was interrupted when COMMIT had succeeded")
            raise
        except Exception as error:  # noqa: BLE001 (asyncpg has cut the connection then)
            logging.getLogger("dsql_fast").debug("a connection could not be reset: %s", type(error).__name__)

    def transaction(self, connection: Any) -> Transaction:
        self._last[connection] = made = Transaction(connection)
        return made
