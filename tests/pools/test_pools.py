"""The synchronous pool against the local cluster: ages, successors, hooks, and why there is no connection."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg
import psycopg_pool
import pytest
from psycopg.rows import dict_row

import dsql_fast
from dsql_fast._lifetimes import HEALTH_CHECK_PERIOD, MAX_LIFETIME, expiry, first_sweep
from dsql_fast.psycopg._pool import _Sweep
from waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from dsql_fast.local import LocalCluster


def pid_of(conn: psycopg.Connection[Any]) -> int:
    return conn.info.backend_pid


def test_gives_connections_and_takes_them_back(cluster: LocalCluster) -> None:
    with dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=2) as pool:
        pool.wait()
        assert isinstance(pool, psycopg_pool.ConnectionPool)
        with pool.connection() as conn:
            assert conn.execute("select current_user").fetchone() == ("admin",)
        assert pool.get_stats()["pool_available"] == 2


def test_opens_at_once_by_default(cluster: LocalCluster) -> None:
    pool = dsql_fast.ConnectionPool(cluster.host, **without_host(cluster))
    try:
        with pool.connection() as conn:
            assert conn.execute("select 1").fetchone() == (1,)
    finally:
        pool.close()


def without_host(cluster: LocalCluster) -> dict[str, Any]:
    kwargs = cluster.connect_kwargs()
    del kwargs["host"]
    return kwargs


def test_ages_are_spread_over_the_last_quarter() -> None:
    drawn = [expiry(1000.0, 100.0) for _ in range(2000)]
    assert 1075.0 <= min(drawn) < 1078.0
    assert 1097.0 < max(drawn) <= 1100.0


def test_defaults_stay_below_the_sessions_end(cluster: LocalCluster) -> None:
    with dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=1) as pool:
        pool.wait()
        assert pool.max_lifetime == MAX_LIFETIME == 3300
        assert pool.max_idle == 600
        assert pool.health_check_period == HEALTH_CHECK_PERIOD
        (conn,) = pool._pool
        age_at_end = conn._expire_at - conn._created_at
        assert 0.75 * 3300 <= age_at_end <= 3300


def test_twenty_connections_past_their_time_cost_no_pause(cluster: LocalCluster) -> None:
    # psycopg_pool's own loop would sleep 0, 1, 2, 4, 8 s and end in PoolTimeout: 2 s are enough here.
    with dsql_fast.ConnectionPool(
        **cluster.connect_kwargs(), min_size=20, max_size=20, num_workers=4, timeout=5.0
    ) as pool:
        pool.wait()
        stale = list(pool._pool)
        pids = {pid_of(conn) for conn in stale}
        for conn in stale:
            conn._expire_at = time.monotonic() - 1.0
        with pool.connection() as conn:
            assert pid_of(conn) not in pids
            assert conn.execute("select 1").fetchone() == (1,)
        eventually(lambda: pool.get_stats()["pool_available"] == 20)
        assert pool.get_stats()["pool_size"] == 20
        assert pids.isdisjoint(pid_of(conn) for conn in pool._pool)
        assert all(conn.closed for conn in stale)


def test_the_sweep_opens_the_successor_before_the_old_one_goes(cluster: LocalCluster) -> None:
    with dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=2, health_check_period=0.05) as pool:
        pool.wait()
        old = list(pool._pool)
        sizes: list[int] = []
        for conn in old:
            conn._expire_at = time.monotonic() + 0.2
        while any(conn in pool._pool for conn in old):
            sizes.append(len(pool._pool))
        assert min(sizes) == 2  # never a gap
        eventually(lambda: all(conn.closed for conn in old))
        assert pool.get_stats()["pool_size"] == 2
        assert len(pool._pool) == 2


def test_a_connection_in_use_is_replaced_when_it_comes_back(cluster: LocalCluster) -> None:
    with dsql_fast.ConnectionPool(
        **cluster.connect_kwargs(), min_size=1, max_size=1, health_check_period=60
    ) as pool:
        pool.wait()
        conn = pool.getconn()
        conn._expire_at = time.monotonic() + 30
        pool.putconn(conn)
        eventually(lambda: conn.closed)
        with pool.connection() as successor:
            assert successor is not conn
        assert pool.get_stats()["pool_size"] == 1
        assert len(pool._pool) == 1


def test_a_connection_taken_out_while_its_successor_is_opened_is_closed_at_its_return(
    cluster: LocalCluster,
) -> None:
    with dsql_fast.ConnectionPool(
        **cluster.connect_kwargs(), min_size=1, max_size=1, health_check_period=3600
    ) as pool:
        pool.wait()
        (conn,) = pool._pool
        conn._expire_at = time.monotonic() + 60
        with pool._lock:
            pool._replace_due()
            taken = pool._get_ready_connection(1.0)
        assert taken is not None
        assert taken is conn
        taken._pool = pool
        eventually(lambda: len(pool._pool) == 1)  # the successor
        assert not conn.closed
        pool.putconn(conn)
        eventually(lambda: conn.closed)
        assert len(pool._pool) == 1
        assert pool.get_stats()["pool_size"] == 1


def test_retiring_under_load_leaves_the_pool_whole(cluster: LocalCluster) -> None:
    with dsql_fast.ConnectionPool(
        **cluster.connect_kwargs(), min_size=4, max_size=4, max_lifetime=1.0, health_check_period=0.1
    ) as pool:
        pool.wait()
        seen: set[int] = set()
        failures: list[BaseException] = []

        def work() -> None:
            try:
                for _ in range(60):
                    with pool.connection() as conn:
                        row = conn.execute("select pg_backend_pid()").fetchone()
                        assert row is not None
                        seen.add(row[0])
                    time.sleep(0.02)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert len(seen) > 4
        eventually(lambda: pool.get_stats()["pool_size"] == 4 and len(pool._pool) == 4)
        assert pool.get_stats().get("requests_errors", 0) == 0


def test_the_users_hooks_class_and_kwargs(cluster: LocalCluster) -> None:
    calls: list[str] = []

    class Mine(psycopg.Connection[Any]):
        def greet(self) -> str:
            return "hello"

    def hook(name: str) -> Callable[[Any], None]:
        return lambda _conn: calls.append(name)

    with dsql_fast.ConnectionPool(
        **cluster.connect_kwargs(),
        connection_class=Mine,
        kwargs={"autocommit": True, "row_factory": dict_row},
        configure=hook("configure"),
        check=hook("check"),
        reset=hook("reset"),
        min_size=1,
    ) as pool:
        pool.wait()
        with pool.connection() as conn:
            assert isinstance(conn, Mine)
            assert conn.greet() == "hello"
            assert conn.autocommit
            assert conn.execute("select 1 as one").fetchone() == {"one": 1}
        eventually(lambda: calls == ["configure", "check", "reset"])


def test_callable_kwargs_and_conninfo(cluster: LocalCluster) -> None:
    kwargs = without_host(cluster)
    with (
        dsql_fast.ConnectionPool(
            lambda: cluster.host, kwargs=lambda: {**kwargs, "autocommit": True}, min_size=1
        ) as pool,
        pool.connection() as conn,
    ):
        assert conn.autocommit


def test_callable_kwargs_may_be_what_names_the_host(cluster: LocalCluster) -> None:
    kwargs = cluster.connect_kwargs()
    with dsql_fast.ConnectionPool(kwargs=lambda: kwargs, min_size=1) as pool, pool.connection() as conn:
        assert conn.info.host == cluster.host
    with pytest.raises(dsql_fast.ConfigError):
        dsql_fast.ConnectionPool("no-such-host", kwargs=lambda: kwargs)


def test_a_check_that_fails_discards_the_connection(cluster: LocalCluster) -> None:
    refused: list[int] = []

    def check(conn: psycopg.Connection[Any]) -> None:
        if not refused:
            refused.append(pid_of(conn))
            conn.close()
            raise psycopg.OperationalError("not this one")

    with dsql_fast.ConnectionPool(**cluster.connect_kwargs(), check=check, min_size=1) as pool:
        pool.wait()
        with pool.connection() as conn:
            assert pid_of(conn) not in refused
        assert refused


def test_bare_psycopg_pool_by_pool_kwargs(cluster: LocalCluster) -> None:
    arguments = dsql_fast.pool_kwargs(**cluster.connect_kwargs())
    assert arguments["max_lifetime"] == 3300
    assert "secret" not in repr(arguments).lower()
    with psycopg_pool.ConnectionPool(**arguments, min_size=1, open=True) as pool, pool.connection() as conn:
        assert type(conn) is dsql_fast.Connection


class TestTrouble:
    def wrong(self, cluster: LocalCluster) -> dict[str, Any]:
        return {**cluster.connect_kwargs(), "credentials": dsql_fast.Credentials("AKIAWRONG", "wrong")}

    def test_a_permanent_refusal_fails_fast_and_tells_why(self, cluster: LocalCluster) -> None:
        with dsql_fast.ConnectionPool(**self.wrong(cluster), min_size=1, timeout=3600) as pool:
            with pytest.raises(dsql_fast.PoolTimeout, match="access denied") as caught:
                pool.getconn()
            assert isinstance(caught.value, psycopg_pool.PoolTimeout)
            assert isinstance(caught.value, psycopg.OperationalError)
            assert isinstance(caught.value.__cause__, psycopg.OperationalError)
            # at once again, without a connect
            with pytest.raises(dsql_fast.PoolTimeout, match="trying again does not help"):
                pool.getconn()

    def test_waiting_for_the_pool_fails_fast(self, cluster: LocalCluster) -> None:
        pool = dsql_fast.ConnectionPool(**self.wrong(cluster), min_size=2, open=False)
        with pytest.raises(dsql_fast.PoolTimeout, match="access denied"):
            pool.open(wait=True, timeout=3600)
        assert pool.closed

    def test_no_credentials(self, cluster: LocalCluster) -> None:
        kwargs = cluster.connect_kwargs()
        del kwargs["credentials"]
        with (
            dsql_fast.ConnectionPool(**kwargs, min_size=1, timeout=3600) as pool,
            pytest.raises(dsql_fast.PoolTimeout, match="no AWS credentials") as caught,
        ):
            pool.getconn()
        assert isinstance(caught.value.__cause__, dsql_fast.CredentialsNotFound)

    def test_a_passing_failure_is_told_after_the_timeout(self, cluster: LocalCluster) -> None:
        kwargs = {**cluster.connect_kwargs(), "port": 1}
        with (
            dsql_fast.ConnectionPool(**kwargs, min_size=1, timeout=0.2) as pool,
            pytest.raises(dsql_fast.PoolTimeout, match=r"the last connect failed(?s:.*)refused"),
        ):
            pool.getconn()

    def test_all_in_use(self, cluster: LocalCluster) -> None:
        with (
            dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=1, max_size=1) as pool,
            pool.connection(),
            pytest.raises(dsql_fast.PoolTimeout, match="all connections are in use"),
        ):
            pool.getconn(timeout=0.1)

    def test_it_heals(self, fresh_cluster: Callable[..., LocalCluster]) -> None:
        cluster = fresh_cluster()
        cluster.clock.skew(7200)
        with dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=1, timeout=0.2) as pool:

            def is_told() -> bool:
                with pytest.raises(dsql_fast.PoolTimeout) as timeout:
                    pool.getconn()
                return "Signature expired" in str(timeout.value)

            eventually(is_told)  # a busy machine may take longer for the first refusal
            cluster.clock.skew(-7200)
            with pool.connection(timeout=30) as conn:
                assert conn.execute("select 1").fetchone() == (1,)

    def test_bad_settings_are_refused_by_the_constructor(self, cluster: LocalCluster) -> None:
        with pytest.raises(dsql_fast.ConfigError, match="did you mean region"):
            dsql_fast.ConnectionPool(cluster.host, regoin="us-east-1")  # type: ignore[call-arg]
        with pytest.raises(dsql_fast.ConfigError, match="health_check_period"):
            dsql_fast.ConnectionPool(**cluster.connect_kwargs(), health_check_period=0)
        with pytest.raises(dsql_fast.ConfigError, match="connection_class"):
            dsql_fast.ConnectionPool(**cluster.connect_kwargs(), connection_class=int)  # type: ignore[type-var]


def test_killed_sessions_are_replaced(fresh_cluster: Callable[..., LocalCluster]) -> None:
    cluster = fresh_cluster()
    with dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=2) as pool:
        pool.wait()
        cluster.kill_sessions()
        for _ in range(2):
            with pytest.raises(psycopg.OperationalError), pool.connection() as conn:
                conn.execute("select 1")
        with pool.connection() as conn:
            assert conn.execute("select 1").fetchone() == (1,)


# --- sweeps ---------------------------------------------------------------------------------------------------


def test_first_sweeps_come_at_any_part_of_a_period() -> None:
    drawn = [first_sweep(30.0) for _ in range(500)]
    assert all(15.0 <= seconds < 45.0 for seconds in drawn)
    for part in range(6):  # even modulo the period: none of the sixths is empty
        assert any(part * 5 <= seconds % 30.0 < part * 5 + 5 for seconds in drawn)


def test_pools_that_are_opened_together_do_not_sweep_together(cluster: LocalCluster) -> None:
    at = set()
    for _ in range(3):
        with dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=0, max_size=1) as pool:
            pool.wait()
            eventually(lambda: sweep_of(pool) is not None)
            ahead = sweep_of(pool)
            assert ahead is not None
            assert 10.0 < ahead <= 45.0
            at.add(ahead)
    assert len(at) == 3


def sweep_of(pool: dsql_fast.ConnectionPool[Any]) -> float | None:
    """Seconds until the sweep that is scheduled."""
    for task in list(pool._sched._queue):
        if isinstance(getattr(task.action, "__self__", None), _Sweep):
            return float(task.time) - time.monotonic()
    return None
