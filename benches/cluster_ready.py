"""From nothing to a local cluster that takes connections."""

from __future__ import annotations

import time
from statistics import median

from dsql_fast.local import LocalCluster

from ._timing import Figure, Goal

_ROUNDS = 5
_GOAL = 1.5


def measure() -> list[Figure]:
    times = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        with LocalCluster():
            times.append(time.perf_counter() - began)
    ready = median(times)
    return [Figure("a local cluster, ready", ready, "s", goal=Goal(f"at most {_GOAL} s", ready <= _GOAL))]
