"""The private parts of psycopg_pool that our pools touch: there, and of the form that they were written for.

psycopg_pool is pinned to one minor version; a patch that changes one of these fails here, by name.
"""

from __future__ import annotations

import inspect
from collections import deque
from typing import Any

import psycopg_pool
import psycopg_pool.pool
import psycopg_pool.pool_async
import pytest

from dsql_fast.psycopg import AsyncConnectionPool, AsyncNullConnectionPool, ConnectionPool, NullConnectionPool
from dsql_fast.psycopg._age import AgingPool
from dsql_fast.psycopg._pool import TokenPool
from dsql_fast.psycopg._pool_async import AsyncTokenPool
from dsql_fast.psycopg._refresh import RefreshingPool

POOLS = [
    pytest.param(psycopg_pool.ConnectionPool, ConnectionPool, id="sync"),
    pytest.param(psycopg_pool.AsyncConnectionPool, AsyncConnectionPool, id="async"),
    pytest.param(psycopg_pool.NullConnectionPool, NullConnectionPool, id="null"),
    pytest.param(psycopg_pool.AsyncNullConnectionPool, AsyncNullConnectionPool, id="async null"),
]

# What ours override, or call, with the parameters.
METHODS = {
    "_connect": ["self", "timeout"],
    "_add_connection": ["self", "attempt", "growing"],
    "_getconn_unchecked": ["self", "timeout"],
    "_get_ready_connection": ["self", "timeout"],
    "_return_connection": ["self", "conn", "from_getconn"],
    "_start_initial_tasks": ["self"],
    "_set_connection_expiry_date": ["self", "conn"],
    "_add_to_pool": ["self", "conn"],
    "_close_connection": ["self", "conn"],
    "run_task": ["self", "task"],
    "schedule_task": ["self", "task", "delay"],
    "connection": ["self", "timeout"],
    "getconn": ["self", "timeout"],
    "wait": ["self", "timeout"],
    "close": ["self", "timeout"],
    "drain": ["self"],
    "_check_open_getconn": ["self"],
}
# Attributes of theirs that ours read or set.
ATTRIBUTES = {
    "name",
    "max_lifetime",
    "_pool",
    "_stats",
    "_RETURNS_BAD",
    "_USAGE_MS",
    "_CONNECTIONS_NUM",
    "_drained_at",
    "_reconnect_failed",
}
OURS = (AgingPool, RefreshingPool, TokenPool, AsyncTokenPool)


@pytest.mark.parametrize(("theirs", "ours"), POOLS)
@pytest.mark.parametrize("name", METHODS)
def test_method(theirs: type[Any], ours: type[Any], name: str) -> None:
    assert list(inspect.signature(getattr(theirs, name)).parameters) == METHODS[name]
    assert inspect.iscoroutinefunction(getattr(theirs, name)) == gives_a_coroutine(getattr(ours, name))


def gives_a_coroutine(method: Any) -> bool:
    # Of some, ours hand on psycopg_pool's.
    returned = inspect.signature(method).return_annotation
    return inspect.iscoroutinefunction(method) or str(returned).startswith("Coroutine[")


@pytest.mark.parametrize(("theirs", "ours"), POOLS)
def test_nothing_private_is_overridden_unawares(theirs: type[Any], ours: type[Any]) -> None:
    new = {name for cls in ours.__mro__ if cls in {ours, *OURS} for name in vars(cls)}
    shared = {name for name in new if hasattr(theirs, name) and not name.startswith("__")}
    assert shared <= {*METHODS, *ATTRIBUTES}


@pytest.mark.parametrize("module", [psycopg_pool.pool, psycopg_pool.pool_async])
def test_tasks(module: Any) -> None:
    assert list(inspect.signature(module.MaintenanceTask).parameters) == ["pool"]
    assert list(inspect.signature(module.AddConnection).parameters) == ["pool", "attempt", "growing"]
    assert list(inspect.signature(module.Schedule).parameters) == ["pool", "task", "delay"]
    assert list(inspect.signature(module.WaitingClient.fail).parameters) == ["self", "error"]


def test_attributes() -> None:
    pool = psycopg_pool.ConnectionPool("host=127.0.0.1", open=False)
    assert isinstance(pool._pool, deque)
    assert isinstance(pool._waiting, deque)
    with pool._lock:
        pass
    assert pool._pool_full_event is None
    assert pool._drained_at == 0.0
    assert pool._reconnect_failed is None
    assert pool._RETURNS_BAD == "returns_bad"
    assert pool._CONNECTIONS_NUM == "connections_num"


def test_every_argument_of_psycopg_pools_constructor_is_there_with_its_default() -> None:
    ours_differ = {"connection_class", "open", "max_lifetime", "max_idle"}
    for theirs, ours in (
        (psycopg_pool.ConnectionPool, ConnectionPool),
        (psycopg_pool.AsyncConnectionPool, AsyncConnectionPool),
        (psycopg_pool.NullConnectionPool, NullConnectionPool),
        (psycopg_pool.AsyncNullConnectionPool, AsyncNullConnectionPool),
    ):
        parameters = inspect.signature(ours).parameters
        for name, parameter in inspect.signature(theirs).parameters.items():
            assert name in parameters
            if name not in ours_differ:
                assert parameters[name].default == parameter.default, name


def test_a_drain_is_what_keeps_a_connection_from_coming_back() -> None:
    """`refresh` sets the same time."""
    pool = psycopg_pool.ConnectionPool("host=127.0.0.1", open=False)
    before = pool._drained_at
    pool.drain()
    assert pool._drained_at > before
    assert "_drained_at" in inspect.getsource(psycopg_pool.ConnectionPool._return_connection)
    assert "_drained_at" in inspect.getsource(psycopg_pool.AsyncConnectionPool._return_connection)
