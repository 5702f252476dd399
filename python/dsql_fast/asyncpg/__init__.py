"""asyncpg connections and pools for Aurora DSQL.

Each is a subclass of asyncpg's own class: what works there works here. Inside of this package ``asyncpg`` is the
driver.
"""

from __future__ import annotations

from .._run import retry_on_conflict, run_transaction_async

# Before the others: it tells what to install where asyncpg is missing.
from . import _driver as _driver
from ._connection import Connection, connect
from ._pool import Pool, create_pool

__all__ = [
    "Connection",
    "Pool",
    "connect",
    "create_pool",
    "retry_on_conflict",
    "run_transaction_async",
]
