"""What charts are drawn with: colours, scales, and a canvas that becomes SVG.

The same results make the same bytes, with the same matplotlib: no date, no names by chance, and every position is
given rather than found from how wide a font is. Text stays text, in the reader's own sans-serif.

Blue for ours, amber for a boto3 client that is kept, grey for the official connector, and a pale grey for all
else: the same in every chart, and told apart by their lightness as well. Every bar has its name and its number
beside it: nothing hangs on a colour.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

Kind = Literal["ours", "kept", "official", "other"]

_LOG_FROM = 30
"""How far apart values are, at least, where a scale is logarithmic: a linear one would hide the least."""


@dataclass(frozen=True)
class Theme:
    """Colours: of the page, the text, text that stands back, grid lines, a goal that is missed, and bars."""

    page: str
    text: str
    faint: str
    grid: str
    missed: str
    bars: Mapping[Kind, str]


THEMES = {
    "": Theme(
        page="#ffffff",
        text="#1f2328",
        faint="#59636e",
        grid="#dfe3e8",
        missed="#a4133c",
        bars={"ours": "#0b5cad", "kept": "#e69f00", "official": "#8b949e", "other": "#c9d1d9"},
    ),
    "-dark": Theme(
        page="#0d1117",
        text="#e6edf3",
        faint="#9198a1",
        grid="#2a313c",
        missed="#ff8fa3",
        bars={"ours": "#4da3ff", "kept": "#f0b429", "official": "#7d8590", "other": "#3d444d"},
    ),
}


@dataclass(frozen=True)
class Scale:
    """An axis, from where to where."""

    low: float
    high: float
    log: bool


def scale_of(values: Sequence[float], beside: Sequence[float | None] = ()) -> Scale:
    """Find a scale for values, and for what is marked beside them as long as it is no more than twice as far."""
    low, high = min(values), max(values)
    high = max([high, *(end for end in beside if end is not None and end <= 2 * high)])
    if low > 0 and high / low >= _LOG_FROM:
        # From a power of ten below the least: its bar is to be seen, too.
        return Scale(10 ** math.floor(math.log10(low / 1.5)), high * 1.6, log=True)
    return Scale(min(0.0, low * 1.1), high * 1.12 or 1.0, log=False)


def frame(axes: Axes, scale: Scale, theme: Theme) -> None:
    """Give axes their scale, and take away what says nothing."""
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


def source_of(document: Mapping[str, Any]) -> str:
    """Say where the figures are from."""
    machine = document["machine"]
    parts = (machine["date"], f"{machine['processors']} x {machine['processor']}", f"Python {machine['python']}")
    return "dsql-fast bench · " + " · ".join(parts)


def written(path: Path, charts: Mapping[str, str]) -> list[Path]:
    """Write charts to files, which are replaced.

    Args:
        path: of the chart for light pages; the one for dark pages has ``-dark`` before the suffix.
        charts: by what their names end with.
    """
    paths = []
    for suffix, text in charts.items():
        paths.append(path.with_name(f"{path.stem}{suffix}{path.suffix or '.svg'}"))
        paths[-1].write_text(text, encoding="utf-8")
    return paths


class _Canvas:
    def __init__(self, figure: Canvas) -> None:
        self._figure = figure
        self.svg = ""

    def add_axes(self, box: tuple[float, float, float, float]) -> Axes:
        return self._figure.add_axes(box)


@contextmanager
def canvas_of(width: float, height: float, theme: Theme) -> Iterator[tuple[_Canvas, Any]]:
    """Give a canvas in inches; with the end of the block its `svg` is there."""
    from matplotlib import rc_context, rcdefaults, rcParams
    from matplotlib.figure import Figure as Canvas

    settings: dict[Any, Any] = {  # its own type is a Literal of all names
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: text is measured by it everywhere
        "svg.fonttype": "none",
        "svg.hashsalt": "dsql-fast",
        "text.color": theme.text,
        "text.parse_math": False,
    }
    with rc_context():
        rcdefaults()  # a user's own settings would make other bytes
        rcParams.update(settings)
        figure = Canvas(figsize=(width, height), facecolor=theme.page)
        canvas = _Canvas(figure)

        def text_at(x: float, y: float, text: str, **style: Any) -> None:
            figure.text(x / width, y / height, text, va="center", **style)

        yield canvas, text_at
        out = StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": "dsql-fast bench"})
        # Measured by one font, shown in the reader's.
        canvas.svg = out.getvalue().replace("'DejaVu Sans', sans-serif", "sans-serif")
