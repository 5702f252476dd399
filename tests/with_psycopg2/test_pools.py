"""The psycopg2 pools against the local cluster: as psycopg2's to their users, with ages, and without waiting locks."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import psycopg2
import psycopg2.extensions
import psycopg2.pool
import pytest

import dsql_fast
from dsql_fast import _tokens
from dsql_fast.psycopg2 import SimpleConnectionPool, ThreadedConnectionPool
from waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dsql_fast.local import LocalCluster

Connection = psycopg2.extensions.connection
POOLS = [ThreadedConnectionPool, SimpleConnectionPool]
Pool = ThreadedConnectionPool | SimpleConnectionPool
LONG_AGO = float("-inf")


@pytest.fixture
def make(cluster: LocalCluster) -> Iterator[Callable[..., ThreadedConnectionPool]]:
    made: list[ThreadedConnectionPool] = []

    def open_pool(minconn: int, maxconn: int, **more: Any) -> ThreadedConnectionPool:
        made.append(ThreadedConnectionPool(minconn, maxconn, **{**cluster.connect_kwargs(), **more}))
        return made[-1]

    yield open_pool
    for pool in made:
        if not pool.closed:
            pool.closeall()


def value(conn: Connection, statement: str) -> Any:
    with conn.cursor() as cursor:
        cursor.execute(statement)
        found = cursor.fetchone()
    assert found is not None
    return found[0]


def pid_of(conn: Connection) -> int:
    return conn.info.backend_pid


def in_thread(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Call it in a thread; what it returns or raises comes into the list."""
    came: list[Any] = []

    def run() -> None:
        try:
            came.append(call())
        except BaseException as error:
            came.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, came


# As psycopg2's.


@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize("way", ["DSN", "keywords"])
def test_gives_connections_and_takes_them_back(cluster: LocalCluster, kind: Any, way: str) -> None:
    kwargs = cluster.connect_kwargs()
    if way == "DSN":
        dsn = f"host={kwargs.pop('host')} port={kwargs.pop('port')} user=admin"
        pool = kind(2, 4, dsn, **kwargs)
    else:
        pool = kind(2, 4, **kwargs)
    theirs = {ThreadedConnectionPool: "ThreadedConnectionPool", SimpleConnectionPool: "SimpleConnectionPool"}[kind]
    assert isinstance(pool, getattr(psycopg2.pool, theirs))
    assert len(pool._pool) == 2
    conn = pool.getconn()
    assert value(conn, "select current_user") == "admin"
    pool.putconn(conn)
    assert pool.getconn() is conn  # the last one back
    pool.closeall()
    assert conn.closed


def test_factories_go_through(make: Callable[..., ThreadedConnectionPool]) -> None:
    class Mine(Connection):
        pass

    assert type(make(1, 1, connection_factory=Mine).getconn()) is Mine


def test_no_more_than_maxconn(make: Callable[..., ThreadedConnectionPool]) -> None:
    pool = make(0, 2)
    first, second = pool.getconn(), pool.getconn()
    with pytest.raises(psycopg2.pool.PoolError, match="exhausted"):
        pool.getconn()
    pool.putconn(first)
    assert pool.getconn() is first
    assert second is not first


def test_keys(make: Callable[..., ThreadedConnectionPool]) -> None:
    pool = make(1, 3)
    mine = pool.getconn("mine")
    assert pool.getconn("mine") is mine
    assert pool.getconn("yours") is not mine
    pool.putconn(mine, "mine")
    assert pool.getconn("mine") is mine
    pool.putconn(key="mine")
    assert mine in pool._pool
    # Keys that the pool makes meet nobody's.
    others = [pool.getconn() for _ in range(2)]
    with pytest.raises(psycopg2.pool.PoolError, match="exhausted"):
        pool.getconn(1)
    assert mine in others


def test_what_is_not_in_use_cannot_be_given_back(
    cluster: LocalCluster, make: Callable[..., ThreadedConnectionPool]
) -> None:
    pool = make(1, 2)
    stranger = dsql_fast.psycopg2.connect(**cluster.connect_kwargs())
    conn = pool.getconn("a key")
    given: list[tuple[Any, ...]] = [(stranger,), (None,), (conn, "another key"), (stranger, "a key")]
    for wrong in given:
        with pytest.raises(psycopg2.pool.PoolError, match="unkeyed"):
            pool.putconn(*wrong)
    pool.putconn(conn)
    with pytest.raises(psycopg2.pool.PoolError, match="unkeyed"):
        pool.putconn(conn)
    assert pool._pool == [conn]
    stranger.close()


def test_what_was_left_open_is_rolled_back(make: Callable[..., ThreadedConnectionPool]) -> None:
    pool = make(1, 1)
    conn = pool.getconn()
    value(conn, "select 1")
    pool.putconn(conn)
    assert conn.info.transaction_status == psycopg2.extensions.TRANSACTION_STATUS_IDLE
    assert pool.getconn() is conn
    with pytest.raises(psycopg2.errors.UndefinedTable):
        value(conn, "select nothing from nowhere")
    pool.putconn(conn)
    assert pool.getconn() is conn


@pytest.mark.parametrize("left", ["closed", "BEGIN of its own", "two-phase", "not wanted"])
def test_what_cannot_be_put_in_order_is_closed(make: Callable[..., ThreadedConnectionPool], left: str) -> None:
    pool = make(1, 1)
    conn = pool.getconn()
    if left == "closed":
        conn.close()
    elif left == "BEGIN of its own":
        conn.autocommit = True
        with conn.cursor() as cursor:
            cursor.execute("BEGIN")
    elif left == "two-phase":
        conn.tpc_begin("x")
    pool.putconn(conn, close=left == "not wanted")
    assert conn.closed
    assert value(pool.getconn(), "select 1") == 1
    assert len(pool._ages) == 1


def test_closing_closes_all_and_is_told(make: Callable[..., ThreadedConnectionPool]) -> None:
    pool = make(2, 3)
    taken = pool.getconn()
    idle = list(pool._pool)
    pool.closeall()
    assert taken.closed
    assert all(conn.closed for conn in idle)
    for call in (pool.getconn, pool.closeall, lambda: pool.putconn(taken)):
        with pytest.raises(psycopg2.pool.PoolError, match="pool is closed"):
            call()


def test_a_block_commits_or_rolls_back(make: Callable[..., ThreadedConnectionPool]) -> None:
    pool = make(1, 1)
    with pool.connection() as conn:
        value(conn, "select 1")
    assert conn.info.transaction_status == psycopg2.extensions.TRANSACTION_STATUS_IDLE
    with pool.connection("a key") as conn, conn.cursor() as cursor:
        cursor.execute("create table if not exists block_of_psycopg2 (id int primary key)")
    with pool.connection() as conn, conn.cursor() as cursor:
        cursor.execute("insert into block_of_psycopg2 values (1)")

    def fail() -> None:
        with pool.connection() as conn, conn.cursor() as cursor:
            cursor.execute("insert into block_of_psycopg2 values (2)")
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    with pool.connection() as conn:
        assert value(conn, "select count(*) from block_of_psycopg2") == 1
        conn.close()  # is no failure
    with pool.connection() as conn, conn.cursor() as cursor:
        cursor.execute("drop table block_of_psycopg2")


# Nobody waits for another one's token, or connect.


class Slow:
    """A source of keys that can be made to wait."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._keys = cluster.credentials
        self.go_on = threading.Event()
        self.go_on.set()
        self.asked = threading.Event()

    def __call__(self) -> dsql_fast.Credentials:
        self.asked.set()
        assert self.go_on.wait(60)
        return dsql_fast.Credentials(self._keys.access_key, self._keys.secret_key, self._keys.token)

    def hold(self) -> None:
        """From now on wait; and a token is needed."""
        self.go_on.clear()
        self.asked.clear()
        for source in _tokens._shared.values():
            source.invalidate()


@pytest.fixture
def slow(cluster: LocalCluster) -> Iterator[Slow]:
    made = Slow(cluster)
    yield made
    made.go_on.set()


def test_a_source_of_credentials_that_blocks_keeps_nobody_from_the_pool(
    make: Callable[..., ThreadedConnectionPool], slow: Slow
) -> None:
    pool = make(2, 4, credentials=slow)
    first, second = pool.getconn(), pool.getconn()
    slow.hold()
    thread, came = in_thread(pool.getconn)
    assert slow.asked.wait(60)
    # It waits within `getconn`; nobody else does.
    pool.putconn(first)
    assert pool.getconn() is first
    pool.putconn(second, close=True)
    assert not came
    slow.go_on.set()
    thread.join()
    assert value(came[0], "select 1") == 1


def test_one_being_opened_has_its_place(make: Callable[..., ThreadedConnectionPool], slow: Slow) -> None:
    pool = make(0, 1, credentials=slow)
    slow.hold()
    thread, _ = in_thread(pool.getconn)
    assert slow.asked.wait(60)
    with pytest.raises(psycopg2.pool.PoolError, match="exhausted"):
        pool.getconn()
    slow.go_on.set()
    thread.join()


def test_who_asks_with_the_key_of_one_being_opened_gets_that(
    make: Callable[..., ThreadedConnectionPool], slow: Slow
) -> None:
    pool = make(0, 3, credentials=slow)
    slow.hold()
    threads = [in_thread(lambda: pool.getconn("shared")) for _ in range(3)]
    assert slow.asked.wait(60)
    slow.go_on.set()
    for thread, _ in threads:
        thread.join()
    assert len({id(came[0]) for _, came in threads}) == 1
    assert isinstance(threads[0][1][0], Connection)
    assert len(pool._used) == 1


def test_a_place_is_free_again_when_the_connect_fails(make: Callable[..., ThreadedConnectionPool]) -> None:
    pool = make(0, 1, user="nobody_knows")
    for _ in range(2):
        with pytest.raises(psycopg2.OperationalError, match="access denied"):
            pool.getconn("key")
    assert not pool._used


def test_a_pool_closed_while_one_is_being_opened(make: Callable[..., ThreadedConnectionPool], slow: Slow) -> None:
    opened: list[Connection] = []

    class Noted(Connection):
        def __init__(self, dsn: str, **more: Any) -> None:
            super().__init__(dsn, **more)
            opened.append(self)

    pool = make(0, 2, credentials=slow, connection_factory=Noted)
    slow.hold()
    thread, came = in_thread(pool.getconn)
    assert slow.asked.wait(60)
    pool.closeall()
    slow.go_on.set()
    thread.join()
    assert isinstance(came[0], psycopg2.pool.PoolError)
    assert [conn.closed for conn in opened] == [1]


# Ages.


def test_defaults_stay_below_the_sessions_end(make: Callable[..., ThreadedConnectionPool]) -> None:
    pool = make(4, 4)
    assert (pool.max_lifetime, pool.max_idle) == (3300, 600)
    ages = sorted(pool._ages.values(), key=lambda age: age.expire_at)
    left = [age.expire_at - age.idle_since for age in ages]
    assert 0.75 * 3300 - 60 < left[0] < left[-1] <= 3300


def test_one_past_its_time_is_never_handed_out(make: Callable[..., ThreadedConnectionPool]) -> None:
    pool = make(3, 3)
    old = list(pool._pool)
    for conn in old:
        pool._ages[id(conn)].expire_at = LONG_AGO
    conn = pool.getconn()
    assert conn not in old
    assert value(conn, "select 1") == 1
    assert all(each.closed for each in old)
    assert dsql_fast.counters()["connection_discarded"] == 3
    # Nor kept, when it comes back.
    pool._ages[id(conn)].expire_at = LONG_AGO
    pool.putconn(conn)
    assert conn.closed
    assert pool._pool == []
    assert pool._ages == {}


def test_those_above_minconn_are_kept_while_they_are_needed(make: Callable[..., ThreadedConnectionPool]) -> None:
    pool = make(1, 3)
    taken = [pool.getconn() for _ in range(3)]
    for conn in taken:
        pool.putconn(conn)
    assert pool._pool == taken
    for conn in taken:
        pool._ages[id(conn)].idle_since = LONG_AGO
    last = pool.getconn()
    assert last is taken[2] or last is taken[0]
    assert [conn.closed for conn in taken].count(0) == 1
    pool.putconn(last)
    assert pool._pool == [last]


@pytest.mark.parametrize("name", ["max_lifetime", "max_idle"])
@pytest.mark.parametrize("wrong", [0, -1, "3300", True, None])
def test_ages_are_numbers(make: Callable[..., ThreadedConnectionPool], name: str, wrong: Any) -> None:
    with pytest.raises(dsql_fast.ConfigError, match=name):
        make(1, 1, **{name: wrong})


def test_sessions_that_the_hour_ended_are_discarded(
    fresh_cluster: Callable[..., LocalCluster], make: Callable[..., ThreadedConnectionPool]
) -> None:
    cluster = fresh_cluster()
    pool = make(2, 2, **cluster.connect_kwargs())
    old = pool.getconn()
    cluster.clock.advance(3600)
    eventually(lambda: cluster.stats()["ended"] == 2)
    with pytest.raises(psycopg2.OperationalError):
        value(old, "select 1")
    pool.putconn(old)
    assert old.closed
    # With a pool's own clock these would have gone before.
    for age in pool._ages.values():
        age.expire_at = LONG_AGO
    assert value(pool.getconn(), "select 1") == 1


def test_killed_sessions_are_discarded_when_they_come_back(
    fresh_cluster: Callable[..., LocalCluster], make: Callable[..., ThreadedConnectionPool]
) -> None:
    cluster = fresh_cluster()
    pool = make(1, 1, **cluster.connect_kwargs())
    conn = pool.getconn()
    value(conn, "select 1")
    cluster.kill_sessions()
    pool.putconn(conn)  # its ROLLBACK fails, and that is no failure of the caller's
    assert conn.closed
    cluster.kill_sessions()
    with pool.connection() as conn:
        assert value(conn, "select 1") == 1


def test_a_crowd_leaves_the_pool_whole(
    fresh_cluster: Callable[..., LocalCluster], make: Callable[..., ThreadedConnectionPool]
) -> None:
    cluster = fresh_cluster(rate=None)
    pool = make(2, 6, **cluster.connect_kwargs())
    failures: list[BaseException] = []
    seen: set[int] = set()

    def work(number: int) -> None:
        try:
            for turn in range(15):
                conn = pool.getconn()
                seen.add(pid_of(conn))
                assert value(conn, "select 1") == 1
                if (turn + number) % 4 == 0:
                    pool._ages[id(conn)].expire_at = LONG_AGO
                elif (turn + number) % 7 == 0:
                    conn.close()
                pool.putconn(conn)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(seen) > 6
    assert not pool._used
    assert not pool._rused
    assert {id(conn) for conn in pool._pool} == set(pool._ages)
    eventually(lambda: cluster.stats()["open"] == len(pool._pool) <= 6)


# Made, or not.


def test_bad_settings_are_refused_by_the_constructor(cluster: LocalCluster) -> None:
    for kwargs in ({"regoin": "us-east-1"}, {"async_": True}, {"password": "x"}):
        with pytest.raises(dsql_fast.ConfigError):
            ThreadedConnectionPool(0, 1, cluster.host, **kwargs)
    with pytest.raises(dsql_fast.CredentialsError):
        ThreadedConnectionPool(1, 1, cluster.host)


def test_those_that_were_opened_are_closed_when_the_next_one_fails(cluster: LocalCluster) -> None:
    opened: list[Connection] = []

    class TwoOnly(Connection):
        def __init__(self, dsn: str, **more: Any) -> None:
            if len(opened) == 2:
                raise LookupError("no third one")
            super().__init__(dsn, **more)
            opened.append(self)

    with pytest.raises(LookupError, match="no third one"):
        ThreadedConnectionPool(3, 3, connection_factory=TwoOnly, **cluster.connect_kwargs())
    assert [conn.closed for conn in opened] == [1, 1]


def test_the_pool_holds_no_key_that_it_would_show(make: Callable[..., ThreadedConnectionPool]) -> None:
    pool = make(1, 1)
    assert "secret" not in repr(vars(pool)).lower()
    assert "X-Amz" not in repr(vars(pool))
