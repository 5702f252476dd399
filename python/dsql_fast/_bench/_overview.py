"""README's chart: four panels, each the official connector, a boto3 client that is kept, and this package."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from . import _words
from ._drawing import THEMES, canvas_of, frame, scale_of, source_of
from ._goals import OVERVIEW
from ._results import results

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from ._drawing import Scale, Theme
    from ._goals import Bar
    from ._results import Found

_FOUR = (9.4, 5.1)  # inches
_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}


def overview(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the four panels that README shows; by what their names end with, as SVG."""
    found = results(document)
    return {suffix: _overview(found, theme, source_of(document)) for suffix, theme in THEMES.items()}


def _overview(found: Mapping[str, Found], theme: Theme, source: str) -> str:
    width, height = _FOUR
    with canvas_of(width, height, theme) as (canvas, text_at):
        for number, panel in enumerate(OVERVIEW):
            left, top = 0.3 + number % 2 * 4.65, height - 0.3 - number // 2 * 2.35
            box = ((left + 1.5) / width, (top - 1.9) / height, 2.2 / width, 1.42 / height)
            log = _small(canvas.add_axes(box), [(bar, bar.seconds(found)) for bar in panel.bars], theme)
            text_at(left, top - 0.08, panel.title, size=11.5, weight="bold")
            subtitle = panel.subtitle + ("; logarithmic" if log else "")
            text_at(left, top - 0.31, subtitle, size=8, color=theme.faint)
        text_at(0.3, 0.18, source, size=7.5, color=theme.faint)
    return canvas.svg


def _small(axes: Axes, bars: Sequence[tuple[Bar, float | None]], theme: Theme) -> bool:
    """Draw a panel; returns whether its scale is logarithmic."""
    known = [seconds for _, seconds in bars if seconds is not None]
    scale = scale_of(known or [1.0])
    frame(axes, scale, theme)
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


def _part(seconds: float | None, scale: Scale) -> float:
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
