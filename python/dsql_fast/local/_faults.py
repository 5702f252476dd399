"""Faults on demand: what is to go wrong, ordered beforehand and taken off by whoever comes to the place.

Pure: no clock, no socket, and chance from a generator that can be seeded. The gateway asks once for each
connection, the sessions for each statement and each COMMIT of a transaction that wrote; they do the rest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from dsql_fast.local._refusals import (
    CONFLICT,
    RATE_EXCEEDED,
    SCHEMA_CONFLICT,
    TOO_MANY,
    UNAVAILABLE,
    WAKING_UP,
    Refusal,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# The codes by which DSQL's errors are known, to what is said.
COMMIT_ERRORS = {"OC000": CONFLICT, "OC001": SCHEMA_CONFLICT, "XX000": UNAVAILABLE}
# A change of one's own rows cannot conflict before COMMIT, so OC000 is no statement's error (observed).
STATEMENT_ERRORS = {"XX000": UNAVAILABLE, "OC001": SCHEMA_CONFLICT}
CONNECTION_REFUSALS = {"waking-up": WAKING_UP, "rate": RATE_EXCEEDED, "connections": TOO_MANY}
MOMENTS = ("before", "after")


@dataclass(frozen=True)
class CommitFault:
    """What becomes of one COMMIT.

    Attributes:
        kind: "OC000", "OC001", "XX000", "XX000-after", "cut-before" or "cut-after": the reason under which it is
            counted.
        takes_effect: Whether the transaction is committed all the same; rolled back otherwise.
        error: What is answered, at severity ERROR, in place of CommandComplete; None cuts the connection instead.
    """

    kind: str
    takes_effect: bool
    error: Refusal | None


@dataclass(frozen=True)
class StatementFault:
    """What becomes of one statement, which PostgreSQL never sees.

    Attributes:
        kind: "XX000", "OC001" or "cut".
        error: What is answered, at severity ERROR; None cuts the connection instead.
    """

    kind: str
    error: Refusal | None


@dataclass(frozen=True)
class ConnectFault:
    """What becomes of one connection.

    Attributes:
        kind: "waking-up", "rate", "connections", "silent", "half-open" or "slow".
        refusal: What is said, at severity FATAL, where the connection is refused.
        bytes_per_second: How fast what is sent arrives, where the connection is slow.
    """

    kind: str
    refusal: Refusal | None = None
    bytes_per_second: float | None = None


@dataclass(frozen=True)
class JobFault:
    """What becomes of one job.

    Attributes:
        kind: "slow" or "failed".
        seconds: How long it is under way before anything is done.
        details: Why it fails, if it does.
    """

    kind: str
    seconds: float = 0.0
    details: str | None = None


@dataclass(frozen=True)
class PendingFault:
    """One order that has not been used up.

    Attributes:
        at: "commit", "statement", "transaction" (a statement inside one), "connection" or "job".
        kind: What is to happen there.
        left: How many times yet, or None for until `clear()`.
        share: How many of those that come by are hit, above 0 to 1.
    """

    at: str
    kind: str
    left: int | None
    share: float


_Fault = TypeVar("_Fault", CommitFault, StatementFault, ConnectFault, JobFault)


@dataclass
class _Order(Generic[_Fault]):
    at: str
    fault: _Fault
    left: int | None
    share: float
    chance: Random


class Faults:
    """The orders that are pending, and the latencies.

    Orders are taken off first come, first served. One with a share below 1 draws for each that comes by, from a
    generator of its own; where it does not hit, the next order is asked.

    Every order takes `count`, how many times (default: once, or until `clear()` where a share is given), `share`,
    and `seed`, which makes the draws the same in each run.

    Args:
        chance: Draws what no seed was given for.

    Attributes:
        cleared: How often `clear` was called: what is held up by an order goes on then.
    """

    def __init__(self, chance: Random | None = None) -> None:
        self._chance = chance or Random()  # noqa: S311 - nothing is kept secret by it
        self._commits: list[_Order[CommitFault]] = []
        self._statements: list[_Order[StatementFault]] = []
        self._connections: list[_Order[ConnectFault]] = []
        self._jobs: list[_Order[JobFault]] = []
        self._connect_latency = _Latency()
        self._commit_latency = _Latency()
        self.cleared = 0

    # --- asked by the gateway and its sessions ---------------------------------------------------

    def commit(self) -> CommitFault | None:
        """The fault of this COMMIT: asked once for each of a transaction that wrote, autocommit too."""
        return self._taken(self._commits)

    def statement(self, in_transaction: bool) -> StatementFault | None:
        """The fault of this statement: asked before each that would go to PostgreSQL."""
        places = ("statement", "transaction") if in_transaction else ("statement",)
        return self._taken(self._statements, places)

    def connection(self) -> ConnectFault | None:
        """The fault of this connection: asked once for each that is accepted."""
        return self._taken(self._connections)

    def job(self) -> JobFault | None:
        """The fault of this job: asked once for each that begins."""
        return self._taken(self._jobs)

    def connect_delay(self) -> float:
        """Seconds that this connection is to take longer."""
        return self._connect_latency.draw()

    def commit_delay(self) -> float:
        """Seconds that this COMMIT is to take longer."""
        return self._commit_latency.draw()

    # --- ordered by the owner ----------------------------------------------------------------------

    def fail_commits(
        self,
        count: int | None = None,
        kind: str = "OC000",
        *,
        when: str = "before",
        share: float | None = None,
        seed: int | None = None,
    ) -> None:
        """Answer COMMITs with an error.

        Args:
            count: How many.
            kind: "OC000" or "OC001" (40001), or "XX000" (`server unavailable`).
            when: "before" it takes effect, or, for XX000, "after": the outcome is unknown to the client.
            share: Of all COMMITs, above 0 to 1.
            seed: For the draws of `share`.

        Raises:
            ValueError: If an argument is out of its range.
            TypeError: If it is no number.
        """
        _choose("kind", kind, COMMIT_ERRORS)
        _choose("when", when, MOMENTS)
        after = when == "after"
        if after and kind != "XX000":
            raise ValueError(f"{kind} says that nothing took effect; only XX000 can come after")
        fault = CommitFault(kind + "-after" * after, after, COMMIT_ERRORS[kind])
        self._commits.append(self._order("commit", fault, count, share, seed))

    def cut_commits(
        self,
        count: int | None = None,
        *,
        when: str = "before",
        share: float | None = None,
        seed: int | None = None,
    ) -> None:
        """Cut connections between COMMIT and its answer, "before" or "after" it takes effect."""
        _choose("when", when, MOMENTS)
        fault = CommitFault(f"cut-{when}", when == "after", None)
        self._commits.append(self._order("commit", fault, count, share, seed))

    def fail_statements(
        self,
        count: int | None = None,
        kind: str = "XX000",
        *,
        share: float | None = None,
        seed: int | None = None,
    ) -> None:
        """Answer statements with "XX000" (`server unavailable`) or "OC001" (40001)."""
        _choose("kind", kind, STATEMENT_ERRORS)
        fault = StatementFault(kind, STATEMENT_ERRORS[kind])
        self._statements.append(self._order("statement", fault, count, share, seed))

    def cut_transactions(
        self, count: int | None = None, *, share: float | None = None, seed: int | None = None
    ) -> None:
        """Cut connections at a statement inside a transaction block."""
        self._statements.append(self._order("transaction", StatementFault("cut", None), count, share, seed))

    def refuse_connections(
        self,
        count: int | None = None,
        reason: str = "waking-up",
        *,
        share: float | None = None,
        seed: int | None = None,
    ) -> None:
        """Refuse connections after their start-up message: "waking-up", "rate" or "connections"."""
        _choose("reason", reason, CONNECTION_REFUSALS)
        fault = ConnectFault(reason, CONNECTION_REFUSALS[reason])
        self._connections.append(self._order("connection", fault, count, share, seed))

    def silence_connections(
        self, count: int | None = None, *, share: float | None = None, seed: int | None = None
    ) -> None:
        """Accept connections and never say a word, until the client leaves or `handshake_seconds` are over."""
        self._connections.append(self._order("connection", ConnectFault("silent"), count, share, seed))

    def half_open_connections(
        self, count: int | None = None, *, share: float | None = None, seed: int | None = None
    ) -> None:
        """Let clients in and never answer a statement, as if the other end had lost its power."""
        self._connections.append(self._order("connection", ConnectFault("half-open"), count, share, seed))

    def slow_connections(
        self,
        bytes_per_second: float,
        count: int | None = None,
        *,
        share: float | None = None,
        seed: int | None = None,
    ) -> None:
        """Let clients in and have what is sent to them arrive at so many bytes a second."""
        if not _finite("bytes_per_second", bytes_per_second) > 0:
            raise ValueError(f"bytes_per_second must be above 0, not {bytes_per_second!r}")
        fault = ConnectFault("slow", bytes_per_second=bytes_per_second)
        self._connections.append(self._order("connection", fault, count, share, seed))

    def slow_jobs(
        self,
        seconds: float,
        count: int | None = None,
        *,
        share: float | None = None,
        seed: int | None = None,
    ) -> None:
        """Have jobs be under way for so many seconds before anything is done, or until `clear()`."""
        fault = JobFault("slow", _seconds("seconds", seconds)[0])
        self._jobs.append(self._order("job", fault, count, share, seed))

    def fail_jobs(
        self,
        count: int | None = None,
        details: str = "internal error",
        *,
        seconds: float = 0.0,
        share: float | None = None,
        seed: int | None = None,
    ) -> None:
        """Have jobs fail, with these details, after so many seconds or at `clear()`."""
        if not isinstance(details, str):
            raise TypeError(f"details must be text, not {details!r}")
        fault = JobFault("failed", _seconds("seconds", seconds)[0], details)
        self._jobs.append(self._order("job", fault, count, share, seed))

    def latency(
        self,
        *,
        connect: float | Sequence[float] | None = None,
        commit: float | Sequence[float] | None = None,
        seed: int | None = None,
    ) -> None:
        """Have connecting and COMMIT take longer.

        DSQL's own: 0 to 0.3 s to connect, 0.005 to 0.03 s to commit (observed).

        Args:
            connect: Seconds, or the least and the most of them, drawn uniformly; None leaves it as it is.
            commit: The same, for COMMITs of transactions that wrote.
            seed: For the draws.
        """
        # Both are judged before either is changed.
        ranges = {
            name: _seconds(name, given)
            for name, given in (("connect", connect), ("commit", commit))
            if given is not None
        }
        chance = self._generator(seed)
        if "connect" in ranges:
            self._connect_latency = _Latency(*ranges["connect"], chance)
        if "commit" in ranges:
            self._commit_latency = _Latency(*ranges["commit"], chance)

    def clear(self) -> None:
        """Forget every order and every latency."""
        for orders in (self._commits, self._statements, self._connections, self._jobs):
            orders.clear()
        self.cleared += 1
        self._connect_latency = self._commit_latency = _Latency()

    def pending(self) -> list[PendingFault]:
        """The orders that are not used up, in the order of their coming for each place."""
        orders: list[_Order[Any]] = [*self._connections, *self._statements, *self._commits, *self._jobs]
        return [PendingFault(order.at, order.fault.kind, order.left, order.share) for order in orders]

    def latencies(self) -> dict[str, tuple[float, float]]:
        """The least and the most seconds that are added, for "connect" and "commit"."""
        pairs = (("connect", self._connect_latency), ("commit", self._commit_latency))
        return {name: (latency.least, latency.most) for name, latency in pairs}

    # ------------------------------------------------------------------------------------------------

    def _order(
        self, at: str, fault: _Fault, count: int | None, share: float | None, seed: int | None
    ) -> _Order[_Fault]:
        if count is None:
            count = 1 if share is None else None
        elif isinstance(count, bool) or not isinstance(count, int):
            raise TypeError(f"count must be a whole number, not {count!r}")
        elif count < 1:
            raise ValueError(f"count must be 1 or more, not {count!r}")
        if share is None:
            share = 1.0
        elif not 0 < _finite("share", share) <= 1:
            raise ValueError(f"share must be above 0 and at most 1, not {share!r}")
        return _Order(at, fault, count, share, self._generator(seed))

    def _generator(self, seed: int | None) -> Random:
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
            raise TypeError(f"seed must be a whole number, not {seed!r}")
        return Random(self._chance.getrandbits(64) if seed is None else seed)  # noqa: S311 - as above

    @staticmethod
    def _taken(orders: list[_Order[_Fault]], places: tuple[str, ...] | None = None) -> _Fault | None:
        # The usual case by far: nothing is ordered.
        if not orders:
            return None
        for order in orders:
            if places is not None and order.at not in places:
                continue
            if order.share < 1 and order.chance.random() >= order.share:
                continue
            if order.left is not None:
                order.left -= 1
                if not order.left:
                    orders.remove(order)
            return order.fault
        return None


@dataclass(frozen=True)
class _Latency:
    least: float = 0.0
    most: float = 0.0
    chance: Random = field(default_factory=Random)

    def draw(self) -> float:
        return self.least if self.least == self.most else self.chance.uniform(self.least, self.most)


def _choose(name: str, value: str, choices: Mapping[str, object] | Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")


def _finite(name: str, value: float) -> float:
    # bool is an int; `share=True` is a slip of the hand.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, not {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, not {value!r}")
    return value


def _seconds(name: str, given: float | Sequence[float]) -> tuple[float, float]:
    if isinstance(given, (list, tuple)):
        if len(given) != 2:  # noqa: PLR2004 - the least and the most
            raise ValueError(f"{name} must be seconds, or the least and the most of them, not {given!r}")
        least, most = (_finite(name, each) for each in given)
    elif isinstance(given, (int, float)):
        least = most = _finite(name, given)
    else:
        raise TypeError(f"{name} must be seconds, or the least and the most of them, not {given!r}")
    if not 0 <= least <= most:
        raise ValueError(f"{name} must be 0 or more, the least before the most, not {given!r}")
    return float(least), float(most)
