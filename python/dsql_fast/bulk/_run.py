"""One run of `bulk_insert`, without threads and tasks: what is asked, checked, noted and said."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._conflict import sqlstate
from .._errors import BulkError, BulkOutcomeUnknown, CommitOutcomeUnknown, ConfigError
from ._account import Account, BulkResult, RowRange, covers
from ._batches import BadRow, Cutter, OtherRows
from ._writing import OtherLedger, Refused, Writer, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._statements import Work
    from ._account import Once
    from ._batches import Batch

MOST_ROWS = 3_000
"""Of a transaction (documented); a row in the ledger is one of them."""
MOST_BYTES = 9 * 1024 * 1024
"""Of a transaction DSQL takes 10 MiB, of a message too (documented). How it counts them is not documented."""


@dataclass(frozen=True)
class Order:
    """What a run is asked to do.

    Attributes:
        table: its name, or schema and name.
        columns: their names, or None.
        batch_rows: the most of a batch.
        batch_bytes: the same, as estimated.
        key: the columns for ON CONFLICT DO NOTHING; empty without.
        ledger: a table's name; empty without.
    """

    table: str
    columns: tuple[str, ...] | None
    batch_rows: int
    batch_bytes: int
    key: tuple[str, ...]
    ledger: str

    @property
    def once(self) -> Once:
        """What makes that no row is written twice."""
        return "ledger" if self.ledger else "key" if self.key else "neither"


def checked(
    table: str,
    *,
    columns: Sequence[str] | None,
    batch_rows: int,
    batch_bytes: int,
    key: Sequence[str] | None,
    ledger: str | None,
) -> Order:
    """Return what is asked.

    Raises:
        ConfigError: it cannot be.
    """
    quoted(table)
    if ledger is not None:
        quoted(ledger)
    if key is not None and ledger is not None:
        raise ConfigError("give a key or a ledger: with either, no row is written twice")
    most = MOST_ROWS - (ledger is not None)
    _check_count("batch_rows", batch_rows, most)
    _check_count("batch_bytes", batch_bytes, MOST_BYTES)
    return Order(
        table,
        _names("columns", columns) if columns is not None else None,
        batch_rows,
        batch_bytes,
        _names("key", key) if key is not None else (),
        ledger or "",
    )


class Run:
    """Keeps one run together.

    Args:
        order: what is asked.
        resume: what an earlier run did; or, where there is a ledger, its id; or None.

    Raises:
        ConfigError: that run cannot be resumed, or not in this way.
    """

    def __init__(self, order: Order, resume: BulkResult | uuid.UUID | None) -> None:
        self._order = order
        self._resume = resume
        result = _beginning(order, resume)
        self._account = Account(result)
        self._cutter: Cutter | None = None
        self._writer = Writer(
            quoted(order.table),
            lambda: None if self._cutter is None else self._cutter.columns,
            order.key,
            quoted(order.ledger) if order.ledger else "",
            result.run_id,
        )

    @property
    def result(self) -> BulkResult:
        """What is done so far."""
        return self._account.result(0 if self._cutter is None else self._cutter.drawn)

    def prepare(self) -> Work[None]:
        """Learn from the ledger what is committed already.

        Raises:
            BulkError: it cannot be read.
            ConfigError: it is not the ledger of that run.
        """
        if not self._order.ledger or self._resume is None:
            return
        try:
            recorded = yield from self._writer.recorded()
        except Exception as error:
            raise BulkError(
                f"the ledger could not be read ({_named(error)}): this run has written nothing", self.result
            ) from error
        known: list[RowRange] = self._account.committed
        if not all(covers(recorded, each) for each in known):
            raise ConfigError(
                f"the ledger {self._order.ledger} does not have what the run that is resumed has committed: it is "
                "another one, or rows were deleted from it"
            )
        self._account.adopt(recorded)

    def begin(self) -> Cutter:
        """Return what rows are to be put into."""
        order = self._order
        self._cutter = Cutter(
            order.columns,
            most_rows=order.batch_rows,
            most_bytes=order.batch_bytes,
            # A copy: what is committed from now on was not left out.
            done=list(self._account.committed),
            cuts=self._account.cuts,
        )
        return self._cutter

    def write(self, batch: Batch) -> Work[int]:
        """Write a batch."""
        return self._writer.write(batch)

    def submit(self, batch: Batch) -> None:
        """Take note that a batch is about to be written. One that is not told of again counts as unknown."""
        self._account.begin(batch)

    def note(self, batch: Batch, outcome: int | BaseException) -> None:
        """Take note of what became of a batch."""
        if isinstance(outcome, int):
            self._account.commit(batch, outcome)
        elif not isinstance(outcome, CommitOutcomeUnknown) and not isinstance(
            outcome.__cause__, CommitOutcomeUnknown
        ):
            self._account.fail(batch)

    def over(self) -> BulkResult:
        """Return the result: all rows are committed."""
        return self._account.result(0 if self._cutter is None else self._cutter.drawn, complete=True)

    @staticmethod
    def ending(batch: Batch, error: BaseException) -> BaseException:
        """Return what ends the run over a batch: to be raised, and then given to `ended`."""
        return Ending(error, batch) if isinstance(error, Exception) else error

    def ended(self, error: BaseException) -> BaseException:
        """Return what is to be raised, now that everything that is known is in the books."""
        self._account.lose_sight()
        if isinstance(error, Ending):
            cause, batch = error.error, error.batch
            made = self._failure(cause, batch)
            made.__cause__ = cause.__cause__ if isinstance(cause, Refused) else cause
            return made
        if isinstance(error, Exception):
            made = self._failure(error, None)
            made.__cause__ = error
            return made
        result = self.result
        kind = BulkOutcomeUnknown if result.unknown else BulkError
        error.__cause__ = kind(f"interrupted: {_tally(result)}. {_how_to_resume(result)}", result)
        return error

    def _failure(self, error: BaseException, batch: Batch | None) -> BulkError:
        result = self.result
        rest = f"{_tally(result)}. {_how_to_resume(result)}"
        if isinstance(error, BadRow):
            return BulkError(f"{error}: {rest}", result, error.index)
        if isinstance(error, (OtherRows, OtherLedger)):
            return BulkError(f"{error}: {rest}", result)
        if batch is None:
            return BulkError(f"{_named(error)} ended it after {result.drawn} rows were drawn: {rest}", result)
        rows = f"rows {batch.start} to {batch.stop - 1}"
        if isinstance(error, CommitOutcomeUnknown):
            return BulkOutcomeUnknown(
                f"COMMIT of {rows} was sent, and nothing tells its outcome: all are written, or none. {rest}",
                result,
            )
        if isinstance(error, Refused) and error.__cause__ is not None:
            which = rows if error.row is None else f"row {error.row}"
            hint = ""
            if sqlstate(error.__cause__) == "42P01" and self._order.ledger:
                hint = f" (a ledger is made by create_ledger(pool, {self._order.ledger!r}))"
            verb = "were" if error.row is None else "was"
            message = f"{which} {verb} refused ({_named(error.__cause__)}){hint}: {rest}"
            return BulkError(message, result, error.row)
        return BulkError(f"{rows}: {_named(error)}: {rest}", result)


class Ending(Exception):  # noqa: N818
    """Carries what went wrong, and over which batch, to where everything is put into the books."""

    def __init__(self, error: Exception, batch: Batch | None) -> None:
        super().__init__()
        self.error = error
        self.batch = batch


def _beginning(order: Order, resume: BulkResult | uuid.UUID | None) -> BulkResult:
    if resume is None:
        return BulkResult(uuid.uuid4(), order.table, order.once)
    if isinstance(resume, uuid.UUID):
        if not order.ledger:
            raise ConfigError("a run is resumed by its id where it has a ledger; otherwise by its result")
        return BulkResult(resume, order.table, order.once)
    if not isinstance(resume, BulkResult):
        raise ConfigError(f"resume must be a BulkResult, a run's id or None, not {type(resume).__name__}")
    if resume.table != order.table or resume.once != order.once:
        raise ConfigError(
            f"the run that is resumed wrote into {resume.table} with {resume.once}, and this one is to write into "
            f"{order.table} with {order.once}"
        )
    if not resume.resumable:
        raise ConfigError(_how_to_resume(resume))
    return resume


def _how_to_resume(result: BulkResult) -> str:
    if result.resumable:
        return "Resume with the same rows from their beginning, and resume=result"
    ranges = ", ".join(f"rows {each.start} to {each.stop - 1}" for each in result.unknown)
    return (
        f"It cannot be resumed as it is: whether {ranges} are written is unknown, and without a ledger or a key "
        "they could be written twice. Look whether they are there, and resume with "
        f"result.settled({result.unknown[0].start}, committed=...); next time, give a ledger or a key"
    )


def _tally(result: BulkResult) -> str:
    return f"{result.rows} of {result.drawn} rows that were drawn are committed"


def _named(error: BaseException) -> str:
    # Never its text: it may quote values.
    state = sqlstate(error)
    return type(error).__name__ + (f", SQLSTATE {state}" if state else "")


def _check_count(name: str, value: object, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ConfigError(f"{name} must be a whole number from 1 to {most}, not {value!r}")


def _names(what: str, given: Sequence[str]) -> tuple[str, ...]:
    names = () if isinstance(given, str) else tuple(given)
    if not names or not all(isinstance(each, str) and each for each in names) or len(set(names)) != len(names):
        raise ConfigError(f"{what} must be a sequence of different names of columns")
    return names
