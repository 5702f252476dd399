"""Where `run_transaction` gets its connections: psycopg2's connections and pools, ours or not."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import psycopg2.extensions
import psycopg2.pool

from .._errors import ConfigError
from ._transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    from .. import _transactions

    Connection: TypeAlias = psycopg2.extensions.connection


def source(given: object) -> _transactions.Source[Any] | None:
    """Return what `given` is as a source of connections; None if it is none of psycopg2's.

    Raises:
        ConfigError: it is an asynchronous connection.
    """
    if isinstance(given, psycopg2.pool.AbstractConnectionPool):
        return _Pool(given)
    if isinstance(given, psycopg2.extensions.connection):
        if given.async_:
            raise ConfigError("psycopg2's asynchronous connections cannot be used: they have no commit")
        return _OneConnection(given)
    return None


def async_source(given: object) -> None:
    """Return None: psycopg2 has no coroutines."""


class _OneConnection:
    has_others = False

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    def connection(self, time_left: float | None) -> AbstractContextManager[Connection]:  # noqa: ARG002
        return nullcontext(self._conn)

    def transaction(self, connection: Connection) -> Transaction:
        return Transaction(connection)


class _Pool:
    has_others = True

    def __init__(self, pool: psycopg2.pool.AbstractConnectionPool) -> None:
        self._pool = pool

    @contextmanager
    def connection(self, time_left: float | None) -> Iterator[Connection]:  # noqa: ARG002 (none of them waits)
        conn = self._pool.getconn()
        try:
            yield conn
        finally:
            self._pool.putconn(conn)

    def transaction(self, connection: Connection) -> Transaction:
        return Transaction(connection)
