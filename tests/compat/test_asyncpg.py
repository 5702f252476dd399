"""What the asyncpg module has alone: its words for TLS, settings of the session, and a pool that is awaited."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import NoCredentialsError

from compat.doors import DOORS
from dsql_fast import ConfigError, ConnectError, NestedTransaction, __version__
from dsql_fast.compat import aurora_dsql_asyncpg as dsql
from safety.leaks import assert_clean

if TYPE_CHECKING:
    from collections.abc import Coroutine

    import asyncpg

    from dsql_fast.local import LocalCluster

door = DOORS["asyncpg"]
PASSWORD = "hunter2NeverShown"


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


@pytest.fixture
def where(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    told = cluster.environment()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "PGHOSTADDR", "PGPORT", "PGSSLROOTCERT"):
        monkeypatch.setenv(name, told[name])
    return {"host": cluster.host}


def test_a_name_among_the_sessions_settings_is_a_prefix(where: dict[str, Any]) -> None:
    own = f"dsql-fast-asyncpg/{__version__}"
    settings = {"application_name": "shop", "search_path": "public"}
    assert door(**where, server_settings=settings).application_name == f"shop:{own}"
    assert door(**where, server_settings=settings, application_name="web").application_name == f"web:{own}"
    assert settings == {"application_name": "shop", "search_path": "public"}


@pytest.mark.parametrize("session", ["any", "primary", "prefer-standby", "read-write"])
def test_each_endpoint_is_writable(where: dict[str, Any], session: str) -> None:
    assert door(**where, target_session_attrs=session).user == "admin"


@pytest.mark.parametrize("session", ["standby", "read-only", "nonsense"])
def test_no_endpoint_is_a_standby(where: dict[str, Any], session: str) -> None:
    with pytest.raises(ConfigError, match="target_session_attrs") as caught:
        door(f"postgresql://admin:{PASSWORD}@{where['host']}", password=PASSWORD, target_session_attrs=session)
    assert_clean(caught.value, [PASSWORD])


def test_ssl_wins_over_sslmode(where: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGSSLROOTCERT")
    assert door(**where, sslmode="verify-full", ssl="require").user == "admin"
    assert door(f"postgresql://{where['host']}/?sslmode=verify-full", ssl="require").user == "admin"
    for ssl in (True, "verify-full", None):
        with pytest.raises(ConnectError, match="certificate"):
            door(**where, ssl=ssl)


def test_what_is_empty_counts_as_not_given(where: dict[str, Any]) -> None:
    assert door(f"postgresql://admin@{where['host']}/", host="", port=0, user="", database="").user == "admin"


def test_a_pools_connections_are_made_with_the_same(
    where: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGUSER", "nobody")
    monkeypatch.setenv("PGDATABASE", "nowhere")

    async def main() -> None:
        uri = f"postgresql://{where['host']}/?application_name=shop"
        pool = await dsql.create_pool(
            uri,
            min_size=1,
            max_size=2,
            password=PASSWORD,
            server_settings={"search_path": "public"},
            max_lifetime=60,
        )
        name = f":dsql-fast-asyncpg/{__version__}"
        assert await pool.fetchval("select current_setting('application_name')") == f"shop{name}"
        assert await pool.fetchval("select current_setting('search_path')") == "public"
        pool.set_connect_args(**where, application_name="other", password=PASSWORD)
        await pool.expire_connections()
        assert await pool.fetchval("select current_setting('application_name')") == f"other{name}"
        with pytest.raises(ConfigError):
            pool.set_connect_args(**where, token_duration_secs="soon")
        await pool.close()

    run(main())


def test_a_connection_comes_back_as_it_was(where: dict[str, Any]) -> None:
    async def main() -> None:
        pool = await dsql.create_pool(**where, min_size=1, max_size=1)
        before = await pool.fetchval("select current_setting('datestyle')")
        async with pool.acquire() as conn:
            await conn.execute("begin")
            await conn.execute("set datestyle to 'German'")
            await conn.execute("commit")
            await conn.execute("begin")  # and leaves it open
        assert await pool.fetchval("select current_setting('datestyle')") == before
        assert not await pool.fetchval("select pg_current_xact_id_if_assigned() is not null")
        await pool.close()

    run(main())


def test_bad_settings_and_no_credentials(where: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        for wrong in ({"token_duration_secs": "soon"}, {"retry": "yes"}, {"nonsense": 1}, {"port": "x"}):
            with pytest.raises(ConfigError) as caught:
                await dsql.create_pool(**where, **wrong, password=PASSWORD)
            assert_clean(caught.value, [PASSWORD])
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(NoCredentialsError):
            await dsql.create_pool(**where, min_size=1)

    run(main())


def test_a_block_in_a_transaction_joins_it(where: dict[str, Any]) -> None:
    """With the official connector it is a savepoint, which DSQL refuses."""

    async def main() -> None:
        pool = await dsql.create_pool(**where, min_size=1, max_size=1, retry=True)

        async def joined(conn: asyncpg.Connection) -> int:
            async with conn.transaction():
                return int(await conn.fetchval("select 6 * 7"))

        async def nested(conn: asyncpg.Connection) -> None:
            async with conn.transaction(), conn.transaction():
                pass

        assert await pool.run_transaction(joined) == 42
        with pytest.raises(NestedTransaction):
            await pool.run_transaction(nested)
        await pool.close()

    run(main())
