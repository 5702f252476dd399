"""Keywords, connection string, environment and defaults are put together; what the driver is given of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dsql_fast
from dsql_fast import ConfigError, DriverError
from dsql_fast._config import Config, driver_arguments, needs_profile_region, parse_config

ID = "foo0bar1baz2quux3quuux4q00"
HOST = f"{ID}.dsql.us-east-1.on.aws"
KEYS = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "fake-secret"}
FIXED = dsql_fast.Credentials("AKID", "fake-secret")

NEW, OLD = 180000, 150000


def parse(conninfo: str = "", environ: dict[str, str] | None = None, **keywords: Any) -> Config:
    return parse_config(conninfo, keywords, {**KEYS, **(environ or {})})


# By setting: how it comes out, in a keyword, in a connection string, its variable, the default.
SETTINGS: dict[str, tuple[Any, Any, str, str | None, Any]] = {
    "user": ("by_keyword", "by_string", "PGUSER", "by_environment", "admin"),
    "dbname": ("by_keyword", "by_string", "PGDATABASE", "by_environment", "postgres"),
    "port": (1, 2, "PGPORT", "3", 5432),
    "hostaddr": ("127.0.0.1", "127.0.0.2", "PGHOSTADDR", "127.0.0.3", None),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_keywords_beat_the_string_beats_the_environment_beats_the_default(name: str) -> None:
    keyword, string, variable, value, default = SETTINGS[name]
    environ = {variable: str(value)}
    for text in (f"host={HOST} {name}={string}", f"postgresql://{HOST}/?{name}={string}"):
        by_keyword: dict[str, Any] = {name: keyword}
        assert getattr(parse(text, environ, **by_keyword), name) == keyword
        assert getattr(parse(text, environ), name) == string
        # None counts as not given, for wrappers that pass everything on.
        not_given: dict[str, Any] = {name: None}
        assert getattr(parse(text, environ, **not_given), name) == string
    assert str(getattr(parse(HOST, environ), name)) == value
    assert getattr(parse(HOST, {variable: ""}), name) == default
    assert getattr(parse(HOST), name) == default


def test_the_same_for_what_has_no_variable() -> None:
    other = ID[::-1]
    assert parse(f"host={HOST}", host=other, region="eu-west-1").endpoint.host == f"{other}.dsql.eu-west-1.on.aws"
    assert parse(f"host={HOST}", {"PGHOST": "elsewhere"}).endpoint.host == HOST
    with pytest.raises(ConfigError, match="no host"):
        parse("", {"PGHOST": HOST})
    assert parse(HOST, token_duration_secs=60).lifetime == 60
    assert parse(f"host={HOST} token_duration_secs=61", token_duration_secs=60).lifetime == 60
    assert parse(f"host={HOST} token_duration_secs=61").lifetime == 61
    assert parse(HOST).lifetime == 900
    assert parse(f"host={ID} region=eu-west-1", {"AWS_REGION": "eu-west-2"}).endpoint.region == "eu-west-1"
    assert parse(ID, {"AWS_REGION": "eu-west-2"}).endpoint.region == "eu-west-2"


@pytest.mark.parametrize("spelling", ["token_duration_secs", "tokenDurationSecs", "token-duration-secs"])
def test_the_official_connectors_spellings(spelling: str) -> None:
    assert parse(f"host={HOST} {spelling}=60").lifetime == 60
    assert parse(f"dsql://{HOST}/?{spelling}=60").lifetime == 60
    given: dict[str, Any] = {spelling: "60"}
    assert parse(HOST, **given).lifetime == 60
    assert parse(f"host={HOST} tokenDurationSecs=61", **given).lifetime == 60


def test_database_is_dbname() -> None:
    assert parse(HOST, database="a").dbname == "a"
    assert parse(f"host={HOST} dbname=b", database="a").dbname == "a"
    assert parse(HOST, database="a", dbname="a").dbname == "a"


def test_a_configuration_shows_no_secret() -> None:
    config = parse(HOST)
    assert HOST in repr(config)
    assert "fake-secret" not in repr(config)
    with pytest.raises(AttributeError):
        config.user = "other"
    with pytest.raises(TypeError):
        config.driver["sslmode"] = "disable"  # type: ignore[index]


def test_the_action_is_the_users() -> None:
    assert parse(HOST).action == "DbConnectAdmin"
    assert parse(HOST, user="reader").action == "DbConnect"
    assert parse(f"dsql://reader@{HOST}").action == "DbConnect"


# What the driver is given.


def test_every_parameter_that_bears_on_safety_is_written_out() -> None:
    arguments = driver_arguments(parse(HOST), NEW)
    assert arguments.pop("sslrootcert").endswith("amazon-roots.pem")
    assert arguments == {
        "host": HOST,
        "port": 5432,
        "user": "admin",
        "dbname": "postgres",
        "sslmode": "verify-full",
        "sslnegotiation": "direct",
        "ssl_min_protocol_version": "TLSv1.2",
        "ssl_max_protocol_version": "",
        "sslcert": "",
        "sslcertmode": "disable",
        "sslcompression": 0,
        "sslsni": 1,
        "gssencmode": "disable",
        "channel_binding": "prefer",
        "require_auth": "password",
        "target_session_attrs": "any",
        "options": "",
    }


def test_the_callers_words_go_through(tmp_path: Path) -> None:
    roots = tmp_path / "roots.pem"
    roots.touch()
    given: dict[str, Any] = {
        "sslmode": "verify-ca",
        "sslnegotiation": "postgres",
        "sslrootcert": str(roots),
        "connect_timeout": 3,
        "application_name": "mine",
        "options": "-c amzn-cluster-id=x",
        "ssl_min_protocol_version": "TLSv1.3",
        "keepalives_idle": 7,
    }
    arguments = driver_arguments(parse(HOST, **given), NEW)
    assert {name: str(value) for name, value in given.items()} == {name: arguments[name] for name in given}


@pytest.mark.parametrize(
    ("mode", "negotiation"),
    [
        ("disable", "postgres"),
        ("allow", "postgres"),
        ("prefer", "postgres"),
        ("require", "direct"),
        ("verify-ca", "direct"),
        ("verify-full", "direct"),
    ],
)
def test_direct_negotiation_wants_a_mode_that_encrypts(mode: str, negotiation: str) -> None:
    arguments = driver_arguments(parse(HOST, sslmode=mode), NEW)
    assert arguments["sslnegotiation"] == negotiation
    assert ("sslrootcert" in arguments) == mode.startswith("verify")


def test_older_libpqs_are_given_what_they_know() -> None:
    by_version = {version: set(driver_arguments(parse(HOST), version)) for version in (140000, 160000, 170000)}
    assert by_version[160000] - by_version[140000] == {"require_auth", "sslcertmode"}
    assert by_version[170000] - by_version[160000] == {"sslnegotiation"}
    for version in (0, 90600, 139999):
        with pytest.raises(DriverError, match=r"pip install 'dsql-fast\[binary\]'"):
            driver_arguments(parse(HOST), version)


def test_the_systems_roots_for_a_libpq_that_cannot_name_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    roots = tmp_path / "roots.pem"
    roots.touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(roots))
    config = parse(HOST, sslrootcert="system")
    assert driver_arguments(config, OLD)["sslrootcert"] == str(roots)
    assert driver_arguments(config, NEW)["sslrootcert"] == "system"
    assert driver_arguments(parse(HOST), OLD, system_trust=True)["sslrootcert"] == str(roots)


def test_no_libpq_at_all() -> None:
    """psycopg's C implementation is not installed: the error names the extra, each time."""
    program = """
import dsql_fast
for _ in range(2):
    try:
        dsql_fast.connect
    except dsql_fast.DriverError as error:
        assert isinstance(error, ImportError)
        print(error)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={"PSYCOPG_IMPL": "c"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.count("pip install 'dsql-fast[binary]'") == 2


@pytest.mark.parametrize(
    ("conninfo", "keywords", "environ", "needed"),
    [
        (HOST, {}, {}, False),
        (HOST.upper(), {}, {}, False),
        (f"postgresql://{HOST}/", {}, {}, False),
        ("", {"host": HOST}, {}, False),
        (ID, {}, {}, True),
        (ID, {"region": "us-east-1"}, {}, False),
        (f"host={ID} region=us-east-1", {}, {}, False),
        (ID, {}, {"AWS_REGION": "us-east-1"}, False),
        (ID, {}, {"AWS_DEFAULT_REGION": "us-east-1"}, False),
        (ID, {"profile": "p"}, {}, True),
        ("db.example", {}, {}, True),
        ("", {"host": [HOST, HOST]}, {}, False),
        ("", {"host": [HOST, ID]}, {}, True),
        ("", {"host": (HOST, ID), "region": "us-east-1"}, {}, False),
        ("", {"host": [ID, ID], "region": ["us-east-1", None]}, {}, True),
        (Config(HOST, credentials=FIXED), {}, {}, False),
        (Config(HOST, credentials=FIXED), {"host": ID}, {}, True),
        (Config(HOST, credentials=FIXED), {"host": ID, "region": "us-east-1"}, {}, False),
        (Config(ID, credentials=FIXED, region="us-east-1"), {"user": "a"}, {}, False),
    ],
)
def test_when_files_must_be_read_for_a_region(
    conninfo: str | Config, keywords: dict[str, Any], environ: dict[str, str], needed: bool
) -> None:
    assert needs_profile_region(conninfo, keywords, environ) is needed


def test_nothing_given_by_the_environment_changes_what_was_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    before = dict(dsql_fast.pool_kwargs(HOST, application_name="x"))
    assert before["kwargs"] == {"application_name": "x", "pacing": False}
    assert before["connection_class"] is dsql_fast.Connection
    assert dsql_fast.pool_kwargs(HOST, asynchronous=True)["connection_class"] is dsql_fast.AsyncConnection


def test_no_client_certificate_goes_out_by_an_old_libpq() -> None:
    # Before sslcertmode (16), an empty sslcert meant the one in the home directory; a path through a file is none.
    named = driver_arguments(parse(HOST), 150000)["sslcert"]
    assert named
    assert not Path(named).exists()


def test_an_empty_user_is_not_admin() -> None:
    with pytest.raises(ConfigError, match="user is empty"):
        parse(HOST, user="")
    with pytest.raises(ConfigError, match="user is empty"):
        parse(f"host={HOST} user=''")
