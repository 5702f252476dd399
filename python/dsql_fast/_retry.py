"""When a transaction that failed is run again: a policy, and the one place where it is decided.

Nothing is done here: no driver, no sleeping, no I/O. Clock and chance are passed in.
"""

from __future__ import annotations

import logging
import math
import random as _random
import time
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal, TypeAlias

from . import _telemetry
from ._both import narrow
from ._conflict import conflict_kind, is_unavailable, sqlstate
from ._errors import CommitOutcomeUnknown, ConfigError, ConflictRetriesExhausted, docs_link, noted
from ._turns import Turn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._turns import Turns

FailureKind: TypeAlias = Literal["data", "schema", "lost", "unavailable", "unknown"]

# Doubling goes on no further: a delay that has not reached its bound by then never would.
_MOST_DOUBLINGS = 63
# Seconds: a transaction that failed before it went anywhere is not run again in a tight loop.
_SHORTEST = 0.001


@dataclass(frozen=True)
class RetryState:
    """What a hook is told before a transaction is run again.

    Attributes:
        attempt: the number of the attempt that failed; the first is 1.
        delay: seconds until the next one.
        error: what the attempt failed with.
        kind: ``"data"`` or ``"schema"`` for a conflict, ``"lost"`` for a connection that went before COMMIT,
            ``"unavailable"`` for DSQL's XX000 before COMMIT, ``"unknown"`` for a COMMIT without an answer.
        elapsed: seconds since the first attempt began.
    """

    __module__ = "dsql_fast"

    attempt: int
    delay: float
    error: BaseException
    kind: FailureKind
    elapsed: float


@dataclass(frozen=True)
class RetryPolicy:
    """How often a transaction is run, and how long is waited in between.

    The wait after the n-th attempt is drawn evenly from ``[(1 - jitter) * bound, bound]``, where ``bound`` is
    ``base_delay`` doubled n - 1 times, and at most `max_delay`. Without a `base_delay` there is none after the
    first attempt, and after the n-th ``bound`` is what that attempt took, doubled n - 2 times.

    Attributes:
        max_attempts: at least 1; default 10, the first one counted.
        base_delay: seconds; None (the default) goes by how long the attempts take.
        max_delay: seconds; default 1. A transaction that waits for others of its kind goes on, too, where none of
            them has got on for so long.
        jitter: 0 (always the bound) to 1 (anything up to it); default 1.
        deadline: seconds for the whole, all attempts and waits; None (the default) for none. After it no attempt
            begins, and no wait goes past it; one that runs is not interrupted.
        before_retry: called before each wait, with a `RetryState`; may be ``async def`` where the transaction is
            asynchronous. What it raises ends the retrying.

    Raises:
        ConfigError: a value is out of its range.
    """

    __module__ = "dsql_fast"

    max_attempts: int = 10
    base_delay: float | None = None
    max_delay: float = 1.0
    jitter: float = 1.0
    deadline: float | None = None
    before_retry: Callable[[RetryState], Awaitable[None] | None] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.max_attempts, int) or isinstance(self.max_attempts, bool) or self.max_attempts < 1:
            raise ConfigError(f"max_attempts must be a whole number from 1 on, not {self.max_attempts!r}")
        if self.base_delay is not None:
            _check_number("base_delay", self.base_delay)
        for name in ("max_delay", "jitter"):
            _check_number(name, getattr(self, name))
        if self.base_delay is not None and self.max_delay < self.base_delay:
            raise ConfigError(f"max_delay ({self.max_delay!r}) must not be less than base_delay")
        if self.jitter > 1:
            raise ConfigError(f"jitter must be from 0 to 1, not {self.jitter!r}")
        if self.deadline is not None:
            _check_number("deadline", self.deadline)
            if not self.deadline:
                raise ConfigError("deadline must be more than 0 seconds, or None")
        if self.before_retry is not None and not callable(self.before_retry):
            raise ConfigError("before_retry must be callable")

    def delay(
        self, attempt: int, random: Callable[[], float] = _random.random, *, took: float = _SHORTEST
    ) -> float:
        """Return how many seconds to wait after an attempt.

        Args:
            attempt: its number; the first is 1.
            random: returns numbers from 0 up to, but without, 1.
            took: seconds that the attempt took; counts where there is no `base_delay`.
        """
        if self.base_delay is not None:
            base, doublings = self.base_delay, attempt - 1
        elif attempt == 1:
            # Who won is committed by now: there is nothing to wait for.
            return 0.0
        else:
            base, doublings = max(took, _SHORTEST), attempt - 2
        bound = min(base * 2.0 ** min(doublings, _MOST_DOUBLINGS), self.max_delay)
        return bound * (1.0 - self.jitter * random())


def _check_number(name: str, value: object) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value) or value < 0:
        raise ConfigError(f"{name} must be a number of 0 or more, not {value!r}")


DEFAULT_POLICY = RetryPolicy()


class Phase(Enum):
    """How far a transaction has come.

    With an error before COMMITTING, or with REFUSED, nothing was applied. With one at COMMITTING, or after, it
    may have been.
    """

    NOT_BEGUN = "not begun"
    OPEN = "open"
    COMMITTING = "COMMIT is sent, and not answered"
    REFUSED = "COMMIT was answered: not applied"
    COMMITTED = "committed"


@dataclass(frozen=True)
class Failure:
    """What is known of an attempt that failed.

    Attributes:
        error: what it failed with.
        phase: how far it had come.
        lost: the error is that the connection went.
        can_go_on: there is a connection for another attempt: this one is whole, or a pool has others.
    """

    error: BaseException
    phase: Phase
    lost: bool
    can_go_on: bool


class Run:
    """The attempts of one transaction: decides after each failure. For sync and async alike.

    Args:
        policy: how often, and how long between.
        idempotent: running it twice is as good as once, so an unknown outcome may be run again.
        turns: of the transactions of its kind; None waits for nobody.
        clock: monotonic seconds.
        random: as for `RetryPolicy.delay`.

    Attributes:
        policy: as given.
        turn: taken before each attempt, and before its connection is.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        idempotent: bool = False,
        turns: Turns | None = None,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = _random.random,
    ) -> None:
        self.policy = policy
        self.turn = Turn(turns, policy.max_delay)
        self._idempotent = idempotent
        self._clock = clock
        self._random = random
        self._began = self._attempt_began = clock()
        self._attempt = 1
        self._schema_conflict_seen = False
        # Some attempt may have been applied: that the last one was not says nothing about the whole.
        self._outcome_unknown = False

    def time_left(self) -> float | None:
        """Return the seconds until the deadline, if there is one; never less than 0."""
        if self.policy.deadline is None:
            return None
        return max(0.0, self.policy.deadline - self._elapsed())

    def begins(self) -> None:
        """Take note that an attempt begins now: it has its connection."""
        self._attempt_began = self._clock()

    def failed(self, failure: Failure) -> RetryState | None:
        """Decide about a failure.

        Returns:
            What comes before the next attempt; None if the error is to be raised as it is.

        Raises:
            CommitOutcomeUnknown: it is the end, and the transaction may have been applied.
        """
        error = failure.error
        kind = self._kind(failure)
        if kind is not None:
            self._record(kind, error)
        if kind == "data":
            self.turn.collided()
        if not isinstance(error, Exception):
            # A cancellation or Ctrl-C: never run again, and never hidden behind an error of ours.
            self._mark_interrupted(error)
            return None
        if kind is None or not failure.can_go_on or (kind == "unknown" and not self._idempotent):
            self._give_up(error)
            return None
        delay = self._delay(kind)
        elapsed = self._elapsed()
        if self._attempt >= self.policy.max_attempts or self._is_late(elapsed + delay):
            self._attempts_end(error, kind)
            return None
        _telemetry.record(
            "transaction_retried",
            logging.DEBUG,
            "attempt %d of a transaction failed (%s): again in %.4f s",
            self._attempt,
            kind,
            delay,
        )
        state = RetryState(self._attempt, delay, error, kind, elapsed)
        self._attempt += 1
        return state

    def resume(self, state: RetryState) -> None:
        """Take note that the wait is over; raise the last error if the deadline is, too.

        Raises:
            CommitOutcomeUnknown: it is, and the transaction may have been applied.
        """
        if self._is_late(self._elapsed()):
            # The hook took long, or the wait did.
            self._attempt -= 1
            self._attempts_end(state.error, state.kind)
            raise state.error

    def stopped(self, error: BaseException) -> None:
        """Take note of what kept the next attempt from beginning; it is to be raised as it is.

        Raises:
            CommitOutcomeUnknown: an earlier attempt may have been applied.
        """
        if isinstance(error, Exception):
            self._attempt -= 1  # this one was none
            self._give_up(error)
        else:
            self._mark_interrupted(error)

    def _attempts_end(self, error: BaseException, kind: FailureKind) -> None:
        _telemetry.record(
            "retries_exhausted",
            logging.WARNING,
            "a transaction was given up after %d attempts in %.3f s: %s",
            self._attempt,
            self._elapsed(),
            _named(error),
        )
        if self._outcome_unknown or kind not in _ADVICE:
            self._give_up(error)
        elif not narrow(error, ConflictRetriesExhausted, self._exhausted(kind)):
            self._give_up(error)  # an error of Python's own, raised from a conflict: the note has to do

    def _exhausted(self, kind: FailureKind) -> dict[str, object]:
        """Return what a `ConflictRetriesExhausted` tells."""
        elapsed = self._elapsed()
        section = docs_link("conflict-retries-exhausted")
        attempts = f"{self._attempt} attempt{'s' * (self._attempt > 1)}"
        return {
            "attempts": self._attempt,
            "elapsed": elapsed,
            "kind": kind,
            "next_step": _ADVICE[kind],
            "docs": section,
            "_advice": f"Given up after {attempts} in {elapsed:.3f} s: nothing was applied.\n"
            f"Next step: {_ADVICE[kind]}.\nMore: {section}",
        }

    def _is_late(self, elapsed: float) -> bool:
        return self.policy.deadline is not None and elapsed >= self.policy.deadline

    def _elapsed(self) -> float:
        return self._clock() - self._began

    def _kind(self, failure: Failure) -> FailureKind | None:
        if failure.phase in {Phase.COMMITTING, Phase.COMMITTED}:
            self._outcome_unknown = True
            return "unknown"
        if not isinstance(failure.error, Exception):
            return None
        conflict = conflict_kind(failure.error)
        if conflict is not None:
            return conflict
        # For COMMIT these two leave the outcome unknown, so here it was before COMMIT.
        if failure.lost:
            return "lost"
        return "unavailable" if is_unavailable(failure.error) else None

    def _delay(self, kind: FailureKind) -> float:
        if kind == "schema" and not self._schema_conflict_seen:
            # The session has looked at the schema anew by now: one retry clears it (observed).
            self._schema_conflict_seen = True
            return 0.0
        return self.policy.delay(self._attempt, self._random, took=self._clock() - self._attempt_began)

    def _record(self, kind: FailureKind, error: BaseException) -> None:
        # Never the error's text: it may quote rows.
        if kind == "unknown":
            _telemetry.record(
                "commit_outcome_unknown",
                logging.WARNING,
                "attempt %d of a transaction: COMMIT was sent, and its outcome is unknown (%s)",
                self._attempt,
                _named(error),
            )
        else:
            _telemetry.record(
                _EVENTS[kind],
                logging.DEBUG,
                "attempt %d of a transaction failed: %s (%s)",
                self._attempt,
                kind,
                _named(error),
            )

    def _give_up(self, error: BaseException) -> None:
        if self._attempt > 1:
            noted(error, f"dsql_fast: raised after {self._attempt} attempts in {self._elapsed():.3f} s")
        if self._outcome_unknown:
            raise self._unknown(error) from error

    def _mark_interrupted(self, error: BaseException) -> None:
        if self._outcome_unknown and error.__cause__ is None:
            error.__cause__ = self._unknown(error)
            noted(error, f"dsql_fast: {error.__cause__}")

    def _unknown(self, error: BaseException) -> CommitOutcomeUnknown:
        return CommitOutcomeUnknown(
            "COMMIT was sent, and no answer told its outcome: the transaction is applied or not (the last of "
            f"{self._attempt} attempts ended with {_named(error)}). Look in the database before doing it again; "
            "if doing it twice is as good as once, pass idempotent=True. More: "
            + docs_link("commit-outcome-unknown"),
        )


_EVENTS: dict[FailureKind, _telemetry.Event] = {
    "data": "conflict_data",
    "schema": "conflict_schema",
    "lost": "transaction_lost",
    "unavailable": "transaction_unavailable",
}
# Never with a code in parentheses: `conflict_kind` may read it in the text.
_ADVICE: dict[FailureKind, str] = {
    "data": (
        "give rows that many write more attempts (RetryPolicy(max_attempts=...), or a later deadline), or spread "
        "the writes over more rows (a balance as the sum of its entries, say)"
    ),
    "schema": "run it again when the DDL or GRANT that goes on beside it is over, or with more attempts",
}


def _named(error: BaseException) -> str:
    state = sqlstate(error)
    return type(error).__name__ + (f", SQLSTATE {state}" if state else "")
