"""How `dsql-fast bench` shows what it finds: tables with colours and a progress bar, or aligned plain lines."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Protocol

from dsql_fast._bench import _words
from dsql_fast._bench._goals import GOALS
from dsql_fast._bench._results import grouped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from rich.console import Console

    from dsql_fast._bench._figures import Figure
    from dsql_fast._bench._goals import Row
    from dsql_fast._bench._results import Found
    from dsql_fast._bench._run import Run

    ShowProgress = Callable[[str, float | None], None]

_SHORT = 22
"""Up to so many characters a column stays in one line, in the narrowest terminal."""

_LEAST, _GAP, _INDENT = 10, 2, 4


@dataclass(frozen=True)
class Group:
    """What stands together: a title, and rows of cells below it. Where one says met or MISSED, it is coloured."""

    title: str
    rows: Sequence[Sequence[str]]
    note: str = ""


class View(Protocol):
    """What the command shows itself through."""

    def line(self, text: str, style: str = "") -> None:
        """Show a line."""

    def groups(self, groups: Sequence[Group]) -> None:
        """Show groups, whose cells are aligned with each other."""

    def progress(self) -> AbstractContextManager[ShowProgress]:
        """Give what shows progress: it is told what is done, and which part of it is (0 to 1; None: unknown)."""


def view() -> View:
    """Return the view that fits standard output."""
    if sys.stdout.isatty():
        try:
            return RichView()
        except ImportError:  # the extra `cli` is not installed
            pass
    return PlainView()


def show(run: Run, view: View) -> None:
    """Show what a bench found, and what it did not measure."""
    view.groups([_group(figures) for figures in grouped(run.figures)])
    for skip in run.skips:
        view.line(f"  {skip.what}: not measured: {skip.why}", "yellow")


def _group(figures: Sequence[Figure]) -> Group:
    """What was measured; below it those that it is compared with."""
    note = []
    for figure in figures:
        if not figure.peer:
            note += [f"95 %: {_words.interval(figure)}"] if figure.interval else []
            note += [_words.goal(figure)] if figure.goal else []
    rows = [
        (_words.ratio(figure), _words.beside(figure), _words.interval(figure), _words.goal(figure))
        for figure in figures
        if figure.peer
    ]
    title = f"{figures[0].what.strip()}: {_words.measured(figures[0])}"
    return Group(title, rows, "; ".join(note))


def show_goals(found: Mapping[str, Found], view: View) -> None:
    """Show all goals, and what was measured."""
    view.groups(
        [
            Group(path, [_against(row, found) for row in rows])
            for path, rows in groupby(GOALS, key=lambda row: row.path)
        ]
    )


def _against(row: Row, found: Mapping[str, Found]) -> Sequence[str]:
    measured, verdict = row.result(found)
    return row.goal, row.against, measured, verdict.strip("*").replace("missed", "MISSED")


class PlainView:
    """Lines."""

    def line(self, text: str, style: str = "") -> None:  # noqa: ARG002 (the protocol's)
        """Show a line."""
        print(text, flush=True)

    def groups(self, groups: Sequence[Group]) -> None:
        """Show groups, whose cells are aligned with each other."""
        widths = _widths(groups)
        for group in groups:
            print(f"  {group.title}" + (f"; {group.note}" if group.note else ""))
            for row in group.rows:
                cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width)
                print(f"      {'   '.join(cells)}".rstrip())
        sys.stdout.flush()

    @contextmanager
    def progress(self) -> Iterator[ShowProgress]:
        """Show nothing."""
        yield lambda *_: None


def _widths(groups: Sequence[Group]) -> list[int]:
    rows = [row for group in groups for row in group.rows]
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _fitting(widths: Sequence[int], room: int) -> list[int]:
    """Make long columns narrower, each by its part, until all fit."""
    long = sum(width for width in widths if width > _SHORT)
    left = room - sum(width for width in widths if width <= _SHORT) - _GAP * sum(map(bool, widths))
    if long <= left:
        return list(widths)
    return [width if width <= _SHORT else max(_LEAST, width * left // long) for width in widths]


class RichView:
    """Colours, and a progress bar that goes when its work is done.

    Args:
        console: where to; default: standard output.

    Raises:
        ImportError: rich is not installed.
    """

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console

        self._console = console or Console(highlight=False)

    def line(self, text: str, style: str = "") -> None:
        """Show a line."""
        self._console.print(text, style=style, markup=False)

    def groups(self, groups: Sequence[Group]) -> None:
        """Show groups, whose cells are aligned with each other; a long cell goes on under itself."""
        from rich.table import Table
        from rich.text import Text

        widths = _fitting(_widths(groups), self._console.width - _INDENT)
        for group in groups:
            title = Text(f"  {group.title}", "bold")
            self._console.print(title.append(f"  {group.note}", _style(group.note)) if group.note else title)
            grid = Table.grid()
            grid.add_column(width=_INDENT)
            for width in filter(None, widths):
                # In every group the same, so that columns stand below each other.
                grid.add_column(width=width, overflow="fold")
                grid.add_column(width=_GAP)
            for row in group.rows:
                cells = [(cell, "") for cell, width in zip(row, widths, strict=True) if width]
                grid.add_row("", *(Text(text, _style(text)) for cell in cells for text in cell))
            if group.rows:
                self._console.print(grid)

    @contextmanager
    def progress(self) -> Iterator[ShowProgress]:
        """Show a bar below what is there."""
        from rich.markup import escape
        from rich.progress import (
            BarColumn,
            Progress,
            SpinnerColumn,
            TaskProgressColumn,
            TextColumn,
            TimeElapsedColumn,
        )

        columns = (
            TextColumn(" "),
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TimeElapsedColumn(),
        )
        # Twice a second: drawing takes time from what is measured.
        with Progress(*columns, console=self._console, transient=True, refresh_per_second=2) as bar:
            task = bar.add_task("starting", total=None)

            def show(what: str, part: float | None) -> None:
                bar.update(
                    task, description=escape(what), total=None if part is None else 1.0, completed=part or 0.0
                )

            yield show


def _style(cell: str) -> str:
    if "MISSED" in cell:
        return "bold red"
    return "green" if cell == "met" or cell.endswith(": met") else ""
