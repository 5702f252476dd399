"""A transaction that loses to the end: the driver's own error, and ours that tells how often."""

from __future__ import annotations

import asyncio
import pickle
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import dsql_fast
from dsql_fast import ConflictRetriesExhausted, RetryPolicy
from dsql_fast._retry import Failure, Phase, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dsql_fast.local import LocalCluster

POLICY = RetryPolicy(max_attempts=3, max_delay=0.002)
CHANGE = "update contested set n = n + 1"


@pytest.fixture
def contested(cluster: LocalCluster) -> Iterator[Callable[[], None]]:
    """A table with one row, and what changes it by the side."""
    with dsql_fast.connect(**cluster.connect_kwargs(), autocommit=True) as other:
        other.execute("create table contested (n int)")
        other.execute("insert into contested values (0)")
        try:
            yield lambda: void(other.execute(CHANGE))
        finally:
            other.execute("drop table contested")


def void(_: object) -> None:
    pass


def lost(way: str, cluster: LocalCluster, meanwhile: Callable[[], None], policy: RetryPolicy) -> Any:
    """Run a transaction that another one beats each time."""

    def lose(conn: psycopg.Connection[Any]) -> None:
        conn.execute(CHANGE)
        meanwhile()

    async def lose_async(conn: psycopg.AsyncConnection[Any]) -> None:
        await conn.execute(CHANGE)
        meanwhile()

    async def main() -> None:
        async with await dsql_fast.connect_async(**cluster.connect_kwargs()) as conn:
            await dsql_fast.run_transaction_async(conn, lose_async, policy=policy)

    def run() -> None:
        if way == "async":
            asyncio.run(main())
        else:
            with dsql_fast.connect(**cluster.connect_kwargs()) as conn:
                dsql_fast.run_transaction(conn, lose, policy=policy)

    with pytest.raises(psycopg.errors.SerializationFailure) as caught:
        run()
    return caught.value


@pytest.mark.parametrize("way", ["sync", "async"])
def test_the_last_error_is_both(way: str, cluster: LocalCluster, contested: Callable[[], None]) -> None:
    error = lost(way, cluster, contested, POLICY)
    assert ConflictRetriesExhausted in type(error).__mro__
    assert (error.attempts, error.kind, error.sqlstate) == (3, "data", "40001")
    assert error.elapsed > 0
    # What the driver keeps in it is there.
    assert error.diag.message_primary == error.args[0]
    assert error.diag.severity == "ERROR"
    assert error.pgresult is not None
    said = str(error)
    assert said.startswith(f"{error.args[0]}\nGiven up after 3 attempts in ")
    assert error.next_step in said
    assert said.endswith(error.docs)
    assert not hasattr(error, "__notes__")
    # Still a conflict, for whoever asks.
    assert dsql_fast.is_conflict(error)
    assert dsql_fast.conflict_kind(error) == "data"
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own)
    assert type(copy) is type(error)
    assert (str(copy), copy.attempts, copy.diag.sqlstate) == (said, 3, "40001")


def test_one_attempt_that_is_all_there_is(cluster: LocalCluster, contested: Callable[[], None]) -> None:
    error = lost("sync", cluster, contested, RetryPolicy(max_attempts=1))
    assert isinstance(error, ConflictRetriesExhausted)
    assert "after 1 attempt in" in str(error)


def failed(error: BaseException, **more: Any) -> Failure:
    return Failure(error, **{"phase": Phase.REFUSED, "lost": False, "can_go_on": True, **more})


def test_a_schema_conflict_stays_one() -> None:
    error: Any = psycopg.errors.SerializationFailure("schema has been updated by another transaction (OC001)")
    assert Run(RetryPolicy(max_attempts=1)).failed(failed(error)) is None
    assert (error.kind, dsql_fast.conflict_kind(error)) == ("schema", "schema")
    data = psycopg.errors.SerializationFailure("change conflicts with another transaction (OC000)")
    assert Run(RetryPolicy(max_attempts=1)).failed(failed(data)) is None
    assert dsql_fast.conflict_kind(data) == "data"


def test_an_error_raised_from_a_conflict_is_both_too() -> None:
    class WrappedError(Exception):
        pass

    error = WrappedError("of an ORM")
    error.__cause__ = psycopg.errors.SerializationFailure("(OC000)")
    assert Run(RetryPolicy(max_attempts=1)).failed(failed(error)) is None
    assert isinstance(error, ConflictRetriesExhausted)
    # Python's own classes are not narrowed: a note tells.
    plain: Any = RuntimeError("by hand")
    plain.__cause__ = psycopg.errors.SerializationFailure("(OC000)")
    run = Run(RetryPolicy(max_attempts=2))
    assert run.failed(failed(plain)) is not None
    assert run.failed(failed(plain)) is None
    assert type(plain) is RuntimeError
    assert "after 2 attempts" in plain.__notes__[0]


def test_what_is_no_conflict_is_none() -> None:
    for more in ({"lost": True, "phase": Phase.OPEN}, {"can_go_on": False}):
        error = (
            psycopg.OperationalError("lost") if "lost" in more else psycopg.errors.SerializationFailure("(OC000)")
        )
        assert Run(RetryPolicy(max_attempts=1)).failed(failed(error, **more)) is None
        assert not isinstance(error, ConflictRetriesExhausted)


def test_an_unknown_outcome_says_where_it_is_written_about() -> None:
    with pytest.raises(dsql_fast.CommitOutcomeUnknown, match=r"docs/errors\.md#commit-outcome-unknown"):
        Run(POLICY).failed(failed(psycopg.OperationalError("gone"), phase=Phase.COMMITTING, lost=True))
