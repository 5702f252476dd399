"""How old a pool's connections get, and how one follows another.

At what age a connection goes, `_lifetimes` says. The successor is opened first, so no checkout waits for it.
Meanwhile the old connection may be taken out, given back, found broken, or thrown out for its age; each must
leave the pool with as many connections as before. That is what `AgingPool` keeps track of, for the synchronous
and the asynchronous pool alike: they lock, await and open connections, and ask it what to do.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from psycopg.pq import TransactionStatus

from .. import _telemetry
from .._lifetimes import expiry

if TYPE_CHECKING:
    from collections import Counter, deque
    from collections.abc import Callable


class Succession:
    """What is known of a connection that is about to be replaced.

    Attributes:
        succeeded: the successor is there (until then it is being opened); the old one is to be closed, and not
            replaced again.
        gone: the old one was closed by the pool's own doing.
    """

    __slots__ = ("gone", "succeeded")

    def __init__(self) -> None:
        self.succeeded = False
        self.gone = False


class AgingPool:
    """The part of a pool that knows ages. Its methods are called under the pool's lock, but for the first two.

    Attributes:
        health_check_period: seconds between two sweeps.
    """

    health_check_period: float
    # psycopg_pool's
    name: str
    max_lifetime: float
    _drained_at: float  # monotonic seconds
    _pool: deque[Any]
    _stats: Counter[str]
    _RETURNS_BAD: str
    # The shells' task classes: made with the pool and, but for the first, with the connection.
    _add_task: Callable[..., Any]
    _close_task: Callable[..., Any]
    _replace_task: Callable[..., Any]
    if TYPE_CHECKING:

        def run_task(self, task: Any) -> None:
            """psycopg_pool's: hand a task to a worker."""

    def _start_aging(self, health_check_period: float) -> None:
        self.health_check_period = health_check_period
        # Never changed: who has a successor, or one on its way, ends within that time, or was drained.
        self._ahead = health_check_period
        self._successions: WeakKeyDictionary[Any, Succession] = WeakKeyDictionary()

    def _set_connection_expiry_date(self, conn: Any) -> None:
        conn._created_at = now = time.monotonic()
        conn._expire_at = expiry(now, self.max_lifetime)

    def _discard_old(self) -> None:
        """Throw out the idle connections past their time, so that the first one left can be handed out.

        psycopg_pool's own way to refuse a connection (``check``) sleeps 0, 1, 2, 4, ... seconds between two.
        """
        now = time.monotonic()
        while self._pool and self._pool[0]._expire_at <= now:
            connection = self._pool.popleft()
            _telemetry.record("connection_discarded", logging.DEBUG, "%r: a connection was too old", self.name)
            succession = self._successions.get(connection)
            if succession is None:
                self.run_task(self._add_task(self))
            else:
                succession.gone = True
            self.run_task(self._close_task(self, connection))

    def _take_returned(self, connection: Any, *, from_getconn: bool) -> bool:
        """Decide about a connection that is given back, where it is near its end or was drained.

        Returns:
            Whether it was taken out of the pool's hands, because it has a successor.
        """
        succession = self._successions.get(connection)
        broken = connection.pgconn.transaction_status == TransactionStatus.UNKNOWN
        now = time.monotonic()
        if succession is None:
            if not broken and now < connection._expire_at <= now + self._ahead:
                # Always in use, it would be past its time before a sweep saw it idle.
                self._successions[connection] = Succession()
                self.run_task(self._replace_task(self, connection))
            return False
        if not succession.succeeded and not broken and now < connection._expire_at:
            return False
        succession.gone = True
        if broken and not from_getconn:
            self._stats[self._RETURNS_BAD] += 1
        self.run_task(self._close_task(self, connection))
        return True

    def _replace_due(self) -> None:
        """Have the idle connections replaced that are past their time before the next sweep."""
        before = time.monotonic() + self._ahead
        for connection in list(self._pool):
            if connection._expire_at <= before and connection not in self._successions:
                self._successions[connection] = Succession()
                self.run_task(self._replace_task(self, connection))

    def _not_succeeded(self, old: Any) -> None:
        """Take note that no successor could be opened; the next sweep tries again."""
        succession = self._successions.pop(old, None)
        if succession is not None and succession.gone:
            self.run_task(self._add_task(self))

    def _succeeded(self, old: Any, successor: Any) -> Any:
        """Take note that the successor is there.

        Returns:
            The connection to close, now: with the close left to another worker, many successors would be opened
            before the first old one goes. The old one if it was idle; the successor if there is no place for
            it; None if the old one is in use or closed.
        """
        succession = self._successions.setdefault(old, Succession())
        succession.succeeded = True
        if old in self._pool:
            self._pool.remove(old)
            succession.gone = True
            to_close = old
        elif old.closed and not succession.gone:
            # drain(), check() or the shrinking closed it, and have seen to the number of connections.
            return successor
        else:
            to_close = None
        _telemetry.record("connection_replaced", logging.DEBUG, "%r: a connection was replaced", self.name)
        return to_close
