"""What dsql-fast raises.

::

    Error
    ├── ConfigError (ValueError)         what the caller gave cannot be used; nothing was sent
    ├── CredentialsError                 no usable AWS credentials; nothing was sent
    │   ├── CredentialsNotFound          no source has any
    │   ├── CredentialsExpired           those that were found have ended, or end within a second
    │   └── CredentialsTimeout           the source of the credentials does not answer
    └── DriverError (ImportError)        the database driver, or its libpq, is missing or too old

What a server or the driver refuses stays an exception of the driver's (``psycopg.OperationalError``),
so that existing ``except`` clauses keep working. ``dsql_fast.psycopg.PoolTimeout`` is both psycopg_pool's
and an `Error`.

No message holds a token or a secret.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeVar

    E = TypeVar("E", bound=BaseException)


class Error(Exception):
    """The base of all exceptions that are dsql-fast's own."""

    __module__ = "dsql_fast"


class ConfigError(Error, ValueError):
    """What the caller gave cannot be used. Raised before anything is sent or changed."""

    __module__ = "dsql_fast"


class CredentialsError(Error):
    """There are no usable AWS credentials. Raised before anything is sent to the cluster."""

    __module__ = "dsql_fast"


class CredentialsNotFound(CredentialsError):  # noqa: N818 (the field's word, as in botocore)
    """No source of credentials has any."""

    __module__ = "dsql_fast"


class CredentialsExpired(CredentialsError):  # noqa: N818
    """The credentials that were found have ended, or end within a second."""

    __module__ = "dsql_fast"


class CredentialsTimeout(CredentialsError):  # noqa: N818
    """The source of the credentials did not answer within its time."""

    __module__ = "dsql_fast"


class DriverError(Error, ImportError):
    """The database driver, or the libpq that it needs, is missing or too old."""

    __module__ = "dsql_fast"


def linked(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, its causes, contexts and members (of a group), each once.

    Without the one that the caller of our caller is handling, if any: it is in the chain of contexts, but not
    ours. So call it outside of the handler that caught `error`.
    """
    handled = sys.exc_info()[1]
    seen = {id(handled)} if handled is not error else set()
    ahead: list[BaseException | None] = [error]
    while ahead:
        link = ahead.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            ahead += (link.__cause__, link.__context__, *getattr(link, "exceptions", ()))
            yield link


def without_frames(error: E) -> E:
    """Take the tracebacks off an error and off all that is `linked` to it.

    Frames hold secrets among their locals, and error reporters show locals. Raised again outside of the
    handler, the error has the frames from there on only.
    """
    for link in linked(error):
        link.__traceback__ = None
    return error
