"""Connects by this package, and by psycopg with a fixed password: the floor. Both in this one process."""

from __future__ import annotations

import statistics
import time

import psycopg
from connecting import alone, arguments, in_threads
from serve import serve, timed

import dsql_fast
from dsql_fast.psycopg._connection import with_tokens

given = arguments()
where = {name: given[name] for name in ("host", "hostaddr", "port", "sslrootcert")}
token = dsql_fast.generate_token(given["host"])


def ours():
    return dsql_fast.connect(**where)


def floor():
    return psycopg.connect(**given, password=token)


def system():
    return psycopg.connect(**{**given, "sslrootcert": "system"}, password=token)


# How long psycopg's own part of the last connect took. Not an attribute of a class: to set one makes the
# interpreter forget what it knows of the class, and that would be timed too.
theirs = [0.0]


class Timed(psycopg.Connection):
    """Tells how long psycopg's own part of a connect took."""

    @classmethod
    def connect(cls, *args, **kwargs):
        """Connect, and time it."""
        began = time.perf_counter()
        try:
            return super().connect(*args, **kwargs)
        finally:
            theirs[0] = time.perf_counter() - began


# As the package does with any class of the caller's: its `connect`, and then this one.
Watched = with_tokens(Timed)


class Passing(Timed):
    """Does nothing but pass on what it is given: no wrapper can cost less."""

    @classmethod
    def connect(cls, conninfo="", *, autocommit=False, **kwargs):
        """Connect."""
        return super().connect(conninfo, autocommit=autocommit, **kwargs)


def beside_psycopg(connect):
    """Make a way that times what of a connect is not psycopg's.

    Real connects lie in between, so the processor's caches hold as little of it as they do for a program. The
    median of the calls: what interrupts one is not meant.
    """

    def way(calls):
        seconds = []
        for _ in range(calls):
            began = time.perf_counter()
            connection = connect()
            seconds.append(time.perf_counter() - began - theirs[0])
            connection.close()
        return {"own": statistics.median(seconds)}

    return way


class Answered(psycopg.Connection):
    """Connects to nobody, at once: what remains is ours."""

    @classmethod
    def connect(cls, *args, **kwargs):
        """Return nothing."""


Ready = with_tokens(Answered)


serve(
    {
        "ours": alone(ours),
        "floor": alone(floor),
        "system": alone(system),
        "own": beside_psycopg(lambda: Watched.connect(**where)),
        "own-passing": beside_psycopg(lambda: Passing.connect(**given, password=token)),
        "own-in-a-loop": timed(lambda: Ready.connect(**where)),
        **{f"ours-{number}": in_threads(number, ours) for number in (1, 8)},
    },
    ("dsql-fast", "psycopg"),
)
