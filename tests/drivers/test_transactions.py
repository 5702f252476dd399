"""Pools, transactions, bulk writes and DDL, by each driver: the same promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import dsql_fast
from dsql_fast import CommitOutcomeUnknown, ConflictRetriesExhausted, NestedTransaction, RetryPolicy

from .ways import connect, pool

if TYPE_CHECKING:
    from collections.abc import Generator

    from dsql_fast.local import LocalCluster

    from .conftest import Account
    from .ways import Way

POLICY = RetryPolicy(max_attempts=3, max_delay=0.002)
PID = "select pg_backend_pid()"
ADD = "update account set n = n + 1"


class Adding:
    """A body that adds one, and counts how often it ran."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self) -> Generator[Any, Any, str]:
        self.runs += 1
        yield ADD
        return "done"


# Pools.


def test_a_pool_uses_its_connections_again(way: Way, faulty: LocalCluster) -> None:
    before = faulty.stats()["admitted"]
    with pool(way, 1, **faulty.connect_kwargs()) as of_one:
        assert len({of_one.one(PID) for _ in range(5)}) == 1
    assert faulty.stats()["admitted"] == before + 1


def test_a_pool_an_hour_later_gives_one_that_lives(way: Way, faulty: LocalCluster) -> None:
    """The cluster has ended the sessions without a word; by the pool's clock they are past their time too."""
    with pool(way, 3, **faulty.connect_kwargs()) as aged:
        old = aged.one(PID)
        faulty.clock.advance(3600)
        aged.age()
        assert aged.one(PID) != old
        assert aged.one("select 1") == 1


def test_a_session_that_ends_within_a_transaction_is_replaced(
    way: Way, faulty: LocalCluster, account: Account
) -> None:
    pids: list[int] = []

    def body() -> Generator[Any, Any, None]:
        ((pid,),) = yield PID
        pids.append(pid)
        if len(pids) == 1:
            faulty.clock.advance(3600)
        yield ADD

    with pool(way, 1, **faulty.connect_kwargs()) as of_one:
        of_one.run_transaction(body, policy=POLICY)
    assert len(set(pids)) == 2
    assert account.value == 1


# Transactions.


@pytest.mark.parametrize("kind", ["OC000", "OC001"])
@pytest.mark.parametrize("on", ["pool", "connection"])
def test_a_conflict_is_run_again(way: Way, faulty: LocalCluster, account: Account, on: str, kind: str) -> None:
    body = Adding()
    with (
        pool(way, 1, **faulty.connect_kwargs())
        if on == "pool"
        else connect(way, **faulty.connect_kwargs()) as door
    ):
        faulty.faults.fail_commits(2, kind)
        assert door.run_transaction(body, policy=POLICY) == "done"
    assert (body.runs, account.value) == (3, 1)
    assert dsql_fast.counters()["conflict_data" if kind == "OC000" else "conflict_schema"] == 2


def test_it_is_run_again_on_a_fresh_snapshot(way: Way, faulty: LocalCluster, account: Account) -> None:
    seen: list[int] = []

    def body() -> Generator[Any, Any, None]:
        ((found,),) = yield "select n from account"
        seen.append(found)
        if len(seen) == 1:
            account.do("update account set n = 100")
        yield f"update account set n = {found + 1}"

    with pool(way, 2, **faulty.connect_kwargs()) as of_two:
        of_two.run_transaction(body)
    assert seen == [0, 100]
    assert account.value == 101


def test_retries_that_are_exhausted(way: Way, faulty: LocalCluster, account: Account) -> None:
    body = Adding()
    with pool(way, 1, **faulty.connect_kwargs()) as of_one:
        faulty.faults.fail_commits(3)
        with pytest.raises(ConflictRetriesExhausted) as caught:
            of_one.run_transaction(body, policy=POLICY)
    error = caught.value
    assert isinstance(error, way.Conflict)
    assert (error.attempts, error.kind, body.runs) == (3, "data", 3)
    assert dsql_fast.is_conflict(error)
    assert dsql_fast.is_occ_error(error)
    assert account.value == 0


@pytest.mark.parametrize(("when", "value"), [("before", 0), ("after", 1)])
def test_an_unknown_outcome_is_told_and_not_run_again(
    way: Way, faulty: LocalCluster, account: Account, when: str, value: int
) -> None:
    body = Adding()
    with pool(way, 1, **faulty.connect_kwargs()) as of_one:
        faulty.faults.cut_commits(1, when=when)
        with pytest.raises(CommitOutcomeUnknown) as caught:
            of_one.run_transaction(body, policy=POLICY)
        assert not isinstance(caught.value, way.Error)
        assert (body.runs, account.value) == (1, value)
        # Where twice is as good as once.
        faulty.faults.cut_commits(1, when=when)
        assert of_one.run_transaction(body, policy=POLICY, idempotent=True) == "done"
    assert (body.runs, account.value) == (3, value + 1 + value)


def test_what_the_function_raises_rolls_back(way: Way, faulty: LocalCluster, account: Account) -> None:
    def body() -> Generator[Any, Any, None]:
        yield ADD
        raise LookupError("mine")

    with pool(way, 1, **faulty.connect_kwargs()) as of_one:
        with pytest.raises(LookupError, match="mine"):
            of_one.run_transaction(body)
        assert of_one.one("select n from account") == 0


def test_a_transaction_inside_of_one_is_refused(way: Way, faulty: LocalCluster, account: Account) -> None:
    def body() -> Generator[Any, Any, None]:
        yield ADD
        yield Adding()

    with connect(way, **faulty.connect_kwargs()) as session:
        with pytest.raises(NestedTransaction):
            session.run_transaction(body)
        session.execute("begin")
        with pytest.raises(NestedTransaction):
            session.run_transaction(Adding())
        session.execute("rollback")
        assert session.run_transaction(Adding()) == "done"
    assert account.value == 1


# Many rows, and DDL.


def test_bulk_insert_writes_more_rows_than_a_transaction_takes(way: Way, faulty: LocalCluster) -> None:
    with connect(way, **faulty.connect_kwargs()) as session:
        session.execute("create table items (id int primary key, body text)")
    with pool(way, 2, **faulty.connect_kwargs()) as of_two:
        faulty.faults.fail_commits(2)
        result = of_two.bulk_insert("items", ((at, f"body {at}") for at in range(7000)), connections=2)
        assert (result.complete, result.rows) == (True, 7000)
        assert of_two.one("select count(*) from items") == 7000
    with connect(way, **faulty.connect_kwargs()) as session:
        assert session.execute("select body from items where id = $1", 6999) == [("body 6999",)]
        session.execute("drop table items")


def test_execute_ddl_waits_for_its_indexes(way: Way, faulty: LocalCluster) -> None:
    statements = [
        "create table people (id int primary key, name text)",
        "create index async by_name on people (name)",
    ]
    with pool(way, 2, **faulty.connect_kwargs()) as of_two:
        faulty.faults.fail_commits(1, "OC001")
        report = of_two.execute_ddl(statements, poll_interval=0.01)
        assert report.complete
        job = report.statements[1].job
        assert job is not None
        assert (job.status, job.object_name) == ("completed", "public.by_name")
    with connect(way, **faulty.connect_kwargs()) as session:
        assert session.one("select indisvalid from pg_index where indexrelid = 'by_name'::regclass") is True
        session.execute("drop table people")
