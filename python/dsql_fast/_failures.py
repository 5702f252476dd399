"""What is raised once something was sent, or for the want of a driver. The whole tree is drawn in `_errors`.

Apart from the others because making a class takes as long as signing ten tokens, and a program that only wants a
token raises none of these.
"""

from __future__ import annotations

from ._unsent import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

_PAGE = "https://github.com/dsql-fast/dsql-fast/blob/main/docs/errors.md"


def docs_link(section: str) -> str:
    """Return the address of a section of ``docs/errors.md``."""
    return f"{_PAGE}#{section}"


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
