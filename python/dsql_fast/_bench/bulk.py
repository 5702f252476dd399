"""Many rows into a table: `bulk_insert` beside one transaction after the other.

The same rows in transactions of the same size, from an iterator, with COMMIT as fast as the local cluster has it
and with 15 ms of latency. Each way has a process and a table of its own, and is held to what is in the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dsql_fast
from dsql_fast.local import LocalCluster

from ._contest import Contestant, Program, contest
from ._figures import Figure, compared

if TYPE_CHECKING:
    from ._contest import Samples
    from ._run import Run

_OURS = "bulk_insert"
_ONE_BY_ONE = "executemany, one transaction after the other"
_VALUES = "INSERT of 1,000 rows, one transaction after the other"
_WAYS = {_OURS: "bulk_insert", _ONE_BY_ONE: "executemany", _VALUES: "values"}

_LATENCIES = (0.0, 0.015)
_ROWS, _QUICK_ROWS = 20_000, 4_000
_ROUNDS = 9

_BEST_ONE_BY_ONE = 3


def measure(run: Run) -> None:
    """Run the bench."""
    with LocalCluster(rate=None, handshake_seconds=None) as cluster:
        with dsql_fast.connect(**cluster.connect_kwargs(), autocommit=True) as conn:
            for way in _WAYS.values():
                conn.execute(
                    f"CREATE TABLE rows_by_{way} (id bigint PRIMARY KEY, part int, said text, weight float8)"
                )
        environment = {**cluster.environment(), "AWS_SESSION_TOKEN": None, "AWS_PROFILE": None}
        python = Program.python("rows.py", environment)
        rows = _QUICK_ROWS if run.quick else _ROWS
        contestants = [
            Contestant(name, Program((*python.command, way), python.environment), "insert", rows)
            for name, way in _WAYS.items()
        ]
        for number, latency in enumerate(_LATENCIES):
            cluster.faults.latency(commit=latency)
            found = contest(
                contestants,
                run.rounds(_ROUNDS),
                progress=lambda part, number=number: run.progress("rows", (number + part) / len(_LATENCIES)),  # type: ignore[misc]
            )
            run.samples.update({f"{name}, {_commit(latency)}": samples for name, samples in found.items()})
            _report(run, latency, found)


def _report(run: Run, latency: float, found: dict[str, Samples]) -> None:
    ours = found[_OURS]
    for peer, theirs in found.items():
        if peer == _OURS:
            continue
        at_least = _BEST_ONE_BY_ONE if peer == _ONE_BY_ONE else None
        what = f"rows, {_commit(latency)}"
        run.found(compared(what, _rates(ours), "rows/s", peer, _rates(theirs), at_least=at_least))
    if "memory" in ours.values:
        for name, samples in found.items():
            most = max(samples.of("memory")) / 1024
            run.found(Figure(f"  memory at its most, over that before, {name}, {_commit(latency)}", most, "MiB"))


def _rates(samples: Samples) -> list[float]:
    # What a call took is what a row took.
    return [1 / each for each in samples.of("wall")]


def _commit(latency: float) -> str:
    return f"COMMIT {latency * 1e3:g} ms" if latency else "COMMIT without latency"
