"""A transaction on an asyncpg connection that is ours from BEGIN to COMMIT.

``conn.transaction()`` is what programs write with asyncpg, so inside of ours the outermost one is ours: it sends
nothing. That holds for anybody's connections, and for the proxies that pools lend. Their objects have slots and
take no attributes; what is exchanged for as long as ours is open is the class of the connection, for one that
derives from it and differs in two methods only (proxies look methods up in it, too).

The private parts of asyncpg that are touched here are held by a test,
``tests/asyncpg_driver/test_private_parts.py``.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

import asyncpg

from .._conflict import refuses_commit, reports, sqlstate, tells_of_lost_connection
from .._errors import NestedTransaction, TransactionAborted, TransactionEnded, TransactionError
from .._retry import Phase

if TYPE_CHECKING:
    from types import TracebackType

# Seconds that a connection has to be rolled back. A statement that was cancelled must end first, and DSQL does
# not end one for being asked to (observed).
_PATIENCE = 5.0

_ONLY_LEVEL = "repeatable_read"


class Owner:
    """What stands in a connection's ``_top_xact`` while a transaction is ours: cursors look there for one.

    Attributes:
        block: the ``conn.transaction()`` block that the function is in, if any.
        rolled_back: the function had such a block rolled back, so nothing may be committed.
        closed: the function closed the connection.
    """

    # asyncpg's: whoever resets the connection need not complain of a transaction left open.
    _managed = True
    _isolation = _ONLY_LEVEL

    def __init__(self) -> None:
        self.block: JoinedTransaction | None = None
        self.rolled_back = False
        self.closed = False


class JoinedTransaction:
    """What ``conn.transaction()`` gives inside of `run_transaction`: the transaction that is open, or a refusal.

    To leave it sends nothing: COMMIT comes when the function has returned. To have it rolled back, by an error or
    by `rollback`, makes the whole transaction one that is not committed.
    """

    def __init__(self, owner: Owner, isolation: str | None, *, readonly: bool, deferrable: bool) -> None:
        self._owner = owner
        self._is_plain = isolation in {None, _ONLY_LEVEL} and not readonly and not deferrable
        self._managed = False
        self._state = "not yet started"

    async def __aenter__(self) -> None:
        if self._managed:
            raise asyncpg.InterfaceError("cannot enter context: already in an `async with` block")
        await self.start()
        self._managed = True

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._managed = False
        if kind is None:
            await self.commit()
        else:
            await self.rollback()

    async def start(self) -> None:
        """Take part in the transaction. Sends nothing.

        Raises:
            NestedTransaction: another block is open.
            TransactionError: it is to be another kind of transaction than the one that is open.
        """
        if self._state != "not yet started":
            raise asyncpg.InterfaceError(f"cannot start; the transaction is already {self._state}")
        if self._owner.block is not None:
            raise NestedTransaction(
                "a transaction() block inside another would be a savepoint, and Aurora DSQL has none"
            )
        if not self._is_plain:
            raise TransactionError(
                "run_transaction has begun the transaction: isolation, readonly and deferrable can be set no more"
            )
        self._owner.block = self
        self._state = "started"

    async def commit(self) -> None:
        """Leave the block. Sends nothing: the transaction is committed when the function returns."""
        self._end("commit", "committed")

    async def rollback(self) -> None:
        """Leave the block, and have the whole transaction rolled back when the function is over."""
        self._end("rollback", "rolled back")
        self._owner.rolled_back = True

    def _end(self, what: str, state: str) -> None:
        if self._managed:
            raise asyncpg.InterfaceError(f"cannot manually {what} from within an `async with` block")
        if self._state != "started":
            raise asyncpg.InterfaceError(f"cannot {what}; the transaction is {self._state}")
        self._owner.block = None
        self._state = state


@functools.lru_cache(maxsize=64)
def _owned(connection_class: Any) -> Any:
    """Return the class that a connection has while a transaction on it is ours."""

    def transaction(
        self: Any, *, isolation: str | None = None, readonly: bool = False, deferrable: bool = False
    ) -> JoinedTransaction:
        self._check_open()
        return JoinedTransaction(self._top_xact, isolation, readonly=readonly, deferrable=deferrable)

    async def close(self: Any, *, timeout: float | None = None) -> None:
        if isinstance(self._top_xact, Owner):
            self._top_xact.closed = True
        await connection_class.close(self, timeout=timeout)

    return type(
        connection_class.__name__,
        (connection_class,),
        {
            "__slots__": (),
            "__module__": connection_class.__module__,
            "__doc__": connection_class.__doc__,
            "transaction": transaction,
            "close": close,
        },
    )


class Transaction:
    """One transaction on an asyncpg connection, or on a pool's proxy of one.

    Args:
        connection: any of asyncpg's.

    Attributes:
        phase: how far it has come.
    """

    def __init__(self, connection: Any) -> None:
        self.phase = Phase.NOT_BEGUN
        # A proxy loses its connection when that ends; we want to know how it ended.
        self._conn = getattr(connection, "_con", connection)
        if self._conn is None:
            raise asyncpg.InterfaceError("the connection has been released back to its pool")
        self._class: Any = None
        self._owner = Owner()

    @property
    def usable(self) -> bool:
        """The connection is idle: it can have another transaction."""
        conn = self._conn
        return not conn.is_closed() and not conn.is_in_transaction() and not conn._protocol._is_cancelling()

    def lost(self, error: BaseException) -> bool:
        """Tell whether the error is that the connection went. ``close()`` by the user is no loss."""
        return (
            self._conn.is_closed()
            and not self._owner.closed
            and all(
                isinstance(reported, (asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError))
                and tells_of_lost_connection(sqlstate(reported))
                for reported in reports(error)
            )
        )

    async def begin(self) -> None:
        """Begin it; nothing is sent if the connection is in another one.

        Raises:
            NestedTransaction: it is.
        """
        conn = self._conn
        if not conn.is_closed() and (conn.is_in_transaction() or conn._top_xact is not None):
            raise NestedTransaction(
                "the connection is in a transaction already: commit it or roll it back first, or give "
                "run_transaction another connection. Nothing was sent"
            )
        self._own()
        await conn.execute("BEGIN")
        self.phase = Phase.OPEN

    async def commit(self) -> None:
        """Commit it.

        Raises:
            TransactionAborted: a statement had failed, or a block was rolled back, and the function hid that.
            TransactionEnded: the function ended it itself.
            TransactionError: a statement is still running.
        """
        conn = self._conn
        self._check_open()
        self.phase = Phase.COMMITTING
        try:
            tag = await conn.execute("COMMIT")
        except asyncpg.InterfaceError as error:
            # asyncpg's own: nothing was sent.
            self.phase = Phase.OPEN
            if conn.is_closed():
                raise
            raise TransactionError(
                f"a statement is still running: the transaction is given up ({error})"
            ) from None
        except asyncpg.PostgresError as error:
            if refuses_commit(error.sqlstate):
                self.phase = Phase.REFUSED
            raise
        if tag != "COMMIT":
            self.phase = Phase.REFUSED
            raise TransactionAborted(
                "COMMIT was answered with ROLLBACK: a statement of the transaction failed, and the function did "
                "not raise its error. Nothing was applied. Let errors of the database out of the function"
            )
        self.phase = Phase.COMMITTED
        self._disown()

    def _check_open(self) -> None:
        if self._owner.rolled_back:
            raise TransactionAborted(
                "the function had its transaction() block rolled back, and hid that: nothing is applied"
            )
        if self._owner.block is not None:
            raise TransactionError("the function left a transaction() block open: the transaction is rolled back")
        if not self._conn.is_closed() and not self._conn.is_in_transaction():
            raise TransactionEnded("the function ended the transaction itself; run_transaction does that")

    async def roll_back(self) -> None:
        """Leave the connection idle or closed, unless it was refused."""
        if not self._disown():
            return
        try:
            if self._wants_rollback():
                # Bounded: asyncpg waits until a cancelled statement has ended.
                await asyncio.wait_for(self._conn.execute("ROLLBACK"), _PATIENCE)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, asyncio.TimeoutError):
            pass  # the first error is the one to hear of
        finally:
            if not self.usable:
                # The server rolls back what it had.
                self._conn.terminate()

    def _wants_rollback(self) -> bool:
        conn = self._conn
        if conn.is_closed():
            return False
        if conn._protocol._is_cancelling():
            # Of a COMMIT that was interrupted there is nothing to roll back.
            return self.phase is Phase.OPEN
        return bool(conn.is_in_transaction())

    def _own(self) -> None:
        conn = self._conn
        self._class = type(conn)
        conn.__class__ = _owned(self._class)
        conn._top_xact = self._owner

    def _disown(self) -> bool:
        was, self._class = self._class, None
        if was is None:
            return False
        self._conn.__class__ = was
        self._conn._top_xact = None
        return True
