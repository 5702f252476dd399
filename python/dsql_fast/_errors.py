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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Literal, TypeVar

    E = TypeVar("E", bound=BaseException)

_PAGE = "https://github.com/dsql-fast/dsql-fast/blob/main/docs/errors.md"


def docs_link(section: str) -> str:
    """Return the address of a section of ``docs/errors.md``."""
    return f"{_PAGE}#{section}"


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


class ConnectError(Error):
    """There is no connection: the cluster turned it away, or was not reached.

    Raised as an instance of the driver's exception class too. Its text begins with the driver's own, whole and
    unchanged; ``args`` are the driver's. It follows what is known from the text alone, since psycopg has no
    SQLSTATE for a failed connect. What the client does not know is None.

    Attributes:
        kind: the case, a word that does not change: the section of ``docs/errors.md``.
        cause: the likeliest cause, a sentence.
        next_step: what to do about it.
        docs: the address of the section.
        permanent: connecting again does not help until somebody changes something.
        hint: the server's HINT.
        host: the cluster's host.
        region: the Region that the token was signed for.
        user: the database role.
        action: what the token was signed for: ``DbConnect`` or ``DbConnectAdmin``.
        token_age: seconds since the token was signed, by this machine's clock.
        token_expires_in: seconds until the token ends; less than 0 if it has.
        credential_source: where the credentials that signed it came from, in words.
        credentials_expire_in: seconds until these credentials end, where they tell their end.
    """

    __module__ = "dsql_fast"

    kind: str = "unknown"
    cause: str = ""
    next_step: str = ""
    docs: str = docs_link("unknown")
    permanent: bool = False
    hint: str | None = None
    host: str | None = None
    region: str | None = None
    user: str | None = None
    action: str | None = None
    token_age: float | None = None
    token_expires_in: float | None = None
    credential_source: str | None = None
    credentials_expire_in: float | None = None
    _advice: str = ""

    def __str__(self) -> str:
        return _with_advice(super().__str__(), self._advice)


class AccessDenied(ConnectError):  # noqa: N818 (the server's words)
    """The cluster turned the token away; `kind` and `next_step` tell what for, as far as it is known."""

    __module__ = "dsql_fast"


class ClockSkew(AccessDenied):
    """The cluster turned the token away for its time, and the clocks of this machine and of the cluster differ."""

    __module__ = "dsql_fast"


class RateExceeded(ConnectError):  # noqa: N818 (the server's words)
    """More new connections a second than the cluster admits: of all its clients together."""

    __module__ = "dsql_fast"


class TooManyConnections(ConnectError):  # noqa: N818 (the server's words)
    """More connections at once than the cluster admits: of all its clients together."""

    __module__ = "dsql_fast"


class WakingUp(ConnectError):  # noqa: N818 (the server's words)
    """The cluster was asleep, and is waking up: connect again in a moment."""

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


class ConflictRetriesExhausted(Error):  # noqa: N818
    """A transaction lost against another one in its last attempt too, and the policy has no more of them.

    Raised as an instance of the class of the last attempt's error too (``psycopg.errors.SerializationFailure``);
    its text begins with that error's own. Nothing was applied.

    Attributes:
        attempts: how many there were.
        elapsed: seconds since the first one began.
        kind: of the last conflict: ``"data"`` (OC000) or ``"schema"`` (OC001).
        next_step: what to do about it.
        docs: where it is written about.
    """

    __module__ = "dsql_fast"

    attempts: int = 0
    elapsed: float = 0.0
    kind: Literal["data", "schema"] = "data"
    next_step: str = ""
    docs: str = docs_link("conflict-retries-exhausted")
    _advice: str = ""

    def __str__(self) -> str:
        return _with_advice(super().__str__(), self._advice)


class CommitOutcomeUnknown(Error):  # noqa: N818
    """COMMIT was sent, and no answer came that tells its outcome: the transaction is applied, or it is not.

    ``__cause__`` is what came instead. Look in the database which it is before the work is done again; where
    doing it twice is as good as once, say so with ``idempotent=True``, and it is run again.

    Where the program was interrupted during COMMIT, the interruption (``asyncio.CancelledError``,
    ``KeyboardInterrupt``) is raised, and this error is its ``__cause__``.
    """

    __module__ = "dsql_fast"


class PartlyDone(Error):  # noqa: N818
    """Work of several transactions ended in the middle: some are committed, others are not.

    What ended it is ``__cause__``. It is never taken for a conflict, whatever that is: who runs the whole again
    does again what was done. Where the program was interrupted, the interruption is raised, and this error is
    its ``__cause__``.
    """

    __module__ = "dsql_fast"


class DDLError(PartlyDone):
    """A statement of `execute_ddl` failed.

    Attributes:
        report: a `DDLReport`: which statements are done. Pass it as ``resume=``.
    """

    __module__ = "dsql_fast"

    def __init__(self, message: str, report: Any) -> None:
        super().__init__(message)
        self.report = report

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.report)


class DDLOutcomeUnknown(DDLError, CommitOutcomeUnknown):  # noqa: N818
    """A statement was sent, and no answer came that tells whether it is applied."""

    __module__ = "dsql_fast"


class JobFailed(DDLError):  # noqa: N818
    """The job that a statement left to be done failed.

    Attributes:
        job: a `Job`: its details say why.
    """

    __module__ = "dsql_fast"

    def __init__(self, message: str, report: Any, job: Any) -> None:
        super().__init__(message, report)
        self.job = job

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.report, self.job)


class JobTimeout(DDLError):  # noqa: N818
    """A job was not done in time. It goes on in the cluster."""

    __module__ = "dsql_fast"


class BulkError(PartlyDone):
    """`bulk_insert` ended before all rows were written.

    Attributes:
        result: a `BulkResult`: which rows are committed. Pass it as ``resume=``.
        row: the index of the row that was refused, the first being 0; None if it is not about one row.
    """

    __module__ = "dsql_fast"

    def __init__(self, message: str, result: Any, row: int | None = None) -> None:
        super().__init__(message)
        self.result = result
        self.row = row

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.result, self.row)


class BulkOutcomeUnknown(BulkError, CommitOutcomeUnknown):  # noqa: N818
    """The COMMIT of a batch was sent, and no answer came: nothing tells whether its rows are written."""

    __module__ = "dsql_fast"


def _with_advice(said: str, advice: str) -> str:
    return "\n".join(part for part in (said, advice) if part)


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
