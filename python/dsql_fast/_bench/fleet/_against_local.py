"""The simulation beside real connects: processes of tasks, to a local cluster with small limits."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._admission import Cluster, Limits
from ._policies import Ours
from ._scenarios import TOGETHER
from ._simulation import Fleet, Recorder, connect_all, seeded

if TYPE_CHECKING:
    from ...local import LocalCluster

_SEEDS = 5

_WHERE = {
    "host": "CLUSTER_ENDPOINT",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "region": "REGION",
    "sslrootcert": "PGSSLROOTCERT",
}


@dataclass(frozen=True)
class Comparison:
    """A fleet that really connected, and the same simulated.

    Attributes:
        connections: of the fleet.
        processes: of it.
        seconds: until all were there.
        tries: for each connection.
        simulated_seconds: the least and the most of some runs with other seeds.
        simulated_tries: likewise.
    """

    connections: int
    processes: int
    seconds: float
    tries: float
    simulated_seconds: tuple[float, float]
    simulated_tries: tuple[float, float]


def compare(cluster: LocalCluster, limits: Limits, fleet: Fleet) -> Comparison:
    """Connect a fleet, and simulate it.

    Args:
        cluster: quiet, and with its burst unused.
        limits: the cluster's.
        fleet: who connects.

    Raises:
        RuntimeError: a process failed; with what it said.
    """
    refused = int(cluster.stats()["refused"])
    seconds = _connect(cluster, fleet)
    tries = 1.0 + (int(cluster.stats()["refused"]) - refused) / fleet.connections
    runs = [_simulated(limits, fleet, seed) for seed in range(_SEEDS)]
    return Comparison(
        fleet.connections,
        fleet.processes,
        seconds,
        tries,
        (min(run[0] for run in runs), max(run[0] for run in runs)),
        (min(run[1] for run in runs), max(run[1] for run in runs)),
    )


def _simulated(limits: Limits, fleet: Fleet, seed: int) -> tuple[float, float]:
    with seeded(seed) as chance:
        wanted = [(TOGETHER * chance.random(), number % fleet.processes) for number in range(fleet.connections)]
        result = connect_all(Ours(), fleet, Cluster(limits), Recorder(1.0), chance, wanted)
    return result.ended, result.tries / fleet.connections


def _connect(cluster: LocalCluster, fleet: Fleet) -> float:
    """Return the seconds from when all processes were ready to when the last had its connections."""
    environment = {**os.environ, **cluster.environment()}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", __name__, str(fleet.per_process)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(fleet.processes)
    ]
    try:
        for process in processes:
            _line(process)  # it is ready
        began = time.monotonic()
        for process in processes:
            _say(process)  # go
        for process in processes:
            _line(process)  # all of its connections are open
        seconds = time.monotonic() - began
        for process in processes:
            _say(process)  # close them
            process.wait()
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return seconds


def _line(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    if json.loads(process.stdout.readline() or "null") is None:
        raise RuntimeError(f"a process of the fleet ended with status {process.wait()}")


def _say(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


async def _hold(count: int) -> None:
    from ... import connect_async

    loop = asyncio.get_running_loop()
    print(json.dumps("ready"), flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    where: dict[str, Any] = {name: os.environ[variable] for name, variable in _WHERE.items()}
    connections = await asyncio.gather(*(connect_async(**where, connect_timeout=120) for _ in range(count)))
    print(json.dumps("open"), flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    for connection in connections:
        await connection.close()


if __name__ == "__main__":
    asyncio.run(_hold(int(sys.argv[1])))
