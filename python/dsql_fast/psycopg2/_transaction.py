"""A transaction on a psycopg2 connection that is ours from BEGIN to COMMIT, on anybody's connection.

psycopg2 says BEGIN by itself, before the first statement and again before the next one after a commit. So a
function that calls ``conn.commit()`` half-way would go on in a second transaction, and its first half would be
applied whatever becomes of the second. That must be refused, and its connections are objects of C: nothing can be
put in front of their methods.

The DB-API's two-phase commit does it. After ``tpc_begin()``, which sends the connection's own kind of BEGIN and
nothing else, psycopg2 refuses ``commit()``, ``rollback()``, ``autocommit`` and ``set_session()``, the end of a
``with conn:`` block too, before anything is sent; and ``tpc_commit()`` without a ``tpc_prepare()`` before it is an
ordinary COMMIT.

Two flaws. After a COMMIT that is refused, psycopg2 goes on taking the connection for one in such a transaction,
until one has ended well: an empty one does (`Transaction._end`), at two round trips for each conflict. And
psycopg2 does not show what COMMIT was answered with. It is a failed transaction whose COMMIT is answered with
ROLLBACK: so before COMMIT it must be one that has not failed, as libpq knows from the server's last word.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import psycopg2
from psycopg2.extensions import (
    STATUS_BEGIN,
    STATUS_READY,
    TRANSACTION_STATUS_ACTIVE,
    TRANSACTION_STATUS_IDLE,
    TRANSACTION_STATUS_INERROR,
    TRANSACTION_STATUS_INTRANS,
    TRANSACTION_STATUS_UNKNOWN,
)

from .._conflict import refuses_commit, reports, sqlstate, tells_of_lost_connection
from .._errors import NestedTransaction, TransactionAborted, TransactionEnded, TransactionError
from .._retry import Phase

if TYPE_CHECKING:
    from psycopg2.extensions import connection

_NAMES = {
    TRANSACTION_STATUS_IDLE: "IDLE",
    TRANSACTION_STATUS_ACTIVE: "ACTIVE",
    TRANSACTION_STATUS_INTRANS: "INTRANS",
    TRANSACTION_STATUS_INERROR: "INERROR",
    TRANSACTION_STATUS_UNKNOWN: "UNKNOWN",
}
# ``connection.closed``: 1 if the program closed it.
_LOST = 2


class Transaction:
    """One transaction on one psycopg2 connection.

    Attributes:
        phase: how far it has come.
    """

    def __init__(self, conn: connection) -> None:
        self.phase = Phase.NOT_BEGUN
        self._conn = conn
        self._is_ours = False
        self._was_autocommit = False
        # psycopg2 takes the connection for one in a two-phase transaction, and there is none.
        self._looks_begun = False
        self._connection_lost = False

    @property
    def usable(self) -> bool:
        """The connection is idle: it can have another transaction."""
        conn = self._conn
        return (
            not conn.closed
            and not self._looks_begun
            and conn.status == STATUS_READY
            and conn.get_transaction_status() == TRANSACTION_STATUS_IDLE
        )

    def lost(self, error: BaseException) -> bool:
        """Tell whether the error is that the connection went. ``close()`` by the user is no loss."""
        return self._connection_lost and all(_tells_of_loss(reported) for reported in reports(error))

    def begin(self) -> None:
        """Begin it; nothing is sent if the connection is in another one.

        Raises:
            NestedTransaction: it is.
            TransactionError: the connection's settings cannot be kept.
        """
        conn = self._conn
        if not conn.closed:  # if it is, psycopg2 says so below
            self._check_idle()
        self._is_ours = True
        self._was_autocommit = conn.autocommit
        if self._was_autocommit:
            conn.autocommit = False  # there are no two-phase transactions with it; sends nothing
        self._tpc_begin()
        self.phase = Phase.OPEN

    def commit(self) -> None:
        """Commit it."""
        conn = self._conn
        self._check_open()
        self.phase = Phase.COMMITTING
        self._looks_begun = True
        try:
            conn.tpc_commit()
        except psycopg2.Error as error:
            if refuses_commit(error.pgcode):
                self.phase = Phase.REFUSED
            raise
        self._looks_begun = False
        self.phase = Phase.COMMITTED
        self._disown()

    def roll_back(self) -> None:
        """Leave the connection idle or closed, unless it was refused."""
        if not self._is_ours:
            return
        conn = self._conn
        try:
            with contextlib.suppress(psycopg2.Error):  # the first error is the one to hear of
                self._end()
                self._disown()
        finally:
            self._connection_lost = conn.closed == _LOST
            if not conn.closed and not self.usable:
                # The server rolls back what it had.
                conn.close()

    def _check_idle(self) -> None:
        conn = self._conn
        status = conn.get_transaction_status()
        if conn.status != STATUS_READY or status not in {TRANSACTION_STATUS_IDLE, TRANSACTION_STATUS_UNKNOWN}:
            raise NestedTransaction(
                f"the connection is in a transaction already ({_NAMES[status]}): commit it or roll it back first, "
                "or give run_transaction another connection. Nothing was sent"
            )
        settings = (conn.isolation_level, conn.readonly, conn.deferrable)
        if conn.autocommit and any(setting is not None for setting in settings):
            # psycopg2 would set the session's defaults back, which DSQL refuses.
            raise TransactionError(
                "the connection is in autocommit mode and has an isolation level, readonly or deferrable set: "
                "leave autocommit mode, or set them to None. Nothing was sent"
            )

    def _check_open(self) -> None:
        conn = self._conn
        if conn.closed:
            raise psycopg2.InterfaceError("connection already closed")  # psycopg2's words
        status = conn.get_transaction_status()
        if status == TRANSACTION_STATUS_INERROR:
            raise TransactionAborted(
                "a statement of the transaction failed, and the function did not raise its error: the transaction "
                "is rolled back. Let errors of the database out of the function"
            )
        if status == TRANSACTION_STATUS_IDLE or conn.status != STATUS_BEGIN:
            raise TransactionEnded("the function ended the transaction itself; run_transaction does that")
        if status != TRANSACTION_STATUS_INTRANS:
            raise TransactionError(f"a statement is still running ({_NAMES[status]}): the transaction is given up")

    def _tpc_begin(self) -> None:
        # The id is never sent: only a PREPARE TRANSACTION would have it.
        self._conn.tpc_begin(self._conn.xid(0, "dsql_fast", ""))

    def _end(self) -> None:
        conn = self._conn
        if conn.closed:
            return
        if conn.status != STATUS_BEGIN:
            if not self._looks_begun:
                return  # BEGIN was refused
            self._tpc_begin()
        self._looks_begun = True
        conn.tpc_rollback()
        self._looks_begun = False

    def _disown(self) -> None:
        if self._was_autocommit and not self._conn.closed:
            self._conn.autocommit = True
        self._is_ours = False


def _tells_of_loss(reported: BaseException) -> bool:
    # psycopg2 has a plain DatabaseError for a loss that libpq did not put down to the connection.
    is_theirs = isinstance(reported, (psycopg2.OperationalError, psycopg2.InterfaceError))
    if not is_theirs and type(reported) is not psycopg2.DatabaseError:
        return False
    return tells_of_lost_connection(sqlstate(reported))
