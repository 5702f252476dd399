"""Several endpoints: which one next, for how long, and when to come back to the first. Pure: time is passed in.

The endpoints of a multi-Region cluster are one database: what one of them answers for good (access denied, an
unknown role), the others would answer too. What concerns the way to an endpoint, or its load, is a reason to ask
another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

DEFAULT_RETURN = 60.0
"""Seconds after which the first endpoint of a list is tried again."""

DEFAULT_DEADLINE = 30.0
"""Seconds for one connect over all endpoints of a list, where nobody says; as a pool's ``timeout``."""

LEAST_TRY = 2.0
"""Seconds that one try has at least: libpq's and psycopg's own least ``connect_timeout``."""

NOT_NOW = (
    "waking up cluster",
    "too many open connections",  # 53300
    "rate exceeded",  # 53400
)
"""What a cluster says that lets nobody in for the moment: the first is observed, the others AWS documents."""

# What a server says at severity FATAL that another endpoint may not say: each Region has a load, quotas and a
# state of its own.
_PASSING = (*NOT_NOW, "server unavailable")  # the last: XX000
# What is no outage. The same keys, role and grants hold at every endpoint, so another one would refuse as well. A
# certificate that is not the host's is a wrong setting or somebody in between: a person must hear of it, and a
# second endpoint that works would hide it for good.
_LASTING = (
    "access denied",
    "invalid sni",
    "sni was not received",
    "SSL is mandatory",
    "not supported",  # a start-up parameter
    "certificate verify failed",
    "does not match host name",
    "does not support SSL",
    "rejected SSL upgrade",  # the same in asyncpg's words
    "wrong version number",  # in OpenSSL's words, what answers does not speak TLS
    "authentication method",  # the server asked for something else than a password
)


def may_move_on(text: str) -> bool:
    """Tell from what a failed connect said whether another endpoint may have a better answer.

    Args:
        text: the driver's message: what the server, TLS or the network said.
    """
    if any(part in text for part in _PASSING):
        return True
    # Whatever else a server refuses with, it is there and has decided.
    return "FATAL" not in text and not any(part in text for part in _LASTING)


class Preference:
    """Where the connects to a list begin: at its first endpoint, or at the one that worked after it had failed.

    One object is shared by a process's equal lists. Its state is one tuple that is replaced whole: where two
    threads do so at once, one of them is late, and nothing else happens.
    """

    __slots__ = ("_state",)

    def __init__(self) -> None:
        self._state = (0, 0.0)

    def order(self, count: int, now: float, return_after: float) -> tuple[int, ...]:
        """Return the order in which a connect tries the endpoints.

        Once in `return_after` one connect looks whether the first is back; the others do not wait for that.

        Args:
            count: how many endpoints there are.
            now: monotonic time in seconds.
            return_after: seconds.
        """
        begin, since = self._state
        if begin and now - since >= return_after:
            self._state = (begin, now)
            begin = 0
        return (begin, *(index for index in range(count) if index != begin))

    def worked(self, index: int, now: float, *, others_failed: bool) -> bool:
        """Take note of the endpoint to which a connect succeeded.

        Args:
            index: the endpoint's.
            now: monotonic time in seconds.
            others_failed: the same connect had failed elsewhere. If not, it only came where it was sent, perhaps
                long ago: no reason to leave the first.

        Returns:
            Whether connects begin at another endpoint from now on.
        """
        if index == self._state[0] or (index and not others_failed):
            return False
        self._state = (index, now)
        return True


# By list. At most so many are remembered.
_preferences: dict[Hashable, Preference] = {}
_MOST_PREFERENCES = 64


def preference_of(endpoints: Hashable) -> Preference:
    """Return the process's one `Preference` for a list of endpoints."""
    found = _preferences.get(endpoints)
    if found is None:
        if len(_preferences) >= _MOST_PREFERENCES:
            _preferences.clear()
        found = _preferences.setdefault(endpoints, Preference())
    return found


class Route:
    """The way of one connect: endpoint after endpoint, address after address, until one deadline.

    The time that is left is shared out evenly among what is left to be tried, so that an endpoint that is silent
    leaves time for the next one.

    Args:
        order: the endpoints' indices, as they shall be tried.
        ends_at: monotonic time in seconds, or None for no deadline.
    """

    __slots__ = ("_addresses", "_ends_at", "_order")

    def __init__(self, order: Sequence[int], ends_at: float | None) -> None:
        self._order = list(order)
        self._addresses: list[str] | None = None
        self._ends_at = ends_at

    @property
    def endpoint(self) -> int:
        """The index of the endpoint to try now."""
        return self._order[0]

    @property
    def address(self) -> str | None:
        """The IP address to dial now; None: the endpoint's name has not been resolved yet."""
        return self._addresses[0] if self._addresses else None

    def end_by(self, at: float) -> None:
        """Have the deadline not later than a time (monotonic seconds)."""
        self._ends_at = at if self._ends_at is None else min(self._ends_at, at)

    def found(self, addresses: Sequence[str]) -> None:
        """Take the addresses of the endpoint to try now; at least one."""
        self._addresses = list(addresses)

    def seconds(self, now: float) -> int | None:
        """Return the time for this try, in whole seconds as libpq counts; None: as long as the driver likes."""
        if self._ends_at is None:
            return None
        tries = len(self._order) - 1 + len(self._addresses or ("",))
        return round(max(LEAST_TRY, (self._ends_at - now) / tries))

    def go_on(self, now: float) -> bool:
        """Turn to the next address, else to the next endpoint.

        Returns:
            False where nothing is left, or too little time: a try has at least two seconds, rounded.
        """
        if self._ends_at is not None and self._ends_at - now < LEAST_TRY - 0.5:
            return False
        if self._addresses and len(self._addresses) > 1:
            del self._addresses[0]
            return True
        if len(self._order) == 1:
            return False
        del self._order[0]
        self._addresses = None
        return True
