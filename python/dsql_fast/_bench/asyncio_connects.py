"""Many asyncio connects at once, beside psycopg's own: how soon all are there, and how long the loop stood still.

Client, gateway and PostgreSQL share the machine's processors, so a stall counts what they took from the loop, too;
"work" is the CPU that the loop's thread used between two ticks, which nobody else adds to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._cluster import cluster_for_programs, settled
from ._contest import Contestant, Program, contest
from ._figures import compared
from ._peers import had
from ._rivals import KEPT_CLIENT, OFFICIAL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dsql_fast.local import LocalCluster

    from ._contest import Samples
    from ._figures import Figure
    from ._run import Run

# Connects at once, and rounds.
_TIMES = {100: 20, 1_000: 12}
_QUICK = (10, 30)
_GENERATIONS = 2
_WARM_UP = 10
_LATENCIES = (0.0, 0.1)  # seconds
_RATE, _STALL = 0.97, 0.15
_OURS, _PSYCOPG = "dsql_fast.connect_async", "psycopg, fixed password"
_OFFICIAL_EVERY = 5


def measure(run: Run) -> None:
    """Run the bench."""
    with cluster_for_programs() as (cluster, environment):
        interpreter = had(run, "official", OFFICIAL)
        numbers = _QUICK if run.quick else tuple(_TIMES)
        program = Program.python("asyncio_connects.py", environment)
        official = (
            None if interpreter is None else Program.python("asyncio_official.py", environment, interpreter[0])
        )
        for latency in _LATENCIES:
            cluster.faults.latency(connect=latency)
            for number in numbers:
                # It takes 8 s for 100.
                is_official_in = official is not None and number <= min(numbers)
                _compare(
                    run, cluster, program, official if is_official_in else None, number=number, latency=latency
                )


def _compare(
    run: Run,
    cluster: LocalCluster,
    program: Program,
    official: Program | None,
    *,
    number: int,
    latency: float,
) -> None:
    what = f"{number:,} connects at once, {latency * 1e3:.0f} ms"
    contestants = [
        Contestant(_OURS, program, "ours", number, warm_up=_WARM_UP),
        Contestant(_PSYCOPG, program, "psycopg", number, warm_up=_WARM_UP),
        Contestant(KEPT_CLIENT, program, "kept", number, warm_up=_WARM_UP),
    ]
    if official is not None:
        every = 1 if run.quick else _OFFICIAL_EVERY
        contestants.append(Contestant(OFFICIAL, official, "official", number, every=every, warm_up=_WARM_UP // 5))
    found = contest(
        contestants,
        run.rounds(_TIMES.get(number, 0)),
        generations=1 if run.quick else _GENERATIONS,
        before=lambda: settled(cluster),
        progress=lambda part: run.progress(what, part),
    )
    run.samples.update({f"{name}, {what}": samples for name, samples in found.items()})
    run.found(
        _rate(found, what, _OURS, _PSYCOPG, at_least=_RATE),
        _longest(found, f"{what}: longest stall of the loop", "stall", _OURS, _PSYCOPG, at_most=_STALL),
        _longest(found, f"{what}: most work between two ticks", "work", _OURS, _PSYCOPG),
        _longest(found, f"{what}: CPU", "cpu", _OURS, _PSYCOPG),
    )
    for rival in (KEPT_CLIENT, OFFICIAL):
        if rival in found:
            run.found(
                _rate(found, what, _OURS, rival),
                _longest(found, f"{what}: longest stall of the loop", "stall", _OURS, rival),
            )


def _rate(
    found: Mapping[str, Samples], what: str, mine: str, theirs: str, *, at_least: float | None = None
) -> Figure:
    ours, peers = _both(found, "wall", mine, theirs, lambda seconds: 1 / seconds)
    return compared(f"{what}: rate", ours, "connects/s", theirs, peers, at_least=at_least)


def _longest(
    found: Mapping[str, Samples], what: str, name: str, mine: str, theirs: str, *, at_most: float | None = None
) -> Figure:
    ours, peers = _both(found, name, mine, theirs, lambda seconds: seconds * 1e3)
    return compared(what, ours, "ms", theirs, peers, at_most=at_most)


def _both(
    found: Mapping[str, Samples], name: str, mine: str, theirs: str, convert: Callable[[float], float]
) -> tuple[list[float], list[float]]:
    others = set(found[theirs].rounds(name))
    rounds = [number for number in found[mine].rounds(name) if number in others]
    ours, peers = ([convert(each) for each in found[who].of(name, rounds)] for who in (mine, theirs))
    return ours, peers
