"""What dsql-fast raises.

::

    Error
    ├── ConfigError (ValueError)         what the caller gave cannot be used; nothing was sent
    ├── CredentialsError                 no usable AWS credentials; nothing was sent
    │   ├── CredentialsNotFound          no source has any
    │   ├── CredentialsExpired           those that were found have ended, or end within a second
    │   └── CredentialsTimeout           the source of the credentials does not answer, or not just now
    ├── DriverError (ImportError)        the database driver, or its libpq, is missing or too old
    ├── TransactionError                 a transaction cannot be run, or be committed, as it stands
    │   ├── NestedTransaction            one inside another: DSQL has no savepoints
    │   ├── TransactionAborted           it had failed, and the function that ran in it hid that; nothing applied
    │   └── TransactionEnded             the function ended it itself
    └── CommitOutcomeUnknown             COMMIT was sent, and no answer came: applied or not

What a server or the driver refuses stays an exception of the driver's (``psycopg.OperationalError``),
so that existing ``except`` clauses keep working. ``dsql_fast.psycopg.PoolTimeout`` is both psycopg_pool's
and an `Error`. `CommitOutcomeUnknown` is *not* a driver's OperationalError: there are programs that run again
whatever raises one, and this must not be run again unseen.

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
    """The source of the credentials did not answer within its time, cannot be reached, or has too much to do."""

    __module__ = "dsql_fast"


class DriverError(Error, ImportError):
    """The database driver, or the libpq that it needs, is missing or too old."""

    __module__ = "dsql_fast"


class TransactionError(Error):
    """A transaction cannot be run, or be committed, as it stands. Nothing of it was applied, but see below."""

    __module__ = "dsql_fast"


class NestedTransaction(TransactionError):  # noqa: N818
    """A transaction was to begin inside of another: Aurora DSQL has no savepoints. Nothing was sent."""

    __module__ = "dsql_fast"


class TransactionAborted(TransactionError):  # noqa: N818
    """The transaction had failed, and the function that ran in it hid that. Nothing of it was applied."""

    __module__ = "dsql_fast"


class TransactionEnded(TransactionError):  # noqa: N818
    """The function that ran in the transaction ended it itself, by a COMMIT or ROLLBACK in SQL.

    Whether what it did before was applied is as it ended it; what it did after that, is as the connection's
    autocommit has it.
    """

    __module__ = "dsql_fast"


class CommitOutcomeUnknown(Error):  # noqa: N818
    """COMMIT was sent, and no answer came that tells its outcome: the transaction is applied, or it is not.

    ``__cause__`` is what came instead. Look in the database which it is before the work is done again; where
    doing it twice is as good as once, say so with ``idempotent=True``, and it is run again.

    Where the program was interrupted during COMMIT, the interruption (``asyncio.CancelledError``,
    ``KeyboardInterrupt``) is raised, and this error is its ``__cause__``.
    """

    __module__ = "dsql_fast"


def noted(error: BaseException, note: str) -> None:
    """Add a note to an error; tracebacks show it from Python 3.11 on, and `__notes__` has it before."""
    if sys.version_info >= (3, 11):
        error.add_note(note)
    else:
        error.__notes__ = [*getattr(error, "__notes__", ()), note]  # as PEP 678 has it


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
