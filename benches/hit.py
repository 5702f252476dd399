"""A token from the cache, beside an empty method of the same native class."""

from __future__ import annotations

from statistics import median

import dsql_fast

from ._timing import Figure, Goal, interval_of_median, per_call, ratios

_HOST = "foo0bar1baz2quux3quuux4q00.dsql.us-east-1.on.aws"
_CALLS = 200_000
_ROUNDS = 31
_GOAL = 1.5


def measure() -> list[Figure]:
    credentials = dsql_fast.Credentials("AKIAIOSFODNN7EXAMPLE", "made-up")
    source = dsql_fast.TokenSource(_HOST, credentials=credentials)
    assert source.token() is source.token()
    calls = {"hit": (source.token, _CALLS), "empty": (source._noop, _CALLS), "loop": (None, _CALLS)}
    times = {name: [one * 1e9 for one in each] for name, each in per_call(calls, _ROUNDS).items()}
    with_loop = median(ratios(times["hit"], times["empty"]))
    # The loop is not part of a call: left in, it would make the two look more alike than they are.
    hits, empties = (
        [one - loop for one, loop in zip(times[name], times["loop"], strict=True)] for name in ("hit", "empty")
    )
    ratio = median(ratios(hits, empties))
    return [
        Figure(
            "TokenSource.token(), a hit",
            median(hits),
            "ns",
            peer="an empty method of the same native class",
            peer_value=median(empties),
            ratio=ratio,
            interval=interval_of_median(ratios(hits, empties)),
            goal=Goal(f"at most {_GOAL} times", ratio <= _GOAL),
        ),
        Figure(
            "the same, with the loop that calls them",
            median(times["hit"]),
            "ns",
            peer="the same",
            peer_value=median(times["empty"]),
            ratio=with_loop,
        ),
    ]
