"""How the demo is shown: plain lines, or nothing. In colours: `_rich_view`."""

from __future__ import annotations

import shutil
import sys
import textwrap
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from ._report import Check, Report, Table, Value

_LABEL_WIDTH = 26
_NARROWEST = 60


class View(Protocol):
    """Is told what happens, as it happens."""

    def began(self, headline: str) -> None:
        """The cluster is there."""

    def step(self, number: int, title: str) -> None:
        """A step begins."""

    def fact(self, label: str, value: Value) -> None:
        """Something worth knowing."""

    def table(self, table: Table) -> None:
        """Several things in rows."""

    def check(self, check: Check) -> None:
        """Something that must hold, and whether it does."""

    def progress(self, label: str, total: float) -> AbstractContextManager[Callable[[float], None]]:
        """Work under way."""

    def finished(self, report: Report) -> None:
        """All is done."""


class NoView:
    """Shows nothing."""

    def began(self, headline: str) -> None:
        """The cluster is there."""

    def step(self, number: int, title: str) -> None:
        """A step begins."""

    def fact(self, label: str, value: Value) -> None:
        """Something worth knowing."""

    def table(self, table: Table) -> None:
        """Several things in rows."""

    def check(self, check: Check) -> None:
        """Something that must hold, and whether it does."""

    @contextmanager
    def progress(self, label: str, total: float) -> Iterator[Callable[[float], None]]:  # noqa: ARG002
        """Work under way."""
        yield lambda _more: None

    def finished(self, report: Report) -> None:
        """All is done."""


class PlainView(NoView):
    """Lines of text, for files, pipes and simple terminals. No progress: lines that are there, stay."""

    def began(self, headline: str) -> None:
        """The cluster is there."""
        _line(headline)

    def step(self, number: int, title: str) -> None:
        """A step begins."""
        _line(f"\n{number}. {title}")

    def fact(self, label: str, value: Value) -> None:
        """Something worth knowing."""
        indent = " " * (_LABEL_WIDTH + 4)
        width = max(shutil.get_terminal_size((110, 24)).columns, _NARROWEST)
        text = textwrap.wrap(shown(value), width, initial_indent=indent, subsequent_indent=indent)
        _line(f"   {label:<{_LABEL_WIDTH}} {chr(10).join(text)[len(indent) :]}")

    def table(self, table: Table) -> None:
        """Several things in rows."""
        cells = [table.columns, *(tuple(shown(value) for value in row) for row in table.rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(table.columns))]
        _line(f"   {table.title}:")
        for row in cells:
            _line("     " + "  ".join(map(_aligned, row, widths)).rstrip())

    def check(self, check: Check) -> None:
        """Something that must hold, and whether it does."""
        _line(f"   {verdict(check)}")

    def finished(self, report: Report) -> None:
        """All is done."""
        _line(f"\n{conclusion(report)}")


def shown(value: Value) -> str:
    """Write a value for people."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) and value >= 10_000_000 else str(value)  # noqa: PLR2004


def is_number(text: str) -> bool:
    """Tell whether a cell holds a number, which stands to the right."""
    return text.replace(".", "", 1).isdigit() or text == "-"


def verdict(check: Check) -> str:
    """Write a check in a line."""
    if check.held:
        return f"ok      {check.name}"
    return f"FAILED  {check.name}" + (f": {check.detail}" if check.detail else "")


def conclusion(report: Report) -> str:
    """Write the end of it in a few lines."""
    failed = [check for check in report.checks if not check.held]
    total = f"{len(report.checks)} checks, {report.seconds:.1f} s"
    if report.ok:
        return f"All held: {total}."
    return "\n".join([f"{len(failed)} failed of {total}:", *(f"  {verdict(check)}" for check in failed)])


def _aligned(text: str, width: int) -> str:
    return text.rjust(width) if is_number(text) else text.ljust(width)


def _line(text: str) -> None:
    # Flushed: whoever reads this through a pipe is waiting for it.
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
