"""Calls timed in turns, within this process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")


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


def rotated(things: list[T], number: int) -> list[T]:
    """Let each begin as often as the others."""
    start = number % len(things)
    return things[start:] + things[:start]
