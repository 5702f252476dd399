"""What a user may import, and nothing else, and only when it is asked for."""

from __future__ import annotations

import subprocess
import sys
from inspect import isclass

import pytest

import dsql_fast

PUBLIC = {
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
}


def test_the_public_names() -> None:
    assert set(dsql_fast.__all__) == PUBLIC
    assert list(dsql_fast.__all__) == sorted(dsql_fast.__all__)
    assert len(dsql_fast.__all__) == len(PUBLIC)


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_each_name_is_there_and_documented(name: str) -> None:
    value = getattr(dsql_fast, name)
    assert getattr(dsql_fast, name) is value
    if name != "__version__":
        assert value.__doc__


def test_dir_shows_them_and_nothing_is_made_up() -> None:
    assert set(dir(dsql_fast)) >= PUBLIC
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        dsql_fast.nonsense  # noqa: B018


def test_a_star_import_brings_exactly_them() -> None:
    names: dict[str, object] = {}
    exec("from dsql_fast import *", names)  # noqa: S102
    assert set(names) - {"__builtins__"} == PUBLIC


def test_the_adapter_has_names_of_its_own() -> None:
    import dsql_fast.psycopg as adapter

    for name in adapter.__all__:
        assert getattr(adapter, name) is getattr(dsql_fast, name)


def test_the_adapter_of_psycopg2_has_connect_and_pools_of_its_own() -> None:
    import dsql_fast.psycopg2 as adapter

    own = {"SimpleConnectionPool", "ThreadedConnectionPool", "connect"}
    assert set(adapter.__all__) == own | {"retry_on_conflict", "run_transaction"}
    for name in adapter.__all__:
        value = getattr(adapter, name)
        assert value.__doc__
        assert (value is getattr(dsql_fast, name, None)) == (name not in own)


def test_asyncpgs_adapter_has_its_names() -> None:
    import dsql_fast.asyncpg as adapter

    assert set(adapter.__all__) == {
        "Connection",
        "Pool",
        "connect",
        "create_pool",
        "retry_on_conflict",
        "run_transaction_async",
    }
    assert list(adapter.__all__) == sorted(adapter.__all__)
    for name in adapter.__all__:
        assert getattr(adapter, name).__doc__
    for name in ("retry_on_conflict", "run_transaction_async"):
        assert getattr(adapter, name) is getattr(dsql_fast, name)


def test_errors_are_one_tree() -> None:
    errors = {
        value
        for value in (getattr(dsql_fast, name) for name in PUBLIC)
        if isclass(value) and issubclass(value, Exception)
    }
    assert len(errors) == 27
    assert all(issubclass(error, dsql_fast.Error) for error in errors)
    assert all(error.__module__ == "dsql_fast" for error in errors - {dsql_fast.PoolTimeout})
    assert issubclass(dsql_fast.ConfigError, ValueError)
    assert issubclass(dsql_fast.DriverError, ImportError)


def test_names_are_bound_when_they_are_first_used() -> None:
    """And then stand in the module: no second look-up."""
    program = """
import sys
import dsql_fast
assert not [name for name in sys.modules if name.startswith("dsql_fast.")], sorted(sys.modules)
assert "Error" not in vars(dsql_fast)
dsql_fast.Error
assert "Error" in vars(dsql_fast)
assert "dsql_fast._native" not in sys.modules
dsql_fast.TokenSource
assert "dsql_fast.psycopg" not in sys.modules
import dsql_fast.asyncpg
assert "psycopg" not in sys.modules
dsql_fast.run_transaction_async
assert "psycopg" not in sys.modules
dsql_fast.connect
assert "psycopg" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
