"""A chart of all that a run found: a panel for each bench, and in it an axis for each unit."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import _words
from ._catalogue import TITLES
from ._drawing import THEMES, canvas_of, frame, scale_of, source_of, written
from ._results import grouped, results

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from ._drawing import Kind, Scale, Theme
    from ._figures import Figure
    from ._results import Found


def draw(document: Mapping[str, Any], path: Path) -> list[Path]:
    """Write a chart of all that a run found: a panel for each bench, an axis for each unit in it.

    Args:
        document: as `_output.document` has it.
        path: of the chart for light pages; the one for dark pages has ``-dark`` before the suffix.

    Returns:
        The files, which are replaced.
    """
    return written(path, panels(document))


def panels(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the charts of all benches; by what their names end with, as SVG."""
    found = {name: _axes_of(bench) for name, bench in results(document).items() if bench.figures}
    return {suffix: _panels(found, theme, source_of(document)) for suffix, theme in THEMES.items()}


# --- What is in a chart


@dataclass(frozen=True)
class _Bar:
    label: str
    note: str
    value: float
    kind: Kind
    first: bool  # of those that are compared with each other
    whisker: tuple[float, float] | None = None
    goal: float | None = None
    missed: bool = False


def kind_of(name: str) -> Kind:
    """Tell whose a bar is by its name: what a bench compares itself with is named by who it is."""
    words = name.lower()
    if "official" in words:
        return "official"
    if "boto3" in words and "new" not in words.split():  # a new session each time is not what one would keep
        return "kept"
    rivals = (
        "psycopg",
        "awscrt",
        "botocore",
        "go",
        "the rust",
        "javascript",
        "sha-256",
        "a bare",
        "an empty",
        "the loop",
    )
    return "other" if words.startswith(rivals) else "ours"


def _axes_of(bench: Found) -> dict[str, list[_Bar]]:
    """By unit, the bars: each thing that was measured, and below it its peers."""
    axes: dict[str, list[_Bar]] = {}
    for group in grouped(bench.figures):
        axes.setdefault(group[0].unit, []).extend(_bars(group))
    return axes


def _bars(figures: Sequence[Figure]) -> Iterator[_Bar]:
    alone = next((figure for figure in figures if figure.peer_value is None), None)
    first = alone or figures[0]
    yield _Bar(
        first.what,
        " · ".join(filter(None, (_words.measured(first), _words.goal(alone) if alone else ""))),
        first.value,
        kind_of(first.what),
        first=True,
        whisker=alone.interval if alone else None,
        goal=_words.bound(alone.goal) if alone and alone.goal else None,
        missed=bool(alone and alone.goal and not alone.goal.met),
    )
    for figure in figures:
        if figure.peer_value is not None:
            yield _of_peer(figure, figure.peer_value)


def _of_peer(figure: Figure, value: float) -> _Bar:
    bound = None if figure.goal is None else _words.bound(figure.goal)
    ends = [end for ratio in figure.interval or () if (end := _peer_at(figure, ratio)) is not None]
    goal = None if bound is None else _peer_at(figure, bound)
    return _Bar(
        figure.peer,
        " · ".join(
            filter(None, (f"{_words.number(value)} {figure.unit}", _words.ratio(figure), _words.goal(figure)))
        ),
        value,
        _peer_kind(figure.peer),
        first=False,
        whisker=(min(ends), max(ends)) if len(ends) == 2 else None,
        goal=goal,
        missed=figure.goal is not None and not figure.goal.met,
    )


def _peer_kind(name: str) -> Kind:
    kind = kind_of(name)
    return "other" if kind == "ours" else kind


def _peer_at(figure: Figure, ratio: float) -> float | None:
    """Where the peer would stand, were the ratio to our value this one."""
    if figure.ratio_of == "over the peer":
        return figure.value - ratio
    if figure.ratio_of == "of the peer":
        return figure.value * ratio
    return figure.value / ratio if ratio > 0 else None


# --- All panels

_WIDTH, _LEFT, _RIGHT = 11.0, 4.0, 4.0  # inches
_ROW, _GAP, _SCALE, _TITLE, _EDGE = 0.27, 0.12, 0.42, 0.42, 0.25
_WRAP = 60  # characters


def _panels(benches: Mapping[str, Mapping[str, Sequence[_Bar]]], theme: Theme, source: str) -> str:
    height = (
        2 * _EDGE
        + _ROW
        + sum(_TITLE + sum(_height(bars) + _SCALE for bars in axes.values()) for axes in benches.values())
    )
    with canvas_of(_WIDTH, height, theme) as (canvas, text_at):
        top = height - _EDGE
        for name, axes in benches.items():
            text_at(_EDGE, top - 0.16, TITLES.get(name, name), size=11.5, weight="bold")
            top -= _TITLE
            for unit, bars in axes.items():
                tall = _height(bars)
                box = (_LEFT / _WIDTH, (top - tall) / height, (_WIDTH - _LEFT - _RIGHT) / _WIDTH, tall / height)
                _axis(canvas.add_axes(box), bars, unit, tall, theme)
                top -= tall + _SCALE
        key = "a thin line: 95 % interval of the comparison; an upright stroke: where the goal would just be met"
        text_at(_EDGE, _EDGE, f"{key}\n{source}", size=7.5, color=theme.faint)
    return canvas.svg


def _height(bars: Sequence[_Bar]) -> float:
    return len(bars) * _ROW + sum(bar.first for bar in bars) * _GAP


def _axis(axes: Axes, bars: Sequence[_Bar], unit: str, tall: float, theme: Theme) -> None:
    scale = scale_of(
        [bar.value for bar in bars], [end for bar in bars for end in (*(bar.whisker or ()), bar.goal)]
    )
    frame(axes, scale, theme)
    axes.grid(visible=True, axis="x", color=theme.grid, linewidth=0.7)
    axes.annotate(
        f"{unit}, logarithmic" if scale.log else unit,
        (1, 0),
        (8, -4),
        xycoords="axes fraction",
        textcoords="offset points",
        va="top",
        size=7.5,
        color=theme.faint,
    )
    axes.set_ylim(tall, 0)
    at = 0.0
    for bar in bars:
        at += _GAP if bar.first else 0
        middle = at + _ROW / 2
        _bar(axes, bar, middle, scale, theme)
        weight = "bold" if bar.first and bar.kind == "ours" else "normal"
        lines = textwrap.wrap(bar.label, _WRAP)[:2]
        for number, line in enumerate(lines):  # one by one: how wide the reader's font is, nobody knows
            axes.annotate(
                line,
                (0, middle),
                (-6, 0 if len(lines) == 1 else 4 - 8 * number),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha="right",
                va="center",
                size=8 if len(lines) == 1 else 7,
                color=theme.text,
                weight=weight,
            )
        axes.annotate(
            bar.note,
            (1, middle),
            (8, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            size=8,
            color=theme.missed if bar.missed else theme.text,
            weight=weight,
        )
        at += _ROW


def _bar(axes: Axes, bar: _Bar, middle: float, scale: Scale, theme: Theme) -> None:
    thick = 0.78 * _ROW
    axes.barh(middle, bar.value - scale.low, thick, left=scale.low, color=theme.bars[bar.kind])
    if bar.whisker is not None:
        axes.plot(bar.whisker, (middle, middle), color=theme.text, linewidth=1.1, solid_capstyle="butt")
    if bar.goal is not None and scale.low <= bar.goal <= scale.high:
        ends = (middle - 0.62 * thick, middle + 0.62 * thick)
        colour = theme.missed if bar.missed else theme.text
        axes.plot((bar.goal, bar.goal), ends, color=colour, linewidth=2.2, solid_capstyle="butt")
