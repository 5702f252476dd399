"""`dsql-fast bench`: what things cost, beside others."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import traceback
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dsql_fast._bench._run import Run

    from ._bench_view import View

_INSTALL_HINT = "pip install 'dsql-fast[bench,binary,cli,local]'"
_INTERRUPTED = 130  # what shells say of a program that Ctrl-C ended
# What needs more than the package itself has.
_NEEDS = {"plot": "matplotlib", "pyperf": "pyperf"}


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
        "reason.\nCtrl-C ends the run: what was found until then is shown, and written where that was asked for.",
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
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="draw it, as SVG: FILE, and one for dark pages beside it, with -dark before its suffix",
    )
    parser.add_argument("--pyperf", type=Path, metavar="FILE", help="write the raw values as a pyperf suite")
    parser.add_argument("--wheel", type=Path, metavar="FILE", help="a built wheel, to weigh")
    parser.add_argument("--quick", action="store_true", help="a few rounds: to see that it works, not for figures")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    from dsql_fast._bench._catalogue import TITLES

    names = list(dict.fromkeys(args.names)) or list(TITLES)
    if unknown := [name for name in names if name not in TITLES]:
        return _refused(f"there is no {', '.join(unknown)}; there are {', '.join(TITLES)}")
    if (status := _outlook(args)) != 0:
        return status
    try:
        import dsql_fast._bench._output  # noqa: F401 (psycopg comes with it, and needs a libpq)
        from dsql_fast._bench._peers import PEERS

        from ._bench_view import view
    except ImportError as missing:
        return _missing(getattr(missing, "name", None) or "libpq")
    compare = _peers(args.compare)
    if compare is not None and (wrong := compare - set(PEERS)):
        there = f"there are {', '.join(PEERS)}" if PEERS else "none has to be installed"
        return _refused(f"there is no peer {', '.join(sorted(wrong))}; {there}")
    return _measure(args, names, compare, view())


def _outlook(args: argparse.Namespace) -> int:
    """Look for what would end an hour's run in an error; returns 0, or the exit status."""
    for option in ("json", "plot", "pyperf"):
        path: Path | None = getattr(args, option)
        if path is None:
            continue
        if path.is_dir():
            return _refused(f"--{option}: {path} is a directory")
        if not path.absolute().parent.is_dir():
            return _refused(f"--{option}: there is no directory {path.absolute().parent}")
        if option in _NEEDS and find_spec(_NEEDS[option]) is None:
            return _missing(_NEEDS[option])
    if args.wheel is not None and not args.wheel.is_file():
        return _refused(f"--wheel: there is no file {args.wheel}")
    return 0


def _refused(why: str) -> int:
    print(f"dsql-fast bench: {why}", file=sys.stderr)
    return 2


def _missing(module: str | None) -> int:
    print(f"dsql-fast bench: {module} is missing: {_INSTALL_HINT}", file=sys.stderr)
    return 1


def _peers(given: list[str] | None) -> frozenset[str] | None:
    if given is None:
        return None
    names = {name for each in given for name in each.split(",") if name}
    return frozenset(names - {"none"})


def _measure(args: argparse.Namespace, names: list[str], compare: frozenset[str] | None, view: View) -> int:
    from dsql_fast._bench._catalogue import TITLES
    from dsql_fast._bench._goals import REST
    from dsql_fast._bench._output import document, machine
    from dsql_fast._bench._results import results
    from dsql_fast._bench._run import Run

    from ._bench_view import show, show_goals

    view.line(", ".join(f"{name} {value}" for name, value in machine().items()), "dim")
    runs: dict[str, Run] = {}
    status = 0
    for number, name in enumerate(names, start=1):
        runs[name] = Run(quick=args.quick, compare=compare, wheel=args.wheel)
        try:
            view.line(f"\n{number}/{len(names)} {name}  {TITLES[name]}", "bold cyan")
            with view.progress() as progress:
                runs[name].on_progress = progress
                status = _run_one(name, runs[name]) or status
        except KeyboardInterrupt:
            runs[name].skipped(REST, "interrupted")
            status = _INTERRUPTED
        show(runs[name], view)
        if status == _INTERRUPTED:
            break
    found = document(runs, shlex.join(["dsql-fast", "bench", *sys.argv[2:]]))
    _write(args, found, runs)  # first: it was an hour's work
    if len(runs) == len(TITLES):
        view.line("\nGoals", "bold cyan")
        show_goals(results(found), view)
    return status


def _run_one(name: str, run: Run) -> int:
    """Run a bench. One that fails keeps what it has found, and the others get their turn."""
    from dsql_fast._bench._catalogue import bench
    from dsql_fast._bench._goals import REST

    try:
        bench(name)(run)
    except ModuleNotFoundError as missing:
        run.skipped(REST, f"{missing.name} is missing: {_INSTALL_HINT}")
        return 1
    except Exception as error:  # noqa: BLE001 (told, with all that is known)
        traceback.print_exc()
        run.skipped(REST, f"{type(error).__name__}: {error}")
        return 1
    return 0


def _write(args: argparse.Namespace, found: Mapping[str, object], runs: Mapping[str, Run]) -> None:
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if args.pyperf is not None:
        from dsql_fast._bench._pyperf import write_suite

        write_suite(args.pyperf, runs)
    if args.plot is not None:
        from dsql_fast._bench._charts import draw
        from dsql_fast._bench._drawing import written

        draw(found, args.plot)
        for run_ in runs.values():
            for word, plots in run_.plots.items():
                written(args.plot.with_name(f"{args.plot.stem}-{word}{args.plot.suffix}"), plots())
