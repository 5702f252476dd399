"""Is there an order of snapshots and commits that explains all that clients saw?

Each transaction has a point at which it took its snapshot and, if it wrote or locked and asked for a
COMMIT, a point at which that was decided. Both lie somewhere within the exchanges in which they
happened. An order of all points is an explanation if

- each statement's answer is what it must be on the snapshot with the transaction's own writes on top,
- a transaction that committed wrote nothing (and had locked nothing FOR UPDATE) that another had written
  between the two points: first committer wins, and
- a transaction that was refused with OC000 had: no false conflict.

The history is right if there is one explanation. With one client acting at a time there is only one
order to try; with several threads this is the search of Wing and Gong ("Testing and Verifying
Concurrent Objects", 1993), with Lowe's memory of what was tried.

What the local cluster may do differently from Aurora DSQL is let through here and nowhere else, and counted:

- `key came and went`: a key that others inserted and deleted since the snapshot may be inserted
  without a conflict. PostgreSQL has no row left to see. (Aurora DSQL presumably refuses it.)
- `only locked`: a row that another only locked FOR UPDATE, and committed, may or may not doom a later
  writer. PostgreSQL keeps no trace of the lock; Aurora DSQL puts the row into the conflict check.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from local.histories.rows import FAILED_TRANSACTION, Item, Refused, State, View, changed, has
from local.histories.statements import COMMIT, Control
from local.histories.transactions import CONFLICT, CONFLICT_TEXT, Exchange, Transaction

if TYPE_CHECKING:
    from collections.abc import Sequence

# What the search gives up at; a history of 2,000 transactions of 8 threads takes some 10,000 steps.
_MOST_STEPS = 400_000


class Violation(AssertionError):  # noqa: N818 - a finding, as a failed assertion is
    """No order explains the history; the message tells how far it can be explained, and what is wrong there."""


@dataclass
class Verdict:
    """What a history that is right consisted of."""

    committed: int = 0
    conflicts: int = 0
    rolled_back: int = 0
    tolerated: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Verdict) -> Verdict:
        return Verdict(
            self.committed + other.committed,
            self.conflicts + other.conflicts,
            self.rolled_back + other.rolled_back,
            self.tolerated + other.tolerated,
        )


@dataclass(frozen=True)
class _Point:
    at: int  # which transaction
    commit: bool
    began: int
    ended: int


@dataclass(frozen=True)
class _Run:
    """A transaction played on a snapshot: what it touched and what it leaves."""

    view: View
    written: frozenset[Item]
    touched: frozenset[Item]  # written or locked
    absent: frozenset[Item]  # of those, what the snapshot did not have


# What others have done to the items of a transaction under way, since its snapshot: its index,
# what they wrote, what they only locked; and the snapshot it runs on.
_Active: TypeAlias = tuple[int, frozenset[Item], frozenset[Item], int]


@dataclass(frozen=True)
class _Place:
    """How far an explanation has come."""

    first: int  # all points before this one are placed
    beyond: frozenset[int]  # and these
    state: int  # number of the committed state
    active: tuple[_Active, ...]


def check(initial: State, transactions: Sequence[Transaction]) -> Verdict:
    """Find an explanation.

    Raises:
        Violation: If there is none.
    """
    return _Search(initial, transactions).run()


class _Search:
    def __init__(self, initial: State, transactions: Sequence[Transaction]) -> None:
        self._transactions = transactions
        for transaction in transactions:
            _check_end(transaction)
        self._points = sorted(_points(transactions), key=lambda point: (point.began, point.commit))
        self._decided = {point.at for point in self._points if point.commit}
        self._states: list[State] = []
        self._numbers: dict[frozenset[object], int] = {}
        self._initial = self._number(initial)
        self._played: dict[tuple[int, int], _Run | str] = {}
        # How far it came at best, and what stood in the way there.
        self._furthest = -1
        self._stuck_at = 0  # a tick
        self._obstacles: list[str] = []
        # For the counts: how each place was come to.
        self._tolerated: dict[_Place, tuple[_Place | None, str]] = {}

    def run(self) -> Verdict:
        start = _Place(0, frozenset(), self._initial, ())
        self._tolerated[start] = (None, "")
        stack = [start]
        while stack:
            place = stack.pop()
            if place.first == len(self._points):
                return self._verdict(place)
            if len(self._tolerated) > _MOST_STEPS:
                raise AssertionError(f"undecided after {_MOST_STEPS} steps: make the history shorter")
            for following, tolerated in self._next(place):
                if following not in self._tolerated:
                    self._tolerated[following] = (place, tolerated)
                    stack.append(following)
        raise Violation(self._told())

    # --- the steps -------------------------------------------------------------------------------

    def _next(self, place: _Place) -> list[tuple[_Place, str]]:
        candidates = self._candidates(place)
        steps: list[tuple[_Place, str]] = []
        obstacles: list[str] = []
        for index in candidates:
            point = self._points[index]
            run = self._play(point.at, self._snapshot_of(place, point))
            if isinstance(run, str):
                obstacles.append(run)
                continue
            step = self._commit(place, point, run) if point.commit else self._look(place, point)
            if isinstance(step, str):
                obstacles.append(step)
                continue
            changed_place, tolerated = step
            first, beyond = self._placed(place, index)
            following = _Place(first, beyond, changed_place.state, changed_place.active)
            if point.at not in self._decided:
                # It fits, and no other point depends on it: nothing is lost by placing it now.
                return [(following, tolerated)]
            steps.append((following, tolerated))
        # The stack is worked off from its end: first what has to be over first.
        steps.reverse()
        placed = place.first + len(place.beyond)
        if not steps and placed > self._furthest:
            self._furthest, self._obstacles = placed, obstacles
            self._stuck_at = min(self._points[index].ended for index in candidates)
        return steps

    def _candidates(self, place: _Place) -> list[int]:
        """Points that may come next: none of the others was over before they began."""
        limit: int | None = None
        found: list[int] = []
        waiting: set[int] = set()  # transactions whose snapshot is yet to be placed
        for index in range(place.first, len(self._points)):
            if index in place.beyond:
                continue
            point = self._points[index]
            if limit is not None and point.began > limit:
                break
            limit = point.ended if limit is None else min(limit, point.ended)
            if point.commit and point.at in waiting:
                continue
            if not point.commit:
                waiting.add(point.at)
            found.append(index)
        assert limit is not None
        return sorted(
            (index for index in found if self._points[index].began <= limit),
            key=lambda index: self._points[index].ended,
        )

    def _placed(self, place: _Place, index: int) -> tuple[int, frozenset[int]]:
        beyond = place.beyond | {index}
        first = place.first
        while first in beyond:
            beyond -= {first}
            first += 1
        return first, beyond

    def _snapshot_of(self, place: _Place, point: _Point) -> int:
        if not point.commit:
            return place.state
        return next(active[3] for active in place.active if active[0] == point.at)

    def _look(self, place: _Place, point: _Point) -> tuple[_Place, str]:
        if point.at not in self._decided:
            return place, ""
        active = (*place.active, (point.at, frozenset[Item](), frozenset[Item](), place.state))
        return _Place(place.first, place.beyond, place.state, tuple(sorted(active, key=lambda each: each[0]))), ""

    def _commit(self, place: _Place, point: _Point, run: _Run) -> tuple[_Place, str] | str:
        transaction = self._transactions[point.at]
        _, wrote, locked, _ = next(active for active in place.active if active[0] == point.at)
        others = tuple(active for active in place.active if active[0] != point.at)
        state = self._states[place.state]
        gone = {item for item in wrote if item in run.absent and not has(state, item)}
        tolerated = ""
        if transaction.outcome == "conflict":
            if not wrote and not locked:
                touched = _items(run.touched) or "nothing"
                return f"a false conflict: it touched {touched}, and nobody else wrote to that:\n{transaction}"
            if not wrote:
                tolerated = "only locked"
            return _Place(place.first, place.beyond, place.state, others), tolerated
        if wrote - gone:
            return f"committed, although others have written {_items(wrote - gone)} since its snapshot:\n{transaction}"
        if gone:
            tolerated = "key came and went"
        elif locked:
            tolerated = "only locked"
        after = self._number(changed(state, run.view))
        told = tuple(self._tell(active, run) for active in others)
        return _Place(place.first, place.beyond, after, told), tolerated

    def _tell(self, active: _Active, run: _Run) -> _Active:
        """What a commit means for another transaction under way."""
        at, wrote, locked, snapshot = active
        own = self._play(at, snapshot)
        assert not isinstance(own, str)
        return (
            at,
            wrote | (own.touched & run.written),
            locked | (own.touched & (run.touched - run.written)),
            snapshot,
        )

    # --- playing ---------------------------------------------------------------------------------

    def _number(self, state: State) -> int:
        key: frozenset[object] = frozenset(state.values())
        if key not in self._numbers:
            self._numbers[key] = len(self._states)
            self._states.append(state)
        return self._numbers[key]

    def _play(self, at: int, state: int) -> _Run | str:
        """Run a transaction on a snapshot; a text if its answers are others."""
        known = self._played.get((at, state))
        if known is None:
            known = self._played[at, state] = _play(self._transactions[at], self._states[state])
        return known

    # --- telling ---------------------------------------------------------------------------------

    def _verdict(self, place: _Place) -> Verdict:
        verdict = Verdict()
        step: _Place | None = place
        while step is not None:
            step, tolerated = self._tolerated[step]
            if tolerated:
                verdict.tolerated[tolerated] += 1
        for transaction in self._transactions:
            verdict.committed += transaction.outcome == "committed"
            verdict.conflicts += transaction.outcome == "conflict"
            verdict.rolled_back += transaction.outcome == "rolled back"
        return verdict

    def _told(self) -> str:
        story = sorted(self._transactions, key=lambda each: each.exchanges[0].began)
        before = [each for each in story if each.exchanges[0].began <= self._stuck_at]
        shown = "\n".join(str(each) for each in before[-40:])
        obstacles = "\n\n".join(self._obstacles)
        return (
            f"{self._furthest} of {len(self._points)} points explained. Then:\n\n{obstacles}\n\n"
            f"What came before, by its beginning:\n{shown}"
        )


def _points(transactions: Sequence[Transaction]) -> list[_Point]:
    points = []
    for at, transaction in enumerate(transactions):
        looked = transaction.looked
        if looked is None:
            continue
        points.append(_Point(at, commit=False, began=looked.began, ended=looked.ended))
        if transaction.outcome != "rolled back" and _touches(transaction):
            last = transaction.exchanges[-1]
            points.append(_Point(at, commit=True, began=last.began, ended=last.ended))
    return points


def _check_end(transaction: Transaction) -> None:
    last = transaction.exchanges[-1]
    if transaction.outcome == "conflict":
        assert last.failure is not None
        if last.failure.text != CONFLICT_TEXT:
            raise Violation(f"a conflict in other words: {last.failure.text!r}\n{transaction}")
        if not _touches(transaction):
            raise Violation(f"a conflict of a transaction that only reads\n{transaction}")
        if not transaction.implicit and (
            last.statements[-1] != COMMIT
            or (last.answers is not None and len(last.answers) != len(last.statements) - 1)
        ):
            raise Violation(f"a conflict ended the transaction before its COMMIT\n{transaction}")


def _play(transaction: Transaction, state: State) -> _Run | str:
    view = View(state)
    failed = False
    for exchange in transaction.exchanges:
        expected: list[object] = []
        failure: str | None = None
        for statement in exchange.statements:
            if isinstance(statement, Control):
                ends = statement.word == "commit" and not failed
                expected.append("COMMIT" if ends else "BEGIN" if statement.word == "begin" else "ROLLBACK")
                continue
            if failed:
                failure = FAILED_TRANSACTION
                break
            try:
                expected.append(statement.apply(view))
            except Refused as refused:
                failure, failed = refused.sqlstate, True
                break
        if wrong := _compare(transaction, exchange, expected, failure):
            return wrong
    touched = frozenset(view.written | view.locked)
    absent = frozenset(item for item in touched if not has(state, item))
    return _Run(view, frozenset(view.written), touched, absent)


def _compare(transaction: Transaction, exchange: Exchange, expected: list[object], failure: str | None) -> str:
    got = exchange.failure
    if got is not None and got.sqlstate == CONFLICT and transaction.outcome == "conflict" and failure is None:
        # COMMIT was refused; what came before it, if it was shown, is compared all the same.
        if exchange is not transaction.exchanges[-1]:
            return f"a conflict before COMMIT:\n{transaction}"
        expected = expected[: len(exchange.answers or ())]
    elif (got.sqlstate if got else None) != failure:
        said = "no error" if got is None else f"{got.sqlstate} {got.text}"
        return f"expected {failure or 'no error'}, got {said}:\n{transaction}"
    if exchange.answers is not None and list(exchange.answers) != expected:
        return f"expected {expected}, got {list(exchange.answers)}:\n{transaction}"
    return ""


def _touches(transaction: Transaction) -> bool:
    """Whether it may have written or locked: whether it has a statement that can."""
    return any(
        not isinstance(statement, Control) and statement.can_touch
        for exchange in transaction.exchanges
        for statement in exchange.statements
    )


def _items(items: frozenset[Item] | set[Item]) -> str:
    return ", ".join(f"{kind}={value}" for kind, value in sorted(items))
