"""How a pool waits before it tries again to connect: it schedules, and its workers go on serving others.

psycopg_pool's own waits are the same in each process (1, 2, 4, ... seconds, give or take a tenth): a fleet that
was refused together would come back together, each time.
"""

from __future__ import annotations

import time

from psycopg_pool.base import AttemptWithBackoff

from .._connecting import Held


class PacedAttempt(AttemptWithBackoff):
    """psycopg_pool's record of the tries for one connection; where DSQL refuses for now, the waits are ours.

    Args:
        timeout: seconds after the first failure until it is given up; the pool's ``reconnect_timeout``.

    Attributes:
        held: what is known of the tries.
    """

    def __init__(self, *, timeout: float) -> None:
        super().__init__(timeout=timeout)
        self.held = Held()

    def update_delay(self, now: float) -> None:
        """Draw the wait before the next try."""
        if not self.give_up_at:
            self.give_up_at = now + self.timeout
        delay = self.held.delay(time.monotonic(), self.give_up_at)
        if delay is None:
            super().update_delay(now)
        else:
            self.delay = delay
