"""How old the connections of a pool get. For every driver's pools.

DSQL ends a session after 60 minutes, without a word. A connection is retired before that, at an age drawn from
the last quarter of the pool's ``max_lifetime``: a fleet that connected together must not come back together
(DSQL admits 100 connections a second).
"""

from __future__ import annotations

import random

from ._errors import ConfigError

MAX_LIFETIME = 55 * 60.0
"""Seconds. The official connectors' figure too: 5 minutes before the session's end."""

MAX_IDLE = 10 * 60.0
"""Seconds."""

HEALTH_CHECK_PERIOD = 30.0
"""Seconds between two sweeps. Who would be past its time by the next one is replaced."""

_SPREAD = 0.25


def expiry(created_at: float, max_lifetime: float) -> float:
    """Draw the time (monotonic seconds) at which a connection is past its time."""
    return created_at + max_lifetime * (1.0 - _SPREAD * random.random())  # noqa: S311 (a spread, no secret)


def first_sweep(period: float) -> float:
    """Draw the seconds until a pool's first sweep: pools that were opened together must not sweep together.

    From half a period to one and a half: at any part of a period, and never at once.
    """
    return period * (0.5 + random.random())  # noqa: S311 (a spread, no secret)


def check_period(seconds: float, name: str = "health_check_period") -> float:
    """Check a number of seconds that a pool was given.

    Raises:
        ConfigError: it is no positive number.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds > 0:
        raise ConfigError(f"{name} must be a positive number of seconds, not {seconds!r}")
    return float(seconds)
