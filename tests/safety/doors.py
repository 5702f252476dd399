"""The ways to connect, as functions with one shape, and what must not come through them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import psycopg2

import dsql_fast
import dsql_fast.asyncpg
import dsql_fast.psycopg2
from dsql_fast import _tokens
from waiting import sockets_closed

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Keys
    from safety.recorder import Recorder
    from safety.wire import Seen

HOST = "cluster000000000000000000a.dsql.us-east-1.on.aws"


def by_connect(arguments: dict[str, Any]) -> None:
    dsql_fast.connect(**arguments).close()


def by_connect_async(arguments: dict[str, Any]) -> None:
    async def connect() -> None:
        await (await dsql_fast.connect_async(**arguments)).close()

    asyncio.run(connect())


def by_pool(arguments: dict[str, Any]) -> None:
    pool: Any = dsql_fast.ConnectionPool(min_size=1, open=False, num_workers=1, **arguments)
    pool.open()
    try:
        pool.wait(POOL_PATIENCE)
    finally:
        pool.close()


def by_pool_async(arguments: dict[str, Any]) -> None:
    async def connect() -> None:
        pool: Any = dsql_fast.AsyncConnectionPool(min_size=1, open=False, num_workers=1, **arguments)
        await pool.open()
        try:
            await pool.wait(POOL_PATIENCE)
        finally:
            await pool.close()

    asyncio.run(connect())


def by_psycopg2(arguments: dict[str, Any]) -> None:
    named = dict(arguments)
    dsql_fast.psycopg2.connect(named.pop("conninfo", None), **named).close()


def by_psycopg2_threaded(arguments: dict[str, Any]) -> None:
    named = dict(arguments)
    dsql_fast.psycopg2.ThreadedConnectionPool(1, 1, named.pop("conninfo", None), **named).closeall()


def by_asyncpg(arguments: dict[str, Any]) -> None:
    async def connect() -> None:
        try:
            await (await dsql_fast.asyncpg.connect(**_for_asyncpg(arguments))).close()
        finally:
            await sockets_closed()

    asyncio.run(connect())


def by_asyncpg_pool(arguments: dict[str, Any]) -> None:
    async def connect() -> None:
        try:
            async with dsql_fast.asyncpg.create_pool(min_size=1, max_size=1, **_for_asyncpg(arguments)):
                pass
        finally:
            await sockets_closed()

    asyncio.run(connect())


def _for_asyncpg(arguments: dict[str, Any]) -> dict[str, Any]:
    named = {name: value for name, value in arguments.items() if name not in ("conninfo", "kwargs")}
    return {"dsn": arguments.get("conninfo"), **named, **arguments.get("kwargs", {})}


# What the doors raise when they find no way in.
REFUSED = (
    psycopg.OperationalError,
    psycopg2.OperationalError,
    dsql_fast.PoolTimeout,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    OSError,
)

# Seconds. A refusal that is not known to be permanent is tried again by a pool until it is over.
POOL_PATIENCE = 0.2

DOORS: dict[str, Callable[[dict[str, Any]], None]] = {
    "connect": by_connect,
    "connect_async": by_connect_async,
    "pool": by_pool,
    "pool_async": by_pool_async,
    "psycopg2": by_psycopg2,
    "psycopg2_threaded": by_psycopg2_threaded,
    "asyncpg": by_asyncpg,
    "asyncpg_pool": by_asyncpg_pool,
}


def arguments(server: Recorder, **further: Any) -> dict[str, Any]:
    return {"host": HOST, "hostaddr": "127.0.0.1", "port": server.port, "connect_timeout": 20, **further}


def assert_nothing_secret(seen: Seen, keys: Keys) -> None:
    """The server got no token, no part of one, and nothing else that is secret."""
    sought = [b"X-Amz", b"Action=", b"DbConnect", b"Signature"]
    sought += [text.encode() for text in (keys.access_key, keys.secret_key, keys.session_token)]
    for source in _tokens._shared.values():
        sought.append(source.token().rpartition("X-Amz-Signature=")[2].encode())
    found = [part for part in sought if part in seen.bytes]
    assert not found
    assert not seen.passwords
