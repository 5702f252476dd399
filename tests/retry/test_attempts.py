"""`conflict_attempts`: what only the block form has, the ways to leave it. The rest is in `test_scripted`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from typing import TYPE_CHECKING, Any

import psycopg
import psycopg_pool
import pytest
from psycopg.pq import TransactionStatus

import dsql_fast
from dsql_fast import CommitOutcomeUnknown, RetryPolicy, conflict_attempts
from retry.scripted import CUT, DATA, HANG, ROLLED_BACK, UNAVAILABLE, ScriptedServer
from waiting import eventually_async

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

WRITE = "UPDATE t SET a = 1"
ONCE = ["BEGIN", WRITE, "COMMIT"]
LEFT_EARLY = r"left by break or return before COMMIT"


@contextlib.contextmanager
def connected(**answers: Any) -> Iterator[tuple[ScriptedServer, psycopg.Connection[Any]]]:
    with ScriptedServer(**answers) as server, psycopg.connect(server.conninfo) as conn:
        yield server, conn


def run_async(main: Any, **answers: Any) -> ScriptedServer:
    """Run an async function with a server and a connection to it."""

    async def connected() -> None:
        async with await psycopg.AsyncConnection.connect(server.conninfo) as conn:
            await main(server, conn)

    with ScriptedServer(**answers) as server:
        asyncio.run(connected())
    return server


# The end of the block, and `continue`.


def test_what_was_found_is_used_after_the_loop() -> None:
    with connected(COMMIT=[DATA]) as (server, conn):
        rows = 0
        for attempt in conflict_attempts(conn):
            with attempt as same:
                assert same is conn
                rows = same.execute(WRITE).rowcount
        assert rows == 1
        assert server.queries == ONCE * 2


def test_continue_is_the_end_of_the_block() -> None:
    with connected(COMMIT=[DATA]) as (server, conn):
        for attempt in conflict_attempts(conn):
            with attempt as conn:
                conn.execute(WRITE)
                continue
        assert server.queries == ONCE * 2
        assert conn.info.transaction_status == TransactionStatus.IDLE

    async def main(server: ScriptedServer, conn: psycopg.AsyncConnection[Any]) -> None:
        async for attempt in conflict_attempts(conn):
            async with attempt as conn:
                await conn.execute(WRITE)
                continue

    assert run_async(main, COMMIT=[DATA]).queries == ONCE * 2


def test_committed_means_committed_when_the_loop_is_over() -> None:
    """And not before: what stands behind the block, in the loop, is run before COMMIT, and at each attempt."""
    with connected(COMMIT=[DATA]) as (server, conn):
        behind: list[int] = []
        for attempt in conflict_attempts(conn):
            with attempt as conn:
                conn.execute(WRITE)
            behind.append(server.executed("COMMIT"))
        assert behind == [0, 1]
        assert server.executed("COMMIT") == 2


# `break` and `return`.


def returning(conn: Any, *, commit: bool) -> int:
    for attempt in conflict_attempts(conn):
        with attempt as conn:
            found: int = conn.execute(WRITE).rowcount
            if commit:
                attempt.commit()
            return found
    raise AssertionError


def breaking(conn: Any, *, commit: bool) -> None:
    for attempt in conflict_attempts(conn):
        with attempt as conn:
            conn.execute(WRITE)
            if commit:
                attempt.commit()
            break


def breaking_behind(conn: Any, *, commit: bool) -> None:
    committed = False
    for attempt in conflict_attempts(conn):
        with attempt as conn:
            conn.execute(WRITE)
            if commit:
                attempt.commit()
                committed = True
        if committed or not commit:
            break


async def returning_async(conn: Any, *, commit: bool) -> int:
    async for attempt in conflict_attempts(conn):
        async with attempt as conn:
            found: int = (await conn.execute(WRITE)).rowcount
            if commit:
                await attempt.commit()
            return found
    raise AssertionError


async def breaking_async(conn: Any, *, commit: bool) -> None:
    async for attempt in conflict_attempts(conn):
        async with attempt as conn:
            await conn.execute(WRITE)
            if commit:
                await attempt.commit()
            break


LEAVING = [returning, breaking, breaking_behind]
LEAVING_ASYNC = [returning_async, breaking_async]


@pytest.mark.parametrize("leave", LEAVING)
def test_the_loop_left_early_is_rolled_back_and_told(leave: Any) -> None:
    with connected() as (server, conn):
        with pytest.warns(RuntimeWarning, match=LEFT_EARLY) as told:
            leave(conn, commit=False)
        assert told[0].filename == __file__
        assert server.queries == ["BEGIN", WRITE, "ROLLBACK"]
        assert conn.info.transaction_status == TransactionStatus.IDLE
        conn.execute(WRITE)
        conn.commit()  # it is the user's again


@pytest.mark.parametrize("leave", LEAVING_ASYNC)
def test_the_loop_left_early_is_rolled_back_from_asyncio_too(leave: Any) -> None:
    async def main(server: ScriptedServer, conn: psycopg.AsyncConnection[Any]) -> None:
        with pytest.warns(RuntimeWarning, match=LEFT_EARLY):
            await leave(conn, commit=False)
            await eventually_async(lambda: server.executed("ROLLBACK") == 1 and "transaction" not in vars(conn))
        assert conn.info.transaction_status == TransactionStatus.IDLE

    assert run_async(main).queries == ["BEGIN", WRITE, "ROLLBACK"]


@pytest.mark.parametrize("leave", LEAVING)
def test_commit_in_the_block_lets_it_be_left(leave: Any) -> None:
    with connected(COMMIT=[DATA, DATA]) as (server, conn):
        leave(conn, commit=True)
        assert server.queries == ONCE * 3
        assert dsql_fast.counters() == {"conflict_data": 2, "transaction_retried": 2}


@pytest.mark.parametrize("leave", LEAVING_ASYNC)
def test_commit_in_the_block_lets_it_be_left_from_asyncio_too(leave: Any) -> None:
    async def main(server: ScriptedServer, conn: psycopg.AsyncConnection[Any]) -> None:
        await leave(conn, commit=True)

    assert run_async(main, COMMIT=[DATA, DATA]).queries == ONCE * 3


def test_commit_in_the_block_whose_outcome_is_unknown() -> None:
    with connected(COMMIT=[CUT]) as (_, conn), pytest.raises(CommitOutcomeUnknown):
        returning(conn, commit=True)
    with (
        ScriptedServer(COMMIT=[UNAVAILABLE, DATA]) as server,
        psycopg_pool.ConnectionPool(server.conninfo) as pool,
    ):
        for attempt in conflict_attempts(pool, idempotent=True):
            with attempt as conn:
                conn.execute(WRITE)
                attempt.commit()
        assert server.executed("COMMIT") == 3


def test_a_failed_commit_that_the_block_hid_is_not_taken_for_success() -> None:
    def hiding(conn: Any, policy: RetryPolicy | None = None) -> None:
        for attempt in conflict_attempts(conn, policy=policy):
            with attempt as conn:
                conn.execute(WRITE)
                with contextlib.suppress(psycopg.Error):
                    attempt.commit()

    with connected(COMMIT=[DATA]) as (server, conn):
        hiding(conn)
        assert server.queries == ONCE * 2
    with connected(COMMIT=[DATA]) as (server, conn):
        with pytest.raises(psycopg.errors.SerializationFailure):
            hiding(conn, RetryPolicy(max_attempts=1))
        assert server.queries == ONCE


def test_what_is_raised_behind_commit_is_raised_and_nothing_is_run_again() -> None:
    with connected() as (server, conn):
        with pytest.raises(psycopg.errors.SerializationFailure):
            for attempt in conflict_attempts(conn):
                with attempt as conn:
                    conn.execute(WRITE)
                    attempt.commit()
                    raise psycopg.errors.SerializationFailure("mine (OC000)")
        assert server.queries == ONCE


def test_a_pools_connection_is_back_however_the_loop_is_left() -> None:
    with ScriptedServer() as server, psycopg_pool.ConnectionPool(server.conninfo, min_size=1, max_size=1) as pool:
        for leave in LEAVING:
            with pytest.warns(RuntimeWarning, match=LEFT_EARLY):
                leave(pool, commit=False)
            leave(pool, commit=True)
            with pool.connection(timeout=5) as conn:
                assert conn.info.transaction_status == TransactionStatus.IDLE
        with pytest.raises(ZeroDivisionError):
            for attempt in conflict_attempts(pool):
                with attempt as conn:
                    1 / 0  # noqa: B018
        with pool.connection(timeout=5):
            pass
        with pytest.raises(ZeroDivisionError), pytest.warns(RuntimeWarning, match=LEFT_EARLY):
            for attempt in conflict_attempts(pool):
                with attempt as conn:
                    conn.execute(WRITE)
                1 / 0  # noqa: B018
        with pool.connection(timeout=5):
            pass


def test_the_same_from_asyncio() -> None:
    async def main(server: ScriptedServer) -> None:
        async with psycopg_pool.AsyncConnectionPool(server.conninfo, min_size=1, max_size=1, open=False) as pool:
            for leave in LEAVING_ASYNC:
                with pytest.warns(RuntimeWarning, match=LEFT_EARLY):
                    await leave(pool, commit=False)
                    async with pool.connection(timeout=5) as conn:  # comes when the loop's rest is cleared up
                        assert conn.info.transaction_status == TransactionStatus.IDLE
                await leave(pool, commit=True)
                # At once: nothing of the loop is left to be cleared up.
                assert len(pool._pool) == 1
            with pytest.raises(ZeroDivisionError):
                async for attempt in conflict_attempts(pool):
                    async with attempt:
                        1 / 0  # noqa: B018
            assert len(pool._pool) == 1

    with ScriptedServer() as server:
        asyncio.run(main(server))


def test_a_swallowed_failure_and_a_break_are_told() -> None:
    with connected(**{WRITE: [DATA]}) as (server, conn):
        with pytest.warns(RuntimeWarning, match=LEFT_EARLY):
            for attempt in conflict_attempts(conn):
                with attempt as conn:
                    conn.execute(WRITE)
                break  # the block failed with a conflict, and was to be run again
        assert server.queries == ["BEGIN", WRITE, "ROLLBACK"]


def test_a_generator_that_is_closed_inside() -> None:
    """Its end comes as an exception into the block: no warning, it is no `break`."""

    def rows(conn: psycopg.Connection[Any]) -> Generator[int, None, None]:
        for attempt in conflict_attempts(conn):
            with attempt as same:
                yield same.execute(WRITE).rowcount

    with connected() as (server, conn):
        stream = rows(conn)
        assert next(stream) == 1
        stream.close()
        assert server.queries == ["BEGIN", WRITE, "ROLLBACK"]
        assert list(rows(conn)) == [1]
        assert server.executed("COMMIT") == 1


def test_a_cancellation_in_the_block_and_at_commit() -> None:
    async def cancelled(server: ScriptedServer, conn: psycopg.AsyncConnection[Any]) -> None:
        async def work() -> None:
            async for attempt in conflict_attempts(conn, idempotent=True):
                async with attempt as same:
                    await same.execute(WRITE)

        task = asyncio.create_task(work())
        await eventually_async(server.hanging.is_set)
        task.cancel()
        await eventually_async(lambda: server.cancels > 0)
        server.go_on.set()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        raised.append(caught.value)
        assert conn.info.transaction_status == TransactionStatus.IDLE

    raised: list[BaseException] = []
    assert run_async(cancelled, **{WRITE: [HANG]}).queries == ["BEGIN", WRITE, "ROLLBACK"]
    assert raised.pop().__cause__ is None
    assert run_async(cancelled, COMMIT=[HANG]).executed("BEGIN") == 1
    assert isinstance(raised.pop().__cause__, CommitOutcomeUnknown)


# What it is not for.


def test_an_attempt_is_entered_once_and_by_the_loop() -> None:
    with connected() as (server, conn):
        with pytest.raises(dsql_fast.TransactionError, match="was not entered"):
            for _ in conflict_attempts(conn):
                pass
        with pytest.raises(dsql_fast.TransactionError, match="entered once"):
            for attempt in conflict_attempts(conn):
                with attempt, attempt:
                    pass
        attempts = conflict_attempts(conn)
        with pytest.raises(dsql_fast.TransactionError, match="still open"), next(attempts):
            next(attempts)
        assert server.executed("COMMIT") == 0
        assert server.queries.count("ROLLBACK") == 3
        assert conn.info.transaction_status == TransactionStatus.IDLE


def test_commit_has_its_place() -> None:
    with connected(COMMIT=[ROLLED_BACK]) as (_, conn):
        for attempt in conflict_attempts(conn):
            with pytest.raises(dsql_fast.TransactionError, match="inside of the attempt's block"):
                attempt.commit()
            with pytest.raises(dsql_fast.TransactionAborted), attempt:
                with pytest.raises(dsql_fast.TransactionAborted):
                    attempt.commit()
                with pytest.raises(dsql_fast.TransactionError, match="called once"):
                    attempt.commit()
        for attempt in conflict_attempts(conn):
            with attempt:
                attempt.commit()
                with pytest.raises(dsql_fast.TransactionError, match="called once"):
                    attempt.commit()


def test_nested_ones_are_refused() -> None:
    with connected() as (server, conn):
        with pytest.raises(dsql_fast.NestedTransaction):
            for attempt in conflict_attempts(conn):
                with attempt as same:
                    for _ in conflict_attempts(same):
                        raise AssertionError
        with pytest.raises(dsql_fast.NestedTransaction):
            for attempt in conflict_attempts(conn):
                with attempt as same, same.transaction():
                    raise AssertionError
        assert server.queries == ["BEGIN", "ROLLBACK"] * 2


def test_arguments_are_checked_when_it_is_called() -> None:
    with connected() as (server, conn):
        with pytest.raises(dsql_fast.ConfigError, match="RetryPolicy"):
            conflict_attempts(conn, policy=3)  # type: ignore[call-overload]
        with pytest.raises(dsql_fast.ConfigError, match="not str"):
            conflict_attempts("host=x")  # type: ignore[call-overload]
        assert server.queries == []


def test_the_other_kind_of_loop_is_pythons_to_refuse() -> None:
    async def main(server: ScriptedServer, conn: psycopg.AsyncConnection[Any]) -> None:
        with pytest.raises(TypeError):
            for _ in conflict_attempts(conn):  # type: ignore[attr-defined]
                pass
        with pytest.raises((TypeError, AttributeError)):
            async for attempt in conflict_attempts(conn):
                with attempt:  # type: ignore[attr-defined]
                    pass
        # The loop's rest is cleared up by the event loop, as that of any asynchronous generator.
        await eventually_async(lambda: "transaction" not in vars(conn))

    with pytest.warns(RuntimeWarning, match=LEFT_EARLY):
        run_async(main)


def test_a_loop_that_never_began_sends_nothing() -> None:
    with connected() as (server, conn):
        attempts = conflict_attempts(conn)
        del attempts
        assert server.queries == []


def test_an_error_of_the_block_makes_no_cycle() -> None:
    with connected(**{WRITE: [DATA] * 4}) as (_, conn):
        gc.collect()
        gc.disable()
        try:
            seen: list[weakref.ref[Any]] = []
            with contextlib.suppress(psycopg.Error):
                for attempt in conflict_attempts(conn, policy=RetryPolicy(max_attempts=4)):
                    seen.append(weakref.ref(attempt))
                    with attempt as same:
                        same.execute(WRITE)
            del attempt, same
            assert len(seen) == 4
            assert not any(ref() for ref in seen)
        finally:
            gc.enable()
