"""What happens to a fleet, and how it gets its connections back."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..._lifetimes import HEALTH_CHECK_PERIOD, first_sweep
from ._admission import Cluster, Limits
from ._policies import Ours
from ._simulation import Recorder, Result, connect_all, seeded

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._policies import Caller, Policy
    from ._simulation import Fleet, Series

TOGETHER = 0.2
"""Seconds within which all want their connections: one broken network, one deployment."""

RETURN_AFTER = 300.0
"""Seconds after which the first region is tried again; as `return_to_first_secs` might be set."""

_POOL = 10
"""Connections of a pool at most; a process with more has several."""

_HOUR = 3_600.0
_SETTLED = 3 * _HOUR
_WAVE_ENDS = 2 * _HOUR
_STEADY_ENDS = 5 * _HOUR


@dataclass(frozen=True)
class Outcome:
    """How a fleet fared.

    Attributes:
        scenario: what happened.
        policy: whose way to connect.
        connections: of the fleet.
        per_process: of each process.
        seed: of the run.
        seconds: until all connections were there; of the wave and steady state, what was looked at.
        times_the_limit: the same, in times of what the cluster needs at least; None where that is nothing.
        tries: for each connection that was opened.
        delay_median: seconds that the median connection waited.
        delay_p99: seconds that 99 of 100 connections waited at most.
        admitted_peak: connections admitted in the busiest second; in wave and steady state all were open before.
        refused_peak: connects refused in the worst second.
        least_open: the fewest that were open after all had been.
        series: what happened over time.
    """

    scenario: str
    policy: str
    connections: int
    per_process: int
    seed: int
    seconds: float
    times_the_limit: float | None
    tries: float
    delay_median: float
    delay_p99: float
    admitted_peak: float
    refused_peak: float
    least_open: int
    series: Series


def _outcome(  # noqa: PLR0917 (one row of a table)
    name: str,
    policy: Policy,
    fleet: Fleet,
    seed: int,
    result: Result,
    series: Series,
    least: float,
    began: float = 0.0,
) -> Outcome:
    delays = sorted(result.delays)
    seconds = result.ended - began
    return Outcome(
        scenario=name,
        policy=policy.name,
        connections=fleet.connections,
        per_process=fleet.per_process,
        seed=seed,
        seconds=seconds,
        times_the_limit=seconds / least if least > 0 else None,
        tries=result.tries / len(delays) if delays else 0.0,
        delay_median=delays[len(delays) // 2] if delays else 0.0,
        delay_p99=delays[int(len(delays) * 0.99)] if delays else 0.0,
        admitted_peak=max(series.admitted),
        refused_peak=max(series.refused),
        least_open=min(series.open),
        series=series,
    )


def _wanted(fleet: Fleet, chance: random.Random, at: float = 0.0) -> list[tuple[float, int]]:
    return [(at + TOGETHER * chance.random(), number % fleet.processes) for number in range(fleet.connections)]


def cold_start(policy: Policy, fleet: Fleet, seed: int = 0, limits: Limits | None = None) -> Outcome:
    """All processes start at the same moment; the cluster was quiet."""
    return _at_once("cold start", policy, fleet, seed, limits or Limits(), spent=0)


def all_cut(policy: Policy, fleet: Fleet, seed: int = 0, limits: Limits | None = None) -> Outcome:
    """All sessions end at the same moment, just after the fleet used the burst up.

    The bucket is empty: what the cluster needs at least is connections / rate seconds.
    """
    limits = limits or Limits()
    return _at_once("all sessions cut", policy, fleet, seed, limits, spent=limits.burst)


def _at_once(name: str, policy: Policy, fleet: Fleet, seed: int, limits: Limits, *, spent: int) -> Outcome:
    with seeded(seed) as chance:
        cluster, recorder = Cluster(limits, spent=spent), Recorder(1.0)
        result = connect_all(policy, fleet, cluster, recorder, chance, _wanted(fleet, chance))
    least = max(0.0, (fleet.connections - limits.burst + spent) / limits.rate)
    return _outcome(name, policy, fleet, seed, result, recorder.series(), least)


def failover(policy: Policy, fleet: Fleet, seed: int = 0, limits: Limits | None = None) -> Outcome:
    """A region fails; all go to the second cluster, and at `RETURN_AFTER` all at once back to the first.

    Both have their burst. That all come back at the same moment is the worst case: connections that live come
    back one by one, as they retire.
    """
    limits = limits or Limits()
    with seeded(seed) as chance:
        recorder = Recorder(1.0)
        there = connect_all(
            policy, fleet, Cluster(limits), recorder, chance, _wanted(fleet, chance), until=RETURN_AFTER
        )
        recorder.closed(RETURN_AFTER, len(there.delays))
        back = connect_all(policy, fleet, Cluster(limits), recorder, chance, _wanted(fleet, chance, RETURN_AFTER))
    back.tries += there.tries
    back.delays += there.delays
    # The slower of the two ways.
    back.ended = max(back.ended, RETURN_AFTER + there.ended)
    least = limits.least_seconds(fleet.connections)
    return _outcome("region fails over", policy, fleet, seed, back, recorder.series(), least, RETURN_AFTER)


def wave(policy: Policy, fleet: Fleet, seed: int = 0, limits: Limits | None = None) -> Outcome:
    """A fleet that was opened together, and whose connections reach their age together: two hours."""
    return _ageing("55-minute wave", policy, fleet, seed, limits or Limits(), 0.0, _WAVE_ENDS)


def steady(policy: Policy, fleet: Fleet, seed: int = 0, limits: Limits | None = None) -> Outcome:
    """The fourth and fifth hour of the same fleet."""
    return _ageing("steady state", policy, fleet, seed, limits or Limits(), _SETTLED, _STEADY_ENDS)


def _ageing(  # noqa: PLR0917 (one row of a table)
    name: str, policy: Policy, fleet: Fleet, seed: int, limits: Limits, begins: float, ends: float
) -> Outcome:
    """Let connections reach their age, and be replaced.

    At the beginning all are open; that they were opened is not counted.
    """
    with seeded(seed) as chance:
        ageing = _Ageing(policy, fleet, Cluster(limits), chance, begins)
        ageing.run(ends)
    series = ageing.recorder.series(ageing.already_open)
    result = Result(ageing.tries, ageing.delays, ends - begins)
    return _outcome(name, policy, fleet, seed, result, series, 0.0)


@dataclass
class _Successor:
    since: float
    caller: Caller
    replaces: bool  # the old connection is still there


class _Ageing:
    """Connections that are replaced at their age, time and again.

    Attributes:
        recorder: of what happened since `begins`.
        already_open: connections that were open then.
        tries: since then.
        delays: of the connections opened since then.
    """

    def __init__(
        self, policy: Policy, fleet: Fleet, cluster: Cluster, chance: random.Random, begins: float
    ) -> None:
        self._policy = policy
        self._cluster = cluster
        self._begins = begins
        self.recorder = Recorder(1.0)
        self.tries = 0
        self.delays: list[float] = []
        self.already_open = cluster.open = fleet.connections
        self._begin = [
            policy.process(random.Random(chance.random()), fleet.connections, cluster.limits)  # noqa: S311 (a simulation)
            for _ in range(fleet.processes)
        ]
        pools = max(1, fleet.connections // min(_POOL, fleet.per_process))
        self._first_sweeps = [_first_sweep(policy) for _ in range(pools)]
        self._ahead: list[tuple[float, int, _Successor | None]] = [
            (self._retires(number, TOGETHER * chance.random()), number, None)
            for number in range(fleet.connections)
        ]
        heapq.heapify(self._ahead)

    def run(self, ends: float) -> None:
        """Go on until a time (virtual seconds)."""
        while self._ahead[0][0] < ends:
            now, number, successor = heapq.heappop(self._ahead)
            if successor is None:
                successor = self._start(now, number)
            at = self._step(now, successor)
            if at is None:
                heapq.heappush(self._ahead, (self._retires(number, now), number, None))
            else:
                heapq.heappush(self._ahead, (at, number, successor))

    def _retires(self, number: int, opened_at: float) -> float:
        return self._policy.retires_at(opened_at, self._first_sweeps[number % len(self._first_sweeps)])

    def _start(self, now: float, number: int) -> _Successor:
        caller = self._begin[number % len(self._begin)](now, spread=False)
        # Where the cluster has no place for both, the old one goes first.
        replaces = self._policy.opens_first and self._cluster.open < self._cluster.limits.most
        if not replaces:
            self._close(now)
        return _Successor(now, caller, replaces)

    def _step(self, now: float, successor: _Successor) -> float | None:
        """Try if it is time; return when to look again, or None when it is connected."""
        wait = successor.caller.look(now)
        if wait > 0:
            return now + wait
        admitted = self._cluster.admits(now)
        if now >= self._begins:
            self.tries += 1
            note = self.recorder.admitted if admitted else self.recorder.refused
            note(now - self._begins)
        if not admitted:
            successor.caller.refused(now)
            return now + successor.caller.look(now)
        successor.caller.admitted(now)
        if now >= self._begins:
            self.delays.append(now - successor.since)
        else:
            self.already_open += 1
        if successor.replaces:
            self._close(now)
        return None

    def _close(self, now: float) -> None:
        self._cluster.open -= 1
        if now >= self._begins:
            self.recorder.closed(now - self._begins)
        else:
            self.already_open -= 1


def _first_sweep(policy: Policy) -> float:
    if isinstance(policy, Ours) and not policy.spread_sweeps:
        return HEALTH_CHECK_PERIOD
    return first_sweep(HEALTH_CHECK_PERIOD)


SCENARIOS: dict[str, Callable[[Policy, Fleet, int], Outcome]] = {
    "cold start": cold_start,
    "all sessions cut": all_cut,
    "region fails over": failover,
    "55-minute wave": wave,
    "steady state": steady,
}
