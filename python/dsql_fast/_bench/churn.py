"""Threads that open and close connections, and the share of their CPU that goes into authentication.

Each signer in turn has a process of its own, in which so many threads connect to the local cluster by psycopg,
with the same arguments, and close: no statement, no pool. The share is of that process's CPU; PostgreSQL and the
gateway work in others, on the same machine, which bounds the connects per second for all alike.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from ._cluster import cluster_for_programs, settled
from ._contest import Contestant, Program, contest
from ._figures import Figure, Goal, compared, interval_of_median
from ._keys import APART
from ._peers import had

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ._contest import Samples
    from ._run import Run

OURS, ANEW, KEPT, SESSION, OFFICIAL, AWSCRT = (
    "TokenSource, as connect uses it",
    "generate_token, each token signed",
    "a kept boto3 client",
    "a new boto3 session each time",
    "the official connector's own function",
    "awscrt",
)
SHARE, RATE, CPU = "share of CPU on authentication", "connects per second", "CPU of a connect"
THREADS = (1, 8, 32)

_GOAL = 0.5  # %
_ROUNDS, _GENERATIONS = 24, 4
# By turn. Two signers take so long that they would fill the run.
_CONNECTS, _QUICK = 96, 32
_SLOW_CONNECTS, _SLOW_QUICK, _SLOW_EVERY = 32, 4, 6


def measure(run: Run) -> None:
    """Run the bench."""
    with cluster_for_programs() as (cluster, environment):
        contestants = {
            (name, threads): _contestant(run, name, program, threads)
            for name, program in _programs(run, environment)
            for threads in THREADS
        }
        found = contest(
            list(contestants.values()),
            run.rounds(_ROUNDS, quick=1),
            generations=_GENERATIONS,
            before=lambda: settled(cluster),
            progress=lambda part: run.progress("connects", part),
        )
    run.samples.update(found)
    for threads in THREADS:
        by_name = {name: found[each.name] for (name, number), each in contestants.items() if number == threads}
        run.found(*_figures(_threads(threads), by_name))


def _programs(run: Run, environment: Mapping[str, str | None]) -> Iterator[tuple[str, Program]]:
    for name, signer in ((OURS, "ours"), (ANEW, "anew"), (KEPT, "kept"), (SESSION, "session")):
        yield name, Program.python("churn.py", environment, arguments=(signer,))
    for name, signer in ((OFFICIAL, "official"), (AWSCRT, "awscrt")):
        if (command := had(run, signer)) is not None:
            yield name, Program.python("churn.py", {**environment, **APART}, command[0], arguments=(signer,))


def _contestant(run: Run, name: str, program: Program, threads: int) -> Contestant:
    title, way = f"{name}, {_threads(threads)}", str(threads)
    if name in {SESSION, OFFICIAL}:
        connects = _SLOW_QUICK if run.quick else _SLOW_CONNECTS
        return Contestant(title, program, way, connects, _SLOW_EVERY, warm_up=1)
    return Contestant(title, program, way, _QUICK if run.quick else _CONNECTS, warm_up=threads)


def _figures(label: str, found: dict[str, Samples]) -> Iterator[Figure]:
    share = _shares(found[OURS], None)
    yield Figure(
        f"{label}: {SHARE}",
        (middle := median(share)),
        "%",
        interval=interval_of_median(share),
        goal=Goal(f"under {_GOAL:g} %", middle < _GOAL),
    )
    others = {name: samples for name, samples in found.items() if name != OURS}
    for name, samples in others.items():
        rounds = samples.rounds("wall")
        mine, theirs = (_shares(each, rounds) for each in (found[OURS], samples))
        yield compared(f"{label}: {SHARE}", mine, "%", name, theirs)
    for name, samples in others.items():
        rounds = samples.rounds("wall")
        mine, theirs = ([1 / each for each in one.of("wall", rounds)] for one in (found[OURS], samples))
        yield compared(f"{label}: {RATE}", mine, "/s", name, theirs)
    for name, samples in others.items():
        rounds = samples.rounds("wall")
        mine, theirs = ([each * 1e3 for each in one.of("cpu", rounds)] for one in (found[OURS], samples))
        yield compared(f"{label}: {CPU}", mine, "ms", name, theirs)


def _shares(samples: Samples, rounds: Sequence[int] | None) -> list[float]:
    """Return the percentages of the process's CPU."""
    spent, all_of_it = samples.of("authentication", rounds), samples.of("cpu", rounds)
    return [100 * one / of for one, of in zip(spent, all_of_it, strict=True)]


def _threads(number: int) -> str:
    return "1 thread" if number == 1 else f"{number} threads"
