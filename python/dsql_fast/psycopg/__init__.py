"""psycopg 3 connections and pools for Aurora DSQL.

Each is a subclass of psycopg's or psycopg_pool's own class: what works there works here.
"""

from __future__ import annotations

from .._run import retry_on_conflict, run_transaction, run_transaction_async

# Before the others: it tells what to install where psycopg or its libpq is missing.
from . import _driver as _driver
from ._connection import AsyncConnection, Connection
from ._null_pool import NullConnectionPool
from ._null_pool_async import AsyncNullConnectionPool
from ._pool import ConnectionPool
from ._pool_async import AsyncConnectionPool
from ._pool_kwargs import pool_kwargs
from ._trouble import PoolTimeout

__all__ = [
    "AsyncConnection",
    "AsyncConnectionPool",
    "AsyncNullConnectionPool",
    "Connection",
    "ConnectionPool",
    "NullConnectionPool",
    "PoolTimeout",
    "connect",
    "connect_async",
    "pool_kwargs",
    "retry_on_conflict",
    "run_transaction",
    "run_transaction_async",
]

connect = Connection.connect
connect_async = AsyncConnection.connect
