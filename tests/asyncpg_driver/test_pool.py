"""`dsql_fast.asyncpg.create_pool` against the local cluster: ages, successors, resets, hooks."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

import dsql_fast
import dsql_fast.asyncpg
from dsql_fast._lifetimes import HEALTH_CHECK_PERIOD, MAX_LIFETIME
from dsql_fast.asyncpg import Pool, create_pool
from waiting import eventually_async, run_to_the_end

if TYPE_CHECKING:
    from collections.abc import Callable

    from dsql_fast.local import LocalCluster


def connections(pool: Pool) -> list[Any]:
    return [holder._con for holder in pool._holders if holder.is_connected()]


def due_in(pool: Pool, seconds: float) -> None:
    for conn in connections(pool):
        pool._expire_at[conn] = time.monotonic() + seconds


def whole(pool: Pool, size: int) -> bool:
    return bool(pool.get_size() == size == pool.get_idle_size()) and not pool._ready and not pool._tasks


def test_both_ways_to_open_it(cluster: LocalCluster) -> None:
    async def main() -> None:
        async with create_pool(**cluster.connect_kwargs(), min_size=1) as pool:
            assert isinstance(pool, asyncpg.Pool)
            assert await pool.fetchval("select current_user::text") == "admin"
        pool = await create_pool(**cluster.connect_kwargs(), min_size=1)
        async with pool.acquire() as conn:
            assert isinstance(conn, dsql_fast.asyncpg.Connection)
            assert await conn.fetchval("select 1") == 1
        await pool.close()
        pool = await create_pool(cluster.host, **without_host(cluster), min_size=0)
        assert await pool.fetchval("select 2") == 2
        pool.terminate()

    run_to_the_end(main())


def without_host(cluster: LocalCluster) -> dict[str, Any]:
    kwargs = cluster.connect_kwargs()
    del kwargs["host"]
    return kwargs


def test_defaults_stay_below_the_sessions_end(cluster: LocalCluster) -> None:
    async def main() -> None:
        async with create_pool(**cluster.connect_kwargs(), min_size=1) as pool:
            assert pool._max_inactive_connection_lifetime == 600
            assert pool._health_check_period == HEALTH_CHECK_PERIOD
            # The first sweep comes at random: pools that are opened together must not sweep together.
            assert pool._next_sweep is not None
            first = pool._next_sweep.when() - pool._loop.time()
            assert 10 < first < 1.5 * HEALTH_CHECK_PERIOD
            assert first != pytest.approx(HEALTH_CHECK_PERIOD, abs=1e-3)
            left = pool._expire_at[connections(pool)[0]] - time.monotonic()
            assert 0.75 * MAX_LIFETIME - 60 <= left <= MAX_LIFETIME

    run_to_the_end(main())


def test_connections_past_their_time_are_never_handed_out(cluster: LocalCluster) -> None:
    async def main() -> None:
        async with create_pool(**cluster.connect_kwargs(), min_size=8, max_size=8) as pool:
            old = connections(pool)
            due_in(pool, -1.0)
            async with pool.acquire() as conn:
                assert conn._con not in old
            await eventually_async(lambda: whole(pool, 8))
            assert all(conn.is_closed() for conn in old)
            assert dsql_fast.counters()["connection_discarded"] == 8

    run_to_the_end(main())


def test_a_live_connection_is_preferred_to_a_new_one(cluster: LocalCluster) -> None:
    async def main() -> None:
        async with create_pool(**cluster.connect_kwargs(), min_size=2, max_size=2) as pool:
            # The one that would be taken next.
            old = pool._queue._queue[-1]._con
            pool._expire_at[old] = time.monotonic() - 1.0
            (young,) = (conn for conn in connections(pool) if conn is not old)
            async with pool.acquire() as conn:
                assert conn._con is young
            await eventually_async(lambda: whole(pool, 2))

    run_to_the_end(main())


def test_the_sweep_opens_the_successor_before_the_old_one_goes(cluster: LocalCluster) -> None:
    async def main() -> None:
        async with create_pool(
            **cluster.connect_kwargs(), min_size=2, max_size=2, health_check_period=0.05
        ) as pool:
            old = connections(pool)
            due_in(pool, 0.04)
            sizes: list[int] = []
            while any(conn in connections(pool) for conn in old):
                sizes.append(pool.get_size())
                await asyncio.sleep(0)
            await eventually_async(lambda: all(conn.is_closed() for conn in old))
            assert min(sizes) == 2  # never a gap
            await eventually_async(lambda: whole(pool, 2))
            assert dsql_fast.counters() == {"connection_replaced": 2}

    run_to_the_end(main())


def test_a_connection_in_use_is_replaced_when_it_comes_back(cluster: LocalCluster) -> None:
    """Its successor is open by then: who waits for it does not wait for a connect."""

    async def main() -> None:
        async with create_pool(**cluster.connect_kwargs(), min_size=1, max_size=1) as pool:
            async with pool.acquire() as conn:
                old = conn._con
                due_in(pool, 1.0)
                pool._sweep()
                await eventually_async(lambda: len(pool._ready) == 1)
                (successor,) = pool._ready
                pool._sweep()  # it has one
                assert not pool._opening
                waiting = asyncio.ensure_future(pool.acquire())
                await asyncio.sleep(0)
            proxy = await waiting
            assert proxy._con is successor
            assert old.is_closed()
            assert not conn._con
            await pool.release(proxy)
            await eventually_async(lambda: whole(pool, 1))

    run_to_the_end(main())


def test_a_connection_past_its_time_is_not_taken_back(cluster: LocalCluster) -> None:
    async def main() -> None:
        async with create_pool(**cluster.connect_kwargs(), min_size=1, max_size=1) as pool:
            async with pool.acquire() as conn:
                old = conn._con
                due_in(pool, -1.0)
            assert old.is_closed()
            async with pool.acquire() as conn:
                assert conn._con is not old

    run_to_the_end(main())


def test_a_connection_that_goes_while_its_successor_is_opened_leaves_the_pool_whole(cluster: LocalCluster) -> None:
    async def main() -> None:
        async with create_pool(**cluster.connect_kwargs(), min_size=2, max_size=2) as pool:
            due_in(pool, 1.0)
            pool._sweep()
            assert len(pool._opening) == 2
            await pool.acquire()  # one is taken, the other one is closed by its user
            async with pool.acquire() as conn:
                await conn.close()
            await eventually_async(lambda: not pool._opening)
            await pool.release(pool._holders[-1]._proxy or pool._holders[0]._proxy)
            await eventually_async(lambda: pool.get_size() == 2 == pool.get_idle_size())
            pool._sweep()
            await eventually_async(lambda: whole(pool, 2))

    run_to_the_end(main())


def test_retiring_under_load_leaves_the_pool_whole(cluster: LocalCluster) -> None:
    async def main() -> None:
        async with create_pool(
            **cluster.connect_kwargs(), min_size=4, max_size=4, max_lifetime=1.0, health_check_period=0.1
        ) as pool:
            seen: set[int] = set()

            async def work() -> None:
                for _ in range(60):
                    async with pool.acquire() as conn:
                        seen.add(conn.get_server_pid())
                        assert await conn.fetchval("select 1") == 1
                    await asyncio.sleep(0.02)

            await asyncio.gather(*(work() for _ in range(6)))
            assert len(seen) > 4
            await eventually_async(lambda: pool.get_size() == 4)
            assert len(pool._ready) <= 4
        assert not pool._tasks
        assert not pool._ready

    run_to_the_end(main())


def test_a_failing_successor_costs_nothing(cluster: LocalCluster) -> None:
    async def main() -> None:
        kwargs = cluster.connect_kwargs()
        async with create_pool(**kwargs, min_size=1, max_size=1) as pool:
            (old,) = connections(pool)
            wrong = dsql_fast.Credentials("AKIAWRONG", "wrong")
            pool.set_connect_args(**{**kwargs, "credentials": wrong})
            due_in(pool, 60.0)
            pool._health_check_period = 120.0
            pool._sweep()
            await eventually_async(lambda: dsql_fast.counters().get("replacement_failed") == 1)
            async with pool.acquire() as conn:
                assert conn._con is old
            pool.set_connect_args(**kwargs)
            pool._sweep()
            await eventually_async(old.is_closed)
            await eventually_async(lambda: whole(pool, 1))

    run_to_the_end(main())


def test_an_hour_later_it_works_as_before(fresh_cluster: Callable[..., LocalCluster]) -> None:
    """The sessions were cut, without a word."""
    started = fresh_cluster(rate=None)

    async def main() -> None:
        async with create_pool(**started.connect_kwargs(), min_size=4, max_size=4) as pool:
            old = connections(pool)
            await asyncio.to_thread(started.clock.advance, 3600)
            await eventually_async(lambda: all(conn.is_closed() for conn in old))
            assert await pool.fetchval("select 1") == 1
            await eventually_async(lambda: whole(pool, 4))

    run_to_the_end(main())


def test_one_that_holds_a_session_to_its_end_runs_its_transaction_again(
    fresh_cluster: Callable[..., LocalCluster],
) -> None:
    started = fresh_cluster(rate=None)
    attempts: list[int] = []

    async def fn(conn: Any) -> int:
        attempts.append(conn.get_server_pid())
        await conn.execute("select 1")
        if len(attempts) == 1:
            await asyncio.to_thread(started.clock.advance, 3600)
        return int(await conn.fetchval("select 7"))

    async def main() -> None:
        async with create_pool(**started.connect_kwargs(), min_size=1, max_size=2) as pool:
            assert await pool.run_transaction(fn) == 7
            assert len(set(attempts)) == 2

    run_to_the_end(main())


def test_expire_connections_takes_the_successors_too(cluster: LocalCluster) -> None:
    async def main() -> None:
        async with create_pool(**cluster.connect_kwargs(), min_size=1, max_size=1) as pool:
            async with pool.acquire() as conn:
                old = conn._con
                due_in(pool, 1.0)
                pool._sweep()
                await eventually_async(lambda: len(pool._ready) == 1)
                (successor,) = pool._ready
                await pool.expire_connections()
                assert successor.is_closed()
            async with pool.acquire() as conn:
                assert conn._con not in (old, successor)

    run_to_the_end(main())


# What one user leaves behind, the next does not find.


class Plain(asyncpg.Connection):  # type: ignore[misc]
    pass


@pytest.mark.parametrize("connection_class", [dsql_fast.asyncpg.Connection, asyncpg.Connection, Plain])
def test_settings_and_transactions_are_reset(cluster: LocalCluster, connection_class: type[Any]) -> None:
    async def main() -> None:
        complaints: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        async with create_pool(
            **cluster.connect_kwargs(), min_size=1, max_size=1, connection_class=connection_class
        ) as pool:
            async with pool.acquire() as conn:
                assert type(conn._con) is connection_class
                pid = conn.get_server_pid()
                await conn.execute("set search_path to elsewhere")
                await conn.execute("set application_name to 'left behind'")
                await conn.execute("begin")
                await conn.execute("select 1")
            async with pool.acquire() as conn:
                assert conn.get_server_pid() == pid
                assert not conn.is_in_transaction()
                assert await conn.fetchval("show search_path") == '"$user", public'
                assert await conn.fetchval("show application_name") == f"dsql-fast-asyncpg/{dsql_fast.__version__}"
        assert ["active transaction" in one["message"] for one in complaints] == [True]  # asyncpg's word on it

    run_to_the_end(main())


def test_a_class_that_says_how_it_is_reset_is_left_to_it(cluster: LocalCluster) -> None:
    class Own(asyncpg.Connection):  # type: ignore[misc]
        def get_reset_query(self) -> str:
            return ""

    async def main() -> None:
        async with create_pool(**cluster.connect_kwargs(), min_size=1, max_size=1, connection_class=Own) as pool:
            await pool.execute("set application_name to 'left behind'")
            assert await pool.fetchval("show application_name") == "left behind"

    run_to_the_end(main())


def test_the_users_hooks(cluster: LocalCluster) -> None:
    calls: list[str] = []

    def hook(name: str) -> Callable[[Any], Any]:
        async def call(_conn: Any) -> None:
            calls.append(name)

        return call

    async def own_connect(*arguments: Any, **keywords: Any) -> Any:
        calls.append("connect")
        return await dsql_fast.asyncpg.connect(*arguments, **keywords)

    async def main() -> None:
        async with create_pool(
            **cluster.connect_kwargs(),
            connect=own_connect,
            init=hook("init"),
            setup=hook("setup"),
            reset=hook("reset"),
            min_size=1,
            statement_cache_size=0,
            server_settings={"application_name": "mine"},
        ) as pool:
            assert await pool.fetchval("show application_name") == "mine"
            assert connections(pool)[0]._config.statement_cache_size == 0

    run_to_the_end(main())
    assert calls == ["connect", "init", "setup", "reset"]


# Settings, errors, ends.


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"nonsense": 1}, "unknown keyword"),
        ({"password": "x"}, "the token is the password"),
        ({"port": 0}, "port must be"),
        ({"ssl": "nonsense"}, "sslmode must be"),
        ({"max_lifetime": 0}, "max_lifetime must be"),
        ({"health_check_period": "soon"}, "health_check_period must be"),
    ],
)
def test_settings_are_checked_when_it_is_made(cluster: LocalCluster, said: dict[str, Any], words: str) -> None:
    async def main() -> None:
        with pytest.raises(dsql_fast.ConfigError, match=words):
            create_pool(**{**cluster.connect_kwargs(), **said})
        async with create_pool(**cluster.connect_kwargs(), min_size=0) as pool:
            if "lifetime" not in words and "period" not in words:
                with pytest.raises(dsql_fast.ConfigError, match=words):
                    pool.set_connect_args(**{**cluster.connect_kwargs(), **said})

    run_to_the_end(main())


def test_a_refusal_is_the_servers_own_error(cluster: LocalCluster) -> None:
    async def main() -> None:
        wrong = {**cluster.connect_kwargs(), "credentials": dsql_fast.Credentials("AKIAWRONG", "wrong")}
        with pytest.raises(asyncpg.PostgresError, match="access denied"):
            await create_pool(**wrong, min_size=1)
        async with create_pool(**wrong, min_size=0) as pool:
            with pytest.raises(asyncpg.PostgresError, match="access denied"):
                await pool.fetchval("select 1")

    run_to_the_end(main())


def test_new_keys_in_the_environment_count_at_the_next_connection(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with create_pool(cluster.host, min_size=1, max_size=2) as pool, pool.acquire():
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-that-keys-secret")
            with pytest.raises(asyncpg.PostgresError, match="access denied"):
                await pool.fetchval("select 1")

    for name, value in cluster.environment().items():
        monkeypatch.setenv(name, value)
    run_to_the_end(main())


def test_a_pool_that_nobody_closes_can_go(cluster: LocalCluster) -> None:
    async def main() -> None:
        pool = create_pool(**cluster.connect_kwargs(), min_size=0, health_check_period=0.01)
        await pool
        found = weakref.ref(pool)
        del pool
        await asyncio.sleep(0)

        def gone() -> bool:
            gc.collect()
            return found() is None

        await eventually_async(gone)

    run_to_the_end(main())


def test_closing_and_terminating_leave_nothing(fresh_cluster: Callable[..., LocalCluster]) -> None:
    started = fresh_cluster(rate=None)

    async def main(*, terminate: bool) -> None:
        pool = await create_pool(**started.connect_kwargs(), min_size=2, max_size=2)
        held = await pool.acquire()
        due_in(pool, 1.0)
        pool._sweep()
        await eventually_async(lambda: not pool._opening)
        if terminate:
            due_in(pool, -1.0)
            pool._discard_due()
            pool.terminate()  # before what closes the old one has begun
        else:
            await pool.release(held)
            due_in(pool, 1.0)
            pool._sweep()  # and goes on opening
            await pool.close()
        await eventually_async(lambda: not pool._tasks and not pool._ready)
        assert pool._next_sweep is None
        await eventually_async(lambda: started.stats()["open"] == 0)

    run_to_the_end(main(terminate=False))
    run_to_the_end(main(terminate=True))
