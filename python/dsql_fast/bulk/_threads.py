"""A run whose batches are written by threads; the caller's draws the rows and keeps the books."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from .._statements import Tell, carry_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from .._statements import Session
    from ._account import BulkResult
    from ._batches import Batch
    from ._run import Run


class Threads:
    """Writes the batches of one run.

    Args:
        run: what is asked and noted.
        session: what they are written on.
        most: how many at once.
        on_progress: called after each that is committed; or None.
    """

    def __init__(
        self, run: Run, session: Session, most: int, on_progress: Callable[[BulkResult], object] | None
    ) -> None:
        self._run = run
        self._session = session
        self._most = most
        self._on_progress = on_progress
        self._running: dict[Future[int], Batch] = {}
        self._threads = ThreadPoolExecutor(most, thread_name_prefix="dsql-bulk")

    def insert(self, rows: Iterable[Any]) -> BulkResult:
        """Write all rows.

        Raises:
            BulkError: it ended before; what was under way is over, and in the books.
        """
        try:
            for batch in self._batches(rows):
                while len(self._running) >= self._most:
                    self._collect_one()
                self._run.submit(batch)
                self._running[self._threads.submit(self._write, batch)] = batch
                self._collect([future for future in self._running if future.done()])
            while self._running:
                self._collect_one()
        except BaseException as error:  # noqa: BLE001 - raised again below
            ended = error
        else:
            self._threads.shutdown()
            return self._run.over()
        try:
            wait(self._running)  # a second Ctrl-C gives this up
        finally:
            self._close_books()
            try:
                raise self._run.ended(ended)
            finally:
                del ended  # it refers to this frame: no cycle

    def _batches(self, rows: Iterable[Any]) -> Iterator[Batch]:
        cutter = self._run.begin()
        for row in rows:
            yield from cutter.add(row)
        yield from cutter.end()

    def _write(self, batch: Batch) -> int:
        return carry_out(self._run.write(batch), self._session)

    def _collect_one(self) -> None:
        self._collect(wait(self._running, return_when=FIRST_COMPLETED).done)

    def _collect(self, done: Iterable[Future[int]]) -> None:
        for future in done:
            batch = self._running[future]
            error = future.exception()
            self._run.note(batch, future.result() if error is None else error)
            del self._running[future]
            if error is not None:
                raise self._run.ending(batch, error)
            if self._on_progress is not None:
                self._session.do(Tell(self._on_progress, self._run.result))

    def _close_books(self) -> None:
        for future, batch in self._running.items():
            if future.done():
                error = future.exception()
                self._run.note(batch, future.result() if error is None else error)
        self._threads.shutdown(wait=False)
