"""A connect to a local cluster, beside psycopg alone and others: what one costs, and how many a second."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from ._cluster import cluster_for_programs, settled
from ._contest import Contestant, Program, contest
from ._figures import Figure, Goal, compared, interval_of_median
from ._peers import had
from ._rivals import FLOOR, KEPT_CLIENT, OFFICIAL, OURS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dsql_fast.local import LocalCluster

    from ._contest import Samples
    from ._run import Run

_SYSTEM = "psycopg, fixed password, sslrootcert=system"
_OWN = f"{OURS}: own Python time"
_PASSING = "a wrapper that does nothing"
_OWN_IN_A_LOOP = "dsql_fast.connect: the same in a loop, nothing in between"

_ROUNDS, _GENERATIONS, _CALLS = 150, 5, 4
_RATE_ROUNDS, _RATE_GENERATIONS = 15, 3
# The official connector is so much slower that it would fill the run.
_OFFICIAL_EVERY, _OFFICIAL_CALLS = 10, 1
_RATE_OFFICIAL_EVERY = 5
# By number of threads: connects in a turn, and of the official connector; what our rate should be, beside the kept
# client's and the official connector's.
_THREADS = {1: (60, 4), 8: (160, 16)}
_RATE_GOALS = {1: (1.05, 10), 8: (1.1, 15)}

_FLOOR_GOAL, _SYSTEM_GOAL, _OWN_GOAL = 1.03, 0.25, 30

_Environment = dict[str, str | None]


def measure(run: Run) -> None:
    """Run the bench."""
    with cluster_for_programs() as (cluster, environment):
        official = had(run, "official", OFFICIAL)
        programs = {
            OURS: Program.python("connects.py", environment),
            KEPT_CLIENT: Program.python("connects_kept.py", environment),
        }
        if official is not None:
            programs[OFFICIAL] = Program.python("connects_official.py", environment, official[0])
        _costs(run, cluster, programs)
        _own(run, cluster, programs[OURS])
        for number in _THREADS:
            _rates(run, cluster, programs, number)


def _costs(run: Run, cluster: LocalCluster, programs: Mapping[str, Program]) -> None:
    ours = programs[OURS]
    contestants = [
        Contestant(OURS, ours, "ours", _CALLS),
        Contestant(FLOOR, ours, "floor", _CALLS),
        Contestant(_SYSTEM, ours, "system", _CALLS, every=3),
        Contestant(KEPT_CLIENT, programs[KEPT_CLIENT], "kept", _CALLS),
    ]
    if OFFICIAL in programs:
        contestants.append(
            Contestant(OFFICIAL, programs[OFFICIAL], "official", _OFFICIAL_CALLS, every=_OFFICIAL_EVERY)
        )
    found = contest(
        contestants,
        run.rounds(_ROUNDS),
        generations=1 if run.quick else _GENERATIONS,
        before=lambda: settled(cluster),
        progress=lambda part: run.progress("connects", part),
    )
    run.samples.update(found)
    for kind, name in (("CPU", "cpu"), ("wall", "wall")):
        run.found(_beside(found, f"{OURS}, {kind}", name, OURS, FLOOR, at_most=_FLOOR_GOAL, upper=True))
    run.found(_beside(found, f"{OURS}, CPU", "cpu", OURS, _SYSTEM, at_most=_SYSTEM_GOAL))
    for rival in (KEPT_CLIENT, OFFICIAL):
        if rival in found:
            for kind, name in (("CPU", "cpu"), ("wall", "wall")):
                run.found(_beside(found, f"{rival}, {kind}", name, rival, FLOOR))


def _beside(
    found: Mapping[str, Samples],
    what: str,
    name: str,
    mine: str,
    theirs: str,
    *,
    at_most: float | None = None,
    upper: bool = False,
) -> Figure:
    """Compare two in the rounds in which both took their turn."""
    others = set(found[theirs].rounds(name))
    rounds = [number for number in found[mine].rounds(name) if number in others]
    return compared(
        what,
        [each * 1e3 for each in found[mine].of(name, rounds)],
        "ms",
        theirs,
        [each * 1e3 for each in found[theirs].of(name, rounds)],
        at_most=at_most,
        goal_on_upper_end=upper,
    )


def _own(run: Run, cluster: LocalCluster, program: Program) -> None:
    """What of a connect is ours, in real ones: the caches of the processor have seen other things in between."""
    found = contest(
        [
            Contestant(_OWN, program, "own", 25),
            Contestant(_PASSING, program, "own-passing", 25),
            Contestant(_OWN_IN_A_LOOP, program, "own-in-a-loop", 2_000),
        ],
        run.rounds(40),
        generations=1 if run.quick else _GENERATIONS,
        before=lambda: settled(cluster),
        progress=lambda part: run.progress("own time", part),
    )
    run.samples.update(found)
    micros = sorted(each * 1e6 for each in found[_OWN].of("own"))
    middle = micros[len(micros) // 2]
    goal = Goal(f"at most {_OWN_GOAL} us", middle <= _OWN_GOAL)
    run.found(Figure(_OWN, middle, "us", interval=interval_of_median(micros), goal=goal))
    passing = [each * 1e6 for each in found[_PASSING].of("own")]
    run.found(Figure(f"{_PASSING}: the same", median(passing), "us", interval=interval_of_median(passing)))
    warm = [each * 1e6 for each in found[_OWN_IN_A_LOOP].of("wall")]
    run.found(Figure(_OWN_IN_A_LOOP, median(warm), "us", interval=interval_of_median(warm)))


def _rates(run: Run, cluster: LocalCluster, programs: Mapping[str, Program], number: int) -> None:
    calls, official_calls = _THREADS[number]
    calls = 2 * number if run.quick else calls
    contestants = [
        Contestant(OURS, programs[OURS], f"ours-{number}", calls),
        Contestant(KEPT_CLIENT, programs[KEPT_CLIENT], f"kept-{number}", calls),
    ]
    if OFFICIAL in programs:
        official = programs[OFFICIAL]
        contestants.append(
            Contestant(OFFICIAL, official, f"official-{number}", official_calls, every=_RATE_OFFICIAL_EVERY)
        )
    threads = "1 thread" if number == 1 else f"{number} threads"
    found = contest(
        contestants,
        run.rounds(_RATE_ROUNDS),
        generations=1 if run.quick else _RATE_GENERATIONS,
        before=lambda: settled(cluster),
        progress=lambda part: run.progress(f"connects, {threads}", part),
    )
    run.samples.update({f"{name}, {threads}": samples for name, samples in found.items()})
    for rival, goal in zip((KEPT_CLIENT, OFFICIAL), _RATE_GOALS[number], strict=True):
        if rival not in found:
            continue
        rounds = found[rival].rounds("wall")
        mine, theirs = ([1 / each for each in found[name].of("wall", rounds)] for name in (OURS, rival))
        run.found(
            compared(f"{OURS}, connects per second, {threads}", mine, "connects/s", rival, theirs, at_least=goal)
        )
