"""How a contestant's program in Python answers. It needs Python alone: it runs in the peers' environments, too."""

from __future__ import annotations

import gc
import json
import sys
import time
from importlib.metadata import version


def timed(function):
    """Make a way out of a function without arguments: it is called so often, and timed."""

    def way(calls):
        repeated = [None] * calls
        gc.collect()
        worked, began = time.process_time(), time.perf_counter()
        for _ in repeated:
            function()
        return {"wall": time.perf_counter() - began, "cpu": time.process_time() - worked}

    return way


def signing(name, sign):
    """Make two ways out of a function that returns a token: timed, and one that answers with the token."""
    return {name: timed(sign), f"{name}:token": lambda _: {"token": sign()}}


def serve(ways, packages=()):
    """Answer until standard input ends.

    Args:
        ways: by name, functions that take how many calls to make, and return numbers by name (or a token).
        packages: distributions whose versions are told.
    """
    # What a contestant prints must not stand among the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    versions = [f"{package}={version(package)}" for package in packages]
    print("ready", *versions, file=answers, flush=True)
    for line in sys.stdin:
        name, calls = line.split()
        try:
            answer = ways[name](int(calls))
        except Exception as error:  # noqa: BLE001 (told)
            # Its class, and what it says: no contestant's error holds more than a made-up key.
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)
