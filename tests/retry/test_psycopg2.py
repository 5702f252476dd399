"""What transactions on psycopg2 connections have of their own; what all drivers have in common is the shells'."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

import psycopg2
import psycopg2.errors
import psycopg2.extensions
import psycopg2.extras
import psycopg2.pool
import pytest

import dsql_fast
from dsql_fast import CommitOutcomeUnknown, RetryPolicy
from dsql_fast.psycopg2 import ThreadedConnectionPool, connect, retry_on_conflict, run_transaction
from retry.scripted import CUT, DATA, HANG, WELL, Refusal, ScriptedServer, told
from retry.shells import execute
from waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dsql_fast.local import LocalCluster

Connection = psycopg2.extensions.connection
WRITE = "UPDATE t SET a = 1"
ADD = "UPDATE psycopg2_counters SET n = n + 1"


def idle(conn: Connection) -> bool:
    return conn.info.transaction_status == psycopg2.extensions.TRANSACTION_STATUS_IDLE


# Against a server that does as it is told.


def test_the_names_are_the_packages() -> None:
    assert run_transaction is dsql_fast.run_transaction
    assert retry_on_conflict is dsql_fast.retry_on_conflict


def test_a_with_block_inside_is_refused_at_its_end() -> None:
    def block(conn: Connection) -> None:
        with conn:
            execute(conn, WRITE)

    with ScriptedServer() as server:
        conn = psycopg2.connect(server.conninfo)
        with pytest.raises(psycopg2.ProgrammingError, match="cannot be used during a two-phase transaction"):
            run_transaction(conn, block)
        assert server.queries == ["BEGIN", WRITE, "ROLLBACK"]
        with conn:
            execute(conn, WRITE)
        conn.close()


def test_a_commit_half_way_that_was_hidden_commits_nothing() -> None:
    def hide(conn: Connection) -> None:
        execute(conn, WRITE)
        with pytest.raises(psycopg2.ProgrammingError):
            conn.commit()
        with pytest.raises(psycopg2.ProgrammingError):
            conn.rollback()
        execute(conn, WRITE)

    with ScriptedServer() as server:
        conn = psycopg2.connect(server.conninfo)
        run_transaction(conn, hide)
        assert server.queries == ["BEGIN", WRITE, WRITE, "COMMIT"]
        conn.close()


@pytest.mark.parametrize("autocommit", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_afterwards_the_connection_is_as_it_was(autocommit: bool, fails: bool) -> None:
    with ScriptedServer(COMMIT=[DATA] * (4 if fails else 1)) as server:
        conn = psycopg2.connect(server.conninfo)
        conn.autocommit = autocommit
        if fails:
            with pytest.raises(psycopg2.errors.SerializationFailure):
                run_transaction(conn, lambda conn: execute(conn, WRITE), policy=RetryPolicy(max_attempts=4))
        else:
            run_transaction(conn, lambda conn: execute(conn, WRITE))
        assert conn.autocommit == autocommit
        assert idle(conn)
        server.queries.clear()
        execute(conn, WRITE)
        conn.commit()
        conn.rollback()
        assert server.queries == ([WRITE] if autocommit else ["BEGIN", WRITE, "COMMIT"])
        conn.close()


def test_a_pools_connection_is_as_it_was_when_it_comes_back() -> None:
    with ScriptedServer(COMMIT=[DATA]) as server:
        pool = psycopg2.pool.ThreadedConnectionPool(1, 1, server.conninfo)

        def look(_: object) -> None:
            conn = pool.getconn()
            execute(conn, WRITE)
            conn.commit()
            pool.putconn(conn)

        run_transaction(pool, lambda conn: execute(conn, WRITE), policy=RetryPolicy(before_retry=look))
        assert server.connections == 1
        pool.closeall()


@pytest.mark.parametrize("setting", [{"readonly": True}, {"isolation_level": "REPEATABLE READ"}])
def test_an_autocommit_connection_with_settings_is_refused_before_anything_is_sent(setting: Any) -> None:
    """psycopg2 would set the session's defaults back, which DSQL refuses."""
    with ScriptedServer() as server:
        conn = psycopg2.connect(server.conninfo)
        conn.set_session(**setting)
        conn.autocommit = True
        with pytest.raises(dsql_fast.TransactionError, match="leave autocommit mode"):
            run_transaction(conn, lambda conn: execute(conn, WRITE))
        assert server.queries == []
        assert conn.autocommit
        conn.close()


def test_a_connection_that_psycopg2_takes_for_one_in_a_transaction_is_refused() -> None:
    with ScriptedServer() as server:
        conn = psycopg2.connect(server.conninfo)
        execute(conn, "COMMIT")  # in SQL: psycopg2 has not heard of it
        with pytest.raises(dsql_fast.NestedTransaction, match="in a transaction already"):
            run_transaction(conn, lambda conn: execute(conn, WRITE))
        assert server.queries == ["BEGIN", "COMMIT"]
        conn.close()


def test_a_nested_call_is_refused() -> None:
    with ScriptedServer() as server:
        conn = psycopg2.connect(server.conninfo)
        with pytest.raises(dsql_fast.NestedTransaction):
            run_transaction(conn, lambda conn: run_transaction(conn, lambda conn: execute(conn, WRITE)))
        assert server.queries == ["BEGIN", "ROLLBACK"]
        conn.close()


def test_an_asynchronous_connection_is_refused() -> None:
    with ScriptedServer() as server:
        conn = psycopg2.connect(server.conninfo, async_=True)
        psycopg2.extras.wait_select(conn)
        with pytest.raises(dsql_fast.ConfigError, match="asynchronous connections"):
            run_transaction(conn, lambda conn: execute(conn, WRITE))
        conn.close()


def test_a_connection_that_is_closed_is_told() -> None:
    with ScriptedServer() as server:
        conn = psycopg2.connect(server.conninfo)
        conn.close()
        with pytest.raises(psycopg2.InterfaceError, match="closed"):
            run_transaction(conn, lambda conn: execute(conn, WRITE))


def test_a_begin_that_loses_the_connection_is_run_again_on_another() -> None:
    with ScriptedServer(BEGIN=[CUT]) as server:
        pool = psycopg2.pool.SimpleConnectionPool(1, 2, server.conninfo)
        run_transaction(pool, lambda conn: execute(conn, WRITE))
        assert server.connections == 2
        pool.closeall()
    assert dsql_fast.counters() == {"transaction_lost": 1, "transaction_retried": 1}


def test_async_functions_are_refused() -> None:
    async def asynchronous(_: object) -> None: ...

    with ScriptedServer() as server:
        conn = psycopg2.connect(server.conninfo)
        with pytest.raises(dsql_fast.ConfigError, match="async function"):
            run_transaction(conn, asynchronous)  # type: ignore[unused-coroutine]
        conn.close()


def test_as_a_decorator() -> None:
    @retry_on_conflict(policy=RetryPolicy(max_attempts=3))
    def double(conn: Connection, number: int, *, plus: int = 0) -> int:
        execute(conn, WRITE)
        return 2 * number + plus

    with ScriptedServer(COMMIT=told(DATA, DATA, WELL, DATA)) as server:
        conn = psycopg2.connect(server.conninfo)
        assert double(conn, 2, plus=1) == 5
        conn.close()
        pool = psycopg2.pool.ThreadedConnectionPool(1, 1, server.conninfo)
        assert double(pool, 3) == 6
        pool.closeall()
        assert server.executed("COMMIT") == 5


def test_ctrl_c_during_commit_tells() -> None:
    """psycopg2 hears of it when COMMIT was answered. A success is told as unknown all the same, as with psycopg."""
    with ScriptedServer(COMMIT=[HANG]) as server:
        conn = psycopg2.connect(server.conninfo)
        main = threading.main_thread().ident
        assert main is not None

        def interrupt() -> None:
            eventually(server.hanging.is_set)
            signal.pthread_kill(main, signal.SIGINT)
            server.go_on.set()

        # A run in the background may have been started with the signal ignored.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            with pytest.raises(KeyboardInterrupt) as caught:
                run_transaction(conn, lambda conn: execute(conn, WRITE))
        finally:
            thread.join()
            signal.signal(signal.SIGINT, before)
        assert isinstance(caught.value.__cause__, CommitOutcomeUnknown)
        assert idle(conn)
        assert server.executed("BEGIN") == 1
        conn.close()


# Against the cluster.


class Counter:
    """A table with one row, and somebody else who changes it."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._conn = connect(**cluster.connect_kwargs())
        self._conn.autocommit = True
        self.do("DROP TABLE IF EXISTS psycopg2_counters")
        self.do("CREATE TABLE psycopg2_counters (id int PRIMARY KEY, n int NOT NULL)")
        self.do("INSERT INTO psycopg2_counters VALUES (1, 0)")

    def do(self, statement: str) -> None:
        execute(self._conn, statement)

    @property
    def value(self) -> int:
        return int(execute(self._conn, "SELECT n FROM psycopg2_counters").fetchone()[0])

    def close(self) -> None:
        self.do("DROP TABLE psycopg2_counters")
        self._conn.close()


@pytest.fixture
def counter(faulty: LocalCluster) -> Iterator[Counter]:
    made = Counter(faulty)
    yield made
    faulty.faults.clear()
    made.close()


@pytest.fixture
def pool(faulty: LocalCluster, counter: Counter) -> Iterator[ThreadedConnectionPool]:
    # After the counter: sessions that have not seen its DDL would begin with a schema conflict.
    made = ThreadedConnectionPool(2, 4, **faulty.connect_kwargs())
    yield made
    made.closeall()


def test_a_conflict_is_run_again_on_a_fresh_snapshot(pool: ThreadedConnectionPool, counter: Counter) -> None:
    seen: list[int] = []

    def add(conn: Connection) -> str:
        (n,) = execute(conn, "SELECT n FROM psycopg2_counters").fetchone()
        seen.append(n)
        if len(seen) == 1:
            counter.do("UPDATE psycopg2_counters SET n = 100")
        execute(conn, "UPDATE psycopg2_counters SET n = %s", (n + 1,))
        return "done"

    assert pool.run_transaction(add) == "done"
    assert seen == [0, 100]
    assert counter.value == 101
    assert dsql_fast.counters()["conflict_data"] == 1


def test_a_schema_conflict_is_cleared_by_one_retry_on_the_same_session(
    pool: ThreadedConnectionPool, counter: Counter
) -> None:
    pids: list[int] = []

    def add(conn: Connection) -> None:
        pids.append(conn.info.backend_pid)
        execute(conn, "SELECT n FROM psycopg2_counters")
        if len(pids) == 1:
            counter.do("ALTER TABLE psycopg2_counters ADD COLUMN more int")
        execute(conn, ADD)

    pool.run_transaction(add)
    assert len(pids) == 2
    assert pids[0] == pids[1]
    assert counter.value == 1


@pytest.mark.parametrize(("when", "value"), [("before", 0), ("after", 1)])
def test_a_lost_answer_is_told_whatever_became_of_it(
    pool: ThreadedConnectionPool, faulty: LocalCluster, counter: Counter, when: Any, value: int
) -> None:
    faulty.faults.cut_commits(1, when=when)
    with pytest.raises(CommitOutcomeUnknown):
        pool.run_transaction(lambda conn: execute(conn, ADD))
    assert counter.value == value


def test_a_session_killed_within_is_replaced(
    pool: ThreadedConnectionPool, faulty: LocalCluster, counter: Counter
) -> None:
    pids: list[int] = []

    def add(conn: Connection) -> None:
        pids.append(conn.info.backend_pid)
        execute(conn, ADD)
        if len(pids) == 1:
            faulty.kill_sessions(pids[0])
        execute(conn, ADD)

    pool.run_transaction(add)
    assert len(set(pids)) == 2
    assert counter.value == 2


def test_many_threads_on_one_row_lose_nothing(pool: ThreadedConnectionPool, counter: Counter) -> None:
    policy = RetryPolicy(max_attempts=100)

    def work() -> None:
        for _ in range(5):
            pool.run_transaction(lambda conn: execute(conn, ADD), policy=policy)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.value == 20


def test_what_dsql_has_not_is_the_servers_to_refuse(
    pool: ThreadedConnectionPool, faulty: LocalCluster, counter: Counter
) -> None:
    with pytest.raises(psycopg2.errors.FeatureNotSupported):
        pool.run_transaction(lambda conn: execute(conn, "SAVEPOINT s"))
    conn = connect(**faulty.connect_kwargs())
    conn.set_session(isolation_level="SERIALIZABLE")
    with pytest.raises(psycopg2.errors.FeatureNotSupported, match="isolation level"):
        run_transaction(conn, lambda conn: execute(conn, ADD))
    assert idle(conn)
    conn.set_session(isolation_level="REPEATABLE READ")
    run_transaction(conn, lambda conn: execute(conn, ADD))
    assert counter.value == 1
    conn.close()


def test_on_an_autocommit_connection(faulty: LocalCluster, counter: Counter) -> None:
    faulty.faults.fail_commits(2)
    conn = connect(**faulty.connect_kwargs())
    conn.autocommit = True
    run_transaction(conn, lambda conn: execute(conn, ADD))
    assert conn.autocommit
    assert counter.value == 1
    assert dsql_fast.counters() == {"conflict_data": 2, "transaction_retried": 2}
    conn.close()


def test_a_statement_refused_at_commit_time_is_raised_as_it_is() -> None:
    with ScriptedServer(COMMIT=[Refusal("54000")]) as server:
        conn = psycopg2.connect(server.conninfo)
        with pytest.raises(psycopg2.errors.ProgramLimitExceeded):
            run_transaction(conn, lambda conn: execute(conn, WRITE))
        assert idle(conn)
        conn.close()
