"""Connections and refusals over time, ours beside the others, as an SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ._scenarios import Outcome

# Distinct for those who do not tell red from green (Okabe and Ito); ours first.
_COLOURS = ("#0072B2", "#56B4E9", "#D55E00", "#E69F00", "#999999")
_SAME = "dsql-fast"
"""The salt of the names inside of the SVG: the same values make the same file."""


def write_plot(outcomes: Sequence[Outcome], path: Path, title: str = "") -> None:
    """Draw the runs of one scenario and fleet.

    Args:
        outcomes: one for each policy; others with the same name as one before are left out.
        path: of the SVG to write.
        title: above the chart; default the scenario and the fleet.

    Raises:
        ModuleNotFoundError: matplotlib is missing; the extra ``bench`` has it.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    first = outcomes[0]
    figure = Figure(figsize=(8, 6), layout="constrained")
    FigureCanvasSVG(figure)
    upper, lower = figure.subplots(2, 1, sharex=True)
    for outcome, colour in zip(_once_each(outcomes), _COLOURS, strict=False):
        series = outcome.series
        seconds = [step * series.step for step in range(len(series.open))]
        upper.plot(seconds, series.open, label=outcome.policy, color=colour)
        lower.plot(seconds, series.refused, color=colour)
    upper.set_title(title or f"{first.scenario}: {first.connections:,} connections, {first.per_process} a process")
    upper.set_ylabel("connections open")
    upper.legend(loc="lower right", fontsize="small")
    lower.set_ylabel("refused a second")
    lower.set_yscale("symlog", linthresh=1)
    lower.set_ylim(bottom=0)
    lower.set_xlabel("seconds")
    for axes in (upper, lower):
        axes.grid(visible=True, alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    with mpl.rc_context({"svg.hashsalt": _SAME, "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})


def _once_each(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return list({outcome.policy: outcome for outcome in reversed(outcomes)}.values())[::-1]
