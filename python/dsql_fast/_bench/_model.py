"""Workers at few rows, in virtual time: what policies do where no machine is the limit.

The database is modelled as DSQL is described: a transaction's snapshot is taken at its first statement, the first
COMMIT of a row wins, and COMMIT is answered after its latency, to winner and loser alike. A worker begins its next
transaction as soon as the last one ended. `_retry.Run` and `_turns.Turns` are those of the package; so are the
official connector's settings, by `compat`.
"""

from __future__ import annotations

import heapq
import logging
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any

from psycopg.errors import SerializationFailure

from .._retry import Failure, Phase, RetryPolicy, RetryState, Run
from .._turns import Patience, Turns
from ..compat._retry import OCCRetryConfig, policy_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    # What a worker does next: it is given a function that goes on with it, to be called once.
    Course = Generator[Callable[[Callable[[], None]], None], None, None]

OURS = RetryPolicy()
OFFICIAL = policy_of(OCCRetryConfig())
FULL_JITTER = RetryPolicy(max_attempts=10, base_delay=0.01, max_delay=1.0)

_SILENT = logging.NullHandler()

_ROUND_TRIP = 0.0006  # seconds
# Seconds of a processor, where there is a bound of them: for BEGIN, a statement, a COMMIT, one that is refused.
_BEGIN, _STATEMENT, _COMMIT, _REFUSED = 0.0002, 0.0004, 0.0004, 0.0008
# And for a statement whose row another open transaction has written: so it is in the local cluster.
_BESIDE_ANOTHER = 0.0015


@dataclass(frozen=True)
class Setting:
    """What is simulated.

    Attributes:
        processes: that know nothing of each other.
        workers: of each.
        rows: of which each transaction writes one, by chance.
        latency: of COMMIT, seconds.
        processors: of the database; None for any number.
        seconds: how long.
    """

    processes: int
    workers: int
    rows: int = 1
    latency: float = 0.03
    processors: int | None = None
    seconds: float = 10.0


@dataclass
class Outcome:
    """What came of it.

    Attributes:
        seconds: how long it went on.
        committed: transactions.
        attempts: that ended.
        given_up: transactions whose attempts were used up.
        took: seconds, of each that was committed.
    """

    seconds: float
    committed: int = 0
    attempts: int = 0
    given_up: int = 0
    took: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Committed transactions a second."""
        return self.committed / self.seconds

    @property
    def attempts_for_each(self) -> float:
        """Attempts for each that was committed."""
        return self.attempts / max(self.committed, 1)

    @property
    def share_given_up(self) -> float:
        """Of all transactions, 0 to 1."""
        return self.given_up / max(self.given_up + self.committed, 1)

    @property
    def p99(self) -> float:
        """Seconds that a committed one took, but for one in a hundred."""
        return sorted(self.took)[len(self.took) * 99 // 100] if self.took else 0.0


def simulate(setting: Setting, policy: RetryPolicy, *, turns: bool = False, seed: int = 1) -> Outcome:
    """Let workers work, and tell what came of it; the same in each run.

    Args:
        setting: who works where.
        policy: of all.
        turns: those of one process take turns.
        seed: for all that is left to chance.
    """
    logging.getLogger("dsql_fast").addHandler(_SILENT)  # each that is given up would be told
    model = _Model(setting, policy, Random(seed))  # noqa: S311
    for _ in range(setting.processes):
        shared = Turns() if turns else None
        for _ in range(setting.workers):
            model.go_on(model.worker(shared))
    model.run()
    return model.outcome


class _Model:
    def __init__(self, setting: Setting, policy: RetryPolicy, chance: Random) -> None:
        self.outcome = Outcome(setting.seconds)
        self._setting = setting
        self._policy = policy
        self._chance = chance
        self._now = 0.0
        self._order = count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._free = setting.processors
        self._queue: deque[tuple[float, Callable[[], None]]] = deque()
        self._written: dict[int, float] = {}  # when a row was last committed
        self._open: dict[int, int] = dict.fromkeys(range(setting.rows), 0)

    def run(self) -> None:
        while self._events and self._events[0][0] <= self._setting.seconds:
            self._now, _, event = heapq.heappop(self._events)
            event()

    def go_on(self, course: Course) -> None:
        """Take a worker to where it waits next."""
        waits = next(course)
        waits(lambda: self.go_on(course))

    def worker(self, turns: Turns | None) -> Course:
        yield self._after(self._chance.random() * _ROUND_TRIP)  # nobody is in step at first
        while True:
            row, began = self._chance.randrange(self._setting.rows), self._now
            run = Run(self._policy, turns=turns, clock=lambda: self._now, random=self._chance.random)
            if (yield from self._transaction(run, turns, row)):
                self.outcome.committed += 1
                self.outcome.took.append(self._now - began)
            else:
                self.outcome.given_up += 1

    def _transaction(self, run: Run, turns: Turns | None, row: int) -> Generator[Any, None, bool]:
        again: RetryState | None = None
        while True:
            waiter: _Waiter | None = None
            if turns is not None:
                waiter = _Waiter()
                yield self._turn(turns, waiter, again=again is not None)
            run.begins()
            won = yield from self._attempt(row)
            self.outcome.attempts += 1
            if turns is not None and waiter is not None and waiter.has_room:
                turns.leaves(collided=not won)
            if won:
                return True
            again = run.failed(Failure(SerializationFailure("(OC000)"), Phase.REFUSED, lost=False, can_go_on=True))
            if again is None:
                return False
            yield self._after(again.delay)
            run.resume(again)

    def _attempt(self, row: int) -> Generator[Any, None, bool]:
        yield self._after(_ROUND_TRIP)
        yield self._work(_BEGIN)
        yield self._after(_ROUND_TRIP)
        snapshot = self._now
        yield self._work(_STATEMENT + (_BESIDE_ANOTHER if self._open[row] else 0.0))
        self._open[row] += 1
        yield self._after(_ROUND_TRIP + self._setting.latency)
        yield self._work(_REFUSED if self._is_lost(row, snapshot) else _COMMIT)
        self._open[row] -= 1
        if self._is_lost(row, snapshot):
            return False
        self._written[row] = self._now
        return True

    def _is_lost(self, row: int, snapshot: float) -> bool:
        return self._written.get(row, -1.0) >= snapshot

    # What a worker may wait for.

    def _at(self, when: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), event))

    def _after(self, seconds: float) -> Callable[[Callable[[], None]], None]:
        return lambda go_on: self._at(self._now + seconds, go_on)

    def _work(self, seconds: float) -> Callable[[Callable[[], None]], None]:
        """Wait for a processor, and until the work is done."""
        if self._free is None:
            return self._after(seconds)

        def begin(go_on: Callable[[], None]) -> None:
            assert self._free is not None
            if self._free:
                self._free -= 1
                self._at(self._now + seconds, lambda: self._done(go_on))
            else:
                self._queue.append((seconds, go_on))

        return begin

    def _done(self, go_on: Callable[[], None]) -> None:
        assert self._free is not None
        if self._queue:
            seconds, waiting = self._queue.popleft()
            self._at(self._now + seconds, lambda: self._done(waiting))
        else:
            self._free += 1
        go_on()

    def _turn(self, turns: Turns, waiter: _Waiter, *, again: bool) -> Callable[[Callable[[], None]], None]:
        def begin(go_on: Callable[[], None]) -> None:
            waiter.go_on = lambda: self._at(self._now, go_on)
            if turns.enters(waiter, again=again):
                waiter.waits = False
                go_on()
            else:
                self._wait_on(turns, waiter, Patience(turns, self._policy.max_delay, None, lambda: self._now))

        return begin

    def _wait_on(self, turns: Turns, waiter: _Waiter, patience: Patience) -> None:
        seconds = patience.seconds()
        if not waiter.waits:
            return
        if seconds is None:
            waiter.tires(turns)
        else:
            self._at(self._now + seconds, lambda: self._wait_on(turns, waiter, patience))


@dataclass
class _Waiter:
    go_on: Callable[[], None] = lambda: None
    waits: bool = True
    has_room: bool = True

    def wake(self) -> None:
        self.waits = False
        self.go_on()

    def tires(self, turns: Turns) -> None:
        self.has_room = turns.goes_on(self)
        self.wake()
