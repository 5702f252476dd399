"""Step: a token ends and is renewed, connections grow old and are replaced, and nobody notices."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg

from ..._telemetry import counters
from ...psycopg import ConnectionPool, connect
from ._stage import in_threads

if TYPE_CHECKING:
    from threading import Event

    from ..._tokens import TokenSource
    from ._report import Value
    from ._stage import Stage

_CONNECTIONS = 4
_USERS = 3
_SWEEP_SECONDS = 0.2
_SAMPLE_SECONDS = 0.5
_PAUSE_SECONDS = 0.005


def show_renewal(stage: Stage) -> None:
    """Use a pool for twice the life of its token, its connections living shorter still."""
    token_seconds = stage.scale.token_seconds
    lifetime = token_seconds * 2 / 3
    arguments = stage.arguments(token_duration_secs=token_seconds)
    replaced, since = counters().get("connection_replaced", 0), time.time()
    with (
        connect(**arguments, autocommit=True) as early,
        ConnectionPool(
            **arguments, min_size=_CONNECTIONS, max_lifetime=lifetime, health_check_period=_SWEEP_SECONDS
        ) as pool,
    ):
        pool.wait()
        use = _Use(stage, pool, stage.source(token_duration_secs=token_seconds), early, token_seconds * 2.0)
        before = use.backends()
        in_threads(_USERS + 1, use.work)
        after = use.backends()
        survived = _answers(early)
        statistics = pool.get_stats()
    signed = use.source.stats()
    too_old = [event for event in stage.cluster.events() if event.time >= since and event.reason == "age"]
    stage.fact("a token's life, s", token_seconds)
    stage.fact("a connection's life, s", f"{lifetime * 0.75:.2f} to {lifetime:.2f} (drawn for each)")
    stage.table(
        f"The pool, while {_USERS} threads use it",
        ("second", "backend pids", "tokens signed", "token ends in, s"),
        use.samples,
    )
    stage.fact("tokens signed, renewals", f"{signed.issued}, {signed.renewals}")
    stage.fact("checkouts, failed", f"{len(use.waits)}, {len(use.failures)}")
    stage.fact("slowest checkout, ms", max(use.waits, default=0.0) * 1e3)
    stage.fact("backends they met", len(use.pids))
    stage.fact("connections replaced", counters().get("connection_replaced", 0) - replaced)
    stage.fact("pool statistics", ", ".join(f"{name} {value}" for name, value in sorted(statistics.items())))
    stage.check("the token was renewed", signed.renewals >= 1 and signed.failures == 0, signed)
    stage.check("every checkout was served", not use.failures and bool(use.waits), use.failures[:1])
    stage.check("all connections were replaced", not before & after, f"{sorted(before & after)} are still there")
    stage.check("the pool is as large as it was", statistics["pool_size"] == _CONNECTIONS, statistics["pool_size"])
    stage.check("no connect failed", not statistics.get("connections_errors"), statistics)
    stage.check("the cluster had to end no session for its age", not too_old, f"{len(too_old)} were ended")
    stage.check("a session opened with the first token outlived it", survived)


@dataclass
class _Use:
    """Threads that use a pool, and one that looks on.

    Attributes:
        early: a connection outside of the pool, opened with the first token.
        duration: seconds.
        waits: seconds that each checkout took.
        failures: checkouts that failed, in words.
        pids: backends that were met.
        samples: what was seen, and when.
    """

    stage: Stage
    pool: ConnectionPool[Any]
    source: TokenSource
    early: psycopg.Connection[Any]
    duration: float
    began: float = field(default_factory=time.monotonic)
    waits: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    pids: set[int] = field(default_factory=set)
    samples: list[tuple[Value, ...]] = field(default_factory=list)

    def work(self, number: int, stop: Event) -> None:
        """Be one of the threads; the last one looks on."""
        if number == _USERS:
            with self.stage.progress("two lives of a token, s", self.duration) as advance:
                while self._goes_on(stop):
                    self._sample()
                    stop.wait(_SAMPLE_SECONDS)
                    advance(_SAMPLE_SECONDS)
            return
        while self._goes_on(stop):
            self._check_out()
            stop.wait(_PAUSE_SECONDS)

    def backends(self) -> set[int]:
        """Return the pool's sessions as the cluster sees them."""
        return {session.pid for session in self.stage.cluster.sessions()} - {self.early.info.backend_pid}

    def _goes_on(self, stop: Event) -> bool:
        return time.monotonic() - self.began < self.duration and not stop.is_set()

    def _check_out(self) -> None:
        asked = time.perf_counter()
        try:
            with self.pool.connection() as connection:
                self.waits.append(time.perf_counter() - asked)
                connection.execute("select 1")
                self.pids.add(connection.info.backend_pid)
        except psycopg.Error as error:
            self.failures.append(f"{type(error).__name__}: {error}")

    def _sample(self) -> None:
        signed = self.source.stats()
        # Nobody asks for a token between two connects: it may end meanwhile.
        left = signed.expires_at.timestamp() - time.time() if signed.expires_at is not None else 0.0
        pids = " ".join(map(str, sorted(self.backends())))
        self.samples.append((time.monotonic() - self.began, pids, signed.issued, left if left > 0 else None))


def _answers(connection: psycopg.Connection[Any]) -> bool:
    try:
        return connection.execute("select 1").fetchone() == (1,)
    except psycopg.Error:
        return False
