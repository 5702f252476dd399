"""How a figure is said: the same words in a terminal, in a page and in a chart."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._figures import Figure, Goal

_FINE = (0.1, 2.0)
"""Between them a ratio is shown to the thousandth: goals such as 1.03 need it."""


def number(value: float) -> str:
    """Write a number with three digits that count, at least."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ratio_number(value: float) -> str:
    """Write a ratio."""
    return f"{value:.3f}" if _FINE[0] <= abs(value) < _FINE[1] else number(value)


def measured(figure: Figure) -> str:
    """Write our own value, with its unit."""
    return f"{number(figure.value)} {figure.unit}"


def beside(figure: Figure) -> str:
    """Write what it is compared with, and the peer's value; empty without a peer."""
    if figure.peer_value is None:
        return figure.peer
    return f"{figure.peer}, {number(figure.peer_value)} {figure.unit}"


def ratio(figure: Figure) -> str:
    """Write how the two compare; empty without a peer."""
    if figure.ratio is None:
        return ""
    if figure.ratio_of == "over the peer":
        return f"{'-' if figure.ratio < 0 else '+'}{number(abs(figure.ratio))} {figure.unit}"
    of = "times as fast" if figure.ratio_of == "of the peer" else "times"
    return f"{ratio_number(figure.ratio)} {of}"


def interval(figure: Figure) -> str:
    """Write the 95 % interval, of the ratio or else of the value; empty where there is none."""
    if figure.interval is None:
        return ""
    write = number if figure.ratio is None or figure.ratio_of == "over the peer" else ratio_number
    return "{} to {}".format(*map(write, figure.interval))


def goal(figure: Figure) -> str:
    """Write the goal and whether it is met; empty without one."""
    return "" if figure.goal is None else f"{figure.goal.text}: {verdict(figure.goal)}"


def verdict(goal: Goal) -> str:
    """Say whether a goal is met."""
    return "met" if goal.met else "MISSED"


def bound(goal: Goal | str) -> float | None:
    """Return the number that a goal names; None if it names none."""
    words = (goal if isinstance(goal, str) else goal.text).split()
    numbers = (word.replace(",", "").strip("+x") for word in words)
    return next((float(word) for word in numbers if word.replace(".", "", 1).isdigit()), None)
