"""Does the jobs that statements have made: `CREATE INDEX ASYNC`, `ALTER TABLE ASYNC ... VALIDATE CONSTRAINT`.

Each has a connection of its own, as the superuser: the gateway's other one must never be kept waiting. What
there is to do in PostgreSQL is `_job_routines`'.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from dsql_fast.local import _protocol as protocol
from dsql_fast.local._backend import open_backend
from dsql_fast.local._conversation import BackendGone, Conversation, Part
from dsql_fast.local._dialect import quoted
from dsql_fast.local._refusals import Refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from dsql_fast.local._administrator import Administrator
    from dsql_fast.local._backend import Backend
    from dsql_fast.local._counters import Counters
    from dsql_fast.local._faults import Faults
    from dsql_fast.local._turn import Turn
    from dsql_fast.local._watchdog import Watchdog

_SUBMITTED = "SELECT string_agg(job_id, ' ') FROM sys.job_log WHERE status = 'submitted'"
_LOOK_SECONDS = 0.005  # how often one that is held up looks whether it still is


class Jobs:
    """All jobs of a cluster.

    Args:
        socket_path: Where PostgreSQL listens.
        superuser: Its name.
        administrator: Tells which jobs there are.
        watchdog: Frees a job that waits for a transaction at rest.
        turn: Who may write; taken for the work itself, so that nobody's commit falls into it.
        faults: What is to go wrong.
        counters: Where everything is counted.
        changed: Called when a job has changed the schema. Documented: that catalog update may conflict with
            transactions; that it does as other DDL does, with OC001, is assumed.
    """

    def __init__(
        self,
        socket_path: Path,
        superuser: str,
        *,
        administrator: Administrator,
        watchdog: Watchdog,
        turn: Turn,
        faults: Faults,
        counters: Counters,
        changed: Callable[[], None],
    ) -> None:
        self._path = socket_path
        self._superuser = superuser
        self._administrator = administrator
        self._watchdog = watchdog
        self._turn = turn
        self._faults = faults
        self._counters = counters
        self._changed = changed
        self._begun: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def look(self) -> None:
        """Begin what was submitted, soon."""
        self._keep(self._look())

    async def stop(self) -> None:
        """End all that is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look(self) -> None:
        with contextlib.suppress(BackendGone):
            found = await self._administrator.value(_SUBMITTED)
            for job_id in (found or "").split():
                if job_id not in self._begun:
                    self._begun.add(job_id)
                    self._keep(self._do(job_id))

    async def _do(self, job_id: str) -> None:
        # PostgreSQL is gone, and the cluster ends.
        with contextlib.suppress(BackendGone, Refused, EOFError):
            try:
                async with self._worker() as worker:
                    await self._work(worker, job_id)
            except _Broken as broken:
                # Whoever waits for it must hear of the end.
                async with self._worker() as worker:
                    await self._end(worker, job_id, str(broken))

    @contextlib.asynccontextmanager
    async def _worker(self) -> AsyncIterator[_Worker]:
        parameters = {"user": self._superuser, "database": "postgres"}
        worker = _Worker(await open_backend(self._path, parameters), self._watchdog)
        try:
            yield worker
        finally:
            worker.close()

    async def _work(self, worker: _Worker, job_id: str) -> None:
        await worker.value(f"SELECT sys.start_job({_literal(job_id)})")
        fault = self._faults.job()
        if fault is not None:
            self._counters.happened("fault", "", fault.kind)
            await self._hold_up(fault.seconds)
        await self._end(worker, job_id, None if fault is None else fault.details)

    async def _end(self, worker: _Worker, job_id: str, failure: str | None) -> None:
        """Do the work itself, or note why it failed."""
        name = _literal(job_id)
        await self._turn.take()
        try:
            failed = await worker.value(f"SELECT sys.do_job({name}, {_literal(failure)})")
            if failed is None:
                self._changed()
        finally:
            self._turn.give()
        await worker.value(f"SELECT sys.end_job({name})")
        self._counters.happened("job", "", "completed" if failed is None else "failed")

    async def _hold_up(self, seconds: float) -> None:
        """Let time pass, until `clear()` if that comes first."""
        end, cleared = time.monotonic() + seconds, self._faults.cleared
        while (left := end - time.monotonic()) > 0 and self._faults.cleared == cleared:  # noqa: ASYNC110 - both
            await asyncio.sleep(min(left, _LOOK_SECONDS))


class _Broken(Exception):  # noqa: N818 (no error of a caller's)
    """The work came to no end of its own; the message says why."""


def _literal(text: str | None) -> str:
    return "NULL" if text is None else quoted(text.encode()).decode()


class _Worker:
    """One job's connection."""

    def __init__(self, backend: Backend, watchdog: Watchdog) -> None:
        self.pid = backend.pid
        self._watchdog = watchdog
        self._talk = Conversation(
            backend.channel, to_client=lambda _: None, on_slow=watchdog.notice, on_end=lambda: None
        )
        watchdog.add(self)

    @property
    def busy(self) -> bool:
        """Whether PostgreSQL is working for it."""
        return self._talk.busy

    async def give_back(self) -> None:
        """At rest it holds nothing."""

    async def value(self, sql: str) -> str | None:
        """Run a statement in a transaction of its own, and return its one value as text.

        Raises:
            _Broken: It failed, or the connection did.
        """
        try:
            (reply,) = await self._talk.exchange(Part(protocol.query(sql), b"Q"))
        except (BackendGone, EOFError) as error:
            raise _Broken("the job's connection was lost") from error
        if reply.error is not None:
            raise _Broken(protocol.error_fields(reply.error[protocol.HEADER :]).get("M", ""))
        return protocol.first_value(reply.shown)

    def close(self) -> None:
        self._watchdog.discard(self)
        self._talk.close()
