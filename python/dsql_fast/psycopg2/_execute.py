"""psycopg2's part in work of several transactions (`_statements`)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg2.extensions
import psycopg2.extras
import psycopg2.pool

from .._drivers import source_of
from .._errors import ConfigError
from .._statements import Answer, Statement
from ._pool import SimpleConnectionPool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._transactions import Source


class Driver:
    """For psycopg2's connections and pools."""

    def text(self, given: Any) -> str:
        """Return a statement as text."""
        if not isinstance(given, str):
            raise ConfigError(
                f"a statement must be a str, not {type(given).__name__}; one of psycopg2.sql's becomes one by "
                "as_string(connection)"
            )
        return given

    def most(self, given: Any) -> int | None:
        """Return how many transactions can run at once on a pool or connection."""
        # psycopg2's own SimpleConnectionPool is not for threads; ours is.
        if isinstance(given, (psycopg2.pool.ThreadedConnectionPool, SimpleConnectionPool)):
            return int(given.maxconn)
        return 1

    def source(self, given: Any) -> Source[Any]:
        """Return where connections come from."""
        return source_of(given)

    def execute(self, connection: psycopg2.extensions.connection, statement: Statement) -> Answer:
        """Run one statement."""
        sql, values = statement.sql, None
        if statement.parameters:
            sql, places = translated(sql)
            values = [_adaptable(statement.parameters[place]) for place in places]
        # A cursor of psycopg2's own: the connection may make dicts of rows.
        with connection.cursor(cursor_factory=psycopg2.extensions.cursor) as cursor:
            cursor.execute(sql, values)
            if cursor.description is None:
                return Answer((), [], cursor.rowcount)
            columns = tuple(column.name for column in cursor.description)
            return Answer(columns, cursor.fetchall(), cursor.rowcount)


# A large INSERT is 300 kB, and is the same for all batches but the last ones.
@lru_cache(maxsize=8)
def translated(sql: str) -> tuple[str, tuple[int, ...]]:
    """Write ``$1``, ``$2`` ... as ``%s``, and each literal ``%`` as ``%%``.

    What stands in quotes is left as it is but for its ``%``. Not for dollar quotes, ``E''`` strings and comments:
    the statements with parameters are ours, and have none.

    Returns:
        The statement, and for each ``%s`` the index of its parameter.
    """
    places: list[int] = []
    pieces: list[str] = []
    for piece, is_quoted in _pieces(sql.replace("%", "%%")):
        if is_quoted:
            pieces.append(piece)
            continue
        head, *parameters = piece.split("$")
        pieces.append(head)
        for parameter in parameters:
            rest = parameter.lstrip("0123456789")
            places.append(int(parameter[: len(parameter) - len(rest)]) - 1)
            pieces += ("%s", rest)
    return "".join(pieces), tuple(places)


def _pieces(sql: str) -> Iterator[tuple[str, bool]]:
    """Cut a statement where quotes begin and end. A doubled quote ends one and begins the next."""
    at = 0
    while at < len(sql):
        opening = min((found for quote in "'\"" if (found := sql.find(quote, at)) >= 0), default=len(sql))
        yield sql[at:opening], False
        if opening == len(sql):
            return
        at = sql.index(sql[opening], opening + 1) + 1
        yield sql[opening:at], True


def _adaptable(value: Any) -> Any:
    # psycopg2 sends an UUID only after `register_uuid()`, which is for the whole process.
    return psycopg2.extras.UUID_adapter(value) if isinstance(value, UUID) else value
