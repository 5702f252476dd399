"""Connections and refusals over time, ours beside the others, as SVG for light pages and for dark ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._drawing import THEMES, canvas_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from matplotlib.axes import Axes

    from .._drawing import Theme
    from ._scenarios import Outcome

_WIDTH, _HEIGHT = 8.0, 5.6
# Ours first, and thicker. Told apart by lightness and by their strokes, too.
_COLOURS = {
    "": ("#0b5cad", "#4fa3e0", "#8b949e", "#e69f00", "#b35900"),
    "-dark": ("#4da3ff", "#a5d3ff", "#7d8590", "#f0b429", "#d98324"),
}
_STROKES = ("-", "--", "-", "-", "--")


def plots(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """Draw the runs of one scenario and fleet.

    Args:
        outcomes: one for each policy; others with the same name as one before are left out.

    Returns:
        SVG, by what the name of its file ends with: nothing for light pages, ``-dark``.

    Raises:
        ModuleNotFoundError: matplotlib is missing; the extra ``bench`` has it.
    """
    return {suffix: _plot(_once_each(outcomes), theme, suffix) for suffix, theme in THEMES.items()}


def _plot(outcomes: Sequence[Outcome], theme: Theme, suffix: str) -> str:
    first = outcomes[0]
    with canvas_of(_WIDTH, _HEIGHT, theme) as (canvas, text_at):
        text_at(0.6, _HEIGHT - 0.28, _title(first), fontsize=11, fontweight="bold")
        text_at(0.6, _HEIGHT - 0.56, "connections open", fontsize=9, color=theme.faint)
        text_at(0.6, 2.38, "refused a second", fontsize=9, color=theme.faint)
        upper, lower = canvas.add_axes((0.075, 0.475, 0.9, 0.4)), canvas.add_axes((0.075, 0.15, 0.9, 0.25))
        for number, outcome in enumerate(outcomes):
            series = outcome.series
            seconds = [step * series.step for step in range(len(series.open))]
            style: dict[str, Any] = {
                "color": _COLOURS[suffix][number % len(_COLOURS[suffix])],
                "linestyle": _STROKES[number % len(_STROKES)],
                "linewidth": 1.4 if number else 2.2,
                "zorder": len(outcomes) - number,
            }
            upper.plot(seconds, series.open, **style)
            lower.plot(seconds, series.refused, **style)
            x, y = 0.75 + 3.7 * (number % 2), 0.46 - 0.17 * (number // 2)
            text_at(x, y, outcome.policy, fontsize=8, color=style["color"])
        lower.set_yscale("symlog", linthresh=1)
        lower.set_ylim(bottom=0)
        lower.set_xlabel("seconds", color=theme.faint, fontsize=8)
        for axes in (upper, lower):
            _frame(axes, theme)
    return canvas.svg


def _title(outcome: Outcome) -> str:
    return f"{outcome.scenario}: {outcome.connections:,} connections, {outcome.per_process} a process"


def _frame(axes: Axes, theme: Theme) -> None:
    from matplotlib.ticker import FuncFormatter, NullLocator

    axes.set_facecolor("none")
    axes.grid(visible=True, color=theme.grid, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.tick_params(length=0, labelsize=8, labelcolor=theme.faint)
    axes.set_xlim(left=0)


def _once_each(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return list({outcome.policy: outcome for outcome in reversed(outcomes)}.values())[::-1]
