"""How a pool gets new connections for all it has, at a word: `refresh`.

An idle connection is replaced as one is that grows old (`_age`): its successor is opened first, and until that is
there it serves on. One that is in use is closed when it comes back, and another is opened for it: were it kept
until its successor is there, as an old one is, callers would go on getting connections from before.

psycopg_pool keeps the time of the last ``drain()``, and does not keep a connection that was made before it when
that is given back; a refresh sets the same time, and leaves the idle ones where they are.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ._age import AgingPool, Succession

if TYPE_CHECKING:
    from typing import Protocol

    class Event(Protocol):
        """threading's or asyncio's."""

        def set(self) -> None: ...


class RefreshingPool(AgingPool):
    """The part of a pool that replaces all connections. Its methods are called under the pool's lock."""

    def _start_aging(self, health_check_period: float) -> None:
        super()._start_aging(health_check_period)
        self._being_replaced: set[Any] = set()
        self._waiting_for_progress: list[Event] = []

    def _begin_refresh(self) -> float:
        """Have the idle connections replaced; return the time up to which connections count as old."""
        self._drained_at = now = time.monotonic()
        self._replace_drained()
        return now

    def _is_drained(self, connection: Any) -> bool:
        at: float = connection._created_at
        return at <= self._drained_at

    def _replace_drained(self) -> None:
        # One that is being replaced already, for its age or by another refresh, is not replaced twice.
        for connection in self._pool:
            if self._is_drained(connection) and connection not in self._successions:
                self._successions[connection] = Succession()
                self.run_task(self._replace_task(self, connection))

    def _await_progress(self, refreshed_at: float, event: Event) -> bool:
        """Tell whether something is left to wait for; then the event is set when it may be over."""
        if any(old._created_at <= refreshed_at for old in (*self._pool, *self._being_replaced)):
            self._waiting_for_progress.append(event)
            return True
        return False

    def _progressed(self) -> None:
        for event in self._waiting_for_progress:
            event.set()
        self._waiting_for_progress.clear()

    def _begin_replacing(self, old: Any) -> bool:
        """Tell whether a successor is to be opened now; `_end_replacing` follows when that is done."""
        succession = self._successions.get(old)
        is_gone = succession is not None and succession.gone
        if self._is_drained(old) and old not in self._pool and not is_gone:
            # It was taken out before its turn came, and will not be kept when it is given back. A successor now
            # would be one connection too many for as long as it is in use.
            self._successions.pop(old, None)
            self._progressed()
            return False
        self._being_replaced.add(old)
        return True

    def _end_replacing(self, old: Any) -> None:
        self._being_replaced.discard(old)
        self._progressed()

    def _take_returned(self, connection: Any, *, from_getconn: bool) -> bool:
        if self._is_drained(connection):
            # Past its time: decided here, under the lock. Left to psycopg_pool, it would be closed, and another
            # opened for it, while a successor that is on its way takes the same place.
            connection._expire_at = 0.0
        return super()._take_returned(connection, from_getconn=from_getconn)

    def _replace_due(self) -> None:
        super()._replace_due()
        self._replace_drained()  # those whose successor could not be opened
        self._progressed()
