"""A local cluster: how soon it is there, how fast it answers, and what it takes.

Everything goes through TLS and the gateway, on the one machine: the clients, the gateway and PostgreSQL share its
processors. "Memory of the gateway" is the resident memory of the cluster's one Python process as its `stats()` has
it: with the libraries it has mapped, and without PostgreSQL, which has processes of its own and is told apart.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import dsql_fast
from dsql_fast.local import LocalCluster

from ._figures import Figure, Goal, interval_of_median

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._run import Run

    Load = Callable[..., Any]

_STARTS = 5
_WINDOWS, _SECONDS = 10, 0.4
_CONNECTS = 300
_HELD = 1_000
_ROWS = 100  # that each client has for itself
_MIB = 1024 * 1024

_READY = 1.5  # seconds
_QUERIES = {1: 3_000, 8: 8_000}  # a second
_CONNECTED = 80  # a second
_MEMORY = 60  # MiB


def measure(run: Run) -> None:
    """Run the bench."""
    run.found(_ready())
    # The limits of DSQL would end the run: what is measured is what the gateway can do.
    with LocalCluster(rate=None) as cluster, _load(cluster) as load:
        at_first = _gateway_memory(cluster)
        with dsql_fast.connect(**cluster.connect_kwargs(), autocommit=True) as conn:
            conn.execute("create table accounts (id int primary key, v int not null)")
            conn.execute("insert into accounts select n, 0 from generate_series(0, %s) n", [8 * _ROWS - 1])
        for clients in (1, 8):
            run.found(*_queries(cluster, load, clients))
        for clients in (1, 8):
            run.found(_updates(cluster, load, clients))
        for clients in (1, 8):
            run.found(_transactions(cluster, load, clients))
        run.found(*_hot_row(cluster, load))
        run.found(*_connects(cluster, load))
        run.found(*_memory(cluster, load, at_first))


def _ready() -> Figure:
    times = []
    for _ in range(_STARTS):
        began = time.perf_counter()
        with LocalCluster():
            times.append(time.perf_counter() - began)
    ready = median(times)
    goal = Goal(f"at most {_READY} s", ready <= _READY)
    return Figure("ready", ready, "s", interval=interval_of_median(times), goal=goal)


# --- how fast it answers ---------------------------------------------------------------------------------


def _queries(cluster: LocalCluster, load: Load, clients: int) -> list[Figure]:
    assert cluster._process is not None
    pid = cluster._process._process.pid
    worked = _cpu_seconds(pid)
    result = load("run", scripts=[[["select 1"]]] * clients, windows=_WINDOWS, seconds=_SECONDS)
    least = _QUERIES[clients]
    figures = [_rate(f"simple queries, {_times(clients)}", "queries/s", result["rates"], least)]
    if worked is not None:
        each = ((_cpu_seconds(pid) or worked) - worked) / result["done"] * 1e6
        figures.append(Figure(f"  CPU of the gateway for each, {_times(clients)}", each, "us"))
    figures.append(Figure(f"  CPU of the clients for each, {_times(clients)}", result["cpu"] * 1e6, "us"))
    return figures


def _updates(cluster: LocalCluster, load: Load, clients: int) -> Figure:
    scripts = [[[_update(row)] for row in _rows(client)] for client in range(clients)]
    result = _run(cluster, load, scripts)
    assert not result["conflicts"]
    return _rate(f"updates, rows of one's own, {_times(clients)}", "updates/s", result["rates"])


def _transactions(cluster: LocalCluster, load: Load, clients: int) -> Figure:
    scripts = [[_transaction(row) for row in _rows(client)] for client in range(clients)]
    result = _run(cluster, load, scripts)
    assert not result["conflicts"]
    what = f"begin, select, update, commit, rows of one's own, {_times(clients)}"
    return _rate(what, "transactions/s", result["rates"])


def _hot_row(cluster: LocalCluster, load: Load) -> list[Figure]:
    result = _run(cluster, load, [[_transaction(0)]] * 8)
    attempts = (result["done"] + result["conflicts"]) / result["done"]
    return [
        _rate("the same, all of them on one row, 8 connections", "commits/s", result["rates"]),
        Figure("  run for each that was committed", attempts, "transactions"),
    ]


def _run(cluster: LocalCluster, load: Load, scripts: list[list[list[str]]]) -> dict[str, Any]:
    """Run transactions that each add one, and see that nothing was lost and nothing came twice."""
    with dsql_fast.connect(**cluster.connect_kwargs(), autocommit=True) as conn:
        conn.execute("update accounts set v = 0")
        result: dict[str, Any] = load("run", scripts=scripts, windows=_WINDOWS, seconds=_SECONDS)
        row = conn.execute("select sum(v)::int from accounts").fetchone()
    assert row == (result["done"],), (row, result["done"])
    return result


def _rows(client: int) -> range:
    return range(client * _ROWS, (client + 1) * _ROWS)


def _update(row: int) -> str:
    return f"update accounts set v = v + 1 where id = {row}"  # noqa: S608 - a number


def _transaction(row: int) -> list[str]:
    return ["begin", f"select v from accounts where id = {row}", _update(row), "commit"]  # noqa: S608 - a number


def _connects(cluster: LocalCluster, load: Load) -> list[Figure]:
    """Connect and hang up, one at a time: by a bare client, and as a program would."""
    keywords = cluster.connect_kwargs()
    took = []
    for _ in range(_CONNECTS):
        began = time.perf_counter()
        dsql_fast.connect(**keywords).close()
        took.append(time.perf_counter() - began)
    bare = load("connect", times=_CONNECTS)
    return [
        _rate("connect and close, dsql_fast.connect", "connections/s", [1 / each for each in took], _CONNECTED),
        _rate("connect and close, bare client", "connections/s", [1 / each for each in bare], _CONNECTED),
    ]


def _rate(what: str, unit: str, rates: list[float], least: int | None = None) -> Figure:
    rate = median(rates)
    goal = Goal(f"at least {least:,}", rate >= least) if least is not None else None
    return Figure(what, rate, unit, interval=interval_of_median(rates), goal=goal)


def _times(clients: int) -> str:
    return "1 connection" if clients == 1 else f"{clients} connections"


# --- what it takes ---------------------------------------------------------------------------------------


def _memory(cluster: LocalCluster, load: Load, at_first: float) -> list[Figure]:
    worked = _gateway_memory(cluster)
    postgres = _postgres_memory(cluster)
    opened = _HELD / load("hold", connections=_HELD)
    load("ask")
    asked = load("ask")
    held, postgres_held = _gateway_memory(cluster), _postgres_memory(cluster)
    assert cluster.stats()["open"] == _HELD
    load("release")
    goal = Goal(f"at most {_MEMORY} MiB", worked <= _MEMORY)
    figures = [
        Figure("memory of the gateway, ready", at_first, "MiB"),
        Figure("memory of the gateway, after all of the above", worked, "MiB", goal=goal),
        Figure(f"memory of the gateway, {_HELD:,} connections open", held, "MiB"),
        Figure(f"  opened one after the other, bare client, up to {_HELD:,}", opened, "connections/s"),
        Figure(f"  a query on each of the {_HELD:,}, all at once, until the last answer", asked, "s"),
    ]
    if postgres is not None and postgres_held is not None:
        figures += [
            Figure("memory of PostgreSQL's processes (PSS), no client", postgres, "MiB"),
            Figure(f"memory of PostgreSQL's processes (PSS), {_HELD:,} connections open", postgres_held, "MiB"),
        ]
    return figures


def _gateway_memory(cluster: LocalCluster) -> float:
    return float(cluster.stats()["memory_bytes"]) / _MIB


def _postgres_memory(cluster: LocalCluster) -> float | None:
    """Sum up what PostgreSQL's processes have in proportion (what n share counts as 1/n for each), in MiB.

    None where the system does not tell.
    """
    postmaster = (cluster.ca_file.parent / "data" / "postmaster.pid").read_text().split()[0]
    kib = 0
    for directory in Path("/proc").glob("[0-9]*"):
        # A backend may end meanwhile.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # "pid (name) state parent ...": the name may hold blanks and parentheses.
            parent = (directory / "stat").read_text().rpartition(")")[2].split()[1]
            if postmaster in (parent, directory.name):
                rollup = (directory / "smaps_rollup").read_text().splitlines()
                kib += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return kib / 1024 if kib else None


def _cpu_seconds(pid: int) -> float | None:
    """Tell what CPU a process has used so far; None where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- the clients -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def _load(cluster: LocalCluster) -> Iterator[Load]:
    """Start the process that loads the cluster; the function has it do a job of `_load.Load`."""
    door = {
        "host": cluster.host,
        "hostaddr": cluster.hostaddr,
        "port": cluster.port,
        "ca_file": str(cluster.ca_file),
        "token": dsql_fast.generate_token(cluster.host, cluster.region, credentials=cluster.credentials),
    }
    with subprocess.Popen(
        [sys.executable, "-m", f"{__package__}._load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        # By the pipe: a command line can be read by everybody.
        process.stdin.write(json.dumps(door) + "\n")

        def do(job: str, **arguments: Any) -> Any:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps({"do": job, **arguments}) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            assert answer, "the clients' process has ended"
            return json.loads(answer)

        yield do
