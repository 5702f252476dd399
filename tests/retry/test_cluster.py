"""Transactions against a cluster that conflicts as Aurora DSQL does, through pools and connections of all kinds."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import psycopg
import psycopg_pool
import pytest

import dsql_fast
from dsql_fast import CommitOutcomeUnknown, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dsql_fast.local import LocalCluster

ADD = "UPDATE counters SET n = n + 1 WHERE id = 1"


class Counter:
    """A table with one row, and somebody else who changes it."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._conn = dsql_fast.connect(**cluster.connect_kwargs(), autocommit=True)
        self.do("DROP TABLE IF EXISTS counters")
        self.do("CREATE TABLE counters (id int PRIMARY KEY, n int NOT NULL)")
        self.do("INSERT INTO counters VALUES (1, 0)")

    def do(self, statement: str) -> None:
        self._conn.execute(statement)

    @property
    def value(self) -> int:
        row = self._conn.execute("SELECT n FROM counters").fetchone()
        assert row is not None
        return int(row[0])

    def close(self) -> None:
        self._conn.close()


@pytest.fixture
def counter(faulty: LocalCluster) -> Iterator[Counter]:
    made = Counter(faulty)
    yield made
    made.close()


@pytest.fixture
def pool(faulty: LocalCluster, counter: Counter) -> Iterator[dsql_fast.ConnectionPool[Any]]:
    # After the counter: sessions that have not seen its DDL would begin with a schema conflict.
    with dsql_fast.ConnectionPool(**faulty.connect_kwargs(), min_size=2) as made:
        made.wait()
        yield made


def test_a_conflict_is_run_again_on_a_fresh_snapshot(
    pool: dsql_fast.ConnectionPool[Any], counter: Counter
) -> None:
    seen: list[int] = []

    def add(conn: psycopg.Connection[Any]) -> str:
        row = conn.execute("SELECT n FROM counters WHERE id = 1").fetchone()
        assert row is not None
        seen.append(row[0])
        if len(seen) == 1:
            counter.do("UPDATE counters SET n = 100")
        conn.execute("UPDATE counters SET n = %s", (row[0] + 1,))
        return "done"

    assert pool.run_transaction(add) == "done"
    assert seen == [0, 100]
    assert counter.value == 101
    assert dsql_fast.counters()["conflict_data"] == 1


def test_the_same_from_asyncio(faulty: LocalCluster, counter: Counter) -> None:
    seen: list[int] = []

    async def add(conn: psycopg.AsyncConnection[Any]) -> str:
        row = await (await conn.execute("SELECT n FROM counters WHERE id = 1")).fetchone()
        assert row is not None
        seen.append(row[0])
        if len(seen) == 1:
            counter.do("UPDATE counters SET n = 100")
        await conn.execute("UPDATE counters SET n = %s", (row[0] + 1,))
        return "done"

    async def main() -> str:
        async with dsql_fast.AsyncConnectionPool(**faulty.connect_kwargs(), min_size=2) as pool:
            return await pool.run_transaction(add)

    assert asyncio.run(main()) == "done"
    assert (seen, counter.value) == ([0, 100], 101)


@pytest.mark.parametrize("autocommit", [False, True])
def test_on_one_connection_of_either_kind(faulty: LocalCluster, counter: Counter, autocommit: bool) -> None:
    faulty.faults.fail_commits(2)
    with dsql_fast.connect(**faulty.connect_kwargs(), autocommit=autocommit) as conn:
        dsql_fast.run_transaction(conn, lambda conn: conn.execute(ADD))
        assert conn.autocommit == autocommit
    assert counter.value == 1
    assert dsql_fast.counters() == {"conflict_data": 2, "transaction_retried": 2}


def test_a_schema_conflict_is_cleared_by_one_retry_on_the_same_session(
    pool: dsql_fast.ConnectionPool[Any], counter: Counter
) -> None:
    pids: list[int] = []

    def add(conn: psycopg.Connection[Any]) -> None:
        pids.append(conn.info.backend_pid)
        conn.execute("SELECT n FROM counters")
        if len(pids) == 1:
            counter.do("ALTER TABLE counters ADD COLUMN more int")
        conn.execute(ADD)

    pool.run_transaction(add)
    assert len(pids) == 2
    assert pids[0] == pids[1]
    assert counter.value == 1
    assert dsql_fast.counters() == {"conflict_schema": 1, "transaction_retried": 1}


def test_a_session_killed_within_is_replaced(
    faulty: LocalCluster, pool: dsql_fast.ConnectionPool[Any], counter: Counter
) -> None:
    pids: list[int] = []

    def add(conn: psycopg.Connection[Any]) -> None:
        pids.append(conn.info.backend_pid)
        conn.execute(ADD)
        if len(pids) == 1:
            faulty.kill_sessions(pids[0])
        conn.execute(ADD)

    pool.run_transaction(add)
    assert len(set(pids)) == 2
    assert counter.value == 2


@pytest.mark.parametrize(("when", "value"), [("before", 0), ("after", 1)])
def test_a_lost_answer_is_told_whatever_became_of_it(
    faulty: LocalCluster, pool: dsql_fast.ConnectionPool[Any], counter: Counter, when: str, value: int
) -> None:
    faulty.faults.cut_commits(1, when=when)
    with pytest.raises(CommitOutcomeUnknown):
        pool.run_transaction(lambda conn: conn.execute(ADD))
    assert counter.value == value


def test_server_unavailable_before_and_at_commit(
    faulty: LocalCluster, pool: dsql_fast.ConnectionPool[Any], counter: Counter
) -> None:
    faulty.faults.fail_statements(1, "XX000")
    pool.run_transaction(lambda conn: conn.execute(ADD))
    assert counter.value == 1
    faulty.faults.fail_commits(1, "XX000", when="after")
    with pytest.raises(CommitOutcomeUnknown):
        pool.run_transaction(lambda conn: conn.execute(ADD))
    assert counter.value == 2
    faulty.faults.fail_commits(1, "XX000")
    pool.run_transaction(lambda conn: conn.execute("UPDATE counters SET n = 7"), idempotent=True)
    assert counter.value == 7


def test_many_threads_on_one_row_lose_nothing(pool: dsql_fast.ConnectionPool[Any], counter: Counter) -> None:
    policy = RetryPolicy(max_attempts=100)

    def work() -> None:
        for _ in range(5):
            pool.run_transaction(lambda conn: conn.execute(ADD), policy=policy)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.value == 20


def test_a_savepoint_in_sql_is_the_servers_to_refuse(pool: dsql_fast.ConnectionPool[Any]) -> None:
    attempts: list[None] = []

    def save(conn: psycopg.Connection[Any]) -> None:
        attempts.append(None)
        conn.execute(ADD)
        conn.execute("SAVEPOINT s")

    with pytest.raises(psycopg.errors.FeatureNotSupported):
        pool.run_transaction(save)
    assert len(attempts) == 1


def test_pools_that_are_not_ours(faulty: LocalCluster, counter: Counter) -> None:
    settings = dsql_fast.pool_kwargs(**faulty.connect_kwargs())
    faulty.faults.fail_commits(2)
    for kind in (psycopg_pool.ConnectionPool, psycopg_pool.NullConnectionPool):
        with kind(**settings, min_size=0, max_size=1) as pool:
            dsql_fast.run_transaction(pool, lambda conn: conn.execute(ADD))
    assert counter.value == 2
    assert dsql_fast.counters()["conflict_data"] == 2
