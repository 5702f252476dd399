"""Charts of what a run found, as SVG in two forms: for a light page and for a dark one.

The same results make the same bytes, with the same matplotlib: no date, no names by chance, and every position is
given rather than found from how wide a font is. Text stays text, in the reader's own sans-serif.

Blue for ours, amber for a boto3 client that is kept, grey for the official connector, and a pale grey for all
else: the same in every chart, and told apart by their lightness as well. Every bar has its name and its number
beside it: nothing hangs on a colour.
"""

from __future__ import annotations

import math
import textwrap
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

from . import _words
from ._catalogue import TITLES
from ._goals import OVERVIEW
from ._results import results

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

    from ._figures import Figure
    from ._goals import Bar as Sought
    from ._results import Found

Kind = Literal["ours", "kept", "official", "other"]

_LOG_FROM = 30
"""How far apart values are, at least, where a scale is logarithmic: a linear one would hide the least."""


@dataclass(frozen=True)
class _Theme:
    page: str
    text: str
    faint: str
    grid: str
    missed: str
    bars: Mapping[Kind, str]


_THEMES = {
    "": _Theme(
        page="#ffffff",
        text="#1f2328",
        faint="#59636e",
        grid="#dfe3e8",
        missed="#a4133c",
        bars={"ours": "#0b5cad", "kept": "#e69f00", "official": "#8b949e", "other": "#c9d1d9"},
    ),
    "-dark": _Theme(
        page="#0d1117",
        text="#e6edf3",
        faint="#9198a1",
        grid="#2a313c",
        missed="#ff8fa3",
        bars={"ours": "#4da3ff", "kept": "#f0b429", "official": "#7d8590", "other": "#3d444d"},
    ),
}


def draw(document: Mapping[str, Any], path: Path) -> list[Path]:
    """Write a chart of all that a run found: a panel for each bench, an axis for each unit in it.

    Args:
        document: as `_output.document` has it.
        path: of the chart for light pages; the one for dark pages has ``-dark`` before the suffix.

    Returns:
        The files, which are replaced.
    """
    return _written(path, panels(document))


def draw_overview(document: Mapping[str, Any], path: Path) -> list[Path]:
    """Write the four panels that README shows; arguments and result as for `draw`."""
    return _written(path, overview(document))


def _written(path: Path, charts: Mapping[str, str]) -> list[Path]:
    paths = []
    for suffix, text in charts.items():
        paths.append(path.with_name(f"{path.stem}{suffix}{path.suffix or '.svg'}"))
        paths[-1].write_text(text, encoding="utf-8")
    return paths


def panels(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the charts of all benches; by what their names end with, as SVG."""
    found = {name: _axes_of(bench) for name, bench in results(document).items() if bench.figures}
    return {suffix: _panels(found, theme, _source(document)) for suffix, theme in _THEMES.items()}


def overview(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the four panels that README shows; by what their names end with, as SVG."""
    found = results(document)
    return {suffix: _overview(found, theme, _source(document)) for suffix, theme in _THEMES.items()}


def _source(document: Mapping[str, Any]) -> str:
    machine = document["machine"]
    parts = (machine["date"], f"{machine['processors']} x {machine['processor']}", f"Python {machine['python']}")
    return "dsql-fast bench · " + " · ".join(parts)


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
    if "boto3" in words:
        return "kept"
    rivals = (
        "psycopg",
        "awscrt",
        "botocore",
        "the go",
        "the rust",
        "javascript",
        "a bare",
        "an empty",
        "the loop",
    )
    return "other" if words.startswith(rivals) else "ours"


def _axes_of(bench: Found) -> dict[str, list[_Bar]]:
    """By unit, the bars: each thing that was measured, and below it its peers."""
    axes: dict[str, list[_Bar]] = {}
    for (unit, _), group in groupby(bench.figures, key=lambda figure: (figure.unit, figure.what)):
        axes.setdefault(unit, []).extend(_bars(list(group)))
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
    ends = None if figure.interval is None else [_peer_at(figure, ratio) for ratio in figure.interval]
    goal = None if bound is None else _peer_at(figure, bound)
    return _Bar(
        figure.peer,
        " · ".join(
            filter(None, (f"{_words.number(value)} {figure.unit}", _words.ratio(figure), _words.goal(figure)))
        ),
        value,
        _peer_kind(figure.peer),
        first=False,
        whisker=None if ends is None or None in ends else (min(filter(None, ends)), max(filter(None, ends))),
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

_WIDTH, _LEFT, _RIGHT = 10.6, 3.6, 4.0  # inches
_ROW, _GAP, _SCALE, _TITLE, _EDGE = 0.26, 0.12, 0.42, 0.42, 0.25
_WRAP = 52  # characters


def _panels(benches: Mapping[str, Mapping[str, Sequence[_Bar]]], theme: _Theme, source: str) -> str:
    height = (
        2 * _EDGE
        + _ROW
        + sum(_TITLE + sum(_height(bars) + _SCALE for bars in axes.values()) for axes in benches.values())
    )
    with _canvas(_WIDTH, height, theme) as (canvas, text_at):
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


def _axis(axes: Axes, bars: Sequence[_Bar], unit: str, tall: float, theme: _Theme) -> None:
    scale = _scale([bar.value for bar in bars], [end for bar in bars for end in (*(bar.whisker or ()), bar.goal)])
    _frame(axes, scale, theme)
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
        label = "\n".join(textwrap.wrap(bar.label, _WRAP)[:2])
        axes.annotate(
            label,
            (0, middle),
            (-6, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="center",
            size=8 if "\n" not in label else 6.5,
            color=theme.text,
            weight=weight,
            linespacing=1.0,
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


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    log: bool


def _scale(values: Sequence[float], beside: Sequence[float | None] = ()) -> _Scale:
    """Find a scale for values, and for what is marked beside them as long as it is no more than twice as far."""
    low, high = min(values), max(values)
    high = max([high, *(end for end in beside if end is not None and end <= 2 * high)])
    if low > 0 and high / low >= _LOG_FROM:
        # From a power of ten below the least: its bar is to be seen, too.
        return _Scale(10 ** math.floor(math.log10(low / 1.5)), high * 1.6, log=True)
    return _Scale(min(0.0, low * 1.1), high * 1.12 or 1.0, log=False)


def _frame(axes: Axes, scale: _Scale, theme: _Theme) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axes.set_facecolor("none")
    if scale.log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=7))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))
    axes.set_xlim(scale.low, scale.high)
    axes.set_yticks([])
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.spines["left"].set_color(theme.faint)
    axes.tick_params(axis="x", length=0, labelsize=7.5, labelcolor=theme.faint, pad=3)
    axes.set_axisbelow(True)


def _bar(axes: Axes, bar: _Bar, middle: float, scale: _Scale, theme: _Theme) -> None:
    thick = 0.78 * _ROW
    axes.barh(middle, bar.value - scale.low, thick, left=scale.low, color=theme.bars[bar.kind])
    if bar.whisker is not None:
        axes.plot(bar.whisker, (middle, middle), color=theme.text, linewidth=1.1, solid_capstyle="butt")
    if bar.goal is not None and scale.low <= bar.goal <= scale.high:
        ends = (middle - 0.62 * thick, middle + 0.62 * thick)
        colour = theme.missed if bar.missed else theme.text
        axes.plot((bar.goal, bar.goal), ends, color=colour, linewidth=2.2, solid_capstyle="butt")


# --- README's four

_FOUR = (9.4, 5.1)  # inches
_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}


def _overview(found: Mapping[str, Found], theme: _Theme, source: str) -> str:
    width, height = _FOUR
    with _canvas(width, height, theme) as (canvas, text_at):
        for number, panel in enumerate(OVERVIEW):
            left, top = 0.3 + number % 2 * 4.65, height - 0.3 - number // 2 * 2.35
            box = ((left + 1.5) / width, (top - 1.9) / height, 2.2 / width, 1.42 / height)
            log = _small(canvas.add_axes(box), [(bar, bar.seconds(found)) for bar in panel.bars], theme)
            text_at(left, top - 0.08, panel.title, size=11.5, weight="bold")
            subtitle = panel.subtitle + ("; logarithmic" if log else "")
            text_at(left, top - 0.31, subtitle, size=8, color=theme.faint)
        text_at(0.3, 0.18, source, size=7.5, color=theme.faint)
    return canvas.svg


def _small(axes: Axes, bars: Sequence[tuple[Sought, float | None]], theme: _Theme) -> bool:
    """Draw a panel; returns whether its scale is logarithmic."""
    known = [seconds for _, seconds in bars if seconds is not None]
    scale = _scale(known or [1.0])
    _frame(axes, scale, theme)
    axes.set_ylim(len(bars), 0)
    axes.tick_params(axis="x", labelbottom=False)
    for row, (bar, seconds) in enumerate(bars):
        middle = row + 0.5
        ours = bar.kind == "ours"
        if seconds is not None:
            axes.barh(middle, seconds - scale.low, 0.72, left=scale.low, color=theme.bars[bar.kind])
        for x, text, align in ((0.0, bar.name, "right"), (_part(seconds, scale), _said(seconds), "left")):
            axes.annotate(
                text,
                (x, middle),
                (-6 if align == "right" else 5, 0),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha=align,
                va="center",
                size=8.5,
                weight="bold" if ours else "normal",
                color=theme.text,
            )
    return scale.log


def _part(seconds: float | None, scale: _Scale) -> float:
    """Where on the axis a bar ends, from 0 to 1."""
    if seconds is None:
        return 0.0
    if scale.log:
        return math.log(seconds / scale.low) / math.log(scale.high / scale.low)
    return (seconds - scale.low) / (scale.high - scale.low)


def _said(seconds: float | None) -> str:
    if seconds is None:
        return "not measured"
    unit = next((unit for unit, size in reversed(_SECONDS.items()) if seconds >= size), "ns")
    return f"{_words.number(seconds / _SECONDS[unit])} {unit}"


# --- matplotlib


class _Canvas:
    def __init__(self, figure: Canvas) -> None:
        self._figure = figure
        self.svg = ""

    def add_axes(self, box: tuple[float, float, float, float]) -> Axes:
        return self._figure.add_axes(box)


@contextmanager
def _canvas(width: float, height: float, theme: _Theme) -> Iterator[tuple[_Canvas, Any]]:
    """Give a canvas in inches; with the end of the block its `svg` is there."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Canvas

    settings: dict[Any, Any] = {  # its own type is a Literal of all names
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: text is measured by it everywhere
        "svg.fonttype": "none",
        "svg.hashsalt": "dsql-fast",
        "text.color": theme.text,
        "text.parse_math": False,
    }
    with rc_context(settings):
        figure = Canvas(figsize=(width, height), facecolor=theme.page)
        canvas = _Canvas(figure)

        def text_at(x: float, y: float, text: str, **style: Any) -> None:
            figure.text(x / width, y / height, text, va="center", **style)

        yield canvas, text_at
        written = StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": "dsql-fast bench"})
        # Measured by one font, shown in the reader's.
        canvas.svg = written.getvalue().replace("'DejaVu Sans', sans-serif", "sans-serif")
