"""`dsql_fast.psycopg2.connect` against the local cluster. Who sees a token is `tests/safety`'s, where it is a door."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import psycopg2
import psycopg2.extensions
import psycopg2.extras
import pytest

import dsql_fast
import dsql_fast.psycopg2
from connect.test_connect import put_expired_token, source_of
from dsql_fast.psycopg2 import _driver, connect
from tokens.programs import run

if TYPE_CHECKING:
    from pathlib import Path

    from dsql_fast.local import LocalCluster


def row(conn: psycopg2.extensions.connection, statement: str) -> Any:
    with conn.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()


def test_connects_with_verified_direct_tls_as_admin(cluster: LocalCluster) -> None:
    conn = connect(**cluster.connect_kwargs())
    assert type(conn) is psycopg2.extensions.connection
    assert row(conn, "select current_user, current_database()") == ("admin", "postgres")
    assert conn.info.ssl_in_use
    used = conn.get_dsn_parameters()
    assert used["sslmode"] == "verify-full"
    assert used["sslnegotiation"] == "direct"
    assert used["gssencmode"] == "disable"
    assert used["require_auth"] == "password"
    conn.close()


def test_connects_with_classic_negotiation_when_asked(cluster: LocalCluster) -> None:
    conn = connect(**cluster.connect_kwargs(), sslnegotiation="postgres")
    assert conn.info.ssl_in_use
    conn.close()


@pytest.mark.parametrize("form", ["host", "cluster id", "URI", "dsql URI", "pairs", "database"])
def test_every_way_to_say_where(cluster: LocalCluster, form: str) -> None:
    kwargs = cluster.connect_kwargs()
    host = kwargs.pop("host")
    port = kwargs.pop("port")
    dsn, more = {
        "host": (host, {"port": port}),
        "cluster id": (host.partition(".")[0], {"port": str(port)}),
        "URI": (f"postgresql://admin@{host}:{port}/postgres?application_name=a%20b", {}),
        "dsql URI": (f"dsql://{host}:{port}/", {"application_name": "a b"}),
        "pairs": (f"host={host} port={port} application_name='a b'", {}),
        "database": (None, {"host": host, "port": port, "database": "postgres", "dbname": None}),
    }[form]
    conn = connect(dsn, **{**kwargs, **more})
    assert row(conn, "select current_user") == ("admin",)
    if form in {"URI", "dsql URI", "pairs"}:
        assert row(conn, "show application_name") == ("a b",)
    conn.close()


def test_settings_of_the_environment(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in cluster.environment().items():
        monkeypatch.setenv(name, value)
    conn = connect(cluster.host)
    assert row(conn, "select current_user") == ("admin",)
    conn.close()


def test_values_that_need_quoting_arrive_as_they_are(cluster: LocalCluster) -> None:
    name = r"it's a \ 'name' with = and é"
    conn = connect(**cluster.connect_kwargs(), application_name=name.replace("é", "e"))
    assert row(conn, "show application_name") == (name.replace("é", "e"),)
    conn.close()


def test_what_psycopg2_takes_still_works(cluster: LocalCluster) -> None:
    class Mine(psycopg2.extensions.connection):
        pass

    conn = connect(None, Mine, psycopg2.extras.RealDictCursor, **cluster.connect_kwargs())
    assert type(conn) is Mine
    assert row(conn, "select 1 as one") == {"one": 1}
    conn.close()
    logging_one = connect(
        connection_factory=psycopg2.extras.LoggingConnection, **cluster.connect_kwargs(), connect_timeout=20
    )
    logging_one.initialize(logging.getLogger("a test's own"))
    assert row(logging_one, "select 1") == (1,)
    logging_one.close()


def test_the_token_is_not_shown(cluster: LocalCluster) -> None:
    conn = connect(**cluster.connect_kwargs())
    shown = f"{conn!r} {conn.dsn} {conn.get_dsn_parameters()} {conn.info.dsn_parameters}"
    assert "X-Amz" not in shown
    assert "password=xxx" in conn.dsn
    conn.close()


@pytest.mark.parametrize("word", ["async", "async_"])
def test_asynchronous_connections_are_refused(cluster: LocalCluster, word: str) -> None:
    kwargs = cluster.connect_kwargs()
    with pytest.raises(dsql_fast.ConfigError, match="connect_async"):
        connect(**{**kwargs, word: 1})
    connect(**{**kwargs, word: 0}).close()


def test_a_wait_callback_is_waited_in(cluster: LocalCluster) -> None:
    waited: list[object] = []

    def wait(conn: psycopg2.extensions.connection) -> None:
        waited.append(conn)
        psycopg2.extras.wait_select(conn)

    psycopg2.extensions.set_wait_callback(wait)
    try:
        conn = connect(**cluster.connect_kwargs())
        during_connect = len(waited)
        assert during_connect
        assert dsql_fast.run_transaction(conn, lambda conn: row(conn, "select 1")) == (1,)
        assert len(waited) > during_connect
        conn.close()
        wrong = {**cluster.connect_kwargs(), "credentials": dsql_fast.Credentials("AKIAWRONG", "wrong")}
        with pytest.raises(psycopg2.OperationalError, match="access denied"):
            connect(**wrong)
    finally:
        psycopg2.extensions.set_wait_callback(None)


def test_threads_share_one_token(cluster: LocalCluster) -> None:
    kwargs = cluster.connect_kwargs()
    source = source_of(kwargs)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(5):
                connect(**kwargs).close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert source.stats().issued == 1


def test_a_token_that_the_cluster_calls_expired_is_dropped_and_signed_anew(cluster: LocalCluster) -> None:
    kwargs = cluster.connect_kwargs()
    source = source_of(kwargs)
    expired = put_expired_token(source, kwargs)
    connect(**kwargs).close()
    assert source.token() != expired
    assert dsql_fast.counters()["token_dropped"] == 1
    # Once in 30 seconds: a clock that is wrong must not flush without end.
    put_expired_token(source, kwargs)
    with pytest.raises(psycopg2.OperationalError, match="Signature expired"):
        connect(**kwargs)
    source.invalidate()


def test_a_failed_connect_is_the_drivers_exception_and_ours(cluster: LocalCluster) -> None:
    wrong = {**cluster.connect_kwargs(), "credentials": dsql_fast.Credentials("AKIAWRONG", "wrong")}
    with pytest.raises(psycopg2.OperationalError, match="access denied") as caught:
        connect(**wrong)
    assert isinstance(caught.value, dsql_fast.AccessDenied)  # and what it tells is `tests/errors`' subject
    assert caught.value.host == cluster.host
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def test_what_a_factory_raises_is_raised(cluster: LocalCluster) -> None:
    def refuse(_: str) -> psycopg2.extensions.connection:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        connect(connection_factory=refuse, **cluster.connect_kwargs())


# The driver that is there.


def test_a_libpq_that_is_too_old_is_told(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_driver, "LIBPQ_VERSION", 130012)
    with pytest.raises(dsql_fast.DriverError, match=r"libpq 13, .*dsql-fast\[psycopg2\]"):
        connect(**cluster.connect_kwargs())


PROGRAMS = {
    "psycopg2 is missing": """
import sys
sys.modules["psycopg2"] = None
import dsql_fast
try:
    import dsql_fast.psycopg2
except dsql_fast.DriverError as error:
    assert "pip install 'dsql-fast[psycopg2]'" in str(error)
    assert error.__cause__ is None
else:
    raise AssertionError
""",
    "nothing of another driver is loaded": """
import sys
import dsql_fast.psycopg2
try:
    dsql_fast.psycopg2.run_transaction("neither pool nor connection", print)
except dsql_fast.ConfigError as error:
    assert "not str" in str(error)
assert "psycopg" not in sys.modules
""",
    "psycopg2 is not loaded by another driver": """
import sys
import dsql_fast
dsql_fast.connect
try:
    dsql_fast.run_transaction("neither pool nor connection", print)
except dsql_fast.ConfigError:
    pass
assert "psycopg2" not in sys.modules
""",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_loaded(name: str) -> None:
    subprocess.run([sys.executable, "-c", PROGRAMS[name]], check=True, timeout=60)


FORK = """
import psycopg2.extensions
import dsql_fast.psycopg2

def pid_of(conn):
    with conn.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        return cursor.fetchone()[0]

host = os.environ["CLUSTER_ENDPOINT"]
pool = dsql_fast.psycopg2.ThreadedConnectionPool(2, 4, host)
lone = dsql_fast.psycopg2.connect(host)
taken = pool.getconn()
idle = {pid_of(conn) for conn in pool._pool}
for conn in pool._pool:
    conn.rollback()

def work():
    own = pool.getconn()
    assert pid_of(own) not in {*idle, lone.info.backend_pid, taken.info.backend_pid}
    pool.putconn(own)
    try:
        pool.putconn(taken)
    except psycopg2.pool.PoolError:
        pass
    else:
        raise AssertionError
    pool.closeall()
    dsql_fast.psycopg2.connect(host).close()

with pool._lock:  # as another thread may hold it
    assert in_child(work) == 0
assert pid_of(lone) == lone.info.backend_pid
assert pid_of(taken) == taken.info.backend_pid
pool.putconn(taken)
assert {pid_of(conn) for conn in (pool.getconn(), pool.getconn())} == {*idle, taken.info.backend_pid}
pool.closeall()
"""


def test_a_forked_process_has_connections_of_its_own_and_leaves_its_parents_alone(
    cluster: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in cluster.environment().items():
        monkeypatch.setenv(name, value)
    run(FORK, tmp_path)
