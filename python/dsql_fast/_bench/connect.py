"""A connect to a local cluster, beside psycopg alone and others."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from dsql_fast.local import LocalCluster

from ._figures import Figure, Goal, interval_of_median
from ._rivals import FLOOR, OFFICIAL, OURS, rivals, timed
from ._timing import rotated

if TYPE_CHECKING:
    from ._run import Run

_ROUNDS = 300
_WARM_UP = 10
# So much slower that it would fill the run.
_OFFICIAL_EVERY = 15
_GOAL = 1.05


def measure(run: Run) -> None:
    """Run the bench."""
    run.found(*_measured())


def _measured() -> list[Figure]:
    # The gateway's rate limit would end the run; it is not what is measured.
    with LocalCluster(rate=None) as cluster, rivals(cluster) as ways:
        wall: dict[str, dict[int, float]] = {name: {} for name in ways}
        cpu: dict[str, dict[int, float]] = {name: {} for name in ways}
        for number in range(-_WARM_UP, _ROUNDS):
            for name in rotated(list(ways), number):
                if name == OFFICIAL and number % _OFFICIAL_EVERY:
                    continue
                took, worked = timed(ways[name])
                if number >= 0:
                    wall[name][number], cpu[name][number] = took * 1e3, worked * 1e3
    figures = [_compared(f"{OURS}, CPU", cpu[OURS], FLOOR, cpu[FLOOR], with_goal=True)]
    figures.append(_compared(f"{OURS}, wall", wall[OURS], FLOOR, wall[FLOOR]))
    for name in ways:
        if name not in (OURS, FLOOR):
            figures.append(_compared(f"{name}, CPU", cpu[name], FLOOR, cpu[FLOOR]))
            figures.append(_compared(f"{name}, wall", wall[name], FLOOR, wall[FLOOR]))
    return figures


def _compared(
    what: str, mine: dict[int, float], peer: str, theirs: dict[int, float], *, with_goal: bool = False
) -> Figure:
    by_round = _ratios(list(mine.values()), [theirs[number] for number in mine])
    ratio = median(by_round)
    return Figure(
        what,
        median(mine.values()),
        "ms",
        peer=peer,
        peer_value=median(theirs.values()),
        ratio=ratio,
        interval=interval_of_median(by_round),
        goal=Goal(f"at most {_GOAL} times", ratio <= _GOAL) if with_goal else None,
    )


def _ratios(mine: list[float], theirs: list[float]) -> list[float]:
    return [ours / peer for ours, peer in zip(mine, theirs, strict=True)]
