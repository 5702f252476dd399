"""What happened: counters and a bounded list of events. Neither ever holds a secret."""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import Any

# Enough to read back a test; a cluster that runs for weeks must not grow.
EVENTS_KEPT = 1_000
_NAME_LENGTH = 63  # PostgreSQL's longest name


class Counters:
    """Counts and remembers.

    Reasons come from this program, names from clients: a name is cut to what a name may be, so
    that nobody's password typed into the wrong field is kept whole.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._events: deque[dict[str, Any]] = deque(maxlen=EVENTS_KEPT)

    def attempted(self) -> None:
        """A TCP connection was accepted."""
        self._counts["attempted"] += 1

    def admitted(self, user: str) -> None:
        """A client was authenticated and has a session."""
        self._counts["admitted"] += 1
        self._note("admitted", user, "")

    def refused(self, user: str, reason: str) -> None:
        """A connection ended before it was a session."""
        self._refused[reason] += 1
        self._note("refused", user, reason)

    def ended(self, user: str, reason: str) -> None:
        """A session ended: by the client, at its age limit, by `kill_sessions`, ..."""
        self._counts["ended"] += 1
        self._note("ended", user, reason)

    def stats(self) -> dict[str, Any]:
        """The counters so far."""
        return {
            "attempted": self._counts["attempted"],
            "admitted": self._counts["admitted"],
            "ended": self._counts["ended"],
            "refused": sum(self._refused.values()),
            "refused_by_reason": dict(self._refused),
        }

    def events(self) -> list[dict[str, Any]]:
        """The latest events, oldest first."""
        return list(self._events)

    def _note(self, kind: str, user: str, reason: str) -> None:
        event = {"time": time.time(), "kind": kind, "user": user[:_NAME_LENGTH], "reason": reason}
        self._events.append(event)
