"""Connect Python to Amazon Aurora DSQL.

Names are bound when they are first used: `import dsql_fast` loads no driver and no AWS SDK, and a first token
from the environment's keys needs neither.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._config import Config
    from ._conflict import conflict_kind, is_conflict, is_occ_error
    from ._credentials import Credentials
    from ._credentials._assume_role import AssumeRole
    from ._errors import (
        AccessDenied,
        BulkError,
        BulkOutcomeUnknown,
        ClockSkew,
        CommitOutcomeUnknown,
        ConfigError,
        ConflictRetriesExhausted,
        ConnectError,
        CredentialsError,
        CredentialsExpired,
        CredentialsNotFound,
        CredentialsTimeout,
        DDLError,
        DDLOutcomeUnknown,
        DriverError,
        Error,
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
    )
    from ._native import __version__
    from ._pacing import Pacing
    from ._retry import RetryPolicy, RetryState
    from ._run import conflict_attempts, retry_on_conflict, run_transaction, run_transaction_async
    from ._telemetry import counters
    from ._tokens import TokenSource, generate_token
    from .bulk import BulkResult, bulk_insert, bulk_insert_async, create_ledger, create_ledger_async
    from .migrations import (
        DDLReport,
        DDLStatement,
        Job,
        execute_ddl,
        execute_ddl_async,
        wait_for_jobs,
        wait_for_jobs_async,
    )
    from .psycopg import (
        AsyncConnection,
        AsyncConnectionPool,
        AsyncNullConnectionPool,
        Connection,
        ConnectionPool,
        NullConnectionPool,
        PoolTimeout,
        connect,
        connect_async,
        pool_kwargs,
    )

__all__ = [
    "AccessDenied",
    "AssumeRole",
    "AsyncConnection",
    "AsyncConnectionPool",
    "AsyncNullConnectionPool",
    "BulkError",
    "BulkOutcomeUnknown",
    "BulkResult",
    "ClockSkew",
    "CommitOutcomeUnknown",
    "Config",
    "ConfigError",
    "ConflictRetriesExhausted",
    "ConnectError",
    "Connection",
    "ConnectionPool",
    "Credentials",
    "CredentialsError",
    "CredentialsExpired",
    "CredentialsNotFound",
    "CredentialsTimeout",
    "DDLError",
    "DDLOutcomeUnknown",
    "DDLReport",
    "DDLStatement",
    "DriverError",
    "Error",
    "Job",
    "JobFailed",
    "JobTimeout",
    "NestedTransaction",
    "NullConnectionPool",
    "Pacing",
    "PartlyDone",
    "PoolTimeout",
    "RateExceeded",
    "RetryPolicy",
    "RetryState",
    "TokenSource",
    "TooManyConnections",
    "TransactionAborted",
    "TransactionEnded",
    "TransactionError",
    "WakingUp",
    "__version__",
    "bulk_insert",
    "bulk_insert_async",
    "conflict_attempts",
    "conflict_kind",
    "connect",
    "connect_async",
    "counters",
    "create_ledger",
    "create_ledger_async",
    "execute_ddl",
    "execute_ddl_async",
    "generate_token",
    "is_conflict",
    "is_occ_error",
    "pool_kwargs",
    "retry_on_conflict",
    "run_transaction",
    "run_transaction_async",
    "wait_for_jobs",
    "wait_for_jobs_async",
]

_ERRORS = (
    "BulkError",
    "BulkOutcomeUnknown",
    "AccessDenied",
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
)
_BULK = ("BulkResult", "bulk_insert", "bulk_insert_async", "create_ledger", "create_ledger_async")
_MIGRATIONS = (
    "DDLReport",
    "DDLStatement",
    "Job",
    "execute_ddl",
    "execute_ddl_async",
    "wait_for_jobs",
    "wait_for_jobs_async",
)
_HOMES = {
    "AssumeRole": "_credentials._assume_role",
    "Config": "_config",
    "Credentials": "_credentials",
    "Pacing": "_pacing",
    "RetryPolicy": "_retry",
    "RetryState": "_retry",
    "TokenSource": "_tokens",
    "__version__": "_native",
    "conflict_kind": "_conflict",
    "counters": "_telemetry",
    "generate_token": "_tokens",
    "is_conflict": "_conflict",
    "is_occ_error": "_conflict",
    "conflict_attempts": "_run",
    "retry_on_conflict": "_run",
    "run_transaction": "_run",
    "run_transaction_async": "_run",
    **dict.fromkeys(_ERRORS, "_errors"),
    **dict.fromkeys(_BULK, "bulk"),
    **dict.fromkeys(_MIGRATIONS, "migrations"),
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Not importlib: it is one more import on the way to a first token.
    home = __import__(f"{__name__}.{_HOMES.get(name, 'psycopg')}", fromlist=(name,))
    value: object = getattr(home, name)
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
