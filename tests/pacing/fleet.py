"""A fleet that comes back all at once, in virtual time: the real pacing in front of DSQL's bucket."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass

from dsql_fast._pacing import Course, Pace, Pacing

# What DSQL admits (documented by AWS).
RATE, BURST = 100.0, 1_000
_BEGAN = 1_000.0


@dataclass(frozen=True)
class Return:
    """How a fleet came back.

    Attributes:
        seconds: until the last connection was there.
        times_the_limit: the same, in times of what the cluster needs at least.
        tries: for each connection.
    """

    seconds: float
    times_the_limit: float
    tries: float


def come_back(
    connections: int, processes: int, *, told: bool = False, seed: int = 0, within: float = 0.2
) -> Return:
    """Have a fleet connect within a fifth of a second, until all are in."""
    chance = random.Random(seed)
    pacing = Pacing(fleet=connections if told else None)
    paces = [Pace(random.Random(chance.random()).random) for _ in range(processes)]
    ahead: list[tuple[float, int, Pace, Course | None]] = [
        (_BEGAN + within * chance.random(), number, paces[number % processes], None)
        for number in range(connections)
    ]
    heapq.heapify(ahead)
    bucket, filled_at, tries, last = float(BURST), _BEGAN, 0, _BEGAN
    while ahead:
        now, number, pace, course = heapq.heappop(ahead)
        if course is None:
            course = pace.course(now, pacing)
            if course.at > now:
                heapq.heappush(ahead, (course.at, number, pace, course))
                continue
        tries += 1
        bucket = min(BURST, bucket + (now - filled_at) * RATE)
        filled_at = now
        if bucket >= 1:
            bucket -= 1
            course.admitted()
            last = now
        else:
            at = course.refused(now)
            assert at is not None  # there is no deadline
            assert at > now
            heapq.heappush(ahead, (at, number, pace, course))
    seconds = last - _BEGAN
    least = (connections - BURST) / RATE
    return Return(seconds, seconds / least if least > 0 else 0.0, tries / connections)
