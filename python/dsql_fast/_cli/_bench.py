"""`dsql-fast bench`: what things cost, beside others."""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_INSTALL_HINT = "pip install 'dsql-fast[bench]'"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the program's parser."""
    from dsql_fast._bench._catalogue import TITLES

    parser = subparsers.add_parser(
        "bench",
        help="measure it beside others",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measure on this machine, on a local cluster, beside named peers that take turns with it in "
        "the same run.\nPeers are installed when they are first wanted, each into an environment of its own: in "
        "DSQL_FAST_BENCH_HOME,\nelse in the user's cache directory. One that cannot be had is skipped, with the "
        "reason.",
        epilog="benches:\n" + "\n".join(f"  {name:10} {title}" for name, title in TITLES.items()),
    )
    parser.add_argument("names", nargs="*", metavar="BENCH", help="which; default: all")
    parser.add_argument(
        "--compare",
        action="append",
        metavar="PEER[,PEER...]",
        help="compare with these only (`none`: with nothing that has to be installed); a wrong name lists all",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found to a file as well")
    parser.add_argument("--pyperf", type=Path, metavar="FILE", help="write the raw values as a pyperf suite")
    parser.add_argument("--wheel", type=Path, metavar="FILE", help="a built wheel, to weigh")
    parser.add_argument("--quick", action="store_true", help="a few rounds: to see that it works, not for figures")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    from dsql_fast._bench._catalogue import TITLES

    unknown = [name for name in args.names if name not in TITLES]
    if unknown:
        print(f"dsql-fast bench: there is no {', '.join(unknown)}; there are {', '.join(TITLES)}", file=sys.stderr)
        return 2
    try:
        from dsql_fast._bench import _output
        from dsql_fast._bench._catalogue import bench
        from dsql_fast._bench._peers import PEERS
        from dsql_fast._bench._run import Run
    except ModuleNotFoundError as missing:
        print(f"dsql-fast bench: {missing.name} is missing: {_INSTALL_HINT}", file=sys.stderr)
        return 1
    compare = _peers(args.compare)
    if compare is not None and (wrong := compare - set(PEERS)):
        print(
            f"dsql-fast bench: there is no peer {', '.join(sorted(wrong))}; there are {', '.join(PEERS)}",
            file=sys.stderr,
        )
        return 2
    print(", ".join(f"{name} {value}" for name, value in _output.machine().items()))
    runs: dict[str, Run] = {}
    for name in args.names or TITLES:
        print(f"\n{TITLES[name]}", flush=True)
        with _progress() as (show, say):
            runs[name] = Run(
                quick=args.quick,
                compare=compare,
                wheel=args.wheel,
                on_figure=lambda figure: say("  " + _output.line_of(figure)),
                on_skip=lambda skip: say(f"  {skip.what}: skipped: {skip.why}"),
                on_progress=show,
            )
            bench(name)(runs[name])
    command = shlex.join(["dsql-fast", "bench", *sys.argv[2:]])
    _write(args, _output.document(runs, command), runs)
    return 0


def _peers(given: list[str] | None) -> frozenset[str] | None:
    if given is None:
        return None
    names = {name for each in given for name in each.split(",") if name}
    return frozenset(names - {"none"})


def _write(args: argparse.Namespace, document: dict[str, Any], runs: Any) -> None:
    if args.json is not None:
        args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if args.pyperf is not None:
        from dsql_fast._bench._pyperf import write_suite

        write_suite(args.pyperf, runs)


@contextlib.contextmanager
def _progress() -> Iterator[tuple[Callable[[str, float | None], None], Callable[[str], None]]]:
    """Give a function that shows progress, and one that prints a line above it. Without a terminal only lines."""
    if not sys.stdout.isatty():
        yield lambda *_: None, lambda line: print(line, flush=True)
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    except ImportError:
        yield lambda *_: None, lambda line: print(line, flush=True)
        return
    console = Console(highlight=False)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    # Twice a second: drawing takes time from what is measured.
    with Progress(*columns, console=console, transient=True, refresh_per_second=2) as bar:
        task = bar.add_task("", total=None)

        def show(what: str, part: float | None) -> None:
            bar.update(task, description=what, total=None if part is None else 1.0, completed=part or 0.0)

        yield show, lambda line: bar.console.print(line, markup=False)
