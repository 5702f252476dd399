"""The raw values as pyperf has them, so that its tools can check and compare them.

``python -m pyperf check FILE`` tells whether values are too unstable to be published, ``pyperf compare_to`` what
changed since another run. Each process that a contestant lived in is one run of pyperf's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyperf

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ._contest import Samples
    from ._run import Run

# What contestants answer with that is a time: seconds for one call.
_TIMES = ("wall", "cpu")


def write_suite(path: Path, runs: Mapping[str, Run]) -> bool:
    """Write the times of all contestants to a file, which is replaced.

    Args:
        path: of the file.
        runs: by the bench's name.

    Returns:
        False, and no file, if there were no such times.
    """
    benchmarks = [
        benchmark
        for bench, run in runs.items()
        for contestant, samples in run.samples.items()
        for name in _TIMES
        if (benchmark := _benchmark(f"{bench}: {contestant}, {name}", samples, name)) is not None
    ]
    if benchmarks:
        pyperf.BenchmarkSuite(benchmarks).dump(str(path), replace=True)
    return bool(benchmarks)


def _benchmark(title: str, samples: Samples, name: str) -> pyperf.Benchmark | None:
    values = samples.values.get(name, {})
    runs = [
        pyperf.Run(taken, metadata={"name": title, "unit": "second"})
        for generation in samples.generations
        if (taken := [values[number] for number in generation if values.get(number, 0) > 0])
    ]
    return pyperf.Benchmark(runs) if runs else None
