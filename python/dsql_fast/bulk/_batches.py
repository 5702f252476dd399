"""Cuts rows into batches that fit a transaction. Pure: rows are put in, batches come out."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from ._account import RowRange

MOST_PARAMETERS = 65_535
"""Of one statement: the protocol counts them in 16 bits."""

LARGEST_ROW = 2 * 1024 * 1024
"""Bytes (documented). How DSQL counts them is not: a row that may have more is sent, but alone."""

# Beside a value's own bytes: its length, format, type and place in the messages, and what a row has around it.
_BYTES_A_VALUE = 16
# Whose repr tells all of them, and tells it the same in every process.
_PLAIN = frozenset(
    {bool, int, float, str, type(None), Decimal, date, datetime, time, timedelta, UUID},
)
_BINARY = frozenset({bytes, bytearray, memoryview})


class BadRow(Exception):  # noqa: N818 - what it is
    """A row cannot be sent. Tells its index and never its values."""

    def __init__(self, index: int, why: str) -> None:
        super().__init__(f"row {index} {why}")
        self.index = index


class OtherRows(Exception):  # noqa: N818 - what they are
    """The rows are not those of the run that is resumed."""


@dataclass(frozen=True)
class Batch:
    """Rows that are written in one transaction.

    Attributes:
        start: the index of the first of all rows that is in it.
        rows: their values.
        digest: a sum over the rows and their places: the same rows at the same places have the same.
    """

    start: int
    rows: list[tuple[Any, ...]]
    digest: int

    @property
    def stop(self) -> int:
        """The index behind its last row."""
        return self.start + len(self.rows)


class Cutter:
    """Takes rows one by one.

    Args:
        columns: names, for rows that are mappings; None takes those of the first row.
        most_rows: of a batch.
        most_bytes: of a batch, as `measured` estimates them; one row alone may have more.
        done: ranges that are left out, in their order: committed by an earlier run.
        cuts: indexes at which a batch has to begin: a batch whose outcome is unknown is to be the same again.

    Attributes:
        drawn: how many rows came.
        columns: as given, or as the first row had them; None for rows that have no names.
    """

    def __init__(
        self,
        columns: tuple[str, ...] | None,
        *,
        most_rows: int,
        most_bytes: int,
        done: Sequence[RowRange] = (),
        cuts: Collection[int] = (),
    ) -> None:
        self.drawn = 0
        self.columns = columns
        self._width = 0 if columns is None else len(columns)
        self._most_rows = most_rows
        self._most_bytes = most_bytes
        self._done: Iterator[RowRange] = iter(done)
        self._next_done = next(self._done, None)
        self._digest_of_done = 0
        self._cuts = frozenset(cuts)
        self._rows: list[tuple[Any, ...]] = []
        self._start = self._bytes = self._digest = 0

    def add(self, row: Any) -> list[Batch]:
        """Take a row; give the batches that are full by it.

        Raises:
            BadRow: it cannot be sent.
            OtherRows: a range that is left out has other rows than it had.
        """
        index = self.drawn
        values = self._values(index, row)
        size, digest = measured(values, index)
        self.drawn += 1
        if self._leaves_out(index, digest):
            return self._cut()
        full = []
        is_large = size > LARGEST_ROW
        if self._rows and (is_large or self._bytes + size > self._most_bytes or index in self._cuts):
            full = self._cut()
        if not self._rows:
            self._start = index
        self._rows.append(values)
        self._bytes += size
        self._digest += digest
        if is_large or len(self._rows) >= min(self._most_rows, MOST_PARAMETERS // self._width):
            full += self._cut()
        return full

    def end(self) -> list[Batch]:
        """Give what is left.

        Raises:
            OtherRows: there are fewer rows than the earlier run has committed.
        """
        if self._next_done is not None:
            raise OtherRows(
                f"there are {self.drawn} rows, and the run that is resumed has committed rows up to "
                f"{self._next_done.stop - 1}"
            )
        return self._cut()

    def _cut(self) -> list[Batch]:
        if not self._rows:
            return []
        batch = Batch(self._start, self._rows, self._digest % 2**63)
        self._rows, self._bytes, self._digest = [], 0, 0
        return [batch]

    def _leaves_out(self, index: int, digest: int) -> bool:
        done = self._next_done
        if done is None or index < done.start:
            return False
        self._digest_of_done += digest
        if index + 1 == done.stop:
            if self._digest_of_done % 2**63 != done.digest:
                raise OtherRows(
                    f"rows {done.start} to {index} are not those that the run that is resumed has committed"
                )
            self._next_done, self._digest_of_done = next(self._done, None), 0
        return True

    def _values(self, index: int, row: Any) -> tuple[Any, ...]:
        if isinstance(row, Mapping):
            if self.columns is None and not self._width:
                self.columns = tuple(row)
                self._width = len(self.columns)
            if self.columns is None:
                raise BadRow(index, "is a mapping, and those before it were not")
            if len(row) != self._width or any(name not in row for name in self.columns):
                raise BadRow(index, "has other columns than the first one, or than those that were asked for")
            values = tuple(row[name] for name in self.columns)
        elif isinstance(row, (str, bytes)) or not hasattr(row, "__iter__"):
            raise BadRow(index, f"is a {type(row).__name__}, not a tuple of values or a mapping")
        else:
            values = tuple(row)
        if not self._width:
            self._width = len(values)
        if len(values) != self._width or not values:
            raise BadRow(index, f"has {len(values)} values, not {self._width or 'one or more'}")
        return values


def measured(values: tuple[Any, ...], index: int) -> tuple[int, int]:
    """Estimate how many bytes a row takes, and sum it up.

    The text of plain values is about what is sent for them, and longer than what is stored. What has no plain
    text counts by the text of what is in it, and is left out of the sum but for its type.
    """
    size = _BYTES_A_VALUE * len(values)
    kinds = set(map(type, values))
    if kinds <= _PLAIN:
        text = repr(values).encode(errors="surrogatepass")
        return size + len(text), zlib.crc32(text, index & 0xFFFFFFFF)
    digest = index & 0xFFFFFFFF
    for value in values:
        kind = type(value)
        if kind in _BINARY:
            raw = bytes(value) if kind is memoryview else value
        else:
            text = repr(getattr(value, "obj", value)).encode(errors="surrogatepass")  # psycopg's Json has an obj
            raw = text if kind in _PLAIN else kind.__name__.encode()
            size += len(text) - len(raw)
        size += len(raw)
        digest = zlib.crc32(raw, digest)
    return size, digest
