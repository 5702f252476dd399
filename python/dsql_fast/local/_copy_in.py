"""COPY FROM STDIN, whose data the client sends over many messages, and may take its time with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dsql_fast.local import _protocol as protocol
from dsql_fast.local import _refusals as refusals
from dsql_fast.local._conversation import Part
from dsql_fast.local._effects import hidden
from dsql_fast.local._statements import Kind
from dsql_fast.local._steps import Step

if TYPE_CHECKING:
    from dsql_fast.local._refusals import Refusal


def undone(sql: bytes) -> tuple[Part, ...]:
    """Begin a COPY to learn how its data is to come, and undo that: nothing is held while the data is on its way.

    Returns:
        Four parts. The second one's reply has the CopyInResponse.
    """
    return (
        hidden('SAVEPOINT "dsql copy"'),
        Part(protocol.query_bytes(sql) + protocol.message(b"f", b"\0"), b"Q", shown=(False,)),
        hidden('ROLLBACK TO SAVEPOINT "dsql copy"'),
        hidden('RELEASE SAVEPOINT "dsql copy"'),
    )


class CopyIn:
    """Gathers the data of one COPY.

    Args:
        step: The simple Query.
        limit: Bytes that are kept at most; None for any number.
    """

    def __init__(self, step: Step, limit: int | None) -> None:
        self._step = step
        self._limit = limit
        self._data = bytearray()
        self._too_long = False

    def add(self, raw: bytes) -> None:
        """Take a CopyData message."""
        if self._limit is not None and len(self._data) + len(raw) > self._limit:
            self._too_long = True
            self._data.clear()
        if not self._too_long:
            self._data += raw

    def ended_by(self, raw: bytes) -> Step | Refusal:
        """Make a step of it all.

        Args:
            raw: The client's CopyDone or CopyFail.
        """
        if self._too_long and self._limit is not None:
            return refusals.transaction_size(self._limit + 1, self._limit)
        data = bytes(self._data) + raw
        step = self._step
        return Step(Kind.WRITE, step.sql, statements=step.statements, size=len(data), after=data)
