"""`dsql-fast bench fleet`: a fleet of processes at a cluster's rate, in virtual time.

- `_admission`: what DSQL lets in; `_policies`: when processes try, ours and others' ways.
- `_simulation`: discrete events; `_scenarios`: what happens to the fleet.
- `_against_local`: the same with real connects, to a local cluster with small limits, beside the simulation.
- `_plot`: connections and refusals over time; `_measure`: the figures, for `dsql-fast bench`.

`run` gives plain values; nothing here prints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._policies import POLICIES, Ours
from ._scenarios import SCENARIOS, TOGETHER, Outcome
from ._simulation import Fleet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ._policies import Policy

SIZES = (2_000, 3_500, 5_000, 7_000, 10_000)
SHARES = (1, 4, 20, 100)
SEEDS = 3

COLD = "cold start"
_STEADY = "steady state"
_SMALL = 500  # connections: within the burst
_MANY = 100  # of one process


@dataclass(frozen=True)
class Judged:
    """A goal, and how it was met in the worst of the runs.

    Attributes:
        what: is to be kept.
        value: the worst one.
        most: the goal.
        unit: of both.
    """

    what: str
    value: float
    most: float
    unit: str

    @property
    def met(self) -> bool:
        """Whether the goal was met."""
        return self.value <= self.most


@dataclass(frozen=True)
class Report:
    """What the bench found.

    Attributes:
        outcomes: of each run; ours with several seeds in the cold start, for the goals.
        goals: what we set ourselves.
    """

    outcomes: tuple[Outcome, ...]
    goals: tuple[Judged, ...]


def run(
    *,
    sizes: Sequence[int] = SIZES,
    shares: Sequence[int] = SHARES,
    scenarios: Sequence[str] = tuple(SCENARIOS),
    policies: Sequence[Policy] = POLICIES,
    seeds: int = SEEDS,
    on_progress: Callable[[str, float], object] = lambda *_: None,
) -> Report:
    """Simulate fleets.

    Args:
        sizes: connections of the fleets.
        shares: connections of each process.
        scenarios: names, of `SCENARIOS`.
        policies: who takes part.
        seeds: runs of our own cold starts; the others are run once.
        on_progress: told what is simulated, and which part (0 to 1) of all is done.
    """
    planned = list(_plan(sizes, shares, scenarios, policies, seeds))
    outcomes = []
    for number, (name, policy, fleet, seed) in enumerate(planned):
        on_progress(f"{name}: {fleet.connections:,} connections, {policy.name}", number / len(planned))
        outcomes.append(SCENARIOS[name](policy, fleet, seed))
    return Report(tuple(outcomes), tuple(_judge(outcomes)))


def _plan(
    sizes: Sequence[int], shares: Sequence[int], scenarios: Sequence[str], policies: Sequence[Policy], seeds: int
) -> Iterator[tuple[str, Policy, Fleet, int]]:
    for name in scenarios:
        for policy in policies:
            ours = isinstance(policy, Ours)
            if name == COLD and ours:
                yield name, policy, Fleet(_SMALL, _MANY), 0
            for size in sizes:
                # Where nobody learns, it makes no difference whose connections they are.
                for share in shares if ours else shares[-1:]:
                    for seed in range(seeds if name == COLD and ours else 1):
                        yield name, policy, Fleet(size, share), seed


def _judge(outcomes: Sequence[Outcome]) -> Iterator[Judged]:
    ours = {Ours().name: False, Ours(told=True).name: True}
    mine = [outcome for outcome in outcomes if outcome.policy in ours]
    cold = [outcome for outcome in mine if outcome.scenario == COLD and outcome.times_the_limit is not None]
    told = [outcome for outcome in cold if ours[outcome.policy]]
    many = [outcome for outcome in cold if not ours[outcome.policy] and outcome.per_process >= _MANY]
    few = [outcome for outcome in cold if not ours[outcome.policy] and outcome.per_process < _MANY]
    for group, which, times, tries in (
        (told, "told its size", 1.10, 1.05),
        (many, f"not told, {_MANY} connections a process", 1.20, 6.0),
        (few, "not told, fewer a process", 1.6, 6.0),
    ):
        if group:
            slowest = max(outcome.times_the_limit or 0.0 for outcome in group)
            yield Judged(f"back at once, {which}, time", slowest, times, "times the least")
            most = max(outcome.tries for outcome in group)
            yield Judged(f"back at once, {which}, tries", most, tries, "for each connection")
    steady = [outcome.admitted_peak for outcome in mine if outcome.scenario == _STEADY]
    if steady:
        yield Judged("steady state, new connections in the busiest second", max(steady), 60.0, "connects")
    small = [outcome for outcome in mine if outcome.scenario == COLD and outcome.connections == _SMALL]
    if small:
        seconds = max(outcome.seconds for outcome in small) - TOGETHER
        yield Judged(f"cold start of {_SMALL}, delay", max(0.0, seconds), 1.0, "s")
