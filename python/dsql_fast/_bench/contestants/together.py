"""Many connects at once on one event loop. It needs Python alone: it runs in the peers' environments, too."""

from __future__ import annotations

import asyncio
import gc
import resource
import time

_TICK = 0.001  # seconds


def together(connect):
    """Make a way out of an async connect: as many at once as is asked for.

    It answers with the seconds until the last was there, the longest time the loop stood still, and the most CPU
    that its thread used between two ticks, which nobody else on the machine adds to.
    """

    def way(calls):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(2 * calls + 100, hard)), hard))
        gc.collect()
        return asyncio.run(_together(connect, calls))

    return way


async def _together(connect, number):
    longest = most = 0.0

    async def tick():
        nonlocal longest, most
        while True:
            began, worked = time.perf_counter(), time.thread_time()
            await asyncio.sleep(_TICK)
            longest = max(longest, time.perf_counter() - began - _TICK)
            most = max(most, time.thread_time() - worked)

    ticker = asyncio.create_task(tick())
    await asyncio.sleep(0)
    began, worked = time.perf_counter(), time.process_time()
    connections = await asyncio.gather(*(connect() for _ in range(number)))
    took = {"wall": time.perf_counter() - began, "cpu": time.process_time() - worked}
    await asyncio.sleep(0)
    ticker.cancel()
    for connection in connections:
        await connection.close()
    return {**took, "stall": longest, "work": most}
