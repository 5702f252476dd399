"""Sees to it that no statement waits for another transaction."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from dsql_fast.local._conversation import BackendGone

if TYPE_CHECKING:
    from dsql_fast.local._administrator import Administrator

_FIRST_PAUSE = 0.001  # seconds
_LONGEST_PAUSE = 0.25
_GROWTH = 1.6

# Who waits for a lock, and for whom: "pid pid,pid;pid pid".
_WHO_WAITS = """
SELECT string_agg(pid || ' ' || array_to_string(pg_blocking_pids(pid), ','), ';')
FROM pg_stat_activity WHERE wait_event_type = 'Lock'
"""


class Holder(Protocol):
    """A session, as one that others may wait for.

    Attributes:
        pid: Its backend's process id.
    """

    pid: int

    @property
    def busy(self) -> bool:
        """Whether PostgreSQL is working for it."""

    async def give_back(self) -> None:
        """Let go of everything that others may wait for."""


class Watchdog:
    """Makes transactions at rest give back what others wait for.

    PostgreSQL tells nobody that a backend waits. So whoever has not got its answer within a few milliseconds is
    looked at, more and more seldom.

    Args:
        administrator: Asks PostgreSQL.
    """

    def __init__(self, administrator: Administrator) -> None:
        self._administrator = administrator
        self._holders: dict[int, Holder] = {}
        self._task: asyncio.Task[None] | None = None
        self._giving_back: dict[int, asyncio.Task[None]] = {}
        self._fresh = False

    def add(self, holder: Holder) -> None:
        """Take in a session."""
        self._holders[holder.pid] = holder

    def discard(self, holder: Holder) -> None:
        """Forget a session."""
        self._holders.pop(holder.pid, None)

    def notice(self) -> None:
        """Some backend takes its time."""
        self._fresh = True
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self) -> None:
        """End the watch."""
        tasks = [*self._giving_back.values(), *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self) -> None:
        pause = _FIRST_PAUSE
        try:
            while any(holder.busy for holder in self._holders.values()):
                if self._fresh:
                    self._fresh, pause = False, _FIRST_PAUSE
                found = await self._free_those_who_wait()
                pause = _FIRST_PAUSE if found else min(pause * _GROWTH, _LONGEST_PAUSE)
                await asyncio.sleep(pause)
        except BackendGone:
            return  # PostgreSQL is gone, and the cluster ends
        finally:
            self._task = None

    async def _free_those_who_wait(self) -> bool:
        text = await self._administrator.value(_WHO_WAITS)
        if not text:
            return False
        waits = [line.partition(" ") for line in text.split(";")]
        waiting = {int(pid) for pid, _, _ in waits}
        blocking = {int(pid) for _, _, pids in waits for pid in pids.split(",") if pid}
        # Who waits itself holds its backend, and is freed by those it waits for.
        for pid in blocking - waiting - self._giving_back.keys():
            holder = self._holders.get(pid)
            if holder is not None:
                self._giving_back[pid] = asyncio.get_running_loop().create_task(self._take_back(holder))
        return bool(waiting)

    async def _take_back(self, holder: Holder) -> None:
        try:
            await holder.give_back()
        finally:
            self._giving_back.pop(holder.pid, None)
