"""What is said to the server: INSERT of many rows, and the ledger. Generators of requests, no driver."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any

from .._conflict import sqlstate
from .._errors import CommitOutcomeUnknown, ConfigError, Error
from .._statements import Answer, Statement, Transact
from ._account import RowRange, merged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from .._statements import Body, Work
    from ._batches import Batch

# By name: no driver is imported here.
_OVER_VALUES = frozenset({"ProgrammingError", "DataError"})
# The roots of psycopg's and psycopg2's errors, and of asyncpg's.
_OVER_CONNECTIONS = frozenset({"Error", "PostgresError", "InterfaceError", "OSError", "TimeoutError"})
# Rows of a ledger that are read at once.
_PAGE = 5_000


class TakenBack(Exception):  # noqa: N818 - what happens
    """Rolls back a transaction that was only to be tried."""


class Refused(Exception):  # noqa: N818 - what happened
    """A batch failed, and nothing of it is committed; ``__cause__`` is why.

    Attributes:
        row: the index of the row that was refused, if it is known.
    """

    def __init__(self, row: int | None) -> None:
        super().__init__("refused")
        self.row = row


class OtherLedger(Exception):  # noqa: N818 - what it is
    """The ledger has something else of this run than what is known."""


def quoted(name: str) -> str:
    """Return a table's name as SQL: ``table`` or ``schema.table``, each part taken as it is.

    Raises:
        ConfigError: it is none.
    """
    parts = name.split(".") if isinstance(name, str) else []
    if not 1 <= len(parts) <= 2 or not all(parts) or "\0" in name:  # noqa: PLR2004 - schema and table
        raise ConfigError("a table is named as 'table' or 'schema.table', without quotes")
    return ".".join(map(quoted_column, parts))


def quoted_column(name: str) -> str:
    """Return a name in quotes."""
    return '"' + name.replace('"', '""') + '"'


def ledger_ddl(ledger: str) -> str:
    """Return the statement that makes a ledger: a row for each committed batch.

    A batch is known by its run and the index of its first row. Both together are the primary key, so that of two
    transactions that write the same batch one only can commit.
    """
    return (
        f"CREATE TABLE IF NOT EXISTS {quoted(ledger)} (run_id uuid, first_row bigint, rows bigint NOT NULL, "
        "digest bigint NOT NULL, written_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (run_id, first_row))"
    )


@dataclass(frozen=True)
class Writer:
    """Writes batches into a table.

    Attributes:
        table: its name, quoted.
        columns: returns their names; None for those of the table, in their order. Known when the first batch is.
        key: the columns of ON CONFLICT DO NOTHING; empty without.
        ledger: its name, quoted; empty without.
        run_id: whose batches they are.
    """

    table: str
    columns: Callable[[], tuple[str, ...] | None]
    key: tuple[str, ...]
    ledger: str
    run_id: UUID

    def write(self, batch: Batch) -> Work[int]:
        """Write a batch, once: in a transaction, with its row in the ledger if there is one.

        Returns:
            How many rows were inserted; with a key, without those that were there. 0 if an earlier attempt, whose
            outcome was unknown, turned out to be committed.

        Raises:
            CommitOutcomeUnknown: nothing tells whether it is committed.
            Refused: it failed.
        """
        try:
            inserted: int = yield Transact(lambda: self._body(batch), bool(self.key or self.ledger))
        except (CommitOutcomeUnknown, OtherLedger):
            raise
        except Exception as error:
            row = None
            if _is_about_a_row(error):
                row = yield from self._bad_row(batch)
            raise Refused(row) from error
        return inserted

    def recorded(self) -> Work[list[RowRange]]:
        """Read from the ledger what is committed of this run."""
        ranges: tuple[RowRange, ...] = ()
        after = -1
        sql = (
            f"SELECT first_row, rows, digest FROM {self.ledger} "  # noqa: S608 - quoted
            f"WHERE run_id = $1 AND first_row > $2 ORDER BY first_row LIMIT {_PAGE}"
        )
        while True:
            page = Statement(sql, (self.run_id, after))
            answer: Answer = yield Transact(lambda page=page: _one(page), idempotent=True)  # type: ignore[misc]
            for start, rows, digest in answer.rows:
                ranges = merged(ranges, RowRange(start, start + rows, digest))
                after = start
            if len(answer.rows) < _PAGE:
                return list(ranges)

    def _body(self, batch: Batch) -> Body[int]:
        if self.ledger:
            # First: if it is there, an earlier attempt was committed after all.
            values = (self.run_id, batch.start, len(batch.rows), batch.digest)
            noted = yield Statement(_note(self.ledger), values)
            if noted.count == 0:
                known = yield Statement(
                    f"SELECT rows, digest FROM {self.ledger} WHERE run_id = $1 AND first_row = $2",  # noqa: S608
                    (self.run_id, batch.start),
                )
                if known.rows and known.rows[0] != (len(batch.rows), batch.digest):
                    raise OtherLedger(f"the ledger has other rows of this run from row {batch.start} on")
                return 0
        answer = yield self._insert(batch.rows)
        return answer.count

    def _insert(self, rows: Sequence[tuple[Any, ...]]) -> Statement:
        sql = insert_sql(self.table, self.columns(), self.key, len(rows), len(rows[0]))
        return Statement(sql, tuple(chain.from_iterable(rows)))

    def _bad_row(self, batch: Batch) -> Work[int | None]:
        """Find the first row that is refused: the last of the shortest head of the batch that is."""
        good, bad = 0, len(batch.rows)
        while bad - good > 1:
            middle = (good + bad) // 2
            refused = yield from self._refuses(batch.rows[:middle])
            if refused is None:
                return None
            good, bad = (good, middle) if refused else (middle, bad)
        if bad == len(batch.rows) and not (yield from self._refuses(batch.rows)):
            return None  # it was COMMIT that was refused
        return batch.start + bad - 1

    def _refuses(self, rows: Sequence[tuple[Any, ...]]) -> Work[bool | None]:
        """Try rows, and roll back; None if something else went wrong."""
        try:
            yield Transact(lambda: self._try(rows))
        except TakenBack:
            return False
        except Exception as error:  # noqa: BLE001 - told by the one that led here
            return True if _is_about_a_row(error) else None
        return None

    def _try(self, rows: Sequence[tuple[Any, ...]]) -> Body[None]:
        yield self._insert(rows)
        raise TakenBack


@lru_cache(maxsize=8)
def insert_sql(table: str, columns: tuple[str, ...] | None, key: tuple[str, ...], rows: int, width: int) -> str:
    """Return an INSERT of so many rows, with a parameter for each value."""
    named = "" if columns is None else " (" + ", ".join(map(quoted_column, columns)) + ")"
    values = ",".join(
        "(" + ",".join(f"${at}" for at in range(row * width + 1, (row + 1) * width + 1)) + ")"
        for row in range(rows)
    )
    conflict = f" ON CONFLICT ({', '.join(map(quoted_column, key))}) DO NOTHING" if key else ""
    return f"INSERT INTO {table}{named} VALUES {values}{conflict}"  # noqa: S608 - quoted


def _note(ledger: str) -> str:
    return (
        f"INSERT INTO {ledger} (run_id, first_row, rows, digest) VALUES ($1, $2, $3, $4) "  # noqa: S608 - quoted
        "ON CONFLICT (run_id, first_row) DO NOTHING"
    )


def _one(statement: Statement) -> Body[Answer]:
    answer: Answer = yield statement
    return answer


def _is_about_a_row(error: Exception) -> bool:
    """Tell whether it is over a row's values: data, constraints, size, or what the driver cannot send."""
    if isinstance(error, Error):
        return False
    state = sqlstate(error)
    if state is not None:
        return state.startswith(("22", "23", "54"))
    # Not the server's. Of the drivers' own errors, those two are over what was to be sent; of Python's (a codec's,
    # say), all but the network's.
    names = {each.__name__ for each in type(error).__mro__}
    return not names.isdisjoint(_OVER_VALUES) or names.isdisjoint(_OVER_CONNECTIONS)
