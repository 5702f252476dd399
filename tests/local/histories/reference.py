"""Snapshot isolation with first committer wins, in memory: what the checker is checked with.

`Reference` is right. Each of its `Flaw`s is one way to be wrong, and the checker has to notice it.
"""

from __future__ import annotations

import enum
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from local.histories.rows import FAILED_TRANSACTION, Item, Refused, Row, State, View, changed, has
from local.histories.statements import BEGIN, COMMIT, Answer, Change, Control, Read, Statement
from local.histories.transactions import CONFLICT, CONFLICT_TEXT, Exchange, Failure

if TYPE_CHECKING:
    from collections.abc import Sequence


class Flaw(enum.Enum):
    """What a reference does wrong."""

    LOST_UPDATE = "commits over another's update"
    LOST_DELETE = "commits over another's delete"
    DUPLICATE_KEY = "commits over another's insert of one key"
    DUPLICATE_VALUE = "commits over another's insert of one unique value"
    LOCK_IGNORED = "commits although a row it locked was written"
    FALSE_BY_TABLE = "refuses whenever anybody has committed"
    FALSE_BY_READS = "refuses what is serializable only: a row it read was written"
    FALSE_BY_ROLLBACK = "refuses because of a writer that was rolled back"
    FALSE_FOR_READER = "refuses a transaction that only reads"
    FIRST_WRITER_WINS = "refuses who wrote second, though the first has not committed"
    CONFLICT_AT_STATEMENT = "refuses at the statement"
    STALE_SNAPSHOT = "sees the state before the last commit"
    SNAPSHOT_AT_BEGIN = "takes the snapshot at BEGIN"
    NON_REPEATABLE_READ = "takes a snapshot for each statement"
    DIRTY_READ = "sees what others have not committed"
    OWN_WRITES_UNSEEN = "reads what was there before its own writes"
    DOUBLE_COUNT = "applies a relative update twice"
    WRONG_COUNT = "says that it changed one row more"
    TORN_COMMIT = "commits one row of several"
    LOST_COMMIT = "says COMMIT and applies nothing"
    REFUSED_BUT_APPLIED = "refuses, and applies it all the same"
    ROLLED_BACK_BUT_APPLIED = "applies what was rolled back"
    DUPLICATE_FORGIVEN = "does not see a genuine duplicate"
    OTHER_WORDS = "refuses in other words"
    STAYS_OPEN = "stays in the transaction after a conflict"


@dataclass
class _Commit:
    written: frozenset[Item]
    touched: frozenset[Item]
    changed: frozenset[int]
    inserted: frozenset[int]
    deleted: frozenset[int]


@dataclass
class Reference:
    """The committed states, and what each commit wrote."""

    initial: State
    flaw: Flaw | None = None
    # The two things left open, as the other choice: to refuse a key that came and went (as presumably
    # Aurora DSQL does), and to refuse a write over a lock that was committed.
    strict: bool = False
    states: list[State] = field(default_factory=list)
    commits: list[_Commit] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)
    rolled_back: set[Item] = field(default_factory=set)
    ticks: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.states.append(dict(self.initial))

    def connect(self) -> Session:
        session = Session(self)
        self.sessions.append(session)
        return session


class Session:
    """One client's side of a `Reference`."""

    def __init__(self, server: Reference) -> None:
        self._server = server
        self._open = False
        self._failed = False
        self._snapshot = -1
        self.view: View | None = None
        self._read: set[Item] = set()

    def together(self, _statements: Sequence[Statement]) -> bool:
        return True

    def exchange(self, statements: tuple[Statement, ...]) -> Exchange:
        began = next(self._server.ticks)
        answers: list[Answer | str] = []
        failure: Failure | None = None
        try:
            answers.extend(self._each(statements))
        except _Stopped as stopped:
            answers, failure = stopped.answers, stopped.failure
        return Exchange(statements, tuple(answers), failure, not self._open, began, next(self._server.ticks))

    def _each(self, statements: Sequence[Statement]) -> list[Answer | str]:
        answers: list[Answer | str] = []
        alone = not self._open and BEGIN not in statements
        try:
            for statement in statements:  # one by one: those before an error are kept
                answers.append(  # noqa: PERF401
                    self._control(statement) if isinstance(statement, Control) else self._run(statement)
                )
            if alone:
                self._commit()
        except Refused as refused:
            if alone:
                self._forget()
            text = CONFLICT_TEXT if refused.sqlstate == CONFLICT else ""
            if self._server.flaw is Flaw.OTHER_WORDS:
                text = text.removesuffix(" (OC000)")
            raise _Stopped(answers, Failure(refused.sqlstate, text)) from None
        return answers

    def _control(self, statement: Control) -> str:
        if statement == BEGIN:
            self._open = True
            if self._server.flaw is Flaw.SNAPSHOT_AT_BEGIN:
                self._look()
            return "BEGIN"
        failed = self._failed
        if statement == COMMIT and not failed:
            self._commit()
            return "COMMIT"
        if self.view is not None:
            self._server.rolled_back |= self.view.written
            if self._server.flaw is Flaw.ROLLED_BACK_BUT_APPLIED and not failed:
                self._apply(self.view)
        self._forget()
        return "ROLLBACK"

    def _look(self) -> View:
        server = self._server
        self._snapshot = len(server.states) - 1
        if server.flaw is Flaw.STALE_SNAPSHOT and self._snapshot:
            self._snapshot -= 1
        state = server.states[self._snapshot]
        if server.flaw is Flaw.DIRTY_READ:
            for other in server.sessions:
                if other.view is not None:
                    state = changed(state, other.view)
        self.view = View(state)
        return self.view

    def _run(self, statement: Statement) -> Answer:
        assert not isinstance(statement, Control)
        if self._failed:
            raise Refused(FAILED_TRANSACTION)
        flaw = self._server.flaw
        view = self.view or self._look()
        if flaw is Flaw.NON_REPEATABLE_READ and not view.written:
            view.rows = dict(self._server.states[-1])
        before = dict(view.rows)
        self._read |= {("k", k) for k in view.rows}
        written = set(view.written)
        try:
            if flaw is Flaw.OWN_WRITES_UNSEEN and isinstance(statement, Read):
                return statement.apply(View(self._server.states[self._snapshot]))
            answer = statement.apply(view)
            if flaw is Flaw.DOUBLE_COUNT and isinstance(statement, Change) and statement.relative:
                statement.apply(view)
        except Refused:
            if flaw is Flaw.DUPLICATE_FORGIVEN:
                view.rows = before
                return Answer(None, 1)
            self._failed = True
            raise
        if flaw is Flaw.WRONG_COUNT and answer.rows is None:
            answer = Answer(None, answer.count + 1)
        self._early(view, view.written - written)
        return answer

    def _early(self, view: View, new: set[Item]) -> None:
        """Flaws that show at the statement."""
        flaw = self._server.flaw
        if flaw is Flaw.CONFLICT_AT_STATEMENT and self._conflicts(view):
            self._failed = True
            raise Refused(CONFLICT)
        if flaw is Flaw.FIRST_WRITER_WINS:
            for other in self._server.sessions:
                if other is not self and other.view is not None and other.view.written & new:
                    self._failed = True
                    raise Refused(CONFLICT)

    def _commit(self) -> None:
        view, server = self.view, self._server
        if view is None:
            self._forget()
            return
        if self._conflicts(view):
            if server.flaw is Flaw.REFUSED_BUT_APPLIED:
                self._apply(view)
            if server.flaw is Flaw.STAYS_OPEN:
                self._failed = True
            else:
                self._forget()
            raise Refused(CONFLICT)
        if server.flaw is not Flaw.LOST_COMMIT:
            self._apply(view)
        self._forget()

    def _forget(self) -> None:
        self._open = self._failed = False
        self.view = None
        self._read = set()

    def _apply(self, view: View) -> None:
        server = self._server
        before = server.states[-1]
        after = changed(before, view)
        if server.flaw is Flaw.TORN_COMMIT and len(view.written) > 1:
            one = View(before)
            one.rows, one.written = view.rows, {min(view.written)}
            after = changed(before, one)
        if not view.written and not view.locked:
            return
        keys = {k for kind, k in view.written if kind == "k"}
        old = server.states[self._snapshot]
        server.states.append(after)
        server.commits.append(
            _Commit(
                frozenset(view.written),
                frozenset(view.written | view.locked),
                frozenset(k for k in keys if k in old and k in view.rows),
                frozenset(k for k in keys if k not in old),
                frozenset(k for k in keys if k in old and k not in view.rows),
            )
        )

    def _conflicts(self, view: View) -> bool:
        """Whether a commit since the snapshot stands in the way."""
        server, flaw = self._server, self._server.flaw
        since = server.commits[self._snapshot :]
        touched = view.written | view.locked
        if flaw is Flaw.FALSE_FOR_READER and since:
            return True
        if not touched:
            return False
        if flaw is Flaw.FALSE_BY_TABLE and since:
            return True
        if flaw is Flaw.FALSE_BY_READS:
            touched |= self._read
        if flaw is Flaw.FALSE_BY_ROLLBACK and touched & server.rolled_back:
            return True
        if flaw is Flaw.LOCK_IGNORED:
            touched = view.written
        hits = set()
        for commit in since:
            hits |= touched & (commit.touched if server.strict else self._written(commit))
        if not server.strict:
            snapshot, now = server.states[self._snapshot], server.states[-1]
            hits = {item for item in hits if has(snapshot, item) or has(now, item)}
        return bool(hits)

    def _written(self, commit: _Commit) -> frozenset[Item]:
        """What a commit counts as having written, but for the flaw."""
        overlooked: dict[Flaw, frozenset[int]] = {
            Flaw.LOST_UPDATE: commit.changed,
            Flaw.LOST_DELETE: commit.deleted,
            Flaw.DUPLICATE_KEY: commit.inserted,
        }
        flaw = self._server.flaw
        if flaw is Flaw.DUPLICATE_VALUE:
            return frozenset(item for item in commit.written if item[0] == "k")
        keys = overlooked.get(flaw, frozenset()) if flaw else frozenset[int]()
        return frozenset(item for item in commit.written if item[0] == "u" or item[1] not in keys)


class _Stopped(Exception):  # noqa: N818 - carries what was answered before
    def __init__(self, answers: list[Answer | str], failure: Failure) -> None:
        super().__init__(failure)
        self.answers = answers
        self.failure = failure


def rows(*keys: int) -> dict[int, Row]:
    """Rows to begin with: each holds its own key as its unique value."""
    return {k: (k, k, 10) for k in keys}
