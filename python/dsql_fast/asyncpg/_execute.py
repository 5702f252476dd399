"""asyncpg's part in work of several transactions (`_statements`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg

from .._drivers import async_source_of
from .._errors import ConfigError
from .._statements import Answer, Statement

if TYPE_CHECKING:
    from .._transactions import AsyncSource


class AsyncDriver:
    """For asyncpg's connections and pools."""

    def text(self, given: Any) -> str:
        """Return a statement as text."""
        if not isinstance(given, str):
            raise ConfigError(f"a statement must be a str, not {type(given).__name__}")
        return given

    def most(self, given: Any) -> int | None:
        """Return how many transactions can run at once on a pool or connection."""
        return int(given.get_max_size()) if isinstance(given, asyncpg.Pool) else 1

    def source(self, given: Any) -> AsyncSource[Any]:
        """Return where connections come from."""
        return async_source_of(given)

    async def execute(self, connection: Any, statement: Statement) -> Answer:
        """Run one statement. It is prepared: only so asyncpg tells both the rows and the command tag."""
        prepared = await connection.prepare(statement.sql)
        rows = await prepared.fetch(*statement.parameters)
        columns = tuple(column.name for column in prepared.get_attributes())
        return Answer(columns, [tuple(row) for row in rows], _count(prepared.get_statusmsg()))


def _count(tag: str) -> int:
    """Return the rows that a command tag tells of (``INSERT 0 5``); -1 if it tells none, as the DB-API has it."""
    last = tag.rpartition(" ")[2]
    return int(last) if last.isdigit() else -1
