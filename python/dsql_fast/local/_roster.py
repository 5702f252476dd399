"""The open sessions, oldest first, and the end of those that are too old."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from dsql_fast.local._clock import ClusterClock
    from dsql_fast.local._session import Session

# Timers take real seconds; far ends are looked at again from time to time.
_LONGEST_WAIT = 3600.0


class Roster:
    """Every open session, and one timer for the oldest of them.

    Args:
        loop: Runs the timer.
        clock: The clock sessions age by.
        session_seconds: The age at which a session is cut, or None.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: ClusterClock, session_seconds: float | None
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._session_seconds = session_seconds
        # In the order of arrival, which is the order of age: a dict keeps it, and forgets quickly.
        self._sessions: dict[Session, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._sessions)

    def sessions(self) -> list[Session]:
        """The open sessions, oldest first; a copy."""
        return list(self._sessions)

    def add(self, session: Session) -> None:
        """Take in a new session."""
        self._sessions[session] = None
        if self._timer is None:
            self.look()

    def discard(self, session: Session) -> None:
        """Forget a session that ended."""
        self._sessions.pop(session, None)

    def limit(self, session_seconds: float | None) -> None:
        """Change the age at which sessions are cut."""
        self._session_seconds = session_seconds
        self.look()

    def kill(self, pid: int | None, in_transaction: bool | None = None) -> int:
        """Cut the session with that backend, or all of them; returns how many.

        Args:
            pid: The backend's, or None.
            in_transaction: Only those inside a transaction block, or only those outside of one.
        """
        chosen = [
            session
            for session in self._sessions
            if pid in (None, session.pid) and (in_transaction is None or session.in_transaction is in_transaction)
        ]
        for session in chosen:
            session.cut("killed")
        return len(chosen)

    def look(self) -> None:
        """Cut what is too old and set the timer anew: after the clock or the limit has moved."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._session_seconds is None:
            return
        for session in self.sessions():
            left = self._session_seconds - session.age
            if left > 0:
                # Never zero: the loop's clock may be a little coarser than ours.
                wait = min(max(left, 0.001), _LONGEST_WAIT)
                self._timer = self._loop.call_later(wait, self.look)
                return
            session.cut("age")

    def close(self) -> None:
        """Cut everything and stop looking."""
        self._session_seconds = None
        self.look()
        for session in self.sessions():
            session.cut("stopped")
