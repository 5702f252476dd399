"""The ways to connect, in one shape: what a connection is seen to be, and closed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import pytest

from dsql_fast import TokenSource
from dsql_fast.compat import aurora_dsql_asyncpg, aurora_dsql_psycopg, aurora_dsql_psycopg2

if TYPE_CHECKING:
    from collections.abc import Callable

ASK = "select current_user::text, current_database()::text, current_setting('application_name')"


class Seen(NamedTuple):
    """A connection, as the server and the driver tell."""

    user: str
    database: str
    application_name: str
    token: str


class Door(Protocol):
    driver: str

    def __call__(self, dsn: str = "", /, **keywords: Any) -> Seen: ...


class _Door:
    def __init__(self, driver: str, connect: Callable[..., Seen]) -> None:
        self.driver = driver
        self._connect = connect

    def __call__(self, dsn: str = "", /, **keywords: Any) -> Seen:
        return self._connect(dsn, **keywords)


def _seen(row: Any, token: str) -> Seen:
    user, database, name = row
    return Seen(user, database, name, token)


def _psycopg(dsn: str, **keywords: Any) -> Seen:
    with aurora_dsql_psycopg.connect(dsn, **keywords) as conn:
        row = conn.execute(ASK).fetchone()
        return _seen(row, conn.info.password)


def _psycopg_async(dsn: str, **keywords: Any) -> Seen:
    async def connect() -> Seen:
        async with await aurora_dsql_psycopg.DSQLAsyncConnection.connect(dsn, **keywords) as conn:
            row = await (await conn.execute(ASK)).fetchone()
            return _seen(row, conn.info.password)

    return asyncio.run(connect())


def _psycopg2(dsn: str, **keywords: Any) -> Seen:
    conn = aurora_dsql_psycopg2.connect(dsn, **keywords)
    try:
        with conn.cursor() as cursor:
            cursor.execute(ASK)
            return _seen(cursor.fetchone(), conn.info.password)
    finally:
        conn.close()


def _asyncpg(dsn: str, **keywords: Any) -> Seen:
    tokens: list[str] = []

    async def connect() -> Seen:
        if "dbname" in keywords:
            keywords["database"] = keywords.pop("dbname")
        conn = await aurora_dsql_asyncpg.connect(dsn, **keywords)
        try:
            return _seen(await conn.fetchrow(ASK), tokens[-1])
        finally:
            await conn.close()

    # asyncpg's connections show no token: what went out is taken note of where it is made.
    made = TokenSource.token_async

    async def noted(source: TokenSource) -> str:
        tokens.append(await made(source))
        return tokens[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TokenSource, "token_async", noted)
        return asyncio.run(connect())


DOORS: dict[str, Door] = {
    "psycopg": _Door("psycopg", _psycopg),
    "psycopg_async": _Door("psycopg", _psycopg_async),
    "asyncpg": _Door("asyncpg", _asyncpg),
    "psycopg2": _Door("psycopg2", _psycopg2),
}
