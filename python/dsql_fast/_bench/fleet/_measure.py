"""The bench's figures: the goals, every scenario beside others, and the simulation beside real connects."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from dsql_fast.local import LocalCluster

from .._figures import Figure, Goal
from . import COLD, SHARES, SIZES, run
from ._admission import Limits
from ._against_local import compare
from ._plot import plots
from ._policies import POLICIES, Ours
from ._scenarios import SCENARIOS
from ._simulation import Fleet

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .._run import Run
    from ._scenarios import Outcome

_OURS = {Ours().name, Ours(told=True).name}
# Where all connections are open before, and the question is how many new ones are wanted at a time.
_OPEN_BEFORE = {"55-minute wave", "steady state"}

# As few as show it, against a cluster that is scaled down likewise.
_SMALL = Limits(burst=20, rate=20.0)
_PROCESSES, _EACH = 4, 50


def measure(run_: Run) -> None:
    """Run the bench."""
    report = run(
        sizes=SIZES[:1] if run_.quick else SIZES,
        shares=SHARES[-2:] if run_.quick else SHARES,
        scenarios=("cold start", "steady state") if run_.quick else tuple(SCENARIOS),
        policies=POLICIES[:2] if run_.quick else POLICIES,
        seeds=1 if run_.quick else 3,
        on_progress=run_.progress,
    )
    for goal in report.goals:
        run_.found(
            Figure(goal.what, goal.value, goal.unit, goal=Goal(f"at most {goal.most:g} {goal.unit}", goal.met))
        )
    run_.found(*_cold_starts(report.outcomes))
    run_.found(*_beside(report.outcomes))
    for scenario in SCENARIOS:
        shown = [one for one in _shown(report.outcomes) if one.scenario == scenario]
        if shown:
            largest = max(one.connections for one in shown)
            drawn = [one for one in shown if one.connections == largest]
            run_.plots[scenario.replace(" ", "-")] = partial(plots, drawn)
    run_.progress("real connects")
    run_.found(*_real(Fleet(_PROCESSES * 10, 10) if run_.quick else Fleet(_PROCESSES * _EACH, _EACH)))


def _cold_starts(outcomes: Sequence[Outcome]) -> Iterator[Figure]:
    """Give ours by size and process, the worst run of each."""
    runs: dict[tuple[str, int, int], list[Outcome]] = {}
    for one in outcomes:
        if one.scenario == COLD and one.times_the_limit is not None and one.policy in _OURS:
            runs.setdefault((one.policy, one.connections, one.per_process), []).append(one)
    for (policy, connections, each), found in runs.items():
        what = f"{COLD}, {policy}, {connections:,} connections, {each} a process"
        yield Figure(f"{what}: time", max(one.times_the_limit or 0.0 for one in found), "times the least")
        yield Figure(f"{what}: tries", max(one.tries for one in found), "for each connection")


def _beside(outcomes: Sequence[Outcome]) -> Iterator[Figure]:
    """Compare ours, whose size nobody told, with the others, by scenario and size."""
    shown = _shown(outcomes)
    ours = {(one.scenario, one.connections): one for one in shown if one.policy == Ours().name}
    for one in shown:
        mine = ours.get((one.scenario, one.connections))
        if mine is None or one is mine:
            continue
        what = f"{one.scenario}, {one.connections:,} connections"
        if one.scenario in _OPEN_BEFORE:
            mine_, theirs = mine.admitted_peak, one.admitted_peak
            yield _figure(f"{what}: new ones in the busiest second", mine_, "connects", one.policy, theirs)
        else:
            yield _figure(f"{what}: until all are in", mine.seconds, "s", one.policy, one.seconds)
            yield _figure(f"{what}: tries for each", mine.tries, "tries", one.policy, one.tries)


def _shown(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Choose what stands beside others: processes of a hundred, one run each (others learn nothing anyway)."""
    return [one for one in outcomes if one.seed == 0 and one.per_process == SHARES[-1]]


def _real(fleet: Fleet) -> Iterator[Figure]:
    with LocalCluster(rate=_SMALL.rate, burst=_SMALL.burst, handshake_seconds=None) as cluster:
        found = compare(cluster, _SMALL, fleet)
    what = f"really connected, {found.connections} of {found.processes} processes at {_SMALL.rate:g} a second"
    peer = "the simulation, the longest of five"
    yield _figure(f"{what}: until all are in", found.seconds, "s", peer, found.simulated_seconds[1])
    yield _figure(f"{what}: tries for each", found.tries, "tries", peer, found.simulated_tries[1])


def _figure(what: str, value: float, unit: str, peer: str, peer_value: float) -> Figure:
    return Figure(what, value, unit, peer, peer_value, value / peer_value if peer_value else None)
