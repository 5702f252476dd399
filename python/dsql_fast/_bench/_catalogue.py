"""The benches there are."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._run import Run

TITLES = {
    "token": "Tokens: from the cache, and signed",
    "churn": "Threads that open and close connections: what authentication takes of their CPU",
    "connect": "A connect over verified TLS",
    "asyncio": "Many asyncio connects at once",
    "import": "A cold start, and what is in memory after it",
    "pool": "A pool's connections: taken out and given back, and retired under load",
    "conflicts": "Transactions that conflict: what is committed",
    "bulk": "Many rows into a table",
    "local": "A local cluster",
    "fleet": "A fleet at the cluster's rate, simulated",
}
"""By name, what each measures; in the order in which they are run."""

# Python has words of its own.
_MODULES = {
    "asyncio": "asyncio_connects",
    "import": "cold_start",
    "local": "local_cluster",
    "fleet": "fleet._measure",
}


def bench(name: str) -> Callable[[Run], None]:
    """Return what runs the bench of a name of `TITLES`."""
    measure: Callable[[Run], None] = import_module(f".{_MODULES.get(name, name)}", __package__).measure
    return measure
