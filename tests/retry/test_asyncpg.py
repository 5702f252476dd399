"""What only asyncpg has: its `transaction()` blocks, its proxies, its way to be cancelled."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

import dsql_fast
import dsql_fast.asyncpg
from dsql_fast import CommitOutcomeUnknown, NestedTransaction, RetryPolicy, TransactionAborted, TransactionError
from retry.scripted import CUT, DATA, HANG, Refusal, ScriptedServer
from retry.shells import asyncpg_arguments
from waiting import eventually_async

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

WRITE = "UPDATE t SET a = 1"


class Fast(asyncpg.Connection):  # type: ignore[misc]
    """A class of the user's, with attributes of its own."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.label = "mine"


def on_connection(
    server: ScriptedServer, fn: Callable[[Any], Awaitable[Any]], connection_class: Any = asyncpg.Connection
) -> Any:
    async def main() -> Any:
        conn = await asyncpg.connect(**asyncpg_arguments(server.conninfo), connection_class=connection_class)
        try:
            return await dsql_fast.run_transaction_async(conn, fn)
        finally:
            assert type(conn) is connection_class
            assert conn._top_xact is None
            assert conn.is_closed() or not conn.is_in_transaction()
            await conn.close()

    return asyncio.run(main())


def on_pool(
    server: ScriptedServer, fn: Callable[[Any], Awaitable[Any]], connection_class: Any = asyncpg.Connection
) -> Any:
    async def main() -> Any:
        async with asyncpg.create_pool(
            **asyncpg_arguments(server.conninfo), min_size=1, max_size=1, connection_class=connection_class
        ) as pool:
            return await dsql_fast.run_transaction_async(pool, fn)

    return asyncio.run(main())


def sent(server: ScriptedServer) -> list[str]:
    """What the server got, without what a pool's release sends."""
    return [query for query in server.queries if "RESET ALL" not in query]


@pytest.mark.parametrize("way", [on_connection, on_pool])
@pytest.mark.parametrize("connection_class", [asyncpg.Connection, Fast])
def test_the_outermost_block_is_the_transaction(way: Any, connection_class: Any) -> None:
    async def fn(conn: asyncpg.Connection) -> str:
        assert isinstance(conn, asyncpg.Connection)
        async with conn.transaction():
            await conn.execute(WRITE)
        await conn.execute(WRITE)
        async with conn.transaction(isolation="repeatable_read"):
            await conn.execute(WRITE)
        return "done"

    with ScriptedServer(COMMIT=[DATA]) as server:
        assert way(server, fn, connection_class) == "done"
        assert sent(server) == ["BEGIN", WRITE, WRITE, WRITE, "COMMIT"] * 2


def test_it_can_be_started_and_ended_by_hand() -> None:
    async def fn(conn: asyncpg.Connection) -> None:
        block = conn.transaction()
        await block.start()
        await conn.execute(WRITE)
        await block.commit()

    with ScriptedServer() as server:
        on_connection(server, fn)
        assert sent(server) == ["BEGIN", WRITE, "COMMIT"]


@pytest.mark.parametrize("way", [on_connection, on_pool])
def test_a_block_inside_another_is_refused_before_anything_is_sent(way: Any) -> None:
    async def fn(conn: asyncpg.Connection) -> None:
        async with conn.transaction():
            await conn.execute(WRITE)
            async with conn.transaction():
                await conn.execute(WRITE)

    with ScriptedServer() as server:
        with pytest.raises(NestedTransaction, match="savepoint"):
            way(server, fn)
        assert sent(server) == ["BEGIN", WRITE, "ROLLBACK"]


@pytest.mark.parametrize("kind", [{"isolation": "serializable"}, {"readonly": True}, {"deferrable": True}])
def test_another_kind_of_transaction_is_refused(kind: dict[str, Any]) -> None:
    async def fn(conn: asyncpg.Connection) -> None:
        async with conn.transaction(**kind):
            pass

    with ScriptedServer() as server:
        with pytest.raises(TransactionError, match="can be set no more"):
            on_connection(server, fn)
        assert sent(server) == ["BEGIN", "ROLLBACK"]


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_block_that_was_rolled_back_is_not_taken_for_success(by_hand: bool) -> None:
    async def fn(conn: asyncpg.Connection) -> str:
        if by_hand:
            block = conn.transaction()
            await block.start()
            await block.rollback()
        else:
            with contextlib.suppress(ValueError):
                async with conn.transaction():
                    raise ValueError
        return "looks well"

    with ScriptedServer() as server:
        with pytest.raises(TransactionAborted, match="rolled back"):
            on_connection(server, fn)
        assert sent(server) == ["BEGIN", "ROLLBACK"]


def test_a_block_left_open_is_not_committed() -> None:
    async def fn(conn: asyncpg.Connection) -> None:
        await conn.transaction().start()

    with ScriptedServer() as server:
        with pytest.raises(TransactionError, match="left a transaction"):
            on_connection(server, fn)
        assert sent(server) == ["BEGIN", "ROLLBACK"]


def test_what_asyncpg_says_to_misuse_is_said_here() -> None:
    async def fn(conn: asyncpg.Connection) -> None:
        block = conn.transaction()
        with pytest.raises(asyncpg.InterfaceError, match="not yet started"):
            await block.commit()
        async with block:
            for call in (block.commit, block.rollback, block.start):
                with pytest.raises(asyncpg.InterfaceError, match=r"within an `async with`|already"):
                    await call()
            with pytest.raises(asyncpg.InterfaceError, match="already in"):
                await block.__aenter__()
        for call in (block.commit, block.rollback, block.start):
            with pytest.raises(asyncpg.InterfaceError, match="committed"):
                await call()

    with ScriptedServer() as server:
        on_connection(server, fn)
        assert sent(server) == ["BEGIN", "COMMIT"]


def test_afterwards_the_connection_has_its_blocks_back() -> None:
    async def main(server: ScriptedServer) -> None:
        conn = await asyncpg.connect(**asyncpg_arguments(server.conninfo), connection_class=Fast)
        await dsql_fast.run_transaction_async(conn, lambda conn: conn.execute(WRITE))
        assert conn.label == "mine"
        async with conn.transaction(), conn.transaction():
            await conn.execute(WRITE)
        await conn.close()

    with ScriptedServer() as server:
        asyncio.run(main(server))
        assert sent(server)[3] == "BEGIN"
        assert any(query.startswith("SAVEPOINT") for query in sent(server))


def test_a_proxy_a_released_one_and_a_block_of_the_users() -> None:
    async def main(server: ScriptedServer) -> None:
        async with asyncpg.create_pool(**asyncpg_arguments(server.conninfo), min_size=1, max_size=1) as pool:
            async with pool.acquire() as proxy:
                await dsql_fast.run_transaction_async(proxy, lambda conn: conn.execute(WRITE))
                async with proxy.transaction():
                    with pytest.raises(NestedTransaction, match="already"):
                        await dsql_fast.run_transaction_async(proxy, lambda conn: conn.execute(WRITE))
            with pytest.raises(asyncpg.InterfaceError, match="released"):
                await dsql_fast.run_transaction_async(proxy, lambda conn: conn.execute(WRITE))

    with ScriptedServer() as server:
        asyncio.run(main(server))
        assert sent(server) == ["BEGIN", WRITE, "COMMIT", "BEGIN", "COMMIT"]


def test_a_decorated_function() -> None:
    @dsql_fast.retry_on_conflict
    async def double(conn: dsql_fast.asyncpg.Connection, number: int) -> int:
        async with conn.transaction():
            await conn.execute(WRITE)
        return 2 * number

    async def main(server: ScriptedServer) -> None:
        async with asyncpg.create_pool(**asyncpg_arguments(server.conninfo), min_size=1) as pool:
            assert await double(pool, 2) == 4
            async with pool.acquire() as conn:
                assert await double(conn, 3) == 6

    with ScriptedServer(COMMIT=[DATA]) as server:
        asyncio.run(main(server))
        assert server.executed("COMMIT") == 3


def test_it_is_for_asynchronous_functions_only() -> None:
    async def main(server: ScriptedServer) -> None:
        conn = await asyncpg.connect(**asyncpg_arguments(server.conninfo))
        with pytest.raises(dsql_fast.ConfigError, match="run_transaction_async"):
            dsql_fast.run_transaction(conn, lambda _: None)
        await conn.close()

    with ScriptedServer() as server:
        asyncio.run(main(server))
        assert sent(server) == []


# Interruptions.


async def cancelled_at(server: ScriptedServer, *, go_on: bool) -> BaseException:
    """Run a transaction, cancel it where the server hangs, and return what it raised."""
    conn = await asyncpg.connect(**asyncpg_arguments(server.conninfo))
    task = asyncio.create_task(
        dsql_fast.run_transaction_async(conn, lambda conn: conn.execute(WRITE), idempotent=True)
    )
    await eventually_async(server.hanging.is_set)
    task.cancel()
    if go_on:
        await eventually_async(lambda: server.cancels > 0)
        server.go_on.set()
    try:
        await task
    except asyncio.CancelledError as error:
        assert conn.is_closed() or not conn.is_in_transaction()
        assert conn._top_xact is None
        return error
    finally:
        await conn.close()
    raise AssertionError


def test_a_cancellation_in_the_function_rolls_back() -> None:
    with ScriptedServer(**{WRITE: [HANG]}) as server:
        error = asyncio.run(cancelled_at(server, go_on=True))
        assert error.__cause__ is None
        assert sent(server) == ["BEGIN", WRITE, "ROLLBACK"]
    assert dsql_fast.counters() == {}


def test_a_statement_that_does_not_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dsql_fast.asyncpg._transaction._PATIENCE", 0.01)
    with ScriptedServer(**{WRITE: [HANG]}) as server:
        error = asyncio.run(cancelled_at(server, go_on=False))
        assert error.__cause__ is None
        assert sent(server) == ["BEGIN", WRITE]


def test_a_cancellation_during_commit_stays_one_and_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    # It cuts the connection at once: there is nothing to roll back.
    monkeypatch.setattr("dsql_fast.asyncpg._transaction._PATIENCE", 3600.0)
    with ScriptedServer(COMMIT=[HANG]) as server:
        error = asyncio.run(cancelled_at(server, go_on=False))
        assert isinstance(error.__cause__, CommitOutcomeUnknown)
        assert server.executed("BEGIN") == 1
    assert dsql_fast.counters() == {"commit_outcome_unknown": 1}


def test_a_timeout_of_asyncpgs_during_commit_leaves_it_unknown() -> None:
    async def main(server: ScriptedServer) -> None:
        conn = await asyncpg.connect(**asyncpg_arguments(server.conninfo), command_timeout=0.05)
        with pytest.raises(CommitOutcomeUnknown) as caught:
            await dsql_fast.run_transaction_async(conn, lambda conn: conn.execute(WRITE))
        assert isinstance(caught.value.__cause__, asyncio.TimeoutError)
        assert conn.is_closed()

    with ScriptedServer(COMMIT=[HANG]) as server:
        asyncio.run(main(server))


def test_a_timeout_of_asyncpgs_in_the_function_is_raised() -> None:
    async def main(server: ScriptedServer) -> None:
        async def fn(conn: asyncpg.Connection) -> None:
            with contextlib.suppress(AssertionError):
                await conn.execute(WRITE, timeout=0.01)

        async def let_go() -> None:
            await eventually_async(lambda: server.cancels > 0)
            server.go_on.set()

        async with asyncpg.create_pool(**asyncpg_arguments(server.conninfo), min_size=1) as pool:
            going = asyncio.create_task(let_go())
            with pytest.raises(asyncio.TimeoutError):
                await dsql_fast.run_transaction_async(pool, fn)
            await going

    with ScriptedServer(**{WRITE: [HANG]}) as server:
        asyncio.run(main(server))
        assert sent(server) == ["BEGIN", WRITE, "ROLLBACK"]


@pytest.mark.parametrize(("answer", "unknown"), [(DATA, False), (CUT, True)], ids=["refused", "unknown"])
def test_a_cancellation_while_waiting_ends_it(answer: Any, unknown: bool) -> None:
    async def main(server: ScriptedServer) -> None:
        waiting = asyncio.Event()

        async def about_to_wait(_: dsql_fast.RetryState) -> None:
            waiting.set()

        policy = RetryPolicy(base_delay=60, max_delay=60, jitter=0, before_retry=about_to_wait)
        async with asyncpg.create_pool(**asyncpg_arguments(server.conninfo), min_size=1) as pool:
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


# Giving back.

RESET = "SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL"


@pytest.mark.parametrize("trouble", [CUT, Refusal("42501")])
def test_a_reset_that_fails_after_commit_does_not_hide_the_result(trouble: Any) -> None:
    """It is committed: an error now would have it done again."""

    async def fn(conn: asyncpg.Connection) -> str:
        await conn.execute(WRITE)
        return "done"

    with ScriptedServer(**{RESET: [trouble]}) as server:
        assert on_pool(server, fn) == "done"
        assert server.executed("COMMIT") == 1


def test_a_cancellation_while_a_committed_connection_is_given_back_tells() -> None:
    async def main(server: ScriptedServer) -> None:
        async with asyncpg.create_pool(**asyncpg_arguments(server.conninfo), min_size=1, max_size=1) as pool:
            task = asyncio.create_task(dsql_fast.run_transaction_async(pool, lambda conn: conn.execute(WRITE)))
            await eventually_async(server.hanging.is_set)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            assert isinstance(caught.value.__cause__, CommitOutcomeUnknown)
            server.go_on.set()

    with ScriptedServer(**{RESET: [HANG]}) as server:
        asyncio.run(main(server))
        assert server.executed("COMMIT") == 1


def test_the_deadline_bounds_the_wait_for_a_connection() -> None:
    async def main(server: ScriptedServer) -> None:
        async with (
            asyncpg.create_pool(**asyncpg_arguments(server.conninfo), min_size=1, max_size=1) as pool,
            pool.acquire(),
        ):
            with pytest.raises(asyncio.TimeoutError):
                await dsql_fast.run_transaction_async(
                    pool, lambda conn: conn.execute(WRITE), policy=RetryPolicy(deadline=0.05)
                )

    with ScriptedServer() as server:
        asyncio.run(main(server))
        assert sent(server) == []
