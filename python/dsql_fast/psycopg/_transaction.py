"""A transaction on a psycopg connection that is ours from BEGIN to COMMIT.

psycopg's own block (``Connection.transaction()``) would not do: it leaves unsaid that COMMIT was answered with
ROLLBACK, it ends in silence when the connection went meanwhile, and its nested blocks send SAVEPOINT, which DSQL
refuses. The private parts of psycopg that are touched here (it is pinned to one minor version) are held by a test,
``tests/retry/test_private_parts.py``.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NoReturn

import psycopg
from psycopg.pq import ConnStatus, PipelineStatus, TransactionStatus

from .._conflict import refuses_commit, reports, sqlstate, tells_of_lost_connection
from .._errors import NestedTransaction, TransactionAborted, TransactionEnded, TransactionError
from .._retry import Phase

if TYPE_CHECKING:
    from psycopg.abc import PQGen


def _refuse_block(*_: object, **__: object) -> NoReturn:
    raise NestedTransaction(
        "this connection is in a transaction that run_transaction commits: a block inside would be a savepoint, "
        "and Aurora DSQL has none"
    )


class OwnTransaction:
    """One transaction: psycopg's generators, which either kind of connection waits for in its own way.

    Args:
        connection: a psycopg connection.

    Attributes:
        phase: how far it has come.
    """

    def __init__(self, connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
        self.phase = Phase.NOT_BEGUN
        self._conn = connection
        self._is_ours = False
        self._shadowed: dict[str, Any] = {}

    @property
    def usable(self) -> bool:
        """The connection is idle: it can have another transaction."""
        return self._conn.pgconn.transaction_status == TransactionStatus.IDLE

    def lost(self, error: BaseException) -> bool:
        """Tell whether the error is that the connection went. ``close()`` by the user is no loss."""
        return self._conn.broken and all(
            isinstance(reported, (psycopg.OperationalError, psycopg.InterfaceError))
            and tells_of_lost_connection(sqlstate(reported))
            for reported in reports(error)
        )

    def _begin(self) -> PQGen[None]:
        conn = self._conn
        status = conn.pgconn.transaction_status
        if status not in {TransactionStatus.IDLE, TransactionStatus.UNKNOWN} or conn._num_transactions:
            raise NestedTransaction(
                f"the connection is in a transaction already ({TransactionStatus(status).name}): commit it or "
                "roll it back first, or give run_transaction another connection. Nothing was sent"
            )
        if conn.pgconn.pipeline_status != PipelineStatus.OFF:
            raise TransactionError(
                "the connection is in pipeline mode: begin the pipeline inside the function. Nothing was sent"
            )
        self._own()
        yield from conn._exec_command(conn._get_tx_start_command())
        self.phase = Phase.OPEN

    def _commit(self) -> PQGen[None]:
        conn = self._conn
        self._check_open()
        self.phase = Phase.COMMITTING
        try:
            result = yield from conn._exec_command(b"COMMIT")
        except psycopg.Error as error:
            # Taken note of here: where the program is interrupted, psycopg waits for the answer and keeps it.
            if refuses_commit(error.sqlstate):
                self.phase = Phase.REFUSED
            raise
        if result is None or result.command_status != b"COMMIT":
            self.phase = Phase.REFUSED
            raise TransactionAborted("COMMIT was answered with ROLLBACK: nothing of the transaction was applied")
        self.phase = Phase.COMMITTED
        self._disown()

    def _check_open(self) -> None:
        pgconn = self._conn.pgconn
        if pgconn.pipeline_status != PipelineStatus.OFF:
            raise TransactionError("the function left a pipeline open: the transaction is rolled back")
        status = pgconn.transaction_status
        if status == TransactionStatus.INERROR:
            raise TransactionAborted(
                "a statement of the transaction failed, and the function did not raise its error: the transaction "
                "is rolled back. Let errors of the database out of the function"
            )
        if status == TransactionStatus.IDLE:
            raise TransactionEnded("the function ended the transaction itself; run_transaction does that")
        if status != TransactionStatus.INTRANS:
            raise TransactionError(
                f"a statement is still running ({TransactionStatus(status).name}): the transaction is given up"
            )

    def _own(self) -> None:
        """Keep `commit`, `rollback` (psycopg refuses them inside a block) and blocks from the user."""
        self._is_ours = True
        self._conn._num_transactions = 1
        attributes = vars(self._conn)
        self._shadowed = {name: attributes[name] for name in ("transaction",) if name in attributes}
        attributes["transaction"] = _refuse_block

    def _disown(self) -> bool:
        was_ours, self._is_ours = self._is_ours, False
        if was_ours:
            self._conn._num_transactions = 0
            vars(self._conn).pop("transaction", None)
            vars(self._conn).update(self._shadowed)
        return was_ours

    def _close_unless_idle(self) -> None:
        """Cut a connection that could not be rolled back: the server rolls back what it had."""
        pgconn = self._conn.pgconn
        if pgconn.status != ConnStatus.BAD and not self.usable:
            pgconn.finish()  # not close(): that may mean to give it back to its pool


class Transaction(OwnTransaction):
    """On a `psycopg.Connection`."""

    _conn: psycopg.Connection[Any]

    def begin(self) -> None:
        """Begin it; nothing is sent if the connection is in another one."""
        with self._conn.lock:
            self._conn.wait(self._begin())

    def commit(self) -> None:
        """Commit it."""
        with self._conn.lock:
            self._conn.wait(self._commit())

    def roll_back(self) -> None:
        """Leave the connection idle or closed, unless it was refused."""
        if not self._disown():
            return
        try:
            with contextlib.suppress(psycopg.Error):  # the first error is the one to hear of
                self._conn.rollback()
        finally:
            self._close_unless_idle()


class AsyncTransaction(OwnTransaction):
    """On a `psycopg.AsyncConnection`."""

    _conn: psycopg.AsyncConnection[Any]

    async def begin(self) -> None:
        """Begin it; nothing is sent if the connection is in another one."""
        async with self._conn.lock:
            await self._conn.wait(self._begin())

    async def commit(self) -> None:
        """Commit it."""
        async with self._conn.lock:
            await self._conn.wait(self._commit())

    async def roll_back(self) -> None:
        """Leave the connection idle or closed, unless it was refused."""
        if not self._disown():
            return
        try:
            with contextlib.suppress(psycopg.Error):
                await self._conn.rollback()
        finally:
            self._close_unless_idle()
