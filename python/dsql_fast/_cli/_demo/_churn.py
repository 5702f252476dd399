"""Step: connections opened and closed by the hundred, with one token."""

from __future__ import annotations

import asyncio
import time
from threading import Lock
from typing import TYPE_CHECKING

from ...psycopg import connect, connect_async
from ._stage import in_threads

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from ._stage import Stage

_THREADS = 8
_TASKS = 16
# A life of its own: connections with other tokens were made before, and these shall sign theirs.
_LIFETIME = 600


def show_churn(stage: Stage) -> None:
    """Open and close connections from threads, then from tasks; count what was signed for them."""
    per_thread, per_task = stage.scale.connections // _THREADS, stage.scale.connections // _TASKS
    threaded, asynchronous = per_thread * _THREADS, per_task * _TASKS
    total = threaded + asynchronous
    source = stage.source(token_duration_secs=_LIFETIME)
    before = stage.cluster.stats()
    with stage.progress("connections", total) as advance:
        began = time.perf_counter()
        pids = _from_threads(stage, per_thread, advance)
        between = time.perf_counter()
        pids += asyncio.run(_from_tasks(stage, per_task, advance))
        ended = time.perf_counter()
    after, signed = stage.cluster.stats(), source.stats()
    limits = stage.cluster.limits
    stage.fact("from threads", f"{threaded} by {_THREADS} threads, {threaded / (between - began):.0f} a second")
    stage.fact("from tasks", f"{asynchronous} by {_TASKS} tasks, {asynchronous / (ended - between):.0f} a second")
    stage.fact("the cluster admits", f"{limits.rate:g} a second after a burst of {limits.burst}")
    stage.fact(
        "admitted, refused", f"{after['admitted'] - before['admitted']}, {after['refused'] - before['refused']}"
    )
    stage.fact("tokens signed", signed.issued)
    stage.check(
        "each connection had a session of its own", len(set(pids)) == total, f"{len(set(pids))} of {total}"
    )
    stage.check(
        "the cluster admitted every one",
        after["admitted"] - before["admitted"] == total and after["refused"] == before["refused"],
        after["refused_by_reason"],
    )
    stage.check("one token was signed for all of them", signed.issued == 1, signed)


def _from_threads(stage: Stage, each: int, advance: Callable[[float], None]) -> list[int]:
    arguments = stage.arguments(token_duration_secs=_LIFETIME)
    pids: list[int] = []
    lock = Lock()

    def work(_number: int, stop: Event) -> None:
        for _ in range(each):
            if stop.is_set():
                return
            with connect(**arguments) as connection:
                pid = connection.info.backend_pid
            with lock:
                pids.append(pid)
            advance(1)

    in_threads(_THREADS, work)
    return pids


async def _from_tasks(stage: Stage, each: int, advance: Callable[[float], None]) -> list[int]:
    arguments = stage.arguments(token_duration_secs=_LIFETIME)
    pids: list[int] = []

    async def work() -> None:
        for _ in range(each):
            async with await connect_async(**arguments) as connection:
                pids.append(connection.info.backend_pid)
            advance(1)

    await asyncio.gather(*(work() for _ in range(_TASKS)))
    return pids
