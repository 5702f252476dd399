"""psycopg2 connections and pools for Aurora DSQL.

What ``psycopg2.connect`` and the pools of ``psycopg2.pool`` take works here; the connections are psycopg2's own.
"""

from __future__ import annotations

from .._run import retry_on_conflict, run_transaction

# Before the others: it tells what to install where psycopg2 is missing.
from . import _driver as _driver
from ._connection import connect
from ._pool import SimpleConnectionPool, ThreadedConnectionPool

__all__ = [
    "SimpleConnectionPool",
    "ThreadedConnectionPool",
    "connect",
    "retry_on_conflict",
    "run_transaction",
]
