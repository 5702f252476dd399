"""What a bench finds."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from statistics import median
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

RatioOf = Literal["to the peer", "of the peer", "over the peer"]

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
    ratio_of: RatioOf = "to the peer"
    interval: tuple[float, float] | None = None
    goal: Goal | None = None


def compared(
    what: str,
    mine: Sequence[float],
    unit: str,
    peer: str,
    theirs: Sequence[float],
    *,
    ratio_of: RatioOf = "to the peer",
    at_most: float | None = None,
    at_least: float | None = None,
    goal_on_upper_end: bool = False,
) -> Figure:
    """Compare round by round: what disturbed one round disturbed both.

    Args:
        what: was measured.
        mine: our values, by round, in `unit`.
        unit: of the values.
        peer: whom with.
        theirs: its values in the same rounds.
        ratio_of: which way round; see `Figure`.
        at_most: the goal of the ratio, if any.
        at_least: the same.
        goal_on_upper_end: the goal is for the far end of the 95 % interval, not for the median.
    """
    by_round = [_ratio(ours, peers, ratio_of) for ours, peers in zip(mine, theirs, strict=True)]
    ratio, interval = median(by_round), interval_of_median(by_round)
    goal = None
    unit_of_goal = {"to the peer": "times", "of the peer": "times as fast", "over the peer": f"{unit} more"}[
        ratio_of
    ]
    if at_most is not None:
        goal = Goal(
            f"at most {at_most:g} {unit_of_goal}", (interval[1] if goal_on_upper_end else ratio) <= at_most
        )
    if at_least is not None:
        goal = Goal(
            f"at least {at_least:g} {unit_of_goal}", (interval[0] if goal_on_upper_end else ratio) >= at_least
        )
    return Figure(what, median(mine), unit, peer, median(theirs), ratio, ratio_of, interval, goal)


def _ratio(ours: float, peers: float, ratio_of: RatioOf) -> float:
    if ratio_of == "over the peer":
        return ours - peers
    return ours / peers if ratio_of == "to the peer" else peers / ours


def interval_of_median(values: Sequence[float]) -> tuple[float, float]:
    """Estimate the 95 % interval of a median, by bootstrap."""
    random = Random(0)  # noqa: S311 (the same intervals for the same figures)
    medians = sorted(median(random.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    return medians[int(0.025 * _RESAMPLES)], medians[int(0.975 * _RESAMPLES)]
