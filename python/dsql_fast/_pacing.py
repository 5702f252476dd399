"""When to try to connect, so that a fleet of processes that know nothing of each other gets in soon.

DSQL admits 100 connections a second after a burst of 1,000, for the whole cluster (documented by AWS), and refuses
the others. A refused try costs the cluster nothing of its rate, but everybody a handshake. So tries should be few,
and yet never fewer than what is admitted, however many want in, which nobody knows.

Hence each connect waits for about as long again as it has waited since its first refusal. Those who want in stay
spread over that time, and thin out as they get in: whatever their number, there are about as many tries as can be
admitted until the last is in. No process has to hear of another.

Pure: nothing here sleeps, reads a clock, or starts a thread. Time (monotonic seconds) and chance are passed in.
What is kept are plain attributes without a lock: two threads may lose an observation between them, which an
estimate can bear, and a process forked at any moment finds no lock held.
"""

from __future__ import annotations

import math
import random as _random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FLEET_VARIABLE = "DSQL_FAST_FLEET"
"""The environment's variable for `Pacing.fleet`."""

# After the first refusal, seconds: evenly from the one to the other.
_FIRST_LEAST = 1.0
_FIRST_MOST = 2.5
# The same where the fleet's size is known: with first tries in turn, only chance makes one come too early.
_TURN_MISSED = 0.2
# Then 1.65 times the seconds since the first refusal to the power of 0.8, but at most so many. A power of 1 would
# make whoever just missed his turn at the end wait for as long again; less than 0.8 costs more tries.
_STRETCH = 1.65
_POWER = 0.8
_LONGEST = 20.0
# Drawn anew each time by so much up or down: processes that were stopped together must not stay together.
_JITTER = 0.1

# By what a process multiplies its waits after one of its connects was admitted, and was refused.
_FASTER = 0.7
_SLOWER = 2.0
# Below this, or so many seconds after the last refusal, a process no longer keeps its new connects back.
_CALM = 0.3
_FORGOTTEN = 2 * _LONGEST

# The share of the time to a deadline that the first tries are spread over at most: the rest is for the others.
_SHARE_FOR_FIRST = 0.5


@dataclass(frozen=True)
class Pacing:
    """How connects share a cluster's rate of new connections with the rest of a fleet.

    Without arguments it is what every connect does by default: one that DSQL refuses for its rate (``rate
    exceeded``), for the number of connections (``too many open connections``) or because the cluster is waking up
    is tried again within `connect_timeout`.

    Attributes:
        fleet: connections that may be wanted at the same moment, by all processes together. If it is more than
            `burst`, the first connects of a process are spread over the ``(fleet - burst) / rate`` seconds that
            the cluster needs for them. Default None: not known, and the first try comes at once.
        rate: connections a second that the cluster admits; default 100.
        burst: connections that it admits at once after a quiet time; default 1,000.

    Raises:
        ConfigError: a value is out of its range.
    """

    __module__ = "dsql_fast"

    fleet: int | None = None
    rate: float = 100.0
    burst: int = 1_000

    def __post_init__(self) -> None:
        if self.fleet is not None:
            _check_whole("fleet", self.fleet, 1)
        _check_whole("burst", self.burst, 0)
        rate = self.rate
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate < math.inf:
            raise ConfigError(f"rate must be a number above 0, not {rate!r}")

    @property
    def spread(self) -> float:
        """Seconds that the first connects are spread over; 0 if the fleet is not known, or fits into the burst."""
        return max(0.0, ((self.fleet or 0) - self.burst) / self.rate)


def _check_whole(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name} must be a whole number from {least} on, not {value!r}")


DEFAULT_PACING = Pacing()


def pacing_from(given: object, environ: Mapping[str, str]) -> Pacing | None:
    """Return the pacing that was asked for; None for none.

    Args:
        given: a `Pacing`; None or True for the default, with the environment's size of the fleet; False for none.
        environ: the environment's variables.

    Raises:
        ConfigError: it is something else, or the environment's value is no whole number.
    """
    if given is False:
        return None
    if isinstance(given, Pacing):
        return given
    if given is not None and given is not True:
        raise ConfigError(f"pacing must be a dsql_fast.Pacing, True or False, not {type(given).__name__}")
    fleet = environ.get(FLEET_VARIABLE)
    if not fleet:
        return DEFAULT_PACING
    if not (fleet.isascii() and fleet.isdigit() and len(fleet) < 10 and int(fleet)):  # noqa: PLR2004
        raise ConfigError(f"{FLEET_VARIABLE} must be a whole number from 1 on, not {fleet!r}")
    return Pacing(fleet=int(fleet))


class Pace:
    """What a process has seen of one cluster. Its connects to it share one.

    Args:
        random: returns numbers from 0 up to, but without, 1. The default is drawn from anew in a forked process.
    """

    __slots__ = ("_ease", "_herd_at", "_jam_began", "_quiet_since", "_refused_at", "random")

    def __init__(self, random: Callable[[], float] = _random.random) -> None:
        self.random = random
        self._jam_began = -math.inf
        self._refused_at = -math.inf
        self._ease = 0.0  # what waits are multiplied by: towards 1 with refusals, towards 0 with admissions
        self._herd_at = -math.inf
        self._quiet_since = -math.inf

    def course(
        self, now: float, pacing: Pacing = DEFAULT_PACING, deadline: float = math.inf, *, spread: bool = True
    ) -> Course:
        """Begin a connect.

        Args:
            now: monotonic seconds.
            pacing: the settings.
            deadline: when it is given up; its tries are to end by then.
            spread: let its first try wait for its turn in the fleet.
        """
        turn = wait = self._turn(now, pacing.spread, deadline) if spread and pacing.spread else 0.0
        if self._is_jammed(now):
            # Others of this process were just refused: this one would be, too.
            wait = max(wait, self.random() * self._ease * _wait(now - self._jam_began))
        return Course(self, now, _in_time(now + wait, now, deadline, self.random), deadline, in_turn=turn > 0)

    def wait(self, since: float, *, in_turn: bool) -> float:
        """Draw the seconds until the next try, after a refusal.

        Args:
            since: seconds since the first refusal of the same connect.
            in_turn: its first try waited for its turn in the fleet.
        """
        if since <= 0:
            wait = _FIRST_LEAST + (_FIRST_MOST - _FIRST_LEAST) * self.random()
            return wait * _TURN_MISSED if in_turn else wait
        return self._ease * _wait(since) * (1.0 + _JITTER * (2.0 * self.random() - 1.0))

    def refused(self, now: float) -> None:
        """Take note of a refusal: slower."""
        if not self._is_jammed(now):
            self._jam_began = now
            self._ease = 1.0
        self._ease = min(1.0, self._ease * _SLOWER)
        self._refused_at = now

    def admitted(self) -> None:
        """Take note of an admission: faster."""
        self._ease *= _FASTER

    def _is_jammed(self, now: float) -> bool:
        return self._ease > _CALM and now - self._refused_at < _FORGOTTEN

    def _turn(self, now: float, spread: float, deadline: float) -> float:
        """Draw the wait before a first try.

        A fleet is taken to come back when a process connects after a time without: what it asks for in the
        `spread` seconds from then on is spread over what is left of them. After them there is no wait: a pool
        that now and then connects has been quiet for less.
        """
        if now - self._quiet_since > spread:
            self._herd_at = now
        self._quiet_since = now
        left = min(self._herd_at + spread - now, _SHARE_FOR_FIRST * (deadline - now))
        return self.random() * left if left > 0 else 0.0


class Course:
    """The tries of one connect.

    Attributes:
        at: when to try (monotonic seconds); in the past for at once.
        began: when it was begun.
        refusals: how many there were.
    """

    __slots__ = ("_deadline", "_first_refused_at", "_in_turn", "_is_last", "_pace", "at", "began", "refusals")

    def __init__(self, pace: Pace, now: float, at: float, deadline: float, *, in_turn: bool) -> None:
        self.at = at
        self.began = now
        self.refusals = 0
        self._pace = pace
        self._deadline = deadline
        self._first_refused_at = now
        self._in_turn = in_turn
        self._is_last = False

    @property
    def has_waited(self) -> bool:
        """Whether a try was, or is to be, put off."""
        return self.at > self.began

    def left(self, now: float) -> float:
        """Return the seconds until the deadline."""
        return self._deadline - now

    def refused(self, now: float) -> float | None:
        """Take note that the cluster refused a try for now.

        Returns:
            When to try again; None to give up, because the deadline comes first.
        """
        if not self.refusals:
            self._first_refused_at = now
        self.refusals += 1
        self._pace.refused(now)
        at = now + self._pace.wait(now - self._first_refused_at, in_turn=self._in_turn)
        if at >= self._deadline:
            if self._is_last or self.left(now) < _FIRST_LEAST:
                return None
            self._is_last = True  # one more, while there is time
            at = _in_time(at, now, self._deadline, self._pace.random)
        self.at = at
        return at

    def admitted(self) -> None:
        """Take note that it is connected."""
        self._pace.admitted()


def _wait(since: float) -> float:
    # Another thread's clock may be read before that which the refusal was noted with: never negative.
    return min(_LONGEST, max(_FIRST_LEAST, _STRETCH * math.pow(max(since, 0.0), _POWER)))


def _in_time(at: float, now: float, deadline: float, random: Callable[[], float]) -> float:
    """Return `at`, or if that were too late some time in the third quarter of what is left, for a last try."""
    return at if at < deadline else now + (deadline - now) * (0.5 + 0.25 * random())
