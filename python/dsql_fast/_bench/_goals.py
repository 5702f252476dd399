"""What the report takes from a run: the goals, README's rows, and its chart.

Every place is told by the bench, the beginning of what was measured, and the beginning of the peer's name. These
tables are the only place that knows them; a test holds each row against a run of all benches, so that none is lost
when a bench gives a figure another name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from . import _words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ._figures import Figure
    from ._results import Found


@dataclass(frozen=True)
class Place:
    """Where a figure stands in what a run found.

    Attributes:
        bench: its name.
        what: how `Figure.what` begins.
        peer: how `Figure.peer` begins; empty for any, and for none.
        skip: what else a part that was skipped may go by.
    """

    bench: str
    what: str
    peer: str = ""
    skip: str = ""

    def figures(self, found: Mapping[str, Found]) -> list[Figure]:
        """Return the figures that stand there."""
        bench = found.get(self.bench)
        there = [
            figure
            for figure in (bench.figures if bench else ())
            if figure.what.startswith(self.what) and figure.peer.startswith(self.peer)
        ]
        # "psycopg, fixed password" is a peer, and so is "psycopg, fixed password, sslrootcert=system".
        return [figure for figure in there if figure.peer == self.peer] or there

    def why_not(self, found: Mapping[str, Found]) -> str:
        """Say why no figure stands there."""
        bench = found.get(self.bench)
        if bench is None:
            return f"`dsql-fast bench {self.bench}` was not run"
        names = [name for name in (self.skip, self.peer, self.what) if name]
        reasons = [skip.why for name in names for skip in bench.skips if name in skip.what or skip.what in name]
        # What ended a bench early is a reason for all that it did not come to.
        reasons += [skip.why for skip in bench.skips if skip.what == REST]
        return reasons[0] if reasons else NOT_THERE


NOT_THERE = "the run does not have it"

REST = "the rest of it"
"""What a bench that ended early has as the name of what it did not come to."""


@dataclass(frozen=True)
class Row:
    """A goal.

    Attributes:
        path: what is measured.
        against: whom with.
        goal: as it was set.
        place: of the figures; where several stand, all of them are meant.
    """

    path: str
    against: str
    goal: str
    place: Place

    def result(self, found: Mapping[str, Found]) -> tuple[str, str]:
        """Return what was measured, and whether the goal is met.

        Raises:
            ValueError: the bench goes by another goal, or by none.
        """
        figures = self.place.figures(found)
        if not figures:
            return f"not measured: {self.place.why_not(found)}", ""
        for figure in figures:
            # A goal without a number ("never less") is the bench's to judge.
            if figure.goal is None or _words.bound(self.goal) not in {None, _words.bound(figure.goal)}:
                goes_by = figure.goal.text if figure.goal else "none"
                raise ValueError(
                    f"{self.path}, {self.against}: the goal is {self.goal}; {figure.what!r} beside "
                    f"{figure.peer!r} goes by {goes_by}"
                )
        missed = [figure for figure in figures if figure.goal and not figure.goal.met]
        return _said(figures), "**missed**" if missed else "met"


def _said(figures: list[Figure]) -> str:
    if len(figures) == 1:
        return _one(figures[0])
    goals = [figure.goal for figure in figures if figure.goal is not None]
    met = sum(goal.met for goal in goals)
    # "At least" and "never less" want much of it.
    ordered = sorted(figures, key=_value, reverse=goals[0].text.startswith(("at most", "under")))
    worst = ordered[0]
    return f"{met} of {len(figures)} met; the worst ({worst.what}): {_one(worst)}; the best: {_plain(ordered[-1])}"


def _value(figure: Figure) -> float:
    return figure.value if figure.ratio is None else figure.ratio


def _plain(figure: Figure) -> str:
    return _words.ratio(figure) or _words.measured(figure)


def _one(figure: Figure) -> str:
    interval = _words.interval(figure)
    return _plain(figure) + (f" ({interval})" if interval else "")


_STALL = "100 connects at once, 0 ms: longest stall"
_CACHED, _SIGNED = "cached token from Python", "signed token from Python, generate_token"
_KEPT, _OFFICIAL, _FLOOR = "psycopg + kept boto3 client", "official connector", "psycopg, fixed password"


def _crowds() -> Iterator[Row]:
    for latency in (0, 100):
        for number in ("100", "1,000"):
            crowd = f"{number} connects at once, {latency} ms"
            path = f"{number} asyncio connects at once, {latency} ms away"
            yield Row(f"{path}: rate", "psycopg", "at least 0.97x", Place("asyncio", f"{crowd}: rate", _FLOOR))
            stall = Place("asyncio", f"{crowd}: longest stall", _FLOOR)
            yield Row(f"{path}: longest stall of the event loop", "psycopg", "at most 0.15x", stall)


_RETIRED = "dsql_fast.ConnectionPool, connections live 2 s"


def _churn() -> Iterator[Row]:
    for threads in ("1 thread", "8 threads", "32 threads"):
        yield Row(
            f"connections opened and closed by {threads}: CPU spent on authentication",
            "all CPU of the client",
            "under 0.5 %",
            Place("churn", f"{threads}: share"),
        )


def _rates() -> Iterator[Row]:
    for threads, kept, official in (("1 thread", "1.05", "10"), ("8 threads", "1.1", "15")):
        path, what = f"connects a second, {threads}", f"dsql_fast.connect, connects per second, {threads}"
        yield Row(path, "a kept boto3 client", f"at least {kept}x", Place("connect", what, _KEPT))
        yield Row(path, "the official connector", f"at least {official}x", Place("connect", what, _OFFICIAL))


def _fleets() -> Iterator[Row]:
    cases = (
        ("told its size", "1.10", "1.05"),
        ("not told, 100 connections a process", "1.20", "6"),
        ("not told, fewer a process", "1.6", "6"),
    )
    for case, times, tries in cases:
        path, what = f"a fleet (2,000 to 10,000 connections) back at once, {case}", f"back at once, {case}"
        yield Row(path, "the time that admission takes", f"at most {times}x", Place("fleet", f"{what}, time"))
        yield Row(path, "one try a connection", f"at most {tries}x", Place("fleet", f"{what}, tries"))
    steady = Place("fleet", "steady state, new connections")
    delay = Place("fleet", "cold start of 500, delay")
    yield Row("a fleet, steady", "the rate admitted", "at most 60 %", steady)
    yield Row("500 connections from a cold start, delay", "", "at most 1 s", delay)


GOALS = (
    Row(
        "cached token from Python",
        "an empty method of the same native class",
        "at most 1.3x",
        Place("token", _CACHED, "an empty method"),
    ),
    Row(
        "cached token, native, 2 threads",
        "1 thread",
        "at least 1.9x",
        Place("token", "cached token, native, 2 threads"),
    ),
    Row(
        "signed token from Python",
        "a kept botocore client",
        "at least 50x",
        Place("token", _SIGNED, "a kept boto3"),
    ),
    Row("signed token from Python", "awscrt", "at least 12x", Place("token", _SIGNED, "awscrt")),
    Row("signed token from Python", "the Go SDK", "at least 7x", Place("token", _SIGNED, "Go")),
    Row(
        "signed token from Python",
        "the Rust SDK",
        "at least 4x",
        Place("token", _SIGNED, "the Rust SDK", skip="Rust"),
    ),
    Row(
        "signed token from Python",
        "SHA-256 and a keyed HMAC of the same crates",
        "at most 2.2x",
        Place("token", _SIGNED, "SHA-256", skip="Rust"),
    ),
    *_churn(),
    Row(
        "a connect, CPU (upper end of the interval)",
        "psycopg, fixed password, same TLS",
        "at most 1.03x",
        Place("connect", "dsql_fast.connect, CPU", _FLOOR),
    ),
    Row(
        "a connect, wall (upper end of the interval)",
        "psycopg, fixed password, same TLS",
        "at most 1.03x",
        Place("connect", "dsql_fast.connect, wall", _FLOOR),
    ),
    Row("a connect, our own Python", "", "at most 30 us", Place("connect", "dsql_fast.connect: own Python time")),
    Row(
        "a connect, CPU",
        "psycopg with `sslrootcert=system`",
        "at most 0.25x",
        Place("connect", "dsql_fast.connect, CPU", "psycopg, fixed password, sslrootcert=system"),
    ),
    *_rates(),
    *_crowds(),
    Row("interpreter to first token", "a bare interpreter", "+5 ms", Place("import", "a first token, dsql-fast")),
    Row(
        "interpreter to first row",
        "psycopg, fixed password",
        "at most 1.03x",
        Place("import", "a first row, dsql-fast", _FLOOR),
    ),
    Row(
        "memory after the first connect",
        "psycopg alone",
        "+1 MiB",
        Place("import", "memory after a first row, dsql-fast"),
    ),
    Row("the wheel", "", "at most 600 KiB", Place("import", "the wheel")),
    Row("pool checkout", "psycopg_pool", "at most 1.05x", Place("pool", "dsql_fast.ConnectionPool, checkout")),
    Row(
        "pool checkout, asyncio",
        "psycopg_pool",
        "at most 1.05x",
        Place("pool", "dsql_fast.AsyncConnectionPool, checkout"),
    ),
    Row(
        "connections retired under load: requests that waited (`requests_queued`)",
        "the same pool, none retired",
        "unchanged",
        Place("pool", f"{_RETIRED}: checkouts that waited", "dsql_fast."),
    ),
    Row(
        "connections retired under load: how long they waited (`requests_wait_ms`)",
        "the same pool, none retired",
        "unchanged",
        Place("pool", f"{_RETIRED}: time that they waited", "dsql_fast."),
    ),
    Row(
        "committed transactions a second, one hot row (2, 8, 32 workers; 5, 15, 30 ms)",
        "the official connector's defaults",
        "at least 1.5x",
        Place("conflicts", "committed, one hot row", _OFFICIAL),
    ),
    Row(
        "committed transactions a second, one hot row (2, 8, 32 workers; 5, 15, 30 ms)",
        "full jitter",
        "never less",
        Place("conflicts", "committed, one hot row", "full jitter"),
    ),
    Row(
        "the same, 1,000 rows",
        "the official connector's defaults",
        "never less",
        Place("conflicts", "committed, 1,000 rows", _OFFICIAL),
    ),
    Row(
        "the same, 1,000 rows",
        "full jitter",
        "never less",
        Place("conflicts", "committed, 1,000 rows", "full jitter"),
    ),
    Row(
        "bulk insert",
        "one transaction after the other with `executemany`",
        "at least 3x",
        Place("bulk", "rows, ", "executemany"),
    ),
    *_fleets(),
)
"""The goals, in the order of the paths."""


# --- README

SUMMARY: tuple[tuple[str, Place], ...] = (
    ("a token from the cache", Place("token", _CACHED)),
    ("a token signed, `generate_token()`", Place("token", _SIGNED)),
    ("a cold start: import and first token", Place("import", "a first token, dsql-fast")),
    (
        "32 threads that connect and close: CPU spent on authentication",
        Place("churn", "32 threads: share", "a kept"),
    ),
    ("a connect, CPU", Place("connect", "dsql_fast.connect, CPU")),
    ("connects a second, 8 threads", Place("connect", "dsql_fast.connect, connects per second, 8 threads")),
    ("100 asyncio connects at once: longest stall of the event loop", Place("asyncio", _STALL)),
    (
        "committed transactions a second, one hot row, 8 workers",
        Place("conflicts", "committed, one hot row, 8 workers, 15 ms"),
    ),
    ("a bulk insert, COMMIT 15 ms away", Place("bulk", "rows, COMMIT 15 ms")),
    ("a local cluster, ready", Place("local", "ready")),
)
"""README's rows: what is said of each, and where its figures stand."""

Kind = Literal["ours", "kept", "official", "other"]
_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class Bar:
    """A bar of README's chart.

    Attributes:
        name: as the chart has it.
        kind: whose it is.
        place: of the figure.
        peers: the value meant is the peer's.
    """

    name: str
    kind: Kind
    place: Place
    peers: bool = False

    def seconds(self, found: Mapping[str, Found]) -> float | None:
        """Return the value; None if it was not measured."""
        for figure in self.place.figures(found):
            value = figure.peer_value if self.peers else figure.value
            if value is not None:
                return value * _SECONDS[figure.unit]
        return None


@dataclass(frozen=True)
class Panel:
    """A panel of README's chart: bars of seconds."""

    title: str
    subtitle: str
    bars: tuple[Bar, ...]


OVERVIEW = (
    Panel(
        "A token",
        "seconds of the caller",
        (
            Bar("official connector", "official", Place("token", _SIGNED, "the official"), peers=True),
            Bar("kept boto3 client", "kept", Place("token", _SIGNED, "a kept boto3"), peers=True),
            Bar("this package, signed", "ours", Place("token", _SIGNED)),
            Bar("this package, cached", "ours", Place("token", _CACHED)),
        ),
    ),
    Panel(
        "A connect",
        "CPU of the client, to a cluster on the same machine",
        (
            Bar("official connector", "official", Place("connect", "official connector, CPU")),
            Bar("kept boto3 client", "kept", Place("connect", "psycopg + kept boto3 client, CPU")),
            Bar("this package", "ours", Place("connect", "dsql_fast.connect, CPU")),
            Bar("psycopg alone", "other", Place("connect", "dsql_fast.connect, CPU", _FLOOR), peers=True),
        ),
    ),
    Panel(
        "The event loop",
        "longest stall while 100 connects are under way",
        (
            Bar("official connector", "official", Place("asyncio", _STALL, _OFFICIAL), peers=True),
            Bar("kept boto3 client", "kept", Place("asyncio", _STALL, _KEPT), peers=True),
            Bar("this package", "ours", Place("asyncio", _STALL)),
            Bar("psycopg alone", "other", Place("asyncio", _STALL, _FLOOR), peers=True),
        ),
    ),
    Panel(
        "A cold start",
        "a new interpreter to its first token",
        (
            Bar("official connector", "official", Place("import", "a first token, the official")),
            Bar("kept boto3 client", "kept", Place("import", "a first token, boto3")),
            Bar("this package", "ours", Place("import", "a first token, dsql-fast")),
            Bar("interpreter alone", "other", Place("import", "a first token, dsql-fast"), peers=True),
        ),
    ),
)
"""README's chart."""
