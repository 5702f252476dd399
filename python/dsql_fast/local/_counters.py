"""What happened: counters and a bounded list of events. Neither ever holds a secret, a statement or a value."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from pathlib import Path
from typing import Any

# Enough to read back a test; a cluster that runs for weeks must not grow.
EVENTS_KEPT = 1_000
_NAME_LENGTH = 63  # PostgreSQL's longest name
# Counted only: there are too many, and they would push everything else out.
_COUNTED_ONLY = {"commit"}


class Counters:
    """Counts and remembers.

    Reasons come from this program, names from clients: a name is cut to what a name may be, so
    that nobody's password typed into the wrong field is kept whole.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._happened: defaultdict[str, Counter[str]] = defaultdict(Counter)
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

    def happened(self, kind: str, user: str, reason: str) -> None:
        """Something that sessions meet came about.

        Args:
            kind: "commit", "conflict", "schema-conflict", "limit", "refused-statement", "fault" or "broken".
            user: Whose session it was.
            reason: A short word of this program's own, never the client's.
        """
        self._happened[kind][reason] += 1
        if kind not in _COUNTED_ONLY:
            self._note(kind, user, reason)

    def broken(self, user: str, error: BaseException) -> None:
        """This program has a defect: where it showed, without the message, which may hold what a client sent."""
        at = error.__traceback__
        while at is not None and at.tb_next is not None:
            at = at.tb_next
        where = "" if at is None else f" at {Path(at.tb_frame.f_code.co_filename).name}:{at.tb_lineno}"
        self.happened("broken", user, type(error).__name__ + where)

    def stats(self) -> dict[str, Any]:
        """The counters so far."""
        return {
            "attempted": self._counts["attempted"],
            "admitted": self._counts["admitted"],
            "ended": self._counts["ended"],
            "refused": sum(self._refused.values()),
            "refused_by_reason": dict(self._refused),
            "happened": {kind: dict(reasons) for kind, reasons in self._happened.items()},
        }

    def events(self) -> list[dict[str, Any]]:
        """The latest events, oldest first."""
        return list(self._events)

    def _note(self, kind: str, user: str, reason: str) -> None:
        event = {"time": time.time(), "kind": kind, "user": user[:_NAME_LENGTH], "reason": reason}
        self._events.append(event)
