"""What a step of the demo acts on: the cluster, how much to do, and where to say what was found."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any

from ..._config import parse_config
from ..._tokens import shared_source
from ._report import Check, StepReport, Table, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from dsql_fast.local import LocalCluster

    from ..._tokens import TokenSource
    from ._view import View


@dataclass(frozen=True)
class Scale:
    """How much is done.

    Attributes:
        transfers: transfers of each of the two kinds of workers, threads and tasks.
        connections: connections opened and closed by each of the two.
        token_seconds: life of the short-lived token; whole, as tokens have it.
        rounds: connects of each contestant in the comparison.
    """

    transfers: int = 200
    connections: int = 320
    token_seconds: int = 3
    rounds: int = 25

    @classmethod
    def quick(cls) -> Scale:
        """About a tenth, to try the demo itself."""
        return cls(transfers=20, connections=32, token_seconds=2, rounds=3)


class Stage:
    """One step at work.

    Attributes:
        cluster: the local cluster.
        scale: how much to do.
        report: what was found so far.
    """

    def __init__(self, cluster: LocalCluster, scale: Scale, report: StepReport, view: View) -> None:
        self.cluster = cluster
        self.scale = scale
        self.report = report
        self._view = view

    def fact(self, label: str, value: Value) -> None:
        """Tell something worth knowing."""
        self.report.facts[label] = value
        self._view.fact(label, value)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[tuple[Value, ...]]) -> None:
        """Tell several things in rows."""
        table = Table(title, tuple(columns), list(rows))
        self.report.tables.append(table)
        self._view.table(table)

    def check(self, name: str, held: bool, detail: object = "") -> None:
        """Tell whether something holds that must."""
        check = Check(name, bool(held), str(detail))
        self.report.checks.append(check)
        self._view.check(check)

    def progress(self, label: str, total: float) -> AbstractContextManager[Callable[[float], None]]:
        """Show work under way: the function given is called with how much more is done, from any thread."""
        return self._view.progress(label, total)

    def arguments(self, **more: Any) -> dict[str, Any]:
        """What ``dsql_fast.connect`` needs, and `more`."""
        return {**self.cluster.connect_kwargs(), **more}

    def source(self, **more: Any) -> TokenSource:
        """The source of tokens that connections with these arguments share: it counts what it signed."""
        config = parse_config("", self.arguments(**more), {})
        return shared_source(config.endpoint, config.action, config.lifetime, config.provider)


def in_threads(count: int, work: Callable[[int, Event], None]) -> None:
    """Run `work` in so many threads, and wait for them.

    Args:
        count: threads.
        work: is given its number, from 0, and an event that is set when it shall stop: one of the others
            failed, or Ctrl-C was pressed.
    """
    stop = Event()

    def run(number: int) -> None:
        try:
            work(number, stop)
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(count) as executor:
        futures = [executor.submit(run, number) for number in range(count)]
        try:
            for future in futures:
                future.result()
        except BaseException:
            stop.set()
            raise
