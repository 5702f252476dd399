"""Timing in turns, and what is made of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from random import Random
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_RESAMPLES = 2_000


@dataclass(frozen=True)
class Goal:
    """What a figure should be.

    Attributes:
        text: as in "at most 1.5 times".
        met: whether it is.
    """

    text: str
    met: bool


@dataclass(frozen=True)
class Figure:
    """One thing measured.

    Attributes:
        what: what was measured.
        value: the median, in `unit`.
        unit: as in "ms".
        peer: what it is compared with, or an empty string.
        peer_value: the peer's median, in `unit`.
        ratio: of the two, as `ratio_of` says.
        ratio_of: "to the peer": value / peer; "of the peer": peer / value; "over the peer": value - peer.
        interval: 95 % of `ratio`, or without a peer of `value`; None where it was not estimated.
        goal: what `ratio`, or without a peer `value`, should be.
    """

    what: str
    value: float
    unit: str
    peer: str = ""
    peer_value: float | None = None
    ratio: float | None = None
    ratio_of: str = "to the peer"
    interval: tuple[float, float] | None = None
    goal: Goal | None = None


def per_call(
    functions: Mapping[str, tuple[Callable[[], object] | None, int]], rounds: int
) -> dict[str, list[float]]:
    """Time calls in turns.

    Args:
        functions: by name, what to call and how often in each round; None calls nothing and times the loop.
        rounds: how often each gets its turn.

    Returns:
        By name, the seconds that one call took, by round.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(-1, rounds):
        for name in rotated(list(functions), number):
            function, calls = functions[name]
            took = _loop(calls) if function is None else _repeat(function, calls)
            if number >= 0:  # the round before the first warms up
                times[name].append(took / calls)
    return times


def _repeat(function: Callable[[], object], calls: int) -> float:
    repeated = [None] * calls
    began = time.perf_counter()
    for _ in repeated:
        function()
    return time.perf_counter() - began


def _loop(calls: int) -> float:
    repeated = [None] * calls
    began = time.perf_counter()
    for _ in repeated:
        pass
    return time.perf_counter() - began


def rotated(names: list[str], number: int) -> list[str]:
    """Let each begin as often as the others."""
    start = number % len(names)
    return names[start:] + names[:start]


def ratios(mine: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Divide round by round: what disturbed one round disturbed both."""
    return [ours / peer for ours, peer in zip(mine, theirs, strict=True)]


def interval_of_median(values: Sequence[float]) -> tuple[float, float]:
    """Estimate the 95 % interval of a median, by bootstrap."""
    random = Random(0)  # noqa: S311 (the same intervals for the same figures)
    medians = sorted(median(random.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    return medians[int(0.025 * _RESAMPLES)], medians[int(0.975 * _RESAMPLES)]
