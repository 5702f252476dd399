"""One table as a transaction sees it: its snapshot with its own writes on top, and what it touched.

The table of every history is `(k int primary key, u int unique, v int not null)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

# k, u, v
Row = tuple[int, int | None, int]
State = Mapping[int, Row]
# What two transactions can collide in: a row by its key, or a value of the unique column.
Item = tuple[Literal["k", "u"], int]

UNIQUE_VIOLATION = "23505"
FAILED_TRANSACTION = "25P02"


class Refused(Exception):  # noqa: N818 - it is what the statement is, not what went wrong here
    """A statement that PostgreSQL refuses, by the snapshot and own writes alone."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


class View:
    """A snapshot that can be written to; remembers what was written and locked."""

    def __init__(self, state: State) -> None:
        self.rows = dict(state)
        self.written: set[Item] = set()
        self.locked: set[Item] = set()

    def holder(self, u: int | None) -> Row | None:
        """The row that has this unique value; nulls are never equal."""
        if u is None:
            return None
        return next((row for row in self.rows.values() if row[1] == u), None)

    def insert(self, row: Row) -> None:
        k, u, _ = row
        if k in self.rows or self.holder(u) is not None:
            raise Refused(UNIQUE_VIOLATION)
        self.rows[k] = row
        self.written.add(("k", k))
        if u is not None:
            self.written.add(("u", u))

    def update(self, old: Row, new: Row) -> None:
        if new[0] != old[0] and new[0] in self.rows:
            raise Refused(UNIQUE_VIOLATION)
        if new[1] != old[1]:
            if self.holder(new[1]) is not None:
                raise Refused(UNIQUE_VIOLATION)
            if new[1] is not None:
                self.written.add(("u", new[1]))
        del self.rows[old[0]]
        self.rows[new[0]] = new
        self.written |= {("k", old[0]), ("k", new[0])}

    def delete(self, row: Row) -> None:
        # The unique value that becomes free is no item: who takes it without having changed this row
        # as well has it in the snapshot, and is refused.
        del self.rows[row[0]]
        self.written.add(("k", row[0]))

    def lock(self, row: Row) -> None:
        self.locked.add(("k", row[0]))


def has(state: State, item: Item) -> bool:
    """Whether the row, or a row with the unique value, is there."""
    kind, value = item
    return value in state if kind == "k" else any(row[1] == value for row in state.values())


def changed(state: State, view: View) -> dict[int, Row]:
    """The state after the view's writes have been committed on top of it."""
    after = dict(state)
    for kind, k in view.written:
        if kind == "k":
            if k in view.rows:
                after[k] = view.rows[k]
            else:
                after.pop(k, None)
    return after


def by_key(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Rows in an order of their own: SQL promises none for RETURNING."""
    return tuple(sorted(rows, key=lambda row: row[0]))
