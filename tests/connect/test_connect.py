"""`connect` and `connect_async` against the local cluster: ways in, identity, TLS."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.rows import dict_row

import dsql_fast
from dsql_fast._config import parse_config
from dsql_fast._native import sign_token
from dsql_fast._tokens import shared_source

if TYPE_CHECKING:
    from dsql_fast._tokens import TokenSource
    from dsql_fast.local import LocalCluster


def who(conn: psycopg.Connection[Any]) -> tuple[str, str, str]:
    row: tuple[str, str, str] | None = conn.execute(
        "select current_user, current_database(), current_setting('transaction_isolation')"
    ).fetchone()
    assert row is not None
    return row


libpq_17 = pytest.mark.skipif(psycopg.pq.version() < 170_000, reason="this libpq has no direct TLS: 17 has")


@libpq_17
def test_connects_with_verified_direct_tls_as_admin(cluster: LocalCluster) -> None:
    with dsql_fast.connect(**cluster.connect_kwargs()) as conn:
        assert isinstance(conn, psycopg.Connection)
        assert who(conn) == ("admin", "postgres", "repeatable read")
        assert conn.pgconn.ssl_in_use
        used = {option.keyword: option.val for option in conn.pgconn.info}
        assert used[b"sslmode"] == b"verify-full"
        assert used[b"sslnegotiation"] == b"direct"
        assert used[b"gssencmode"] == b"disable"
        assert used[b"require_auth"] == b"password"


@libpq_17
def test_connects_with_classic_negotiation_when_asked(cluster: LocalCluster) -> None:
    with dsql_fast.connect(**cluster.connect_kwargs(), sslnegotiation="postgres") as conn:
        assert conn.pgconn.ssl_in_use


def test_asynchronous_connect(cluster: LocalCluster) -> None:
    async def main() -> tuple[Any, ...] | None:
        async with await dsql_fast.connect_async(**cluster.connect_kwargs()) as conn:
            assert isinstance(conn, psycopg.AsyncConnection)
            return await (await conn.execute("select current_user")).fetchone()

    assert asyncio.run(main()) == ("admin",)


@pytest.mark.parametrize("form", ["host", "cluster id", "URI", "dsql URI", "pairs", "positional id"])
def test_every_way_to_say_where(cluster: LocalCluster, form: str) -> None:
    kwargs = cluster.connect_kwargs()
    host = kwargs.pop("host")
    port = kwargs.pop("port")
    cluster_id = host.partition(".")[0]
    conninfo, more = {
        "host": ("", {"host": host, "port": port}),
        "cluster id": ("", {"host": cluster_id, "port": port}),
        "URI": (f"postgresql://admin@{host}:{port}/postgres?application_name=a%20b", {}),
        "dsql URI": (f"dsql://{host}:{port}/", {}),
        "pairs": (f"host={host} port={port} application_name='a b'", {}),
        "positional id": (cluster_id, {"port": port}),
    }[form]
    with dsql_fast.connect(conninfo, **{**kwargs, **more}) as conn:
        assert who(conn)[0] == "admin"
        if form in ("URI", "pairs"):
            assert conn.execute("show application_name").fetchone() == ("a b",)


def test_settings_of_the_environment(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in cluster.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PGAPPNAME", "from the environment")
    with dsql_fast.connect(cluster.host) as conn:
        assert who(conn)[0] == "admin"
        assert conn.execute("show application_name").fetchone() == ("from the environment",)


def test_another_user_gets_a_token_for_dbconnect(cluster: LocalCluster) -> None:
    with dsql_fast.connect(**cluster.connect_kwargs(), autocommit=True) as conn:
        conn.execute("create role reader with login")
        conn.execute(f"aws iam grant reader to '{cluster.credentials.arn}'")
    try:
        with dsql_fast.connect(**cluster.connect_kwargs(), user="reader") as conn:
            assert who(conn)[0] == "reader"
    finally:
        with dsql_fast.connect(**cluster.connect_kwargs(), autocommit=True) as conn:
            conn.execute("drop role reader")


def test_what_psycopg_takes_still_works(cluster: LocalCluster) -> None:
    class Mine(psycopg.Cursor[dict[str, Any]]):
        pass

    with dsql_fast.Connection.connect(
        **cluster.connect_kwargs(),
        autocommit=True,
        prepare_threshold=None,
        row_factory=dict_row,
        cursor_factory=Mine,
    ) as conn:
        assert type(conn) is dsql_fast.Connection
        cursor = conn.execute("select 1 as one")
        assert isinstance(cursor, Mine)
        assert cursor.fetchone() == {"one": 1}
        assert conn.autocommit
        assert conn.prepare_threshold is None


def test_hundreds_of_connects_share_one_token(cluster: LocalCluster) -> None:
    kwargs = cluster.connect_kwargs()
    source = source_of(kwargs)
    for _ in range(20):
        dsql_fast.connect(**kwargs).close()

    async def main() -> None:
        opened = await asyncio.gather(*(dsql_fast.connect_async(**kwargs) for _ in range(20)))
        for conn in opened:
            await conn.close()

    asyncio.run(main())
    assert source.stats().issued == 1


def source_of(kwargs: dict[str, Any]) -> TokenSource:
    config = parse_config("", kwargs, os.environ)
    return shared_source(config.endpoint, config.action, config.lifetime, config.provider)


def put_expired_token(source: TokenSource, kwargs: dict[str, Any]) -> str:
    """Have the source hold a token that the cluster takes for expired and the source for fresh."""
    source.invalidate()
    _, lease = source._get()
    assert lease is not None
    keys = kwargs["credentials"]
    credentials = dsql_fast.Credentials(keys.access_key, keys.secret_key, keys.token)
    now = time.time()
    token, _, _ = sign_token(credentials, kwargs["host"], kwargs["region"], "DbConnectAdmin", 900, now - 7200)
    lease.fulfil(token, now, now + 900)
    assert source.token() == token
    return token


def test_a_token_that_the_cluster_calls_expired_is_dropped_and_signed_anew(cluster: LocalCluster) -> None:
    kwargs = cluster.connect_kwargs()
    source = source_of(kwargs)
    before = dsql_fast.counters().get("token_dropped", 0)
    expired = put_expired_token(source, kwargs)
    dsql_fast.connect(**kwargs).close()
    assert source.token() != expired
    assert dsql_fast.counters()["token_dropped"] == before + 1

    # Once in 30 seconds: a clock that is wrong must not flush without end.
    expired = put_expired_token(source, kwargs)
    with pytest.raises(psycopg.OperationalError, match="Signature expired"):
        dsql_fast.connect(**kwargs)
    assert source.token() == expired
    assert dsql_fast.counters()["token_dropped"] == before + 1
    source.invalidate()


def test_a_refusal_that_is_no_expiry_drops_no_token(cluster: LocalCluster) -> None:
    kwargs = {**cluster.connect_kwargs(), "user": "nobody_knows"}
    source = source_of(kwargs)
    token = source.token()
    with pytest.raises(psycopg.OperationalError, match="access denied"):
        dsql_fast.connect(**kwargs)
    assert source.token() is token


def test_a_failed_connect_is_the_drivers_exception_without_libpqs_connection(cluster: LocalCluster) -> None:
    kwargs = {**cluster.connect_kwargs(), "credentials": dsql_fast.Credentials("AKIAWRONG", "wrong")}
    with pytest.raises(psycopg.OperationalError, match="access denied") as caught:
        dsql_fast.connect(**kwargs)
    assert caught.value.pgconn is None
    assert caught.value.__context__ is None
