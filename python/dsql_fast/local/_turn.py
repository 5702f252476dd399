"""The turn to write: one session at a time."""

from __future__ import annotations

import asyncio
from collections import deque


class Turn:
    """A lock, first come first served, but for those who are about to commit: they go first.

    As long as one statement that writes is under way at a time, whoever it waits for is at rest and can be made
    to let go; and nobody's commit falls into the middle of another's statement.
    """

    def __init__(self) -> None:
        self._held = False
        self._committing: deque[asyncio.Future[None]] = deque()
        self._writing: deque[asyncio.Future[None]] = deque()

    async def take(self, *, to_commit: bool = False) -> None:
        """Wait for the turn."""
        if not self._held:
            self._held = True
            return
        queue = self._committing if to_commit else self._writing
        waiter = asyncio.get_running_loop().create_future()
        queue.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.give()  # it came, and nobody is there any more
            raise

    def give(self) -> None:
        """Pass it on."""
        for queue in (self._committing, self._writing):
            while queue:
                waiter = queue.popleft()
                if not waiter.done():
                    waiter.set_result(None)
                    return
        self._held = False
