"""A cached token read by native threads: no Python, no lock, no count that they share."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import dsql_fast

from ._figures import Figure, Goal, interval_of_median
from ._recipes import UnavailableError, run_tool, tool_version

if TYPE_CHECKING:
    from ._run import Run

_WHAT, _PEER = "cached token, native, 2 threads", "1 thread"
_ARITHMETIC = "  the same of threads that share nothing, arithmetic in registers"
_RUNS, _LEAST = 7, 1.9
_COMMAND = ("cargo", "bench", "--locked", "--quiet", "--no-default-features", "--bench", "native", "--", "threads")


def native_threads(run: Run, root: Path = Path(dsql_fast.__file__).parents[2]) -> None:
    """Compare two threads with one, by a program of the Rust crate's; from a source checkout alone.

    Args:
        run: that wants it.
        root: of the checkout.
    """
    if not (root / "benches" / "guard" / "native.rs").exists():
        run.skipped(_WHAT, "its program is the Rust crate's own: run it from a source checkout")
        return
    if run.quick:
        run.skipped(_WHAT, "its program is compiled first, which a quick run leaves out")
        return
    try:
        tool_version("cargo", "--version", needs="Rust 1.94.1 or newer")
        answers = []
        for number in range(_RUNS):
            run.progress(_WHAT, number / _RUNS)
            answers.append(json.loads(run_tool(_COMMAND, root).splitlines()[-1]))
    except UnavailableError as reason:
        run.skipped(_WHAT, str(reason))
        return
    ratios = [answer["ratio"] for answer in answers]  # each of rounds in which the two took turns
    one, two = (
        median(answer[name] for answer in answers) / 1e6
        for name in ("one_thread_hits_per_s", "two_threads_hits_per_s")
    )
    ratio = median(ratios)
    goal = Goal(f"at least {_LEAST:g} times", ratio >= _LEAST)
    run.found(Figure(_WHAT, two, "million/s", _PEER, one, ratio, interval=interval_of_median(ratios), goal=goal))
    shared = [answer["ratio_of_arithmetic"] for answer in answers]
    run.found(Figure(_ARITHMETIC, median(shared), "times", interval=interval_of_median(shared)))
