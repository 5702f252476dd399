"""`dsql_fast.asyncpg.connect` against the local cluster: ways in, identity, TLS, tokens."""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

import dsql_fast
import dsql_fast.asyncpg
from dsql_fast._config import parse_config
from dsql_fast._native import sign_token
from dsql_fast._tokens import shared_source
from waiting import run_to_the_end

if TYPE_CHECKING:
    from collections.abc import Callable

    from dsql_fast._tokens import TokenSource
    from dsql_fast.local import LocalCluster

connect = dsql_fast.asyncpg.connect

OWN_NAME = f"dsql-fast-asyncpg/{dsql_fast.__version__}"


async def answer(query: str, *arguments: Any, **keywords: Any) -> Any:
    """Connect, ask, close."""
    conn = await connect(*arguments, **keywords)
    try:
        return await conn.fetchval(query)
    finally:
        await conn.close()


@pytest.mark.parametrize("said", [{}, {"direct_tls": False}, {"sslnegotiation": "postgres"}, {"direct_tls": True}])
def test_connects_with_verified_tls_as_admin(cluster: LocalCluster, said: dict[str, Any]) -> None:
    async def main() -> None:
        conn = await connect(**cluster.connect_kwargs(), **said)
        assert type(conn) is dsql_fast.asyncpg.Connection
        assert isinstance(conn, asyncpg.Connection)
        row = await conn.fetchrow("select current_user::text, current_setting('transaction_isolation') as level")
        assert tuple(row) == ("admin", "repeatable read")
        tls = conn._transport.get_extra_info("ssl_object")
        assert tls.context.verify_mode == ssl.CERT_REQUIRED
        assert tls.context.check_hostname
        assert tls.server_hostname == cluster.host
        assert conn._addr == (cluster.hostaddr, cluster.port)
        if said.get("direct_tls") is not False and "sslnegotiation" not in said:
            assert tls.selected_alpn_protocol() == "postgresql"
        await conn.close()

    run_to_the_end(main())


@pytest.mark.parametrize("form", ["host", "cluster id", "URI", "dsql URI", "pairs", "positional id"])
def test_every_way_to_say_where(cluster: LocalCluster, form: str) -> None:
    kwargs = cluster.connect_kwargs()
    host = kwargs.pop("host")
    port = kwargs.pop("port")
    cluster_id = host.partition(".")[0]
    dsn, more = {
        "host": (None, {"host": host, "port": port}),
        "cluster id": (None, {"host": cluster_id, "port": port, "database": "postgres"}),
        "URI": (f"postgresql://admin@{host}:{port}/postgres?application_name=a%20b", {}),
        "dsql URI": (f"dsql://{host}:{port}/", {}),
        "pairs": (f"host={host} port={port} application_name='a b'", {}),
        "positional id": (cluster_id, {"port": port}),
    }[form]
    named = run_to_the_end(answer("show application_name", dsn, **{**kwargs, **more}))
    assert named == ("a b" if form in ("URI", "pairs") else OWN_NAME)


def test_settings_of_the_environment(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in cluster.environment().items():
        monkeypatch.setenv(name, value)
    assert run_to_the_end(answer("select current_user::text", cluster.host)) == "admin"


def test_the_systems_roots_are_tried_after_amazons(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    kwargs = cluster.connect_kwargs()
    monkeypatch.setenv("SSL_CERT_FILE", kwargs.pop("sslrootcert"))
    assert run_to_the_end(answer("select 1", **kwargs)) == 1
    assert dsql_fast.counters() == {"system_trust_used": 1}


def test_another_user_gets_a_token_for_dbconnect(cluster: LocalCluster) -> None:
    async def main() -> None:
        admin = await connect(**cluster.connect_kwargs())
        await admin.execute("create role reader_by_asyncpg with login")
        await admin.execute(f"aws iam grant reader_by_asyncpg to '{cluster.credentials.arn}'")
        try:
            named = await answer("select current_user::text", **cluster.connect_kwargs(), user="reader_by_asyncpg")
            assert named == "reader_by_asyncpg"
        finally:
            await admin.execute("drop role reader_by_asyncpg")
            await admin.close()

    run_to_the_end(main())


def test_what_asyncpg_takes_still_works(cluster: LocalCluster) -> None:
    class Row(asyncpg.Record):  # type: ignore[misc]
        def __getattr__(self, name: str) -> Any:
            return self[name]

    class Mine(asyncpg.Connection):  # type: ignore[misc]
        pass

    async def main() -> None:
        conn = await connect(
            **cluster.connect_kwargs(),
            loop=asyncio.get_running_loop(),
            timeout=20,
            statement_cache_size=0,
            max_cached_statement_lifetime=10,
            max_cacheable_statement_size=100,
            command_timeout=15,
            connection_class=Mine,
            record_class=Row,
            server_settings={"application_name": "mine", "search_path": "public"},
        )
        assert type(conn) is Mine
        assert (await conn.fetchrow("select 1 as one")).one == 1
        assert await conn.fetchval("show application_name") == "mine"
        assert await conn.fetchval("show search_path") == "public"
        assert conn._config.command_timeout == 15
        await conn.close()

    run_to_the_end(main())


def test_reset_sends_what_the_cluster_has(cluster: LocalCluster) -> None:
    async def main() -> None:
        conn = await connect(**cluster.connect_kwargs())
        await conn.execute("set search_path to elsewhere")
        await conn.reset()
        assert await conn.fetchval("show search_path") == '"$user", public'
        with pytest.raises(asyncpg.PostgresError):
            await conn.execute(asyncpg.Connection.get_reset_query(conn))
        await conn.close()

    run_to_the_end(main())


def test_a_hundred_at_once_share_one_token(cluster: LocalCluster) -> None:
    kwargs = cluster.connect_kwargs()
    source = source_of(kwargs)

    async def main() -> None:
        opened = await asyncio.gather(*(connect(**kwargs) for _ in range(100)))
        for conn in opened:
            await conn.close()

    run_to_the_end(main())
    assert source.stats().issued == 1


def test_the_loop_does_not_wait_for_credentials(cluster: LocalCluster) -> None:
    """A source that blocks does so in a thread; the loop sets it free."""
    kwargs = cluster.connect_kwargs()
    found = kwargs.pop("credentials")
    asked, free = threading.Event(), threading.Event()

    def load() -> Any:
        asked.set()
        assert free.wait(30), "the loop stood still"
        return found

    async def main() -> int:
        connecting = asyncio.create_task(answer("select 1", **kwargs, credentials=load))
        await asyncio.to_thread(asked.wait, 30)
        assert not connecting.done()
        free.set()
        return int(await connecting)

    assert run_to_the_end(main()) == 1


def test_the_timeout_counts_the_token(cluster: LocalCluster) -> None:
    kwargs = cluster.connect_kwargs()
    del kwargs["credentials"]

    async def load() -> Any:
        await asyncio.sleep(3600)

    for said in ({"timeout": 0.05}, {"timeout": 60, "connect_timeout": "0.05"}):
        with pytest.raises(asyncio.TimeoutError):
            run_to_the_end(connect(**kwargs, credentials=load, **said))


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
    return token


def test_a_token_that_the_cluster_calls_expired_is_dropped_and_signed_anew(cluster: LocalCluster) -> None:
    kwargs = cluster.connect_kwargs()
    source = source_of(kwargs)
    expired = put_expired_token(source, kwargs)
    assert run_to_the_end(answer("select 1", **kwargs)) == 1
    assert source.token() != expired
    assert dsql_fast.counters()["token_dropped"] == 1
    # Once in 30 seconds: a clock that is wrong must not flush without end.
    put_expired_token(source, kwargs)
    with pytest.raises(asyncpg.PostgresError, match="Signature expired"):
        run_to_the_end(connect(**kwargs))
    source.invalidate()


def test_a_refusal_that_is_no_expiry_drops_no_token(cluster: LocalCluster) -> None:
    kwargs = {**cluster.connect_kwargs(), "user": "nobody_knows"}
    token = source_of(kwargs).token()
    with pytest.raises(asyncpg.PostgresError, match="access denied") as caught:
        run_to_the_end(connect(**kwargs))
    assert source_of(kwargs).token() is token
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def test_new_keys_in_the_environment_count_at_the_next_connect(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in cluster.environment().items():
        monkeypatch.setenv(name, value)
    assert run_to_the_end(answer("select 1", cluster.host)) == 1
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-that-keys-secret")
    with pytest.raises(asyncpg.PostgresError, match="access denied"):
        run_to_the_end(connect(cluster.host))


def test_a_wrong_certificate_is_refused(fresh_cluster: Callable[..., LocalCluster]) -> None:
    started = fresh_cluster(rate=None)
    for kind in ("self-signed", "expired", "wrong-name", "unknown-ca"):
        started.set_certificate(kind)
        for direct in (True, False):
            with pytest.raises(ssl.SSLCertVerificationError):
                run_to_the_end(connect(**started.connect_kwargs(), direct_tls=direct))


def test_another_host_than_the_certificates_is_refused(cluster: LocalCluster) -> None:
    other = {**cluster.connect_kwargs(), "host": "other" + cluster.host[5:]}
    with pytest.raises((ssl.SSLError, OSError, asyncpg.PostgresError)) as caught:
        run_to_the_end(connect(**other))
    assert not isinstance(caught.value, asyncpg.InvalidAuthorizationSpecificationError)


def test_a_cancelled_statement_leaves_a_usable_connection(cluster: LocalCluster) -> None:
    async def main() -> None:
        conn = await connect(**cluster.connect_kwargs())
        running = asyncio.create_task(conn.execute("select pg_sleep(0.2)"))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await conn.fetchval("select 1") == 1
        await conn.close()

    run_to_the_end(main())


def test_a_session_that_ended_is_told(fresh_cluster: Callable[..., LocalCluster]) -> None:
    started = fresh_cluster(rate=None)

    async def main() -> None:
        conn = await connect(**started.connect_kwargs())
        await asyncio.to_thread(started.clock.advance, 3600)
        with pytest.raises((asyncpg.ConnectionDoesNotExistError, asyncpg.InterfaceError)):
            await conn.fetchval("select 1")
        assert conn.is_closed()

    run_to_the_end(main())
