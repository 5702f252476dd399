"""Waiting for what happens in the background, bounded."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


def eventually(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Return as soon as the condition holds. The bound is for what hangs: nothing is measured by it."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.005)


async def eventually_async(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """As `eventually`, on the event loop."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        await asyncio.sleep(0.005)


async def sockets_closed() -> None:
    """Return when the event loop has no socket open any more: asyncio ends TLS by an exchange."""
    selector: Any = getattr(asyncio.get_running_loop(), "_selector")  # noqa: B009 (private)
    await eventually_async(lambda: len(selector.get_map()) == 1)  # the loop's own pipe


def run_to_the_end(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine as ``asyncio.run`` does, and leave no socket open: who warns of those is not misled."""

    async def run() -> T:
        try:
            return await main
        finally:
            await sockets_closed()

    return asyncio.run(run())
