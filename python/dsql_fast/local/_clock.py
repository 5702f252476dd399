"""The cluster's two clocks: the one sessions age by, and the one tokens are judged by."""

from __future__ import annotations

import time


class ClusterClock:
    """Real time plus what was added by hand.

    The two are apart on purpose: an hour of session age must be had without every token going
    stale, and a wrong client clock without every session ending.
    """

    def __init__(self) -> None:
        self.advanced = 0.0
        self.skewed = 0.0

    def session_time(self) -> float:
        """Seconds on a clock that never goes back; only differences mean something."""
        return time.monotonic() + self.advanced

    def token_time(self) -> float:
        """Seconds since the epoch, as the judge of tokens sees them."""
        return time.time() + self.skewed
