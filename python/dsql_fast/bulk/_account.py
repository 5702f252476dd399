"""What is committed, what is not, and what is unknown: plain values, which can be kept for a later run."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from .._errors import ConfigError

if TYPE_CHECKING:
    from uuid import UUID

    from ._batches import Batch

Once: TypeAlias = Literal["ledger", "key", "neither"]


@dataclass(frozen=True, order=True)
class RowRange:
    """Rows one after the other, by their index; the first of all is 0.

    Attributes:
        start: the index of the first.
        stop: the index behind the last.
        digest: a sum over them, by which they are known again.
    """

    __module__ = "dsql_fast.bulk"

    start: int
    stop: int
    digest: int = field(compare=False, repr=False)

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class BulkResult:
    """What `bulk_insert` has done, so far or in all.

    Attributes:
        run_id: the run's id; what it wrote in a ledger has it.
        table: as given.
        once: what makes that no row is written twice: ``"ledger"``, ``"key"`` or ``"neither"``.
        drawn: how many rows were taken from the iterator.
        inserted: rows that INSERT counted in this run: with a key, without those that were there already.
        committed: the ranges that are committed, in their order, by this run and those before.
        unknown: the ranges of batches whose COMMIT was sent, and not answered.
        complete: all rows are committed.
    """

    __module__ = "dsql_fast"

    run_id: UUID
    table: str
    once: Once
    drawn: int = 0
    inserted: int = 0
    committed: tuple[RowRange, ...] = ()
    unknown: tuple[RowRange, ...] = ()
    complete: bool = False

    @property
    def rows(self) -> int:
        """How many rows are committed."""
        return sum(len(each) for each in self.committed)

    @property
    def resumable(self) -> bool:
        """A run can go on from here, and no row will be written twice."""
        return self.once != "neither" or not self.unknown

    def settled(self, start: int, *, committed: bool) -> BulkResult:
        """Return this result with an unknown range settled: you have looked.

        Args:
            start: the index of the range's first row.
            committed: whether its rows are in the table. All of them are, or none.

        Raises:
            ConfigError: no such range is unknown.
        """
        found = [each for each in self.unknown if each.start == start]
        if not found:
            raise ConfigError(f"there is no range from row {start} on whose outcome is unknown")
        unknown = tuple(each for each in self.unknown if each.start != start)
        ranges = merged(self.committed, found[0]) if committed else self.committed
        return replace(self, unknown=unknown, committed=ranges)


class Account:
    """Keeps the books of one run.

    Args:
        result: what to begin with.
    """

    def __init__(self, result: BulkResult) -> None:
        self._result = replace(result, drawn=0, inserted=0, complete=False)
        self._committed = list(result.committed)
        self._unknown = {each.start: each for each in result.unknown}
        self._under_way: dict[int, RowRange] = {}

    def adopt(self, ranges: list[RowRange]) -> None:
        """Take what a ledger tells in place of what was known: what is not in it is not committed."""
        self._committed = ranges
        self._unknown = {start: each for start, each in self._unknown.items() if not covers(ranges, each)}

    @property
    def committed(self) -> list[RowRange]:
        """The ranges that are committed, in their order."""
        return self._committed

    @property
    def cuts(self) -> set[int]:
        """Where batches have to begin."""
        return {at for each in self._unknown.values() for at in (each.start, each.stop)}

    def begin(self, batch: Batch) -> None:
        """A batch is about to be written."""
        self._under_way[batch.start] = RowRange(batch.start, batch.stop, batch.digest)

    def commit(self, batch: Batch, inserted: int) -> None:
        """A batch is committed."""
        written = self._under_way.get(batch.start)
        if written is None or covers(self._committed, written):
            return  # Ctrl-C came between this and what follows it, and it is told once more
        _merge(self._committed, written)
        self._result = replace(self._result, inserted=self._result.inserted + inserted)
        self._unknown.pop(batch.start, None)
        del self._under_way[batch.start]

    def fail(self, batch: Batch) -> None:
        """A batch is not committed by what was tried now."""
        self._under_way.pop(batch.start, None)

    def lose_sight(self) -> None:
        """Nothing tells what became of those that are still under way."""
        self._unknown.update(self._under_way)
        self._under_way.clear()

    def result(self, drawn: int, *, complete: bool = False) -> BulkResult:
        """The books as they stand."""
        unknown = tuple(sorted(self._unknown.values()))
        return replace(
            self._result, drawn=drawn, committed=tuple(self._committed), unknown=unknown, complete=complete
        )


def merged(ranges: tuple[RowRange, ...], more: RowRange) -> tuple[RowRange, ...]:
    """Return ranges with one more among them."""
    several = list(ranges)
    _merge(several, more)
    return tuple(several)


def covers(ranges: list[RowRange], one: RowRange) -> bool:
    """Tell whether all rows of one range are in the others, which are in their order and do not touch."""
    at = bisect_left(ranges, one.start, key=lambda each: each.stop - 1)
    return at < len(ranges) and ranges[at].start <= one.start and one.stop <= ranges[at].stop


def _merge(ranges: list[RowRange], more: RowRange) -> None:
    """Put a range among others; those that touch become one, so a run has about as many as it has connections."""
    insort(ranges, more)
    at = bisect_left(ranges, more)
    for left in (at, at - 1):
        if 0 <= left < len(ranges) - 1 and ranges[left].stop == ranges[left + 1].start:
            one, two = ranges[left], ranges[left + 1]
            ranges[left : left + 2] = [RowRange(one.start, two.stop, (one.digest + two.digest) % 2**63)]
