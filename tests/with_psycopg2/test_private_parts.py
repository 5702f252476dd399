"""What is taken over from psycopg2: its pools' private parts, and what it does in a two-phase transaction.

psycopg2 is pinned to one minor version; a release that changes one of these fails here, by name.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import psycopg2
import psycopg2.extensions
import psycopg2.pool
import pytest

from dsql_fast.psycopg2 import SimpleConnectionPool, ThreadedConnectionPool
from dsql_fast.psycopg2._pool import _Pool
from retry.scripted import DATA, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterator

POOLS = [
    pytest.param(psycopg2.pool.ThreadedConnectionPool, ThreadedConnectionPool, id="threaded"),
    pytest.param(psycopg2.pool.SimpleConnectionPool, SimpleConnectionPool, id="simple"),
]
METHODS = {
    "getconn": ["self", "key"],
    "putconn": ["self", "conn", "key", "close"],
    "closeall": ["self"],
}


@pytest.mark.parametrize(("theirs", "ours"), POOLS)
@pytest.mark.parametrize("name", METHODS)
def test_method(theirs: type[Any], ours: type[Any], name: str) -> None:
    assert list(inspect.signature(getattr(theirs, name)).parameters) == METHODS[name]
    assert list(inspect.signature(getattr(ours, name)).parameters) == METHODS[name]


@pytest.mark.parametrize(("theirs", "ours"), POOLS)
def test_constructor_and_attributes(theirs: type[Any], ours: type[Any]) -> None:
    assert list(inspect.signature(theirs.__init__).parameters) == ["self", "minconn", "maxconn", "args", "kwargs"]
    assert list(inspect.signature(ours.__init__).parameters) == [
        *("self", "minconn", "maxconn", "args", "max_lifetime", "max_idle", "kwargs")
    ]
    # None are opened: so the constructor can be called with 0.
    pool = theirs(0, "3", "host=127.0.0.1", user="u")
    assert (pool.minconn, pool.maxconn, pool.closed) == (0, 3, False)
    assert (pool._args, pool._kwargs) == (("host=127.0.0.1",), {"user": "u"})
    assert (pool._pool, pool._used, pool._rused) == ([], {}, {})


@pytest.mark.parametrize(("theirs", "ours"), POOLS)
def test_nothing_private_is_overridden_unawares(theirs: type[Any], ours: type[Any]) -> None:
    new = {*vars(ours), *vars(_Pool)}
    shared = {name for name in new if hasattr(theirs, name) and not name.startswith("__")}
    assert shared == set(METHODS)
    made = {"_lock", "_pool", "_used", "_rused"}
    assert set(vars(theirs(0, 1))) <= made | {"minconn", "maxconn", "closed", "_args", "_kwargs", "_keys"}


# In a two-phase transaction.


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def conn(server: ScriptedServer) -> Iterator[psycopg2.extensions.connection]:
    made = psycopg2.connect(server.conninfo)
    yield made
    made.close()


def begin(conn: psycopg2.extensions.connection) -> None:
    conn.tpc_begin(conn.xid(0, "dsql_fast", ""))


def test_begin_and_commit_send_that_and_nothing_else(
    server: ScriptedServer, conn: psycopg2.extensions.connection
) -> None:
    begin(conn)
    assert conn.status == psycopg2.extensions.STATUS_BEGIN
    conn.tpc_commit()
    begin(conn)
    conn.tpc_rollback()
    conn.set_session(readonly=True, isolation_level="REPEATABLE READ")
    begin(conn)
    conn.tpc_rollback()
    assert server.queries == [
        *("BEGIN", "COMMIT", "BEGIN", "ROLLBACK"),
        *("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "ROLLBACK"),
    ]


@pytest.mark.parametrize(
    "call",
    [
        lambda conn: conn.commit(),
        lambda conn: conn.rollback(),
        lambda conn: conn.__exit__(None, None, None),
        lambda conn: conn.set_session(readonly=True),
        lambda conn: setattr(conn, "autocommit", True),
        lambda conn: setattr(conn, "isolation_level", 3),
    ],
    ids=["commit", "rollback", "with", "set_session", "autocommit", "isolation_level"],
)
def test_what_would_end_it_is_refused_and_sends_nothing(
    call: Any, server: ScriptedServer, conn: psycopg2.extensions.connection
) -> None:
    begin(conn)
    with pytest.raises(psycopg2.ProgrammingError, match=r"two-phase transaction|inside a transaction"):
        call(conn)
    assert server.queries == ["BEGIN"]


def test_after_a_refused_commit_an_empty_one_puts_things_right() -> None:
    with ScriptedServer(COMMIT=[DATA]) as server:
        conn = psycopg2.connect(server.conninfo)
        begin(conn)
        with pytest.raises(psycopg2.errors.SerializationFailure):
            conn.tpc_commit()
        assert conn.status == psycopg2.extensions.STATUS_READY
        # Once this is mended, `Transaction._end` need not do it.
        with pytest.raises(psycopg2.ProgrammingError, match="two-phase transaction"):
            conn.rollback()
        begin(conn)
        conn.tpc_rollback()
        conn.rollback()
        assert server.queries == ["BEGIN", "COMMIT", "BEGIN", "ROLLBACK"]
        conn.close()


def test_autocommit_comes_and_goes_without_a_word(
    server: ScriptedServer, conn: psycopg2.extensions.connection
) -> None:
    conn.autocommit = True
    conn.autocommit = False
    assert server.queries == []
    # But not with settings of the session, which DSQL does not let be set.
    conn.readonly = True
    conn.autocommit = True
    conn.autocommit = False
    assert server.queries == ["SET default_transaction_read_only TO DEFAULT"]
