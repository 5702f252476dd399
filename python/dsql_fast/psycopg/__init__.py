"""psycopg 3 connections and pools for Aurora DSQL.

Each is a subclass of psycopg's or psycopg_pool's own class: what works there works here. What is for pools and for
transactions is imported when it is first used: a program that only connects has no use for psycopg_pool.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

# Before the others: it tells what to install where psycopg or its libpq is missing.
from . import _driver as _driver
from ._connection import AsyncConnection, Connection

if TYPE_CHECKING:
    from .._run import retry_on_conflict, run_transaction, run_transaction_async
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

_HOMES = {
    "AsyncConnectionPool": "psycopg._pool_async",
    "AsyncNullConnectionPool": "psycopg._null_pool_async",
    "ConnectionPool": "psycopg._pool",
    "NullConnectionPool": "psycopg._null_pool",
    "PoolTimeout": "psycopg._trouble",
    "pool_kwargs": "psycopg._pool_kwargs",
    "retry_on_conflict": "_run",
    "run_transaction": "_run",
    "run_transaction_async": "_run",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"dsql_fast.{_HOMES[name]}"), name)
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
