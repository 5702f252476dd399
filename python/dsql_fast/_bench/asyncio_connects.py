"""Many asyncio connects at once, beside psycopg's own: how soon all are there, and how long the loop stood still.

Client, gateway and PostgreSQL share the machine's processors, so a stall counts what they took from the loop, too;
"work" is the CPU that the loop's thread used between two ticks, which nobody else adds to.
"""

from __future__ import annotations

import asyncio
import resource
import time
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, Any

import psycopg

import dsql_fast
from dsql_fast.local import LocalCluster
from dsql_fast.psycopg._attempt import begin

from ._figures import Figure, Goal, interval_of_median
from ._timing import rotated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._run import Run

    Connect = Callable[[], Awaitable[psycopg.AsyncConnection[Any]]]

# Connects at once, and rounds.
_TIMES = {100: 10, 1_000: 3}
_LATENCIES = (0.0, 0.1)  # seconds
_TICK = 0.001  # seconds
_RATE, _STALL = 0.97, 0.15
_OURS, _THEIRS = "dsql_fast", "psycopg"


def measure(run: Run) -> None:
    """Run the bench."""
    run.found(*_measured())


def _measured() -> list[Figure]:
    _allow_files(4 * max(_TIMES))
    figures = []
    # Neither the rate nor the time for a handshake is what is measured.
    with LocalCluster(rate=None, handshake_seconds=None) as cluster:
        ways = _ways(cluster)
        for latency in _LATENCIES:
            cluster.faults.latency(connect=latency)
            for number, rounds in _TIMES.items():
                figures += _compared(ways, number, rounds, latency)
    return figures


def _ways(cluster: LocalCluster) -> dict[str, Connect]:
    keywords = cluster.connect_kwargs()
    attempt = begin("", keywords)
    theirs, fixed = attempt.arguments(), attempt.source.token()
    return {
        _OURS: lambda: dsql_fast.connect_async(**keywords),
        _THEIRS: lambda: psycopg.AsyncConnection.connect(**theirs, password=fixed),
    }


def _compared(ways: dict[str, Connect], number: int, rounds: int, latency: float) -> list[Figure]:
    took: dict[str, list[float]] = {name: [] for name in ways}
    stalls: dict[str, list[float]] = {name: [] for name in ways}
    works: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(-1, rounds):
        for name in rotated(list(ways), turn):
            seconds, longest, most = asyncio.run(_together(ways[name], number))
            if turn >= 0:  # the round before the first warms up
                took[name].append(number / seconds)
                stalls[name].append(longest * 1e3)
                works[name].append(most * 1e3)
    what = f"{number:,} connects, latency {latency * 1e3:.0f} ms"
    rate = _figure(f"{what}, rate", "connections/s", took)
    stall = _figure(f"{what}, longest stall", "ms", stalls)
    assert rate.ratio is not None
    assert stall.ratio is not None
    return [
        replace(rate, goal=Goal(f"at least {_RATE}", rate.ratio >= _RATE)),
        replace(stall, goal=Goal(f"at most {_STALL}", stall.ratio <= _STALL)),
        _figure(f"{what}, most work in a turn", "ms", works),
    ]


def _figure(what: str, unit: str, found: dict[str, list[float]]) -> Figure:
    ratio = _ratios(found[_OURS], found[_THEIRS])
    return Figure(
        what,
        median(found[_OURS]),
        unit,
        peer=_THEIRS,
        peer_value=median(found[_THEIRS]),
        ratio=median(ratio),
        interval=interval_of_median(ratio),
    )


async def _together(connect: Connect, number: int) -> tuple[float, float, float]:
    """Connect so many times at once; the seconds until the last was there, the longest stall, the most work."""
    longest = most = 0.0

    async def tick() -> None:
        nonlocal longest, most
        while True:
            began, worked = time.perf_counter(), time.thread_time()
            await asyncio.sleep(_TICK)
            longest = max(longest, time.perf_counter() - began - _TICK)
            most = max(most, time.thread_time() - worked)

    ticker = asyncio.create_task(tick())
    await asyncio.sleep(0)
    began = time.perf_counter()
    connections = await asyncio.gather(*(connect() for _ in range(number)))
    took = time.perf_counter() - began
    await asyncio.sleep(0)
    ticker.cancel()
    for connection in connections:
        await connection.close()
    return took, longest, most


def _allow_files(number: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(number, hard)), hard))


def _ratios(mine: list[float], theirs: list[float]) -> list[float]:
    return [ours / peer for ours, peer in zip(mine, theirs, strict=True)]
