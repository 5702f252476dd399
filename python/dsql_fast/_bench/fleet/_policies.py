"""When the processes of a fleet try to connect: ours, and what others do.

Ours are the very classes that a connect uses (`Pace`, `Course`, `expiry`); so is psycopg_pool's record of its
tries. The official connector paces nothing: its ``connect`` is one try, and its pool is psycopg_pool's with
psycopg_pool's defaults (0.2.7: `create_pool` sets a connection class, and nothing about time). So what its users
have is that pool, or a loop of their own around ``connect``. For the loop stand the two with full jitter, which is
what AWS recommends (exponential backoff, each wait drawn from 0 up to it): kinder to the cluster than fixed waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from psycopg_pool.base import AttemptWithBackoff, BasePool

from ..._lifetimes import HEALTH_CHECK_PERIOD, MAX_LIFETIME, expiry
from ..._pacing import Pace, Pacing

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from ._admission import Limits

# psycopg_pool's defaults, seconds.
_RECONNECT_TIMEOUT = 5 * 60.0
_POOLS_LIFETIME = 60 * 60.0


class Caller(Protocol):
    """One connection that is wanted. `Course` is one."""

    def look(self, now: float) -> float:
        """Return the seconds until it is to be asked again; 0 or less to try now."""

    def refused(self, now: float) -> object:
        """Take note that the try was refused."""

    def admitted(self, now: float) -> None:
        """Take note that it is connected."""


class Policy(Protocol):
    """How the processes of a fleet behave.

    Attributes:
        name: for tables.
        opens_first: whether a pool opens the successor before it closes an old connection.
    """

    @property
    def name(self) -> str:
        """For tables."""

    @property
    def opens_first(self) -> bool:
        """Whether a pool opens the successor before it closes the old connection."""

    def process(self, chance: Random, fleet: int, limits: Limits) -> Callable[..., Caller]:
        """Begin a process, or what it knows of one cluster.

        Returns:
            A function that begins a connect at a time; `spread` as for `Pace.course`.
        """

    def retires_at(self, opened_at: float, first_sweep: float) -> float:
        """Draw when a connection of a pool is replaced, or its successor is begun.

        Args:
            opened_at: virtual seconds.
            first_sweep: when the pool's first sweep was, or is; for pools that have one.
        """


@dataclass(frozen=True)
class Ours:
    """dsql-fast's pacing and lifetimes.

    Attributes:
        told: whether the fleet's size is known.
        spread_sweeps: whether a pool's first sweep comes at random, as it does; False for how it was.
    """

    told: bool = False
    spread_sweeps: bool = True

    opens_first = True

    @property
    def name(self) -> str:
        """For tables."""
        return "dsql-fast, told the size" if self.told else "dsql-fast"

    def process(self, chance: Random, fleet: int, limits: Limits) -> Callable[..., Caller]:
        """A `Pace`, and its courses."""
        pace = Pace(chance.random)
        known = fleet if self.told else None
        pacing = Pacing(fleet=known, rate=limits.rate, burst=limits.burst)

        def begin(now: float, *, spread: bool = True) -> Caller:
            return pace.course(now, pacing, spread=spread)

        return begin

    def retires_at(self, opened_at: float, first_sweep: float) -> float:
        """The sweep after which there would be none before the connection is past its time."""
        due = expiry(opened_at, MAX_LIFETIME) - HEALTH_CHECK_PERIOD
        sweeps = max(0.0, -((first_sweep - due) // HEALTH_CHECK_PERIOD))
        return first_sweep + sweeps * HEALTH_CHECK_PERIOD


class _Backoff:
    """A connect of psycopg_pool's, whose record is the real one.

    One that the pool gives up (after 300 s) is wanted all the same, and begun anew.
    """

    def __init__(self, now: float) -> None:
        self._at = now
        self._attempt = AttemptWithBackoff(timeout=_RECONNECT_TIMEOUT)

    def look(self, now: float) -> float:
        return self._at - now

    def refused(self, now: float) -> None:
        if self._attempt.time_to_give_up(now):
            self._attempt = AttemptWithBackoff(timeout=_RECONNECT_TIMEOUT)
        self._attempt.update_delay(now)
        self._at = now + self._attempt.delay

    def admitted(self, now: float) -> None:
        pass


@dataclass(frozen=True)
class PsycopgPool:
    """psycopg_pool with its defaults, which is the official connector's pool too."""

    name = "official connector's pool (psycopg_pool)"
    opens_first = False

    def process(self, chance: Random, fleet: int, limits: Limits) -> Callable[..., Caller]:  # noqa: ARG002 (as the others)
        """No connect knows of another."""

        def begin(now: float, *, spread: bool = True) -> Caller:  # noqa: ARG001 (as the others)
            return _Backoff(now)

        return begin

    def retires_at(self, opened_at: float, first_sweep: float) -> float:  # noqa: ARG002 (it has no sweeps)
        """From 57 to 60 minutes: `ConnectionPool._set_connection_expiry_date`. In use all the time: a
        connection is replaced when it is given back.
        """  # noqa: D205
        return opened_at + BasePool._jitter(_POOLS_LIFETIME, -0.05, 0.0)


class _Jittered:
    def __init__(self, now: float, cap: float, chance: Random) -> None:
        self._at = now
        self._most = 0.5
        self._cap = cap
        self._chance = chance

    def look(self, now: float) -> float:
        return self._at - now

    def refused(self, now: float) -> None:
        self._most = min(self._cap, 2 * self._most)
        # Not 0: time has to go on.
        self._at = now + max(0.001, self._most * self._chance.random())

    def admitted(self, now: float) -> None:
        pass


@dataclass(frozen=True)
class FullJitter:
    """A loop around ``connect``: each wait is drawn from 0 to 1, 2, 4, ... seconds, up to a cap.

    Attributes:
        cap: seconds.
    """

    cap: float

    opens_first = False

    @property
    def name(self) -> str:
        """For tables."""
        return f"full jitter up to {self.cap:g} s"

    def process(self, chance: Random, fleet: int, limits: Limits) -> Callable[..., Caller]:  # noqa: ARG002 (as the others)
        """No connect knows of another."""

        def begin(now: float, *, spread: bool = True) -> Caller:  # noqa: ARG001 (as the others)
            return _Jittered(now, self.cap, chance)

        return begin

    def retires_at(self, opened_at: float, first_sweep: float) -> float:
        """As psycopg_pool: who wraps ``connect`` gives it to a pool."""
        return PsycopgPool().retires_at(opened_at, first_sweep)


POLICIES: tuple[Policy, ...] = (Ours(), Ours(told=True), PsycopgPool(), FullJitter(10.0), FullJitter(60.0))
