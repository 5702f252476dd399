"""What DSQL lets in, in virtual time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a cluster admits (documented by AWS).

    Attributes:
        rate: connections a second.
        burst: connections at once, after a quiet time.
        most: connections open at the same time.
    """

    rate: float = 100.0
    burst: int = 1_000
    most: int = 10_000

    def least_seconds(self, connections: int) -> float:
        """Return the seconds in which a cluster can admit so many, with its burst unused; 0 if at once."""
        return max(0.0, (connections - self.burst) / self.rate)


class Cluster:
    """A cluster's token bucket, and its open connections.

    Args:
        limits: what it admits.
        spent: connections of the burst that are used up at the beginning; default none.

    Attributes:
        limits: what it admits.
        open: connections that are open.
    """

    def __init__(self, limits: Limits, *, spent: int = 0) -> None:
        self.limits = limits
        self.open = 0
        self._left = float(limits.burst - spent)
        self._filled_at = 0.0

    def admits(self, now: float) -> bool:
        """Decide about a connect, and count it if it is admitted. Times never go back."""
        limits = self.limits
        self._left = min(limits.burst, self._left + (now - self._filled_at) * limits.rate)
        self._filled_at = now
        if self.open >= limits.most or self._left < 1.0:
            return False
        self._left -= 1.0
        self.open += 1
        return True
