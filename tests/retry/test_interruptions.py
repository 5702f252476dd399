"""Cancellations, timeouts and Ctrl-C, at each place: they stay what they are, and tell what COMMIT became of."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import psycopg
import psycopg_pool
import pytest
from psycopg.pq import TransactionStatus

import dsql_fast
from dsql_fast import CommitOutcomeUnknown, RetryPolicy, RetryState
from retry.scripted import CUT, DATA, HANG, ScriptedServer
from retry.shells import Sync
from waiting import eventually, eventually_async

if TYPE_CHECKING:
    from collections.abc import Generator

WRITE = "UPDATE t SET a = 1"


def notes(error: BaseException) -> str:
    return "\n".join(getattr(error, "__notes__", ()))


async def _cancelled_at(server: ScriptedServer, *, go_on: bool) -> BaseException:
    """Run a transaction, cancel it where the server hangs, and return what it raised."""
    async with await psycopg.AsyncConnection.connect(server.conninfo) as conn:

        async def fn(conn: psycopg.AsyncConnection[Any]) -> None:
            await conn.execute(WRITE)

        task = asyncio.create_task(dsql_fast.run_transaction_async(conn, fn, idempotent=True))
        await eventually_async(server.hanging.is_set)
        task.cancel()
        if go_on:
            await eventually_async(lambda: server.cancels > 0)
            server.go_on.set()
        try:
            await task
        except asyncio.CancelledError as error:
            assert conn.closed or conn.info.transaction_status == TransactionStatus.IDLE
            return error
    raise AssertionError


def test_a_cancellation_in_the_function_rolls_back() -> None:
    with ScriptedServer(**{WRITE: [HANG]}) as server:
        error = asyncio.run(_cancelled_at(server, go_on=True))
        assert error.__cause__ is None
        assert server.queries == ["BEGIN", WRITE, "ROLLBACK"]
    assert dsql_fast.counters() == {}


def test_a_cancellation_during_commit_stays_one_and_tells() -> None:
    with ScriptedServer(COMMIT=[HANG]) as server:
        # A second cancellation ends psycopg's waiting for the answer.
        async def main() -> BaseException:
            async with await psycopg.AsyncConnection.connect(server.conninfo) as conn:
                task = asyncio.create_task(
                    dsql_fast.run_transaction_async(conn, lambda conn: conn.execute(WRITE), idempotent=True)
                )
                await eventually_async(server.hanging.is_set)
                task.cancel()
                await eventually_async(lambda: server.cancels > 0)
                task.cancel()
                try:
                    await task
                except asyncio.CancelledError as error:
                    assert conn.closed
                    return error
            raise AssertionError

        error = asyncio.run(main())
        assert isinstance(error.__cause__, CommitOutcomeUnknown)
        assert "COMMIT was sent" in notes(error)
        assert server.executed("BEGIN") == 1
    assert dsql_fast.counters() == {"commit_outcome_unknown": 1}


if sys.version_info >= (3, 11):  # asyncio.timeout came with it

    def test_a_timeout_around_it_is_one_and_tells() -> None:
        async def main(server: ScriptedServer) -> None:
            async with await psycopg.AsyncConnection.connect(server.conninfo) as conn:

                async def let_time_pass(timeout: asyncio.Timeout) -> None:
                    await eventually_async(server.hanging.is_set)
                    timeout.reschedule(0)
                    await eventually_async(lambda: server.cancels > 0)
                    server.go_on.set()

                async with asyncio.timeout(None) as timeout:
                    passing = asyncio.create_task(let_time_pass(timeout))
                    try:
                        await dsql_fast.run_transaction_async(conn, lambda conn: conn.execute(WRITE))
                    finally:
                        await passing

        with ScriptedServer(COMMIT=[HANG]) as server, pytest.raises(TimeoutError) as caught:
            asyncio.run(main(server))
        cause = caught.value.__cause__
        assert isinstance(cause, asyncio.CancelledError)
        assert isinstance(cause.__cause__, CommitOutcomeUnknown)


@pytest.mark.parametrize(("answer", "unknown"), [(DATA, False), (CUT, True)], ids=["refused", "unknown"])
def test_a_cancellation_while_waiting_ends_it(answer: Any, unknown: bool) -> None:
    async def main(server: ScriptedServer) -> None:
        waiting = asyncio.Event()

        async def about_to_wait(_: RetryState) -> None:
            waiting.set()

        policy = RetryPolicy(base_delay=60, max_delay=60, jitter=0, before_retry=about_to_wait)
        async with psycopg_pool.AsyncConnectionPool(server.conninfo, min_size=1, open=False) as pool:
            task = asyncio.create_task(
                dsql_fast.run_transaction_async(
                    pool, lambda conn: conn.execute(WRITE), policy=policy, idempotent=True
                )
            )
            await waiting.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            assert isinstance(caught.value.__cause__, CommitOutcomeUnknown) == unknown

    with ScriptedServer(COMMIT=[answer]) as server:
        asyncio.run(main(server))
        assert server.executed("BEGIN") == 1


def test_ctrl_c_in_the_function_rolls_back() -> None:
    def body() -> Generator[str, Any, None]:
        yield WRITE
        raise KeyboardInterrupt

    with ScriptedServer() as server:
        with pytest.raises(KeyboardInterrupt) as caught:
            Sync().on_pool(server.conninfo, body)
        assert caught.value.__cause__ is None
        assert server.queries == ["BEGIN", WRITE, "ROLLBACK"]


def test_ctrl_c_during_commit_tells() -> None:
    with ScriptedServer(COMMIT=[HANG]) as server, psycopg.connect(server.conninfo) as conn:
        main = threading.main_thread().ident
        assert main is not None

        def interrupt() -> None:
            eventually(server.hanging.is_set)
            signal.pthread_kill(main, signal.SIGINT)
            eventually(lambda: server.cancels > 0)
            server.go_on.set()

        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            with pytest.raises(KeyboardInterrupt) as caught:
                dsql_fast.run_transaction(conn, lambda conn: conn.execute(WRITE))
        finally:
            thread.join()
        # psycopg waited for the answer, which was success: it is told as unknown all the same.
        assert isinstance(caught.value.__cause__, CommitOutcomeUnknown)
        assert conn.info.transaction_status == TransactionStatus.IDLE
        assert "transaction" not in vars(conn)


def test_an_interrupted_commit_that_was_refused_is_known() -> None:
    """psycopg reads the refusal while it cleans up: nothing was applied, and nothing is unknown."""

    class Refusing(ScriptedServer):
        def answer_to(self, statement: str) -> Any:
            answer = super().answer_to(statement)
            return DATA if statement == "COMMIT" else answer

    with Refusing(COMMIT=[HANG]) as server:
        error = asyncio.run(_cancelled_at(server, go_on=True))
        assert error.__cause__ is None
        assert server.executed("BEGIN") == 1
    assert dsql_fast.counters() == {}
