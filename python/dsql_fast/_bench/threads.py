"""How tokens from the cache scale with threads, on this Python and on others; prints JSON.

    python -m dsql_fast._bench.threads [--with .venv-freethreaded/bin/python]...

Each interpreter measures itself in a process of its own. Three things are called, by one thread and by two:

- `one source`: `token()` of a source that all threads share, as a program does;
- `a source each`: the same of a source of each thread's own: what is lost here is not lost on the shared token;
- `empty, one object`: an empty method of one shared object: what is lost here, Python loses on any shared object.

With the GIL two threads take turns, and the ratio is 1 at best. The rounds go in turns, and each ratio is of one
round, for what disturbed one disturbed both. Without two idle cores the figures say nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from ._figures import interval_of_median

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROOT = Path(__file__).parents[3]
_HOST = "foo0bar1baz2quux3quuux4q00.dsql.us-east-1.on.aws"
_CALLS = 200_000
_ROUNDS = 31
_GOAL = 1.9


def measure() -> dict[str, Any]:
    """Measure on this interpreter: calls per second by one thread and by two, and the ratio of a round."""
    import dsql_fast

    credentials = dsql_fast.Credentials("AKIAIOSFODNN7EXAMPLE", "made-up")
    first, second = (dsql_fast.TokenSource(_HOST, credentials=credentials) for _ in range(2))
    assert first.token() is first.token()
    assert second.token() is not first.token()
    paths = {
        "one source": ([first, first], "token"),
        "a source each": ([first, second], "token"),
        "empty, one object": ([first, first], "_noop"),
    }
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in paths}
    for number in range(-1, _ROUNDS):
        for name, (objects, method) in paths.items():
            rate = _rate(objects[:1], method), _rate(objects, method)
            if number >= 0:  # the round before the first warms up
                rates[name].append(rate)
    return {
        "python": platform.python_version(),
        "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
        "paths": {name: _summary(each) for name, each in rates.items()},
    }


def _rate(objects: Sequence[object], method: str) -> float:
    """Call the method of each object in a thread of its own, all at once; return the calls per second in all."""
    ready = threading.Barrier(len(objects))
    spans: list[tuple[float, float]] = []

    def call(target: object) -> None:
        function = getattr(target, method)  # bound here: a bound method is an object too, and not to be shared
        repeated = [None] * _CALLS
        ready.wait()
        began = time.perf_counter()
        for _ in repeated:
            function()
        spans.append((began, time.perf_counter()))

    threads = [threading.Thread(target=call, args=(target,)) for target in objects]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    began, ended = min(span[0] for span in spans), max(span[1] for span in spans)
    return len(objects) * _CALLS / (ended - began)


def _summary(rates: list[tuple[float, float]]) -> dict[str, Any]:
    scaling = [two / one for one, two in rates]
    return {
        "calls_per_second": {
            "1 thread": round(median(one for one, _ in rates)),
            "2 threads": round(median(two for _, two in rates)),
        },
        "scaling": round(median(scaling), 3),
        "scaling_95": [round(bound, 3) for bound in interval_of_median(scaling)],
    }


def main() -> int:
    """Print what this interpreter measures of itself, and what each further one does."""
    parser = argparse.ArgumentParser(
        prog="python -m dsql_fast._bench.threads", description="How cached tokens scale."
    )
    parser.add_argument("--with", dest="others", action="append", default=[], metavar="PYTHON")
    args = parser.parse_args()
    found = [measure()]
    for other in args.others:
        command = [other, "-m", "dsql_fast._bench.threads"]
        done = subprocess.run(command, cwd=_ROOT, check=True, stdout=subprocess.PIPE, text=True)
        found.extend(json.loads(done.stdout)["interpreters"])
    machine = {
        "system": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
        "load": os.getloadavg()[0],
    }
    goal = f"one source, without the GIL: at least {_GOAL}"
    print(json.dumps({"machine": machine, "goal": goal, "interpreters": found}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
