"""When to try to connect, so that a fleet of processes that know nothing of each other gets in soon.

DSQL admits 100 connections a second after a burst of 1,000, for the whole cluster (documented by AWS), and refuses
the others. A refused try costs the cluster nothing of its rate, but everybody a handshake. So tries should be few,
and yet never fewer than what is admitted, however many want in, which nobody knows.

Hence those of a process who want in form a queue, and the process lets one go after the other: so fast that all of
them have had a try within about as long again as the trouble has lasted. Then all who want in, of all processes,
stay spread over that time, and thin out as they get in: whatever their number, there are about as many tries as
can be admitted until the last is in. What is admitted makes a process faster, what is refused slower, the whole
queue at once. No process has to hear of another.

Pure: nothing here sleeps, reads a clock, or starts a thread. Time (monotonic seconds) and chance are passed in.
What is kept are plain attributes without a lock: two threads may lose an observation between them, which an
estimate can bear, and a process forked at any moment finds no lock held. Nobody is woken either: who waits looks
again now and then (`Course.look`).
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

# Seconds to the next try of a process with one connect in the queue: after the first refusal drawn evenly from
# the first to the second,
_FIRST_LEAST = 1.0
_FIRST_MOST = 2.1
_FIRST = (_FIRST_LEAST + _FIRST_MOST) / 2
# or, where the fleet's size is known, this times that: with first tries in turn, only chance makes one too early;
_TURN_MISSED = 0.2
# then 1.86 times the seconds since the first refusal to the power of 0.81, but at most so many. A power of 1 would
# make whoever just missed his turn at the end wait for as long again; less than 0.8 costs more tries.
_STRETCH = 1.86
_POWER = 0.81
_LONGEST = 18.8
# Each place in the queue is so much longer or shorter: processes stopped together must not stay together.
_JITTER = 0.1

# By what the seconds between two tries of a process are multiplied when a connect was admitted, when the one
# before was, too, and when one was refused.
_FASTER = 0.8
_FASTER_YET = 0.7
_SLOWER = 1.3
# When one was refused where no more than so many ever waited at the same time, there is little to learn from: the
# waits double, up to what stands above.
_SLOWER_ALONE = 2.0
_COMPANY = 4.5
# As many as one, give or take the jitter.
_LONE = 1.5
# Seconds between two tries of a process at least, once it was refused.
_BRISK = 0.01
# So many seconds after the last refusal all is forgotten.
_FORGOTTEN = 2 * _LONGEST

# Who waits looks again after such a share of the time, but not before so many seconds: what the process learns
# meanwhile may bring his try forward. (Half of the time, and 2,000 connections take 1.28 instead of 1.10.)
_LOOK_SHARE = 0.2
_LOOK = 0.25

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
    """What a process has seen of one cluster, and the queue of its connects to it, which share one.

    The queue is a clock that ticks once for each try, and the numbers at which those who wait are to try. Who
    gives up leaves a place at which nobody tries.

    Args:
        random: returns numbers from 0 up to, but without, 1. The default is drawn from anew in a forked process.
    """

    __slots__ = (
        "_clock",
        "_company",
        "_herd_at",
        "_jam_began",
        "_last_place",
        "_quiet_since",
        "_refused_at",
        "_slowed_at",
        "_was_admitted",
        "random",
    )

    def __init__(self, random: Callable[[], float] = _random.random) -> None:
        self.random = random
        self._jam_began = -math.inf
        self._refused_at = -math.inf
        self._slowed_at = -math.inf
        self._was_admitted = False  # the last that was heard
        # Seconds between two ticks; and a time with what the clock showed then. One value: a thread that reads
        # while another writes sees the one or the other.
        self._clock = (_FIRST, 0.0, 0.0)
        self._last_place = 0.0
        self._company = 0.0  # the most that waited at the same time
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
        turn = self._turn(now, pacing.spread, deadline) if spread and pacing.spread else 0.0
        course = Course(self, now, _in_time(now + turn, now, deadline, self.random), deadline, in_turn=turn > 0)
        if now - self._refused_at < _FORGOTTEN and self._last_place + 1.0 > self._shows(now):
            # Others of this process were just refused: this one would be, too.
            course.queue(now)
        return course

    def place(self, now: float, width: float = 1.0) -> float:
        """Give out the next place in the queue.

        Args:
            now: monotonic seconds.
            width: places that it takes.
        """
        shown = self._shows(now)
        waiting = max(1.0, self._last_place - shown + 1.0)
        self._company = max(self._company, waiting)
        between = _longest_wait(now - self._jam_began) / waiting
        if self._clock[0] > between:
            self._set_clock(now, between)
        self._last_place = place = max(self._last_place, shown) + width * self.jitter()
        return place

    def give_back(self, place: float) -> None:
        """Take a place back if it is the last."""
        if self._last_place == place:
            self._last_place = place - 1.0

    @property
    def has_company(self) -> bool:
        """Whether others waited, from whose tries there was something to learn."""
        return self._company > _LONE

    def until(self, place: float, now: float) -> float:
        """Return the seconds until a place's turn, by what is known now."""
        return (place - self._shows(now)) * self._clock[0]

    def refused(self, now: float, tried_at: float) -> None:
        """Take note of a refusal: slower.

        Args:
            now: monotonic seconds.
            tried_at: when the try began. One that was on its way when others were refused tells nothing new.
        """
        if now - self._refused_at >= _FORGOTTEN:
            self._jam_began = self._slowed_at = now
            self._clock = (_FIRST, now, 0.0)
            self._last_place = 0.0
            self._company = 0.0
        elif tried_at > self._slowed_at:
            self._slowed_at = now
            self._set_clock(now, self._clock[0] * (_SLOWER if self._company > _COMPANY else _SLOWER_ALONE))
        self._refused_at = now
        self._was_admitted = False

    def admitted(self, now: float) -> None:
        """Take note of an admission: faster."""
        if now - self._refused_at < _FORGOTTEN:
            self._set_clock(now, max(_BRISK, self._clock[0] * (_FASTER_YET if self._was_admitted else _FASTER)))
            self._was_admitted = True

    def jitter(self) -> float:
        """Draw a factor around 1."""
        return 1.0 + _JITTER * (2.0 * self.random() - 1.0)

    def _shows(self, now: float) -> float:
        between, at, shown = self._clock
        # Another thread's clock may have been read before the time that was noted: never backwards.
        return shown + max(0.0, now - at) / between

    def _set_clock(self, now: float, between: float) -> None:
        self._clock = (between, now, self._shows(now))

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
        at: when to try (monotonic seconds), by what was known at the last look; in the past for at once.
        began: when it was begun.
        refusals: how many there were.
        is_announced: for whoever tells of waits: that this one was told of.
    """

    __slots__ = (
        "_deadline",
        "_earliest",
        "_in_turn",
        "_is_last",
        "_latest",
        "_pace",
        "_place",
        "at",
        "began",
        "is_announced",
        "refusals",
    )

    def __init__(self, pace: Pace, now: float, at: float, deadline: float, *, in_turn: bool) -> None:
        self.at = at
        self.began = now
        self.refusals = 0
        self.is_announced = False
        self._pace = pace
        self._place: float | None = None  # in the queue
        self._deadline = deadline
        self._earliest = at
        self._latest = math.inf
        self._in_turn = in_turn
        self._is_last = False

    @property
    def has_waited(self) -> bool:
        """Whether a try was, or is to be, put off."""
        return self.at > self.began

    def left(self, now: float) -> float:
        """Return the seconds until the deadline."""
        return self._deadline - now

    def queue(self, now: float, width: float = 1.0) -> None:
        """Wait for a turn among the process's others."""
        self._place = self._pace.place(now, width)
        self._foresee(now)

    def leave(self) -> None:
        """Give back the place in the queue, if nobody came after."""
        if self._place is not None:
            self._pace.give_back(self._place)

    def end_by(self, latest: float) -> None:
        """Try by a time, whatever the queue is like."""
        self._latest = latest
        self.at = min(self.at, latest)

    def look(self, now: float) -> float:
        """Return the seconds to wait until the next look; 0 or less to try now.

        What the process learnt meanwhile counts: admissions bring a try forward, refusals put it off.
        """
        if self._place is None:
            return self.at - now
        self._foresee(now)
        wait = self.at - now
        if wait <= 0:
            self._place = None
        return min(wait, max(_LOOK, wait * _LOOK_SHARE)) if self._pace.has_company else wait

    def refused(self, now: float) -> float | None:
        """Take note that the cluster refused a try for now.

        Returns:
            When to try again; None to give up, because the deadline comes first.
        """
        self._pace.refused(now, self.at)
        width = 1.0
        if not self.refusals:
            width = (_FIRST_LEAST + (_FIRST_MOST - _FIRST_LEAST) * self._pace.random()) / _FIRST
            if self._in_turn:
                width *= _TURN_MISSED
        self.refusals += 1
        if self._is_last or self.left(now) < _FIRST_LEAST:
            return None
        self.is_announced = True  # by whoever takes note of the refusal
        self._earliest = now
        self.queue(now, width)
        return self.at

    def admitted(self, now: float) -> None:
        """Take note that it is connected."""
        self._pace.admitted(now)

    def _foresee(self, now: float) -> None:
        place = self._place
        if place is None:
            return
        at = max(self._earliest, now + self._pace.until(place, now))
        if at >= self._deadline:
            at = _in_time(at, now, self._deadline, self._pace.random)
            self._is_last = self.refusals > 0  # one more, while there is time
            self._place = None
        self.at = min(at, self._latest)


def _longest_wait(since: float) -> float:
    return min(_LONGEST, max(_FIRST, _STRETCH * math.pow(max(since, 0.0), _POWER)))


def _in_time(at: float, now: float, deadline: float, random: Callable[[], float]) -> float:
    """Return `at`, or if that were too late some time in the third quarter of what is left, for a last try."""
    return at if at < deadline else now + (deadline - now) * (0.5 + 0.25 * random())
