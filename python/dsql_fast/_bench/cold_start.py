"""From nothing to a first token, as a function that starts cold has it: a process of its own each time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ._figures import Figure, Goal
from ._timing import rotated

if TYPE_CHECKING:
    from ._run import Run

_ROUNDS = 25
_BOTO3_EVERY = 5
_GOAL = 10.0

_BARE, _OURS, _BOTO3 = (
    "a bare interpreter",
    "import dsql_fast, and a first token",
    "import boto3, and a first token",
)
_PROGRAMS = {
    _BARE: "pass",
    _OURS: "import dsql_fast, os; dsql_fast.TokenSource(os.environ['CLUSTER_ENDPOINT']).token()",
    _BOTO3: "import boto3, os; boto3.Session().client('dsql').generate_db_connect_admin_auth_token("
    "os.environ['CLUSTER_ENDPOINT'], 'us-east-1', 900)",
}
_NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"
_KEYS = {
    "CLUSTER_ENDPOINT": "foo0bar1baz2quux3quuux4q00.dsql.us-east-1.on.aws",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "made-up",
}


def measure(run: Run) -> None:
    """Run the bench."""
    run.found(*_measured())


def _measured() -> list[Figure]:
    with TemporaryDirectory(prefix="dsql-fast-bench-") as directory:
        times = _times(_environment(directory))
    figures = []
    for name in (_OURS, _BOTO3):
        more = median(took - times[_BARE][number] for number, took in times[name].items())
        figures.append(
            Figure(
                name,
                median(times[name].values()),
                "ms",
                peer=_BARE,
                peer_value=median(times[_BARE].values()),
                ratio=more,
                ratio_of="over the peer",
                goal=Goal(f"at most {_GOAL:g} ms more", more <= _GOAL) if name == _OURS else None,
            )
        )
    return figures


def _times(environment: dict[str, str]) -> dict[str, dict[int, float]]:
    times: dict[str, dict[int, float]] = {name: {} for name in _PROGRAMS}
    for number in range(-1, _ROUNDS):
        for name in rotated(list(_PROGRAMS), number):
            if name == _BOTO3 and number >= 0 and number % _BOTO3_EVERY:
                continue
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", _PROGRAMS[name]], check=True, env=environment)
            took = time.perf_counter() - began
            if number >= 0:  # the round before the first writes the bytecode
                times[name][number] = took * 1e3
    return times


def _environment(directory: str) -> dict[str, str]:
    """Bytecode is kept, as where a package is installed, also where PYTHONDONTWRITEBYTECODE is set."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("AWS_") and name != _NO_BYTECODE
    }
    return {**kept, **_KEYS, "PYTHONPYCACHEPREFIX": directory}
