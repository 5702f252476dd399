"""What dsql-fast raises.

::

    Error
    ├── ConfigError (ValueError)         what the caller gave cannot be used; nothing was sent
    ├── CredentialsError                 no usable AWS credentials; nothing was sent
    │   ├── CredentialsNotFound          no source has any
    │   ├── CredentialsExpired           those that were found have ended, or end within a second
    │   └── CredentialsTimeout           the source of the credentials does not answer, or not just now
    ├── DriverError (ImportError)        the database driver, or its libpq, is missing or too old
    ├── ConnectError                     also the driver's: no connection; tells the likeliest cause and what to do
    │   ├── AccessDenied                 the cluster turned the token away
    │   │   └── ClockSkew                ... for its time: the clocks of this machine and of the cluster differ
    │   ├── RateExceeded                 too many new connections a second
    │   ├── TooManyConnections           too many connections at once
    │   └── WakingUp                     the cluster was asleep; it is on its way
    ├── TransactionError                 a transaction cannot be run, or be committed, as it stands
    │   ├── NestedTransaction            one inside another: DSQL has no savepoints
    │   ├── TransactionAborted           it had failed, and the function that ran in it hid that; nothing applied
    │   └── TransactionEnded             the function ended it itself
    ├── ConflictRetriesExhausted         also the driver's: the last attempt lost against another transaction too
    ├── CommitOutcomeUnknown             COMMIT was sent, and no answer came: applied or not
    └── PartlyDone                       work of several transactions ended in the middle: some of it is applied
        ├── DDLError                     a statement of `execute_ddl` failed; has `.report`
        │   ├── DDLOutcomeUnknown        its outcome is unknown (CommitOutcomeUnknown too)
        │   ├── JobFailed                the job that it left did; has `.job`
        │   └── JobTimeout               the job that it left is not done in time
        └── BulkError                    `bulk_insert` ended before its end; has `.result` and `.row`
            └── BulkOutcomeUnknown       since a batch's outcome is unknown (CommitOutcomeUnknown too)

What a server or the driver refuses stays an exception of the driver's (``psycopg.OperationalError``),
so that existing ``except`` clauses keep working: a `ConnectError` and a `ConflictRetriesExhausted` are of
both kinds (`_both`). ``dsql_fast.psycopg.PoolTimeout`` is both psycopg_pool's and an `Error`.
`CommitOutcomeUnknown` is *not* a driver's OperationalError: there are programs that run again
whatever raises one, and this must not be run again unseen.

No message holds a token or a secret.
"""

from __future__ import annotations

import sys

from ._unsent import (
    ConfigError,
    CredentialsError,
    CredentialsExpired,
    CredentialsNotFound,
    CredentialsTimeout,
    Error,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeVar

    from ._failures import (
        AccessDenied,
        BulkError,
        BulkOutcomeUnknown,
        ClockSkew,
        CommitOutcomeUnknown,
        ConflictRetriesExhausted,
        ConnectError,
        DDLError,
        DDLOutcomeUnknown,
        DriverError,
        JobFailed,
        JobTimeout,
        NestedTransaction,
        PartlyDone,
        RateExceeded,
        TooManyConnections,
        TransactionAborted,
        TransactionEnded,
        TransactionError,
        WakingUp,
        docs_link,
    )

    E = TypeVar("E", bound=BaseException)


__all__ = [
    "AccessDenied",
    "BulkError",
    "BulkOutcomeUnknown",
    "ClockSkew",
    "CommitOutcomeUnknown",
    "ConfigError",
    "ConflictRetriesExhausted",
    "ConnectError",
    "CredentialsError",
    "CredentialsExpired",
    "CredentialsNotFound",
    "CredentialsTimeout",
    "DDLError",
    "DDLOutcomeUnknown",
    "DriverError",
    "Error",
    "JobFailed",
    "JobTimeout",
    "NestedTransaction",
    "PartlyDone",
    "RateExceeded",
    "TooManyConnections",
    "TransactionAborted",
    "TransactionEnded",
    "TransactionError",
    "WakingUp",
    "docs_link",
    "linked",
    "noted",
    "without_frames",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Most of them are made when the first of these is asked for (`_failures` says why).
    value: object = getattr(__import__(f"{__package__}._failures", fromlist=(name,)), name)
    globals()[name] = value
    return value


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
