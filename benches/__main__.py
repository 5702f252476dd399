"""Run the benchmarks and print what they found."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, cast

from psycopg import pq

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._timing import Figure

_PATHS = {
    "hit": "A token from the cache",
    "sign": "A token signed",
    "cold_start": "From a cold start to the first token",
    "local_cluster": "A local cluster",
    "connect": "A connect over verified TLS",
    "asyncio_connects": "Many asyncio connects at once",
}
_PACKAGES = ("dsql-fast", "psycopg", "psycopg-pool", "boto3", "botocore", "aurora-dsql-python-connector")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches", description="Measure, in ratios to named peers.")
    parser.add_argument("paths", nargs="*", metavar="PATH", help=f"of {', '.join(_PATHS)}; default: all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file as well")
    args = parser.parse_args()
    unknown = set(args.paths) - set(_PATHS)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(_PATHS)}")
    machine = _machine()
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    found: dict[str, list[Figure]] = {}
    for path, title in _PATHS.items():
        if args.paths and path not in args.paths:
            continue
        print(f"\n{title}", flush=True)
        measure = cast("Callable[[], list[Figure]]", import_module(f".{path}", __package__).measure)
        found[path] = measure()
        for figure in found[path]:
            print("  " + _line(figure), flush=True)
    if args.json is not None:
        figures = {path: [asdict(figure) for figure in each] for path, each in found.items()}
        args.json.write_text(json.dumps({"machine": machine, "figures": figures}, indent=2) + "\n")
    return 0


def _line(figure: Figure) -> str:
    parts = [f"{figure.what}: {_number(figure.value)} {figure.unit}"]
    if figure.peer and figure.ratio is not None and figure.peer_value is not None:
        peer = f"{figure.peer} ({_number(figure.peer_value)} {figure.unit})"
        parts.append(
            {
                "to the peer": f"{figure.ratio:.3f} times {peer}",
                "of the peer": f"{figure.ratio:.1f} times as fast as {peer}",
                "over the peer": f"{figure.ratio:.1f} {figure.unit} more than {peer}",
            }[figure.ratio_of]
        )
    if figure.interval is not None:
        parts.append("95 %: {} to {}".format(*map(_bound, figure.interval)))
    if figure.goal is not None:
        parts.append(f"goal: {figure.goal.text}, {'met' if figure.goal.met else 'MISSED'}")
    return "; ".join(parts)


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _bound(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3f}"


def _machine() -> dict[str, str | int | None]:
    machine: dict[str, str | int | None] = {
        "system": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
        "load": f"{os.getloadavg()[0]:.2f}",
        "python": platform.python_version(),
        "libpq": pq.version_pretty(pq.version()),
    }
    machine.update((package, _version(package)) for package in _PACKAGES)
    return machine


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    sys.exit(main())
