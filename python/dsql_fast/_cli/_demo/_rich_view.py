"""The demo in a terminal, with rich."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table as RichTable

from ._view import conclusion, is_number, shown, verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._report import Check, Report, Table, Value

_LABEL_WIDTH = 26
_INDENT = 3


class RichView:
    """Colours, tables and progress bars that go when their work is done.

    Args:
        console: where to; default: standard output.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)

    def began(self, headline: str) -> None:
        """The cluster is there."""
        self._console.print(escape(headline), style="dim")

    def step(self, number: int, title: str) -> None:
        """A step begins."""
        self._console.print(f"\n[bold cyan]{number}[/] [bold]{escape(title)}[/]")

    def fact(self, label: str, value: Value) -> None:
        """Something worth knowing."""
        # A grid, so that a long value goes on under itself.
        grid = RichTable.grid(padding=(0, 1))
        grid.add_column(width=_INDENT - 1)
        grid.add_column(width=_LABEL_WIDTH, style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_row("", escape(label), escape(shown(value)))
        self._console.print(grid)

    def table(self, table: Table) -> None:
        """Several things in rows."""
        shape = RichTable(title=escape(table.title), title_justify="left", title_style="dim", header_style="bold")
        rows = [[shown(value) for value in row] for row in table.rows]
        for column, name in enumerate(table.columns):
            numeric = all(is_number(row[column]) for row in rows)
            shape.add_column(escape(name), justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            shape.add_row(*map(escape, row))
        indented = RichTable.grid(padding=(0, 1))
        indented.add_row(" " * (_INDENT - 1), shape)
        self._console.print(indented)

    def check(self, check: Check) -> None:
        """Something that must hold, and whether it does."""
        style = "green" if check.held else "bold red"
        mark, _, rest = verdict(check).partition("  ")
        self._console.print(f"   [{style}]{mark}[/]  {escape(rest)}")

    @contextmanager
    def progress(self, label: str, total: float) -> Iterator[Callable[[float], None]]:
        """Work under way."""
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        # Four times a second: drawing takes time from what is shown.
        with Progress(
            TextColumn(" "),
            *columns,
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            refresh_per_second=4,
        ) as bar:
            task = bar.add_task(escape(label), total=total)
            yield lambda more: bar.advance(task, more)

    def finished(self, report: Report) -> None:
        """All is done."""
        self._console.print()
        self._console.print(escape(conclusion(report)), style="bold green" if report.ok else "bold red")
