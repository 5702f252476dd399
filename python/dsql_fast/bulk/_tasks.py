"""A run whose batches are written by asyncio tasks; the caller's draws the rows and keeps the books."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from .._statements import Tell, carry_out_async

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from .._statements import AsyncSession
    from ._account import BulkResult
    from ._batches import Batch
    from ._run import Run


class Tasks:
    """As `_threads.Threads`."""

    def __init__(
        self, run: Run, session: AsyncSession, most: int, on_progress: Callable[[BulkResult], object] | None
    ) -> None:
        self._run = run
        self._session = session
        self._most = most
        self._on_progress = on_progress
        self._running: dict[asyncio.Task[int], Batch] = {}

    async def insert(self, rows: Iterable[Any] | AsyncIterable[Any]) -> BulkResult:
        """Write all rows.

        Raises:
            BulkError: it ended before; what was under way is over, and in the books.
        """
        ended: BaseException
        try:
            async with aclosing(self._batches(rows)) as batches:
                async for batch in batches:
                    while len(self._running) >= self._most:
                        await self._collect_one()
                    self._run.submit(batch)
                    work = carry_out_async(self._run.write(batch), self._session)
                    self._running[asyncio.create_task(work)] = batch
                    await self._collect([task for task in self._running if task.done()])
            while self._running:
                await self._collect_one()
        except BaseException as error:  # noqa: BLE001 - raised again below
            ended = error
        else:
            return self._run.over()
        ended = await self._settle(ended)
        for task, batch in self._running.items():
            self._note(task, batch)
        try:
            raise self._run.ended(ended)
        finally:
            del ended  # it refers to this frame: no cycle

    async def _batches(self, rows: Iterable[Any] | AsyncIterable[Any]) -> AsyncGenerator[Batch, None]:
        cutter = self._run.begin()
        if isinstance(rows, AsyncIterable):
            async for row in rows:
                for batch in cutter.add(row):
                    yield batch
        else:
            for row in rows:
                for batch in cutter.add(row):
                    yield batch
        for batch in cutter.end():
            yield batch

    async def _collect_one(self) -> None:
        done, _ = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        await self._collect(done)

    async def _collect(self, done: Iterable[asyncio.Task[int]]) -> None:
        for task in done:
            batch = self._running.pop(task)
            error = self._note(task, batch)
            if error is not None:
                raise self._run.ending(batch, error)
            if self._on_progress is not None:
                await self._session.do(Tell(self._on_progress, self._run.result))

    def _note(self, task: asyncio.Task[int], batch: Batch) -> BaseException | None:
        try:
            error = task.exception()
        except asyncio.CancelledError as cancellation:
            error = cancellation
        self._run.note(batch, task.result() if error is None else error)
        return error

    async def _settle(self, ended: BaseException) -> BaseException:
        """Wait until what is under way is over. A cancellation cancels it, and is what is raised then."""
        while under_way := [task for task in self._running if not task.done()]:
            if not isinstance(ended, Exception):
                for task in under_way:
                    task.cancel()
            try:
                await asyncio.wait(under_way)
            except asyncio.CancelledError as cancellation:
                ended = cancellation
        return ended
