"""A fleet in virtual time: discrete events, nothing sleeps, and the same seed gives the same run."""

from __future__ import annotations

import heapq
import random
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ._admission import Cluster
    from ._policies import Caller, Policy

_TIMES_TOO_MANY = 500
"""Tries a connection: a policy that does not come to an end is not to hang the bench."""


@dataclass(frozen=True)
class Series:
    """What happened over time.

    Attributes:
        step: seconds between two values.
        open: connections open at the end of each step.
        admitted: connects admitted in each step, a second.
        refused: connects refused in each step, a second.
    """

    step: float
    open: tuple[int, ...]
    admitted: tuple[float, ...]
    refused: tuple[float, ...]


@dataclass(frozen=True)
class Fleet:
    """Who wants connections.

    Attributes:
        connections: of all processes together.
        per_process: connections of each process; they share what it learns.
    """

    connections: int
    per_process: int

    @property
    def processes(self) -> int:
        """How many there are."""
        return max(1, self.connections // self.per_process)


@contextmanager
def seeded(seed: int) -> Iterator[random.Random]:
    """Make what draws from the module `random` (`expiry`, psycopg_pool) the same in each run, and only here."""
    kept = random.getstate()
    random.seed(seed)
    try:
        yield random.Random(seed)  # noqa: S311 (a simulation)
    finally:
        random.setstate(kept)


class Recorder:
    """Counts by steps of virtual time.

    Args:
        step: seconds.
    """

    def __init__(self, step: float) -> None:
        self.step = step
        self._admitted: dict[int, int] = {}
        self._refused: dict[int, int] = {}
        self._closed: dict[int, int] = {}
        self._end = 0

    def _note(self, counts: dict[int, int], now: float, count: int = 1) -> None:
        step = int(now / self.step)
        counts[step] = counts.get(step, 0) + count
        self._end = max(self._end, step)

    def admitted(self, now: float) -> None:
        """Note an admission."""
        self._note(self._admitted, now)

    def refused(self, now: float) -> None:
        """Note a refusal."""
        self._note(self._refused, now)

    def closed(self, now: float, count: int = 1) -> None:
        """Note that connections went."""
        self._note(self._closed, now, count)

    def series(self, already_open: int = 0) -> Series:
        """Return what was noted."""
        steps = range(self._end + 1)
        opened, still_open = [], already_open
        for step in steps:
            still_open += self._admitted.get(step, 0) - self._closed.get(step, 0)
            opened.append(still_open)
        return Series(
            self.step,
            tuple(opened),
            tuple(self._admitted.get(step, 0) / self.step for step in steps),
            tuple(self._refused.get(step, 0) / self.step for step in steps),
        )


@dataclass
class Result:
    """What became of the connects of a run.

    Attributes:
        tries: of all.
        delays: seconds from when it was wanted to when it was there, of each connection.
        ended: virtual seconds: when the last one was there.
    """

    tries: int
    delays: list[float]
    ended: float


def connect_all(  # noqa: PLR0917 (what a run is made of)
    policy: Policy,
    fleet: Fleet,
    cluster: Cluster,
    recorder: Recorder,
    chance: random.Random,
    wanted: Iterable[tuple[float, int]],
    until: float | None = None,
) -> Result:
    """Have connections opened, until all are there.

    Args:
        policy: how they are opened.
        fleet: whose they are.
        cluster: what they go to.
        recorder: told of each try.
        chance: what is drawn from.
        wanted: when (virtual seconds) each is wanted, and by which process.
        until: virtual seconds after which nobody tries any more; default none.
    """
    begin = [
        policy.process(random.Random(chance.random()), fleet.connections, cluster.limits)  # noqa: S311 (as above)
        for _ in range(fleet.processes)
    ]
    # The number keeps callers from being compared.
    ahead: list[tuple[float, int, float, int, Caller | None]] = [
        (at, number, at, process, None) for number, (at, process) in enumerate(wanted)
    ]
    heapq.heapify(ahead)
    result = Result(0, [], 0.0)
    enough = _TIMES_TOO_MANY * len(ahead)
    while ahead:
        now, number, since, process, caller = heapq.heappop(ahead)
        if until is not None and now >= until:
            break
        if caller is None:
            caller = begin[process](now)
        wait = caller.look(now)
        if wait <= 0:
            result.tries += 1
            if cluster.admits(now):
                caller.admitted(now)
                recorder.admitted(now)
                result.delays.append(now - since)
                result.ended = now
                continue
            caller.refused(now)
            recorder.refused(now)
            if result.tries > enough:
                raise RuntimeError(f"{policy.name}: {result.tries} tries, and no end")
            wait = caller.look(now)
        heapq.heappush(ahead, (now + wait, number, since, process, caller))
    return result
