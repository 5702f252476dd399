"""psycopg connections as clients of a history, each with a way of its own to send statements."""

from __future__ import annotations

import enum
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.pq import TransactionStatus

from local.histories.rows import by_key
from local.histories.statements import Answer, Control, Copy, Read
from local.histories.transactions import Exchange, Failure

if TYPE_CHECKING:
    import itertools
    from collections.abc import Sequence

    from local.histories.rows import Row, State
    from local.histories.statements import Statement


class Way(enum.Enum):
    """How statements that are sent at once are sent."""

    EXTENDED = "one after the other, unnamed"
    PREPARED = "one after the other, each prepared under a name"
    SIMPLE = "as the text of one simple query"
    PIPELINE = "in a pipeline"
    CURSOR = "one after the other, reads through DECLARE and FETCH"


class Hang(AssertionError):  # noqa: N818 - a finding, as a failed assertion is
    """A statement that did not come back."""


class Patience:
    """Shuts the socket of whoever waits for more than `seconds`: a hang becomes a failure with a name.

    The bound decides nothing else: what is right comes back in milliseconds.
    """

    def __init__(self, seconds: float = 20.0) -> None:
        self._seconds = seconds
        self._waiting: dict[int, float] = {}  # by descriptor, since when
        self._lost: set[int] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def wait(self, descriptor: int) -> None:
        self._waiting[descriptor] = time.monotonic()

    def back(self, descriptor: int, sent: Sequence[Statement]) -> None:
        """Say that the answer is there.

        Raises:
            Hang: If it is the end of the socket.
        """
        self._waiting.pop(descriptor, None)
        if descriptor in self._lost:
            raise Hang(f"no answer after {self._seconds} s to {sent}")

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            for descriptor, since in list(self._waiting.items()):
                if time.monotonic() - since > self._seconds:
                    self._lost.add(descriptor)
                    with socket.socket(fileno=os.dup(descriptor)) as double:
                        double.shutdown(socket.SHUT_RDWR)


class Connection:
    """One connection, in autocommit, as a client of histories on one table."""

    def __init__(
        self, conn: psycopg.Connection[Any], table: str, way: Way, ticks: itertools.count[int], patience: Patience
    ) -> None:
        self.conn = conn
        self._table = table
        self._way = way
        self._ticks = ticks
        self._patience = patience
        # In a pipeline psycopg loses count of its prepared statements once an error skips some.
        self.conn.prepare_threshold = None
        if way is Way.SIMPLE:
            self.conn.cursor_factory = psycopg.ClientCursor

    def close(self) -> None:
        self.conn.close()

    def exchange(self, statements: tuple[Statement, ...]) -> Exchange:
        """Send statements in this connection's way and note what came back.

        Statements that are sent one after the other are one exchange nevertheless, if nothing else
        is done in between; a client that acts alone cannot tell, one among threads can only know less.
        """
        descriptor = self.conn.fileno()
        began = next(self._ticks)
        self._patience.wait(descriptor)
        answers: list[Answer | str] | None = []
        failure = None
        try:
            if self.together(statements):
                answers, failure = self._send_together(statements)
            else:
                answers, failure = self._send_each(statements)
        finally:
            self._patience.back(descriptor, statements)
        idle = self.conn.info.transaction_status == TransactionStatus.IDLE
        shown = None if answers is None else tuple(answers)
        return Exchange(statements, shown, failure, idle, began, next(self._ticks))

    def together(self, statements: Sequence[Statement]) -> bool:
        """Whether these go out at once, as one transaction if there is no BEGIN."""
        return len(statements) > 1 and self._way in {Way.SIMPLE, Way.PIPELINE}

    def _send_together(
        self, statements: tuple[Statement, ...]
    ) -> tuple[list[Answer | str] | None, Failure | None]:
        if self._way is Way.PIPELINE:
            return self._pipeline(statements)
        cursor = self.conn.cursor()
        texts, values = zip(*(self._sql(statement) for statement in statements), strict=True)
        try:
            cursor.execute("; ".join(texts), [value for each in values for value in each])
        except psycopg.Error as error:
            return None, _failure(error)
        answers = []
        for statement in statements:
            answers.append(_answer(cursor, statement))
            cursor.nextset()
        return answers, None

    def _pipeline(self, statements: tuple[Statement, ...]) -> tuple[list[Answer | str], Failure | None]:
        cursors = [self.conn.cursor() for _ in statements]
        answers: list[Answer | str] = []
        failure = None
        try:
            with self.conn.pipeline():
                for cursor, statement in zip(cursors, statements, strict=True):
                    cursor.execute(*self._sql(statement))
        except psycopg.Error as error:
            failure = _failure(error)
        for cursor, statement in zip(cursors, statements, strict=True):
            if cursor.pgresult is None or cursor.pgresult.error_message:
                break
            answers.append(_answer(cursor, statement))
        return answers, failure

    def _send_each(self, statements: tuple[Statement, ...]) -> tuple[list[Answer | str], Failure | None]:
        answers: list[Answer | str] = []
        for statement in statements:
            try:
                answers.append(self._send(statement))
            except psycopg.Error as error:
                return answers, _failure(error)
        return answers, None

    def _send(self, statement: Statement) -> Answer | str:
        text, values = self._sql(statement)
        if isinstance(statement, Copy):
            with self.conn.cursor() as cursor:
                with cursor.copy(text) as copy:
                    for row in statement.rows:
                        copy.write_row(row)
                return Answer(None, cursor.rowcount)
        inside = self.conn.info.transaction_status == TransactionStatus.INTRANS
        if self._way is Way.CURSOR and inside and isinstance(statement, Read):
            with self.conn.cursor("reader") as reader:
                reader.execute(text, values)
                first = reader.fetchmany(1)
                rows = [*first, *reader.fetchall()]
            return Answer(by_key(rows), len(rows))
        prepare = self._way is Way.PREPARED and not isinstance(statement, Control)
        cursor = self.conn.execute(text, values, prepare=prepare or None)
        return _answer(cursor, statement)

    def _sql(self, statement: Statement) -> tuple[str, tuple[Any, ...]]:
        text, values = statement.sql
        return text.replace("{t}", self._table), values


def _answer(cursor: psycopg.Cursor[Any], statement: Statement) -> Answer | str:
    if isinstance(statement, Control):
        return cursor.statusmessage or ""
    rows = by_key(cursor.fetchall()) if cursor.description is not None else None
    return Answer(rows, cursor.rowcount)


def _failure(error: psycopg.Error) -> Failure:
    return Failure(error.sqlstate, error.diag.message_primary or str(error))


def fill(conn: psycopg.Connection[Any], table: str, state: State) -> None:
    """Put the table into a state, without a change of schema: that would be a conflict to all others."""
    conn.execute(f"delete from {table}")
    rows: list[Row] = list(state.values())
    if rows:
        values = ", ".join(["(%s, %s, %s)"] * len(rows))
        text = f"insert into {table} (k, u, v) values {values}"
        conn.execute(text, [value for row in rows for value in row])
