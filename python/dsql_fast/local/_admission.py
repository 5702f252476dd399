"""Who may come in: the rate of new connections and how many there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dsql_fast.local._refusals import RATE_EXCEEDED, TOO_MANY, Refused

if TYPE_CHECKING:
    from dsql_fast.local._limits import Limits


class Admission:
    """A token bucket and a counter.

    DSQL has a bucket of 1,000 refilled at 100 a second, and 10,000 connections, for the whole
    cluster (documented by AWS). Pure: time is passed in.
    """

    def __init__(self, limits: Limits, now: float) -> None:
        self.open = 0
        self._limits = limits
        self._bucket = self._capacity()
        self._filled_at = now

    def set_limits(self, limits: Limits, now: float) -> None:
        """Take new limits. A changed rate or burst starts with a full bucket.

        Full, because a test that says `burst=2` means that exactly two get in next.
        """
        old, self._limits = self._limits, limits
        if (old.rate, old.burst) != (limits.rate, limits.burst):
            self._bucket = self._capacity()
            self._filled_at = now

    def enter(self, now: float) -> None:
        """Count one connection in.

        Args:
            now: Seconds on a monotonic clock.

        Raises:
            Refused: With 53400 over the rate, 53300 over the count.
        """
        if self._limits.connections is not None and self.open >= self._limits.connections:
            raise Refused(TOO_MANY)
        if self._limits.rate is not None:
            earned = (now - self._filled_at) * self._limits.rate
            self._bucket = min(self._capacity(), self._bucket + earned)
            self._filled_at = now
            if self._bucket < 1:
                raise Refused(RATE_EXCEEDED)
            self._bucket -= 1
        self.open += 1

    def leave(self) -> None:
        """Count one connection out."""
        self.open -= 1

    def _capacity(self) -> float:
        # Without a burst one connection may still come at a time, at the rate.
        return float(self._limits.burst) if self._limits.burst is not None else 1.0
