"""What connections are made with: defaults, precedence, names, and what is safer than with the official connector."""

from __future__ import annotations

import asyncio
import pickle
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import psycopg
import psycopg2
import pytest
from botocore.credentials import CredentialProvider, Credentials
from botocore.exceptions import BotoCoreError, NoCredentialsError
from dsql_core.connection_properties import build_application_name

import dsql_fast
from compat.doors import DOORS, Door
from dsql_fast import ConfigError, CredentialsError, CredentialsNotFound, __version__
from dsql_fast.compat import aurora_dsql_psycopg, aurora_dsql_psycopg2
from dsql_fast.compat._errors import also_botocores
from safety.leaks import assert_clean

if TYPE_CHECKING:
    from pathlib import Path

    from dsql_fast.local import LocalCluster

doors = pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)


@pytest.fixture
def where(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The cluster, as keywords of the connector's; where it is dialled is the environment's affair."""
    told = cluster.environment()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "PGHOSTADDR", "PGPORT", "PGSSLROOTCERT"):
        monkeypatch.setenv(name, told[name])
    return {"host": cluster.host, "region": cluster.region}


@doors
@pytest.mark.parametrize(
    ("given", "seconds"),
    [({}, "60"), ({"token_duration_secs": "15"}, "15"), ({"token_duration_secs": 900}, "900")],
)
def test_a_tokens_life(door: Door, where: dict[str, Any], given: dict[str, Any], seconds: str) -> None:
    assert parse_qs(door(**where, **given).token)["X-Amz-Expires"] == [seconds]


@doors
def test_keywords_beat_the_string_and_that_the_defaults(
    door: Door, where: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    host = where["host"]
    uri = f"postgresql://reader@{host}/elsewhere?token_duration_secs=20&application_name=there"
    seen = door(uri, user="admin", dbname="postgres")
    assert parse_qs(seen.token)["X-Amz-Expires"] == ["20"]
    assert seen.application_name.startswith("there:")
    assert door(uri, user="admin", dbname="postgres", application_name="here").application_name.startswith("here:")
    # The environment says neither who nor where to.
    monkeypatch.setenv("PGUSER", "nobody")
    monkeypatch.setenv("PGDATABASE", "nowhere")
    monkeypatch.setenv("PGAPPNAME", "anything")
    seen = door(host)
    assert (seen.user, seen.database) == ("admin", "postgres")
    assert seen.application_name == f"dsql-fast-{door.driver}/{__version__}"


@doors
@pytest.mark.parametrize("prefix", [None, "", "  ", "django", " sqlalchemy "])
def test_application_name_has_their_form(door: Door, where: dict[str, Any], prefix: str | None) -> None:
    theirs = build_application_name(door.driver, prefix)
    own = theirs.rpartition(":")[2]
    expected = theirs.replace(own, f"dsql-fast-{door.driver}/{__version__}")
    assert door(**where, application_name=prefix).application_name == expected


@doors
def test_a_long_prefix_costs_the_prefix_only(door: Door, where: dict[str, Any]) -> None:
    name = door(**where, application_name="x" * 80).application_name
    assert len(name) == 63
    assert name.endswith(f"x:dsql-fast-{door.driver}/{__version__}")


@doors
def test_verifies_the_certificate_whatever_the_environment_says(
    door: Door, where: dict[str, Any], cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSSLMODE", "disable")
    monkeypatch.delenv("PGSSLROOTCERT")
    with pytest.raises(dsql_fast.ConnectError, match="certificate"):
        door(**where)
    assert door(**where, sslrootcert=str(cluster.ca_file)).user == "admin"


@doors
def test_passwords_are_ignored_and_not_shown(door: Door, where: dict[str, Any]) -> None:
    password = "hunter2NeverShown"
    host = where["host"]
    assert door(**where, password=password).user == "admin"
    assert door(f"postgresql://admin:{password}@{host}/postgres").user == "admin"
    assert door(f"host={host} password={password} passfile=/there").user == "admin"
    for dsn, more in (
        (f"postgresql://admin:{password}@{host}/postgres", {"nonsense": 1}),
        (f"postgresql://admin:{password}@{host}/postgres", {"token_duration_secs": "soon"}),
        (f"postgresql://admin:{password}%zz@{host}/postgres", {}),
        (f"host={host} {password}", {}),
        (host, {"password": password, "port": "x"}),
    ):
        with pytest.raises(ConfigError) as caught:
            door(dsn, **more)
        assert_clean(caught.value, [password])


class Vault(CredentialProvider):  # type: ignore[misc]  # botocore ships no types
    METHOD = "vault"
    CANONICAL_NAME = "vault"

    def __init__(self, found: Credentials | None) -> None:
        super().__init__()
        self._found = found

    def load(self) -> Credentials | None:
        return self._found


@doors
def test_a_custom_provider_is_asked_first(
    door: Door,
    where: dict[str, Any],
    cluster: LocalCluster,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    keys = cluster.issue_credentials("vault-user")
    vault = Vault(Credentials(keys.access_key, keys.secret_key))
    seen = door(**where, custom_credentials_provider=vault)
    assert keys.access_key in seen.token
    # Before a profile, too (the official connector fails there).
    profiles = tmp_path / "credentials"
    profiles.write_text("[other]\naws_access_key_id = AKIDOTHER\naws_secret_access_key = fake\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(profiles))
    assert keys.access_key in door(**where, custom_credentials_provider=vault, profile="other").token
    # One that has none: the next in line.
    seen = door(**where, custom_credentials_provider=Vault(None))
    assert cluster.credentials.access_key in seen.token


@doors
def test_missing_credentials_are_botocores_error_too(
    door: Door, where: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(BotoCoreError) as half:
        door(**where)
    assert isinstance(half.value, CredentialsError)
    assert not isinstance(half.value, NoCredentialsError)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(NoCredentialsError) as none:
        door(**where)
    assert isinstance(none.value, CredentialsNotFound)
    assert type(none.value).__name__ == "CredentialsNotFound"
    text = str(none.value)
    assert "no AWS credentials" in text
    also_botocores(none.value)  # twice is as good as once
    copy = pickle.loads(pickle.dumps(none.value))  # noqa: S301 (our own)
    assert type(copy) is CredentialsNotFound
    assert str(copy) == text


@doors
def test_settings_that_cannot_be_used_are_a_value_error(door: Door, where: dict[str, Any]) -> None:
    host = where["host"]
    for dsn, keywords in (
        ("", {}),
        (host, {"token_duration_secs": "soon"}),
        (host, {"token_duration_secs": 0}),
        (host, {"region": "eu-west-9"}),
        ("your-cluster", {"region": "us-east-1", "port": "x"}),
        (f"{host},other.example", {}),
    ):
        with pytest.raises(ValueError):
            door(dsn, **keywords)


def test_tokens_are_kept_between_connects(where: dict[str, Any]) -> None:
    for connect in (aurora_dsql_psycopg.connect, aurora_dsql_psycopg2.connect):
        conns = [connect(**where) for _ in range(3)]
        assert len({conn.info.password for conn in conns}) == 1
        for conn in conns:
            conn.close()


def test_a_bare_pool_of_psycopg_pools_connects_with_the_class(where: dict[str, Any]) -> None:
    import psycopg_pool

    async def main() -> None:
        async with (
            psycopg_pool.AsyncConnectionPool(
                "", connection_class=aurora_dsql_psycopg.DSQLAsyncConnection, kwargs=where, min_size=1, open=False
            ) as pool,
            pool.connection() as conn,
        ):
            assert isinstance(conn, aurora_dsql_psycopg.DSQLAsyncConnection)
            assert parse_qs(conn.info.password)["X-Amz-Expires"] == ["60"]

    asyncio.run(main())


@pytest.mark.parametrize("conninfo", ["string", "callable"])
@pytest.mark.parametrize("kwargs", ["mapping", "callable"])
def test_a_pools_settings_come_from_both(where: dict[str, Any], conninfo: str, kwargs: str) -> None:
    uri = f"postgresql://nobody:left-over@{where['host']}/postgres?token_duration_secs=20"
    more = {"user": "admin", "password": "left-over", "autocommit": True}
    pool: Any = aurora_dsql_psycopg.create_pool(
        uri if conninfo == "string" else lambda: uri,  # type: ignore[arg-type]  # as psycopg_pool
        kwargs=more if kwargs == "mapping" else lambda: more,
        min_size=1,
    )
    with pool, pool.connection() as conn:
        assert conn.autocommit
        assert conn.info.user == "admin"
        assert parse_qs(conn.info.password)["X-Amz-Expires"] == ["20"]


def test_a_pool_of_psycopg2_takes_a_string_too(where: dict[str, Any]) -> None:
    with aurora_dsql_psycopg2.AuroraDSQLThreadedConnectionPool(
        1, 2, f"postgresql://admin:left-over@{where['host']}/postgres?token_duration_secs=20", max_idle=5.0
    ) as pool:
        conn = pool.getconn()
        assert parse_qs(conn.info.password)["X-Amz-Expires"] == ["20"]
        assert pool.max_idle == 5.0
        pool.putconn(conn)


def test_pools_refuse_bad_settings_at_once(where: dict[str, Any]) -> None:
    for make in (
        lambda: aurora_dsql_psycopg.create_pool(kwargs={**where, "token_duration_secs": "soon"}),
        lambda: aurora_dsql_psycopg.create_pool("host=a,b"),
        lambda: aurora_dsql_psycopg.create_async_pool(kwargs={}),
        lambda: aurora_dsql_psycopg.create_pool(kwargs=where, retry="yes"),  # type: ignore[arg-type]
        lambda: aurora_dsql_psycopg2.AuroraDSQLThreadedConnectionPool(1, 2, **where, retry=3),  # type: ignore[arg-type]
        lambda: aurora_dsql_psycopg2.AuroraDSQLThreadedConnectionPool(1, 2),
    ):
        with pytest.raises(ConfigError):
            make()


def test_a_transaction_cannot_be_ended_half_way(where: dict[str, Any]) -> None:
    """What the official connector lets through, and would apply twice."""

    def commit(conn: Any) -> None:
        conn.commit()

    with (
        aurora_dsql_psycopg.create_pool(kwargs=where, min_size=1) as pool,
        pytest.raises(psycopg.ProgrammingError),
    ):
        pool.run_transaction(commit)
    with (
        aurora_dsql_psycopg2.AuroraDSQLThreadedConnectionPool(1, 1, **where) as other,
        pytest.raises(psycopg2.ProgrammingError),
    ):
        other.run_transaction(commit)


def test_a_connection_in_autocommit_mode_has_a_transaction_too(where: dict[str, Any]) -> None:
    def fail(conn: Any) -> None:
        conn.execute("create table compat_never (id int)")
        raise LookupError

    with aurora_dsql_psycopg.create_pool(kwargs={**where, "autocommit": True}, min_size=1) as pool:
        with pytest.raises(LookupError):
            pool.run_transaction(fail)
        with pool.connection() as conn, pytest.raises(psycopg.errors.UndefinedTable):
            conn.execute("select * from compat_never")
