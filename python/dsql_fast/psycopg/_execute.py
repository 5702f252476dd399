"""psycopg's part in work of several transactions (`_statements`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import psycopg_pool
from psycopg import sql
from psycopg.rows import tuple_row

from .._drivers import async_source_of, source_of
from .._errors import ConfigError
from .._statements import Answer, Statement

if TYPE_CHECKING:
    from .._transactions import AsyncSource, Source


class _Described:
    def text(self, given: Any) -> str:
        """Return a statement as text."""
        if isinstance(given, str):
            return given
        if isinstance(given, sql.Composable):
            return given.as_string()
        raise ConfigError(f"a statement must be a str or one of psycopg.sql's, not {type(given).__name__}")

    def most(self, given: Any) -> int | None:
        """Return how many transactions can run at once on a pool or connection."""
        if isinstance(given, (psycopg_pool.ConnectionPool, psycopg_pool.AsyncConnectionPool)):
            return given.max_size or None  # a NullConnectionPool's 0 is no bound
        return 1


class Driver(_Described):
    """For `psycopg.Connection` and `psycopg_pool.ConnectionPool`."""

    def source(self, given: Any) -> Source[Any]:
        """Return where connections come from."""
        return source_of(given)

    def execute(self, connection: psycopg.Connection[Any], statement: Statement) -> Answer:
        """Run one statement."""
        # A cursor of our own: the connection may make dicts of rows. Raw: "%" means nothing.
        with psycopg.RawCursor(connection, row_factory=tuple_row) as cursor:
            cursor.execute(statement.sql, statement.parameters or None)
            if cursor.description is None:
                return Answer((), [], cursor.rowcount)
            columns = tuple(column.name for column in cursor.description)
            return Answer(columns, cursor.fetchall(), cursor.rowcount)


class AsyncDriver(_Described):
    """For `psycopg.AsyncConnection` and `psycopg_pool.AsyncConnectionPool`."""

    def source(self, given: Any) -> AsyncSource[Any]:
        """Return where connections come from."""
        return async_source_of(given)

    async def execute(self, connection: psycopg.AsyncConnection[Any], statement: Statement) -> Answer:
        """Run one statement."""
        async with psycopg.AsyncRawCursor(connection, row_factory=tuple_row) as cursor:
            await cursor.execute(statement.sql, statement.parameters or None)
            if cursor.description is None:
                return Answer((), [], cursor.rowcount)
            columns = tuple(column.name for column in cursor.description)
            return Answer(columns, await cursor.fetchall(), cursor.rowcount)
