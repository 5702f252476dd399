"""The private parts of asyncpg that ours touch: there, and of the form that they were written for.

asyncpg is pinned to one minor version; a patch that changes one of these fails here, by name.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import asyncpg
import asyncpg.pool
import pytest

from dsql_fast.asyncpg import Connection, Pool, connect, create_pool
from retry.scripted import ScriptedServer
from retry.shells import asyncpg_arguments

# What the pool overrides, or calls, with the parameters.
METHODS = {
    "_initialize": ["self"],
    "_acquire": ["self", "timeout"],
    "_get_new_connection": ["self"],
    "_schedule_min_size_maintenance": ["self"],
    "release": ["self", "connection", "timeout"],
    "close": ["self"],
    "terminate": ["self"],
    "expire_connections": ["self"],
    "set_connect_args": ["self", "dsn", "connect_kwargs"],
}


@pytest.mark.parametrize("name", METHODS)
def test_method_of_the_pool(name: str) -> None:
    theirs, ours = getattr(asyncpg.Pool, name), getattr(Pool, name)
    assert list(inspect.signature(theirs).parameters) == METHODS[name]
    assert list(inspect.signature(ours).parameters) == METHODS[name]
    assert inspect.iscoroutinefunction(theirs) == inspect.iscoroutinefunction(ours)


def test_nothing_private_is_overridden_unawares() -> None:
    shared = {name for name in vars(Pool) if hasattr(asyncpg.Pool, name) and not name.startswith("__")}
    assert shared == set(METHODS) - {"_schedule_min_size_maintenance"}

    async def attributes() -> set[str]:
        pool = Pool(
            None,
            max_lifetime=1,
            health_check_period=1,
            connect=connect,
            reset=None,
            connection_class=Connection,
            pool={
                "min_size": 0,
                "max_size": 1,
                "max_queries": 1,
                "max_inactive_connection_lifetime": 1,
                "loop": None,
                "record_class": asyncpg.Record,
            },
            connection={},
        )
        return set(vars(pool))

    assert not asyncio.run(attributes()) & set(asyncpg.Pool.__slots__)


def test_every_argument_of_create_pool_is_there_with_its_default() -> None:
    ours = inspect.signature(create_pool).parameters
    for name, parameter in inspect.signature(asyncpg.create_pool).parameters.items():
        assert name in ours
        if name not in {"connection_class", "max_inactive_connection_lifetime"}:
            assert ours[name].default == parameter.default, name


def test_every_argument_of_connect_is_there_refused_or_a_setting() -> None:
    ours = inspect.signature(connect).parameters
    refused = {"password", "passfile", "service", "servicefile", "target_session_attrs", "krbsrvname", "gsslib"}
    settings = {"host", "port", "user", "database"}
    for name, parameter in inspect.signature(asyncpg.connect).parameters.items():
        if name in refused | settings:
            assert name not in ours
        elif name != "connection_class":
            assert ours[name].default == parameter.default, name


def test_a_holder_and_its_connection() -> None:
    assert list(inspect.signature(asyncpg.pool.PoolConnectionHolder.connect).parameters) == ["self"]
    assert {"_con", "_generation", "_proxy"} <= set(asyncpg.pool.PoolConnectionHolder.__slots__)
    assert {"_con", "_holder"} == set(asyncpg.pool.PoolConnectionProxy.__slots__)
    assert {"_top_xact", "_protocol", "_pool_holder", "__weakref__"} <= set(asyncpg.Connection.__slots__)
    holder = asyncpg.pool.PoolConnectionHolder
    assert list(inspect.signature(holder._maybe_cancel_inactive_callback).parameters) == ["self"]


def test_the_pools_queue_is_a_list_of_holders(aws_keys: object) -> None:
    async def main(server: ScriptedServer) -> None:
        async with asyncpg.create_pool(**asyncpg_arguments(server.conninfo), min_size=1, max_size=2) as pool:
            assert isinstance(pool._queue._queue, list)
            assert set(pool._queue._queue) == set(pool._holders)
            async with pool.acquire() as conn:
                assert conn._holder not in pool._queue._queue
                assert conn._con._pool_holder() is conn._holder
                assert conn._holder._generation == pool._generation == 0

    with ScriptedServer() as server:
        asyncio.run(main(server))


def test_a_release_closes_what_is_of_another_generation(aws_keys: object) -> None:
    async def main(server: ScriptedServer) -> None:
        async with asyncpg.create_pool(**asyncpg_arguments(server.conninfo), min_size=0, max_size=1) as pool:
            async with pool.acquire() as conn:
                raw = conn._con
                conn._holder._generation = None
            assert raw.is_closed()

    with ScriptedServer() as server:
        asyncio.run(main(server))


def test_a_connection_takes_another_class_and_tells_its_state() -> None:
    class Other(asyncpg.Connection):  # type: ignore[misc]
        __slots__ = ()

    async def main(server: ScriptedServer) -> None:
        conn = await asyncpg.connect(**asyncpg_arguments(server.conninfo))
        conn.__class__ = Other
        assert conn._top_xact is None
        assert not conn._protocol._is_cancelling()
        assert await conn.execute("BEGIN") == "BEGIN"
        assert await conn.execute("COMMIT") == "ROLLBACK"
        await conn.close()

    with ScriptedServer(COMMIT=["ROLLBACK"]) as server:
        asyncio.run(main(server))


def test_the_blocks_have_asyncpgs_arguments_and_methods() -> None:
    from dsql_fast.asyncpg._transaction import JoinedTransaction, Owner, _owned

    theirs: Any = asyncpg.transaction.Transaction
    public = {name for name in vars(theirs) if not name.startswith("_")} | {"__aenter__", "__aexit__"}
    assert public == {"start", "commit", "rollback", "__aenter__", "__aexit__"}
    assert all(hasattr(JoinedTransaction, name) for name in public)
    owned = _owned(asyncpg.Connection)
    for name in ("transaction", "close"):
        assert list(inspect.signature(getattr(owned, name)).parameters) == list(
            inspect.signature(getattr(asyncpg.Connection, name)).parameters
        )
    assert (Owner._managed, Owner._isolation) == (True, "repeatable_read")
