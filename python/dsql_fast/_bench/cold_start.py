"""From nothing to a first token and to a first row, as a function that starts cold has it; and the memory then.

A process of its own each time, from its start to its end. Bytecode is kept, as where a package is installed. All
connect with the same arguments, and the keys are the environment's: the cheapest place for boto3 to find them.

Memory is what is resident (VmRSS) after the first row; pages that processes share count in full.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ..psycopg._attempt import begin
from ._cluster import cluster_for_programs
from ._contest import ContestantError, Samples
from ._figures import Figure, Goal, compared
from ._keys import APART, ENVIRONMENT, HOST, REGION
from ._peers import had
from ._timing import rotated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from dsql_fast.local import LocalCluster

    from ._run import Run

_BARE, _OURS, _KEPT, _OFFICIAL, _FIXED = (
    "a bare interpreter",
    "dsql-fast",
    "boto3",
    "the official connector",
    "psycopg, fixed password",
)
_TOKEN, _ROW, _MEMORY, _WHEEL = "a first token", "a first row", "memory after a first row", "the wheel"

_ROUNDS, _ROUNDS_OF_MEMORY = 60, 10
# So slow that it would fill the run.
_SLOW_EVERY = 4
_SLOW = {_KEPT, _OFFICIAL}
_MOST_MS, _MOST_TIMES, _MOST_MIB, _MOST_KIB = 5.0, 1.03, 1.0, 600.0

_RESIDENT = """
with open("/proc/self/status") as lines:
    print(next(line.split()[1] for line in lines if line.startswith("VmRSS:")))
"""


@dataclass(frozen=True)
class _Way:
    """A program, as text, and the interpreter that runs it."""

    program: str
    interpreter: str = sys.executable
    apart: bool = False

    def run(self, environment: Mapping[str, str | None], then: str = "") -> str:
        """Run it to its end; returns what it printed."""
        variables = {**os.environ, **environment, **(APART if self.apart else {})}
        done = subprocess.run(
            [self.interpreter, "-c", self.program + then],
            check=False,
            env={name: value for name, value in variables.items() if value is not None},
            stdout=subprocess.PIPE,
            text=True,
        )
        if done.returncode:
            raise ContestantError(f"a cold start ended with status {done.returncode}: {self.program}")
        return done.stdout


def measure(run: Run) -> None:
    """Run the bench."""
    official = had(run, "official")
    with TemporaryDirectory(prefix="dsql-fast-bench-") as directory:
        # Also where PYTHONDONTWRITEBYTECODE is set.
        bytecode = {"PYTHONPYCACHEPREFIX": directory, "PYTHONDONTWRITEBYTECODE": None}
        _tokens(run, _signing(official), {**ENVIRONMENT, **bytecode})
        with cluster_for_programs() as (cluster, variables):
            ways = _connecting(cluster, variables, official)
            _rows(run, ways, {**variables, **bytecode})
            _memory(run, ways, {**variables, **bytecode})
    _weigh(run, run.wheel)


def _signing(official: Sequence[str] | None) -> dict[str, _Way]:
    """Give the ways to a first token."""
    where = f"{HOST!r}, {REGION!r}"
    ways = {
        _BARE: _Way("pass"),
        _OURS: _Way(f"import dsql_fast; dsql_fast.TokenSource({HOST!r}).token()"),
        _KEPT: _Way(
            f"import boto3; boto3.Session().client('dsql').generate_db_connect_admin_auth_token({where}, 900)"
        ),
    }
    if official is not None:
        parameters = {"host": HOST, "region": REGION, "user": "admin", "token_duration_secs": 900}
        ways[_OFFICIAL] = _Way(
            "import aurora_dsql_psycopg; from dsql_core.token_manager import TokenManager; "
            f"TokenManager.get_token({parameters!r})",
            official[0],
            apart=True,
        )
    return ways


def _connecting(
    cluster: LocalCluster, variables: Mapping[str, str | None], official: Sequence[str] | None
) -> dict[str, _Way]:
    """Give the ways to a first row; their keys are the environment's."""
    ours = {name: value for name, value in cluster.connect_kwargs().items() if name != "credentials"}
    ours["sslrootcert"] = variables["PGSSLROOTCERT"]
    arguments = json.loads(variables["DSQL_FAST_BENCH_ARGUMENTS"] or "")
    fixed = begin("", cluster.connect_kwargs()).token()
    row = "connection.execute('select 1').fetchone()"
    where = f"{cluster.host!r}, {cluster.region!r}"
    client = "boto3.Session().client('dsql')"
    ways = {
        _FIXED: _Way(f"import psycopg; connection = psycopg.connect(password={fixed!r}, **{arguments!r}); {row}"),
        _OURS: _Way(f"import dsql_fast; connection = dsql_fast.connect(**{ours!r}); {row}"),
        _KEPT: _Way(
            f"import boto3, psycopg; token = {client}.generate_db_connect_admin_auth_token({where}, 900); "
            f"connection = psycopg.connect(password=token, **{arguments!r}); {row}"
        ),
    }
    if official is not None:
        # It names itself.
        theirs: dict[str, Any] = {**arguments, "region": cluster.region}
        theirs.pop("fallback_application_name", None)
        ways[_OFFICIAL] = _Way(
            f"import aurora_dsql_psycopg; connection = aurora_dsql_psycopg.connect(**{theirs!r}); {row}",
            official[0],
            apart=True,
        )
    return ways


def _tokens(run: Run, ways: Mapping[str, _Way], environment: Mapping[str, str | None]) -> None:
    found = _times(run, _TOKEN, ways, environment)
    for name in ways:
        if name != _BARE:
            mine, bare = _pairs(found[name], found[_BARE])
            most = _MOST_MS if name == _OURS else None
            run.found(
                compared(f"{_TOKEN}, {name}", mine, "ms", _BARE, bare, ratio_of="over the peer", at_most=most)
            )


def _rows(run: Run, ways: Mapping[str, _Way], environment: Mapping[str, str | None]) -> None:
    found = _times(run, _ROW, ways, environment)
    for name in ways:
        if name != _FIXED:
            mine, fixed = _pairs(found[name], found[_FIXED])
            most = _MOST_TIMES if name == _OURS else None
            run.found(compared(f"{_ROW}, {name}", mine, "ms", _FIXED, fixed, at_most=most))


def _pairs(mine: Samples, theirs: Samples) -> tuple[list[float], list[float]]:
    """Return both, in milliseconds, in the rounds of the first."""
    rounds = mine.rounds("wall")
    first, second = ([each * 1e3 for each in one.of("wall", rounds)] for one in (mine, theirs))
    return first, second


def _times(
    run: Run, what: str, ways: Mapping[str, _Way], environment: Mapping[str, str | None]
) -> dict[str, Samples]:
    """Let the ways take turns; returns their samples, which go into the run, too."""
    rounds = run.rounds(_ROUNDS)
    found = {name: Samples(generations=[range(rounds)]) for name in ways}
    for number in range(-1, rounds):
        for name in rotated(list(ways), number):
            if name in _SLOW and number >= 0 and number % _SLOW_EVERY:
                continue
            began = time.perf_counter()
            ways[name].run(environment)
            took = time.perf_counter() - began
            if number >= 0:  # the round before the first writes the bytecode
                found[name].values.setdefault("wall", {})[number] = took
        run.progress(what, (number + 1) / rounds)
    run.samples.update({f"{what}, {name}": samples for name, samples in found.items()})
    return found


def _memory(run: Run, ways: Mapping[str, _Way], environment: Mapping[str, str | None]) -> None:
    if not sys.platform.startswith("linux"):
        run.skipped(_MEMORY, "it is read from /proc: run it on Linux")
        return
    resident: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(run.rounds(_ROUNDS_OF_MEMORY)):
        for name, way in ways.items():
            resident[name].append(int(way.run(environment, then=_RESIDENT)) / 1024)
        run.progress(_MEMORY)
    for name in ways:
        if name != _FIXED:
            most = _MOST_MIB if name == _OURS else None
            run.found(
                compared(
                    f"{_MEMORY}, {name}",
                    resident[name],
                    "MiB",
                    _FIXED,
                    resident[_FIXED],
                    ratio_of="over the peer",
                    at_most=most,
                )
            )


def _weigh(run: Run, wheel: Path | None) -> None:
    if wheel is None:
        run.skipped(_WHEEL, "none was given: build one (`make wheel`) and name it (--wheel)")
        return
    size = wheel.stat().st_size / 1024
    run.found(Figure(_WHEEL, size, "KiB", goal=Goal(f"at most {_MOST_KIB:g} KiB", size <= _MOST_KIB)))
