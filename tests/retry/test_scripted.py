"""BEGIN to COMMIT against a server that answers as told, by each shell: what is run again, and what is not."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import psycopg2.extensions
import psycopg2.pool
import psycopg_pool
import pytest
from psycopg.pq import TransactionStatus

import dsql_fast
from dsql_fast import CommitOutcomeUnknown, RetryPolicy, RetryState
from dsql_fast._conflict import sqlstate
from retry.scripted import (
    CUT,
    DATA,
    HANG,
    ROLLED_BACK,
    SCHEMA,
    SHUT_DOWN,
    UNAVAILABLE,
    WELL,
    Refusal,
    ScriptedServer,
    told,
)
from retry.shells import (
    Async,
    AsyncBlock,
    AsyncCommit,
    Asyncpg,
    AsyncpgBlock,
    AsyncpgCommit,
    Psycopg2,
    Psycopg2Block,
    Psycopg2Commit,
    Sync,
    SyncBlock,
    SyncCommit,
    asyncpg_arguments,
    execute,
)

if TYPE_CHECKING:
    from collections.abc import Generator

WRITE = "UPDATE t SET a = 1"

Shell = Sync | Async | Psycopg2 | Asyncpg
DbapiShell = Sync | Async | Psycopg2


SHELLS = {
    "sync": Sync,
    "async": Async,
    "psycopg2": Psycopg2,
    "sync block": SyncBlock,
    "async block": AsyncBlock,
    "sync commit": SyncCommit,
    "async commit": AsyncCommit,
    "psycopg2 block": Psycopg2Block,
    "psycopg2 commit": Psycopg2Commit,
    "asyncpg": Asyncpg,
    "asyncpg block": AsyncpgBlock,
    "asyncpg commit": AsyncpgCommit,
}


@pytest.fixture(params=list(SHELLS.values()), ids=list(SHELLS))
def shell(request: pytest.FixtureRequest) -> Shell:
    made: Shell = request.param()
    return made


@pytest.fixture(
    params=[each for each in SHELLS.values() if not issubclass(each, Asyncpg)],
    ids=[name for name in SHELLS if "asyncpg" not in name],
)
def dbapi_shell(request: pytest.FixtureRequest) -> DbapiShell:
    """For what asyncpg has not: autocommit, BEGIN of the connection's own kind, commit() and rollback()."""
    made: DbapiShell = request.param()
    return made


@pytest.fixture(
    params=[each for each in SHELLS.values() if issubclass(each, (Sync, Async))],
    ids=[name for name in SHELLS if "psycopg2" not in name and "asyncpg" not in name],
)
def psycopg_shell(request: pytest.FixtureRequest) -> Sync | Async:
    """For what only psycopg has: its `Rollback`, and blocks inside of blocks."""
    made: Sync | Async = request.param()
    return made


def write() -> Generator[str, Any, str]:
    yield WRITE
    return "written"


def not_psycopg2(shell: Shell, why: str) -> None:
    if isinstance(shell, Psycopg2):
        pytest.skip(why)


def notes(error: BaseException) -> str:
    return "\n".join(getattr(error, "__notes__", ()))


def test_one_transaction_from_begin_to_commit(shell: Shell) -> None:
    with ScriptedServer() as server:
        assert shell.on_connection(server.conninfo, write) == "written"
        assert server.queries == ["BEGIN", WRITE, "COMMIT"]
    assert dsql_fast.counters() == {}


def test_on_an_autocommit_connection_too_which_stays_one(dbapi_shell: DbapiShell) -> None:
    def after(conn: Any) -> None:
        assert conn.autocommit
        assert conn.info.transaction_status == TransactionStatus.IDLE

    with ScriptedServer() as server:
        assert dbapi_shell.on_connection(server.conninfo, write, autocommit=True, after=after) == "written"
        assert server.queries == ["BEGIN", WRITE, "COMMIT"]


def test_the_connections_own_kind_of_begin_is_used(dbapi_shell: DbapiShell) -> None:
    def before(conn: Any) -> Any:
        if isinstance(conn, psycopg2.extensions.connection):
            conn.readonly = True
            return None
        set_read_only = getattr(conn, "set_read_only")  # noqa: B009 (a coroutine function or not)
        return set_read_only(True)

    with ScriptedServer() as server:
        dbapi_shell.on_connection(server.conninfo, write, before=before)
        assert server.queries[0] == "BEGIN READ ONLY"


@pytest.mark.parametrize("where", ["COMMIT", WRITE, "BEGIN"])
@pytest.mark.parametrize("way", ["on_connection", "on_pool"])
def test_a_conflict_is_run_again_wherever_it_comes(shell: Shell, way: str, where: str) -> None:
    with ScriptedServer(**{where: [DATA, DATA]}) as server:
        assert getattr(shell, way)(server.conninfo, write) == "written"
        assert server.executed("BEGIN") == 3
        # After a refused COMMIT or BEGIN the server is idle; after a refused statement it is not.
        assert server.executed("ROLLBACK") == (2 if where == WRITE else 0)
        assert server.connections == 1
    assert dsql_fast.counters() == {"conflict_data": 2, "transaction_retried": 2}


def test_the_last_error_itself_is_raised_with_the_attempts_told(shell: Shell) -> None:
    with ScriptedServer(COMMIT=[DATA] * 99) as server:
        with pytest.raises(shell.Conflict, match="OC000") as caught:
            shell.on_connection(server.conninfo, write, policy=RetryPolicy(max_delay=0.001))
        assert server.executed("COMMIT") == 10
        assert "after 10 attempts" in str(caught.value)
    assert dsql_fast.counters()["retries_exhausted"] == 1


def test_one_attempt_is_no_retry(shell: Shell) -> None:
    with ScriptedServer(COMMIT=[DATA]) as server:
        with pytest.raises(shell.Conflict) as caught:
            shell.on_connection(server.conninfo, write, policy=RetryPolicy(max_attempts=1))
        assert server.executed("COMMIT") == 1
        assert notes(caught.value) == ""


def test_a_first_schema_conflict_is_run_again_at_once_on_the_same_connection(shell: Shell) -> None:
    seen: list[RetryState] = []
    policy = RetryPolicy(before_retry=seen.append)
    with ScriptedServer(**{WRITE: [SCHEMA, SCHEMA]}) as server:
        assert shell.on_pool(server.conninfo, write, policy=policy) == "written"
    assert [(state.kind, state.attempt, state.delay == 0) for state in seen] == [
        ("schema", 1, True),
        ("schema", 2, False),
    ]
    assert dsql_fast.counters() == {"conflict_schema": 2, "transaction_retried": 2}


def test_the_hook_is_told(shell: Shell) -> None:
    seen: list[RetryState] = []
    with ScriptedServer(COMMIT=[DATA, DATA]) as server:
        shell.on_connection(server.conninfo, write, policy=RetryPolicy(before_retry=seen.append))
    first, second = seen
    assert isinstance(first.error, shell.Conflict)
    assert (first.kind, first.attempt, first.delay) == ("data", 1, 0)
    assert (second.kind, second.attempt) == ("data", 2)
    assert 0 < second.delay <= 1
    assert second.elapsed > first.elapsed > 0


def test_what_the_hook_raises_ends_it(shell: Shell) -> None:
    def refuse(_: RetryState) -> None:
        raise LookupError

    with ScriptedServer(COMMIT=[DATA]) as server:
        with pytest.raises(LookupError):
            shell.on_pool(server.conninfo, write, policy=RetryPolicy(before_retry=refuse))
        assert server.executed("BEGIN") == 1


# What is not a conflict.


def test_what_the_function_raises_rolls_back_and_is_raised(shell: Shell) -> None:
    mine = ValueError("mine")

    def body() -> Generator[str, Any, None]:
        yield WRITE
        raise mine

    def after(conn: Any) -> None:
        assert shell.is_idle(conn)

    with ScriptedServer() as server:
        with pytest.raises(ValueError, match="mine") as caught:
            shell.on_connection(server.conninfo, body, after=after)
        assert caught.value is mine
        assert server.queries == ["BEGIN", WRITE, "ROLLBACK"]
    assert dsql_fast.counters() == {}


def test_psycopgs_rollback_too(psycopg_shell: Sync | Async) -> None:
    def body() -> Generator[str, Any, None]:
        yield WRITE
        raise psycopg.Rollback

    with ScriptedServer() as server:
        with pytest.raises(psycopg.Rollback):
            psycopg_shell.on_connection(server.conninfo, body)
        assert server.queries == ["BEGIN", WRITE, "ROLLBACK"]


@pytest.mark.parametrize("state", ["54000", "23503", "0A000", "57014", "42501"])
def test_another_refusal_of_commit_is_raised_as_it_is(shell: Shell, state: str) -> None:
    with ScriptedServer(COMMIT=[Refusal(state)]) as server:
        with pytest.raises(shell.Error) as caught:
            shell.on_pool(server.conninfo, write, idempotent=True)
        assert sqlstate(caught.value) == state
        assert server.executed("BEGIN") == 1
    assert dsql_fast.counters() == {}


# Transactions that cannot be ours.


@pytest.mark.parametrize("statement", [WRITE, "SELECT fails"], ids=["open", "failed"])
def test_a_connection_in_a_transaction_is_refused_and_left_alone(shell: Shell, statement: str) -> None:
    def after(conn: Any) -> None:
        assert shell.is_in_transaction(conn)
        sent.extend(server.queries)

    sent: list[str] = []
    with ScriptedServer(**{"SELECT fails": [Refusal("42P01")]}) as server:
        with pytest.raises(dsql_fast.NestedTransaction, match="in a transaction already"):
            shell.on_connection(
                server.conninfo, write, before=lambda conn: shell.in_transaction(conn, statement), after=after
            )
        assert sent == ["BEGIN", statement]  # both the user's


@pytest.mark.parametrize("name", ["named", None])
def test_a_block_inside_is_refused_before_anything_is_sent(psycopg_shell: Sync | Async, name: str | None) -> None:
    def body() -> Generator[Any, Any, None]:
        yield WRITE
        yield lambda conn: conn.transaction(name)

    with ScriptedServer() as server:
        with pytest.raises(dsql_fast.NestedTransaction, match="savepoint"):
            psycopg_shell.on_connection(server.conninfo, body)
        assert server.queries == ["BEGIN", WRITE, "ROLLBACK"]


@pytest.mark.parametrize("own", ["commit", "rollback"])
def test_commit_and_rollback_inside_are_refused_before_anything_is_sent(dbapi_shell: DbapiShell, own: str) -> None:
    def body() -> Generator[Any, Any, None]:
        yield WRITE
        yield lambda conn: getattr(conn, own)()

    with ScriptedServer() as server:
        with pytest.raises(
            (psycopg.ProgrammingError, psycopg2.ProgrammingError), match=dbapi_shell.refuses_commit
        ):
            dbapi_shell.on_connection(server.conninfo, body)
        assert server.queries == ["BEGIN", WRITE, "ROLLBACK"]


def test_afterwards_the_connection_has_its_blocks_and_its_commit_back() -> None:
    with ScriptedServer(COMMIT=[DATA]) as server, psycopg.connect(server.conninfo) as conn:
        dsql_fast.run_transaction(conn, lambda conn: conn.execute(WRITE))
        assert "transaction" not in vars(conn)
        with conn.transaction():
            conn.execute(WRITE)
        conn.execute(WRITE)
        conn.commit()
        assert server.executed("COMMIT") == 4


def test_a_transaction_ended_inside_by_sql_is_not_taken_for_committed(shell: Shell) -> None:
    def body() -> Generator[str, Any, None]:
        yield WRITE
        yield "ROLLBACK"

    with ScriptedServer() as server:
        with pytest.raises(dsql_fast.TransactionEnded):
            shell.on_connection(server.conninfo, body)
        # psycopg2 does not know by then that it is over.
        assert server.queries == ["BEGIN", WRITE, "ROLLBACK", *["ROLLBACK"] * isinstance(shell, Psycopg2)]


@pytest.mark.parametrize("refusal", [DATA, Refusal("23505")])
def test_an_error_that_was_swallowed_is_not_taken_for_success(shell: Shell, refusal: Refusal) -> None:
    def body() -> Generator[str, Any, str]:
        with contextlib.suppress(shell.Error):
            yield WRITE
        return "looks well"

    with ScriptedServer(**{WRITE: [refusal]}) as server:
        with pytest.raises(dsql_fast.TransactionAborted):
            shell.on_connection(server.conninfo, body)
        # asyncpg does not tell whether the transaction has failed; the answer to COMMIT does.
        assert server.queries == ["BEGIN", WRITE, "COMMIT" if isinstance(shell, Asyncpg) else "ROLLBACK"]


def test_a_statement_that_still_runs_is_not_committed(shell: Shell) -> None:
    not_psycopg2(shell, "it has no statement that runs while the program does")

    def body() -> Generator[Any, Any, None]:
        if isinstance(shell, Asyncpg):
            yield start
        else:
            yield lambda conn: conn.pgconn.send_query(WRITE.encode())

    async def start(conn: Any) -> None:
        running.append(asyncio.ensure_future(conn.execute(WRITE)))
        await asyncio.to_thread(server.hanging.wait)

    running: list[asyncio.Future[str]] = []

    def after(conn: Any) -> None:
        assert shell.is_closed(conn)

    with ScriptedServer(**{WRITE: [HANG]}) as server:
        with pytest.raises(dsql_fast.TransactionError, match="still running"):
            shell.on_connection(server.conninfo, body, after=after)
        assert server.executed("COMMIT") == 0
    assert all(task.exception() is not None for task in running)


def test_a_connection_that_cannot_be_rolled_back_is_cut(shell: Shell) -> None:
    """The server rolls back what it had; the first error is the one that is raised."""

    def after(conn: Any) -> None:
        assert shell.is_closed(conn)

    with ScriptedServer(ROLLBACK=[UNAVAILABLE] * 2, **{WRITE: [DATA, DATA]}) as server:
        with pytest.raises(shell.Conflict):
            shell.on_connection(server.conninfo, write, after=after)
        assert server.executed("BEGIN") == 1
        assert shell.on_pool(server.conninfo, write) == "written"


def test_commit_answered_with_rollback_is_not_taken_for_success(shell: Shell) -> None:
    not_psycopg2(shell, "it does not show the answer: the transaction's state is looked at before")
    with ScriptedServer(COMMIT=[ROLLED_BACK]) as server, pytest.raises(dsql_fast.TransactionAborted):
        shell.on_connection(server.conninfo, write)


def test_pipelines_inside_are_well() -> None:
    with ScriptedServer(COMMIT=[DATA]) as server, psycopg.connect(server.conninfo) as conn:

        def both(conn: psycopg.Connection[Any]) -> None:
            with conn.pipeline():
                conn.execute(WRITE)
                conn.execute(WRITE)

        dsql_fast.run_transaction(conn, both)
        assert server.queries == ["BEGIN", WRITE, WRITE, "COMMIT"] * 2


def test_pipelines_around_and_left_open_are_refused() -> None:
    with ScriptedServer() as server, psycopg.connect(server.conninfo) as conn:
        with conn.pipeline(), pytest.raises(dsql_fast.TransactionError, match="pipeline mode"):
            dsql_fast.run_transaction(conn, lambda conn: conn.execute(WRITE))
        assert server.queries == []
        opened = conn.pipeline()
        with pytest.raises(dsql_fast.TransactionError, match="left a pipeline open"):
            dsql_fast.run_transaction(conn, lambda _: opened.__enter__())
        opened.__exit__(None, None, None)
        assert server.executed("COMMIT") == 0


# What may have been applied.


@pytest.mark.parametrize("answer", [CUT, UNAVAILABLE, SHUT_DOWN, Refusal("08006"), Refusal("40003")])
@pytest.mark.parametrize("way", ["on_connection", "on_pool"])
def test_commit_without_an_outcome_is_told_and_not_run_again(shell: Shell, way: str, answer: Any) -> None:
    with ScriptedServer(COMMIT=[answer]) as server:
        with pytest.raises(CommitOutcomeUnknown, match="idempotent=True") as caught:
            getattr(shell, way)(server.conninfo, write)
        assert server.executed("BEGIN") == 1
        assert isinstance(caught.value.__cause__, shell.Error)
        assert not isinstance(caught.value, shell.Error)
        assert not dsql_fast.is_conflict(caught.value)
    assert dsql_fast.counters() == {"commit_outcome_unknown": 1}


@pytest.mark.parametrize("answer", [CUT, UNAVAILABLE])
def test_it_is_run_again_if_the_work_is_idempotent(shell: Shell, answer: Any) -> None:
    with ScriptedServer(COMMIT=[answer]) as server:
        assert shell.on_pool(server.conninfo, write, idempotent=True) == "written"
        assert server.executed("COMMIT") == 2
    assert dsql_fast.counters() == {"commit_outcome_unknown": 1, "transaction_retried": 1}


def test_but_not_on_a_lone_connection_that_is_gone(shell: Shell) -> None:
    with ScriptedServer(COMMIT=[CUT]) as server, pytest.raises(CommitOutcomeUnknown):
        shell.on_connection(server.conninfo, write, idempotent=True)
    with ScriptedServer(COMMIT=[UNAVAILABLE]) as server:
        assert shell.on_connection(server.conninfo, write, idempotent=True) == "written"


def test_an_unknown_attempt_stays_unknown_whatever_the_next_one_says(shell: Shell) -> None:
    with ScriptedServer(COMMIT=[CUT, DATA, DATA, DATA]) as server:
        with pytest.raises(CommitOutcomeUnknown) as caught:
            shell.on_pool(server.conninfo, write, idempotent=True, policy=RetryPolicy(max_attempts=4))
        assert isinstance(caught.value.__cause__, shell.Conflict)
        assert server.executed("COMMIT") == 4

    def collides() -> Generator[str, Any, None]:
        yield WRITE

    with ScriptedServer(COMMIT=[CUT], **{WRITE: told(WELL, Refusal("23505"))}) as server:
        with pytest.raises(CommitOutcomeUnknown) as caught:
            shell.on_pool(server.conninfo, collides, idempotent=True)
        assert isinstance(caught.value.__cause__, shell.Unique)


def test_what_the_hook_raises_after_an_unknown_attempt_does_not_hide_it(shell: Shell) -> None:
    def refuse(_: RetryState) -> None:
        raise LookupError

    with ScriptedServer(COMMIT=[CUT]) as server, pytest.raises(CommitOutcomeUnknown) as caught:
        shell.on_pool(server.conninfo, write, idempotent=True, policy=RetryPolicy(before_retry=refuse))
    assert isinstance(caught.value.__cause__, LookupError)


def test_an_unknown_outcome_inside_of_another_transaction_is_not_run_again(shell: Shell) -> None:
    """XX000 lies behind it, which outside of COMMIT would be."""

    def body() -> Generator[str, Any, None]:
        yield WRITE
        error = CommitOutcomeUnknown("of another transaction")
        raise error from shell.Internal("server unavailable")

    with ScriptedServer() as server:
        with pytest.raises(CommitOutcomeUnknown, match="of another"):
            shell.on_pool(server.conninfo, body)
        assert server.executed("BEGIN") == 1


# What is lost before COMMIT was not applied.


def test_a_connection_lost_before_commit_is_replaced_by_the_pool(shell: Shell) -> None:
    with ScriptedServer(**{WRITE: told(CUT, SHUT_DOWN)}) as server:
        assert shell.on_pool(server.conninfo, write) == "written"
        assert server.connections == 3
        assert server.executed("COMMIT") == 1
    assert dsql_fast.counters() == {"transaction_lost": 2, "transaction_retried": 2}


def test_a_lone_connection_that_is_lost_is_told(shell: Shell) -> None:
    with ScriptedServer(**{WRITE: [CUT]}) as server:
        with pytest.raises(shell.Lost, match="closed"):
            shell.on_connection(server.conninfo, write)
        assert server.executed("BEGIN") == 1


def test_a_loss_that_was_swallowed_is_no_success(shell: Shell) -> None:
    def body() -> Generator[str, Any, str]:
        with contextlib.suppress(shell.Error):
            yield WRITE
        return "looks well"

    with ScriptedServer(**{WRITE: [CUT]}) as server, pytest.raises(shell.Lost):
        shell.on_connection(server.conninfo, body)
    with ScriptedServer(**{WRITE: [CUT]}) as server:
        assert shell.on_pool(server.conninfo, body) == "looks well"
        assert (server.executed("BEGIN"), server.executed("COMMIT")) == (2, 1)


def test_another_error_on_a_connection_that_is_lost_is_no_loss(shell: Shell) -> None:
    def body() -> Generator[str, Any, None]:
        try:
            yield WRITE
        except shell.Error:
            raise ValueError("mine") from None

    with ScriptedServer(**{WRITE: [CUT]}) as server:
        with pytest.raises(ValueError, match="mine"):
            shell.on_pool(server.conninfo, body)
        assert server.executed("BEGIN") == 1


def test_a_connection_that_the_function_closes_is_no_loss(shell: Shell) -> None:
    def body() -> Generator[Any, Any, None]:
        yield WRITE
        yield lambda conn: conn.close()

    with ScriptedServer() as server:
        with pytest.raises(shell.Lost):
            shell.on_pool(server.conninfo, body)
        assert server.executed("BEGIN") == 1


@pytest.mark.parametrize("way", ["on_connection", "on_pool"])
def test_server_unavailable_before_commit_is_run_again(shell: Shell, way: str) -> None:
    with ScriptedServer(**{WRITE: [UNAVAILABLE]}) as server:
        assert getattr(shell, way)(server.conninfo, write) == "written"
        assert server.connections == 1
    assert dsql_fast.counters() == {"transaction_unavailable": 1, "transaction_retried": 1}


# Pools.


def test_nothing_is_held_while_waiting(shell: Shell) -> None:
    """The pool has one connection; the hook, called before the wait, gets it."""
    with ScriptedServer(COMMIT=[DATA]) as server:
        if isinstance(shell, Sync):
            with psycopg_pool.ConnectionPool(server.conninfo, min_size=1, max_size=1) as pool:

                def look(_: RetryState) -> None:
                    with pool.connection(timeout=5) as conn:
                        conn.execute("SELECT 1")

                dsql_fast.run_transaction(
                    pool, lambda conn: conn.execute(WRITE), policy=RetryPolicy(before_retry=look)
                )
        elif isinstance(shell, Psycopg2):
            its_pool = psycopg2.pool.ThreadedConnectionPool(1, 1, server.conninfo)

            def look_too(_: RetryState) -> None:
                conn = its_pool.getconn()
                execute(conn, "SELECT 1")
                conn.commit()
                its_pool.putconn(conn)

            dsql_fast.run_transaction(
                its_pool, lambda conn: execute(conn, WRITE), policy=RetryPolicy(before_retry=look_too)
            )
            its_pool.closeall()
        elif isinstance(shell, Asyncpg):

            async def main_asyncpg() -> None:
                async with asyncpg.create_pool(
                    **asyncpg_arguments(server.conninfo), min_size=1, max_size=1
                ) as pool:

                    async def look(_: RetryState) -> None:
                        async with pool.acquire(timeout=5) as conn:
                            await conn.execute("SELECT 1")

                    await dsql_fast.run_transaction_async(
                        pool, lambda conn: conn.execute(WRITE), policy=RetryPolicy(before_retry=look)
                    )

            asyncio.run(main_asyncpg())
        else:

            async def main() -> None:
                async with psycopg_pool.AsyncConnectionPool(
                    server.conninfo, min_size=1, max_size=1, open=False
                ) as pool:

                    async def look(_: RetryState) -> None:
                        async with pool.connection(timeout=5) as conn:
                            await conn.execute("SELECT 1")

                    await dsql_fast.run_transaction_async(
                        pool, lambda conn: conn.execute(WRITE), policy=RetryPolicy(before_retry=look)
                    )

            asyncio.run(main())
        assert server.executed("SELECT 1") == 1
        # psycopg's SELECT had a transaction of its own.
        assert server.executed("COMMIT") == (2 if isinstance(shell, Asyncpg) else 3)


def test_a_null_pool_serves() -> None:
    with (
        ScriptedServer(COMMIT=[DATA]) as server,
        psycopg_pool.NullConnectionPool(server.conninfo, max_size=1) as pool,
    ):
        dsql_fast.run_transaction(pool, lambda conn: conn.execute(WRITE))
        assert server.executed("COMMIT") == 2


def test_the_deadline_bounds_the_wait_for_a_connection() -> None:
    """The pool would wait for a minute."""
    with (
        ScriptedServer() as server,
        psycopg_pool.ConnectionPool(server.conninfo, min_size=1, max_size=1, timeout=60) as pool,
        pool.connection(),
        pytest.raises(psycopg_pool.PoolTimeout),
    ):
        dsql_fast.run_transaction(pool, lambda conn: conn.execute(WRITE), policy=RetryPolicy(deadline=0.05))


# What is told, and what is not.


def test_logs_and_errors_quote_no_rows(shell: Shell, caplog: pytest.LogCaptureFixture) -> None:
    secret = "account 4711 of Ms Smith"
    quoting = Refusal("40001", f"change conflicts on {secret} (OC000)")
    with caplog.at_level(logging.DEBUG, "dsql_fast"), ScriptedServer(COMMIT=[quoting, CUT]) as server:
        with pytest.raises(CommitOutcomeUnknown) as caught:
            shell.on_pool(server.conninfo, write)
        assert secret not in str(caught.value)
    records = [record.getMessage() for record in caplog.records if record.name == "dsql_fast"]
    assert len(records) == 3
    assert not any(secret in text for text in records)
    assert any("SQLSTATE 40001" in text for text in records)


# Arguments.


def test_functions_of_the_other_kind_are_refused_and_rolled_back() -> None:
    async def asynchronous(_: object) -> None: ...

    with ScriptedServer() as server:
        with (
            psycopg.connect(server.conninfo) as conn,
            pytest.raises(dsql_fast.ConfigError, match="async function"),
        ):
            dsql_fast.run_transaction(conn, asynchronous)  # type: ignore[unused-coroutine]

        async def main() -> None:
            async with await psycopg.AsyncConnection.connect(server.conninfo) as conn:
                with pytest.raises(dsql_fast.ConfigError, match="async function"):
                    await dsql_fast.run_transaction_async(conn, lambda _: None)  # type: ignore[arg-type,return-value]

        asyncio.run(main())
        assert server.queries == ["BEGIN", "ROLLBACK"] * 2


def test_connections_of_the_other_kind_are_refused() -> None:
    with ScriptedServer() as server:

        async def main() -> None:
            async with await psycopg.AsyncConnection.connect(server.conninfo) as conn:
                with pytest.raises(dsql_fast.ConfigError, match="run_transaction_async"):
                    dsql_fast.run_transaction(conn, lambda _: None)  # type: ignore[call-overload]

        asyncio.run(main())
        with (
            psycopg.connect(server.conninfo) as conn,
            pytest.raises(dsql_fast.ConfigError, match="not Connection"),
        ):
            asyncio.run(dsql_fast.run_transaction_async(conn, lambda _: None))  # type: ignore[call-overload]
        assert server.queries == []
    with pytest.raises(dsql_fast.ConfigError, match="not str"):
        dsql_fast.run_transaction("host=x", lambda _: None)  # type: ignore[call-overload]


def test_a_policy_is_a_policy() -> None:
    with ScriptedServer() as server:
        with pytest.raises(dsql_fast.ConfigError, match="RetryPolicy"):
            Sync().on_connection(server.conninfo, write, policy={"max_attempts": 3})
        with pytest.raises(dsql_fast.ConfigError, match="before_retry needs an asynchronous"):
            run_with_async_hook(server)


def run_with_async_hook(server: ScriptedServer) -> None:
    async def hook(_: RetryState) -> None: ...

    server._answers["COMMIT"].append(DATA)
    Sync().on_connection(server.conninfo, write, policy=RetryPolicy(before_retry=hook))
