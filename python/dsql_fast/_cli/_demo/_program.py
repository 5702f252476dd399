"""The demo's run: a cluster, the steps on it, and what came out."""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import time
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

from ._report import Report, StepReport, Value
from ._stage import Scale, Stage
from ._view import NoView, PlainView

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    from dsql_fast.local import LocalCluster

    from ._view import View

_INSTALL_HINT = "pip install 'dsql-fast[binary,local]'"
_TERMINATED = 143  # what shells say of a program that SIGTERM ended


class Step(NamedTuple):
    """One part of the demo.

    Attributes:
        name: as in ``--json``.
        title: for people.
        show: does it.
    """

    name: str
    title: str
    show: Callable[[Stage], None]


def all_steps() -> tuple[Step, ...]:
    """The whole demo.

    Raises:
        ImportError: something that the demo needs is not installed.
    """
    from ._churn import show_churn
    from ._comparison import show_comparison
    from ._connect import show_connect
    from ._refusals import show_refusals
    from ._renewal import show_renewal
    from ._transfers import show_transfers

    return (
        Step("connect", "A connection, and what it is", show_connect),
        Step("transfers", "Money moves between shared accounts: conflicts are retried", show_transfers),
        Step("churn", "Connections opened and closed, with one token", show_churn),
        Step("renewal", "A token ends, connections grow old: a pool goes on", show_renewal),
        Step("refusals", "What must not work, does not", show_refusals),
        Step("comparison", "What a connect costs", show_comparison),
    )


def run(args: argparse.Namespace) -> int:
    """Run the demo; returns the exit status."""
    scale = Scale.quick() if args.quick else Scale()
    with _ended_by_signals():
        try:
            steps = all_steps()
            from dsql_fast.local import LocalCluster, LocalClusterError
        except ImportError as error:
            return _cannot_run(f"it needs {error.name or error}: {_INSTALL_HINT}", as_json=args.json)
        view = _view(args)
        began = time.perf_counter()
        try:
            with LocalCluster() as cluster:
                ready = time.perf_counter() - began
                view.began(f"A local cluster, {cluster.host}, was ready in {ready:.2f} s.")
                report = run_steps(cluster, view, scale, steps)
        except LocalClusterError as error:
            return _cannot_run(str(error), as_json=args.json)
    report.seconds = time.perf_counter() - began
    report.machine["cluster ready, s"] = ready
    view.finished(report)
    if args.json:
        print(json.dumps(report.as_dict(), indent=2))
    return 0 if report.ok else 1


def run_steps(cluster: LocalCluster, view: View, scale: Scale, steps: Sequence[Step]) -> Report:
    """Do the steps. One that fails with an error has a failed check, and the next ones are done all the same."""
    report = Report(_machine())
    for number, step in enumerate(steps, start=1):
        step_report = StepReport(step.name, step.title)
        report.steps.append(step_report)
        view.step(number, step.title)
        stage = Stage(cluster, scale, step_report, view)
        began = time.perf_counter()
        try:
            step.show(stage)
        except Exception as error:  # noqa: BLE001 (told, and the exit status says so)
            stage.check("the step came to its end", held=False, detail=f"{type(error).__name__}: {error}")
        step_report.seconds = time.perf_counter() - began
    return report


def _view(args: argparse.Namespace) -> View:
    if args.json:
        return NoView()
    if args.plain or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return PlainView()
    try:
        from ._rich_view import RichView
    except ImportError:
        return PlainView()
    return RichView()


def _machine() -> dict[str, Value]:
    from psycopg import pq

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "libpq": pq.version_pretty(pq.version()),
        **{name: version(name) for name in ("dsql-fast", "psycopg", "psycopg-pool", "boto3")},
    }


def _cannot_run(sentence: str, *, as_json: bool) -> int:
    print(f"dsql-fast demo: {sentence}", file=sys.stderr)
    if as_json:
        print(json.dumps({"ok": False, "error": sentence}))
    return 1


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM unwind the stack as Ctrl-C does, so that the cluster is stopped."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(_TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
