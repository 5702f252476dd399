"""`Config.from_env`: which variables count, in which order, and what DB_USE_IAM does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import dsql_fast
from dsql_fast import Config, ConfigError, _environment
from dsql_fast._config import driver_arguments
from dsql_fast._libpq import LIBPQ_ENVIRONMENT

if TYPE_CHECKING:
    from pathlib import Path

ID = "foo0bar1baz2quux3quuux4q00"
HOST = f"{ID}.dsql.us-east-1.on.aws"
OTHER = f"{ID[::-1]}.dsql.us-east-1.on.aws"
THIRD = f"{ID[1:]}a.dsql.us-east-1.on.aws"
KEYS = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "fake-secret"}
PASSWORD = "hunter2NeverShown"


def of(environ: dict[str, str], **keywords: Any) -> Config:
    return Config.from_env({**KEYS, "CLUSTER_ENDPOINT": HOST, **environ}, **keywords)


def value(config: Config, name: str) -> Any:
    """A setting as it came out."""
    ours = {
        "host": config.endpoint.host,
        "region": config.endpoint.region,
        "token_duration_secs": config.lifetime,
        "credentials": config.provider,
        "profile": config.provider,
        "return_to_first_secs": config.return_to_first_secs,
    }
    if name in ours:
        return ours[name]
    return getattr(config, name) if hasattr(config, name) else driver_arguments(config, 180000).get(name)


# By setting: the variables from the strongest to the weakest, each with a value and how that comes out; the default.
ORDER: dict[str, tuple[list[tuple[str, str, Any]], Any]] = {
    "host": ([("DB_HOST", OTHER, OTHER), ("CLUSTER_ENDPOINT", HOST, HOST), ("PGHOST", THIRD, THIRD)], None),
    "user": ([("DB_USER", "a", "a"), ("CLUSTER_USER", "b", "b"), ("PGUSER", "c", "c")], "admin"),
    "dbname": ([("DB_NAME", "a", "a"), ("PGDATABASE", "b", "b")], "postgres"),
    "port": ([("DB_PORT", "1", 1), ("PGPORT", "2", 2)], 5432),
    "hostaddr": ([("PGHOSTADDR", "127.0.0.1", "127.0.0.1")], None),
    "token_duration_secs": ([("TOKEN_REFRESH_INTERVAL", "60", 60)], 900),
    "application_name": ([("PGAPPNAME", "a", "a")], None),
    "client_encoding": ([("PGCLIENTENCODING", "utf8", "utf8")], None),
    "connect_timeout": ([("PGCONNECT_TIMEOUT", "7", "7")], None),
    "load_balance_hosts": ([("PGLOADBALANCEHOSTS", "random", "random")], None),
    "max_protocol_version": ([("PGMAXPROTOCOLVERSION", "3.2", "3.2")], None),
    "min_protocol_version": ([("PGMINPROTOCOLVERSION", "3.0", "3.0")], None),
    "sslcrl": ([("PGSSLCRL", "/a", "/a")], None),
    "sslcrldir": ([("PGSSLCRLDIR", "/a", "/a")], None),
}


def test_the_table_is_complete() -> None:
    documented = {name: tuple(variable for variable, _, _ in order) for name, (order, _) in ORDER.items()}
    assert {**documented, "region": ("REGION",)} == dict(_environment.VARIABLES)
    read = {variable for variables in _environment.VARIABLES.values() for variable in variables}
    assert {one for one in read if one.startswith("PG")} <= set(LIBPQ_ENVIRONMENT)


@pytest.mark.parametrize("name", ORDER)
def test_the_first_that_is_set_wins(name: str) -> None:
    order, default = ORDER[name]
    for position in range(len(order)):
        weaker = {variable: text for variable, text, _ in order[position:]}
        # Empty ones count as not set.
        stronger = dict.fromkeys([variable for variable, _, _ in order[:position]], "")
        environ = {**KEYS, "CLUSTER_ENDPOINT": HOST, **weaker, **stronger}
        assert value(Config.from_env(environ), name) == order[position][2]
    if name != "host":
        assert value(of({}), name) == default


@pytest.mark.parametrize("name", ORDER)
def test_keywords_win(name: str) -> None:
    order, _ = ORDER[name]
    environ = {variable: text for variable, text, _ in order}
    keyword: Any = {"host": ID, "port": 9, "token_duration_secs": 61, "hostaddr": "127.0.0.9"}.get(name, "other")
    expected = HOST if name == "host" else keyword
    given: dict[str, Any] = {name: keyword, "region": "us-east-1"}
    assert value(of(environ, **given), name) == expected


def test_a_variable_that_is_overruled_may_be_nonsense() -> None:
    assert of({"DB_PORT": "x", "TOKEN_REFRESH_INTERVAL": "x"}, port=1, token_duration_secs=1).port == 1


def test_regions() -> None:
    assert of({}).endpoint.region == "us-east-1"
    other = {"CLUSTER_ENDPOINT": ID, "AWS_REGION": "eu-west-2", "AWS_DEFAULT_REGION": "eu-west-3"}
    assert of({**other, "REGION": "eu-west-1"}).endpoint.host == f"{ID}.dsql.eu-west-1.on.aws"
    assert of(other).endpoint.region == "eu-west-2"
    assert of({**other, "AWS_REGION": ""}).endpoint.region == "eu-west-3"
    # What the host says: REGION is as good as region=, AWS_REGION only a fallback.
    assert of({"AWS_REGION": "eu-west-1"}).endpoint.region == "us-east-1"
    with pytest.raises(ConfigError, match="contradicts"):
        of({"REGION": "eu-west-1"})


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"CLUSTER_ENDPOINT": ""}, "set CLUSTER_ENDPOINT, DB_HOST or PGHOST"),
        ({"DB_PORT": "x"}, "DB_PORT must be a whole number"),
        ({"DB_PORT": "0", "PGPORT": "5432"}, "DB_PORT must be a whole number"),
        ({"TOKEN_REFRESH_INTERVAL": "15m"}, "TOKEN_REFRESH_INTERVAL must be a whole number of seconds"),
        ({"TOKEN_REFRESH_INTERVAL": "0"}, "TOKEN_REFRESH_INTERVAL must be from 1 to 604800"),
        ({"DB_USE_IAM": "no"}, "DB_USE_IAM must be true or false"),
        ({"DB_USE_IAM": " true"}, "DB_USE_IAM must be true or false"),
        ({"DB_REFRESH_TOKEN": "maybe"}, "DB_REFRESH_TOKEN must be true or false"),
        ({"DB_USE_IAM": "false"}, "set DB_PASSWORD, or PGPASSWORD"),
        ({"DB_USE_IAM": "false", "DB_PASSWORD": ""}, "set DB_PASSWORD, or PGPASSWORD"),
        ({"DB_USE_IAM": "false", "DB_PASSWORD": "x", "PGSSLMODE": "maybe"}, "sslmode must be one of"),
        ({"DB_USE_IAM": "false", "DB_PASSWORD": "x", "DB_HOST": "/tmp"}, "slash"),
        ({"PGSERVICE": "x"}, "PGSERVICE"),
        ({"PGHOSTADDR": "localhost"}, "one IP address"),
    ],
)
def test_what_is_refused(environ: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        of(environ)


def test_a_host_by_keyword_is_enough() -> None:
    assert Config.from_env(KEYS, host=HOST).endpoint.host == HOST


@pytest.mark.parametrize("text", ["", "1", "t", "T", "true", "TRUE", "True"])
def test_tokens_are_used_unless_it_says_false(text: str) -> None:
    config = of({"DB_USE_IAM": text, "DB_PASSWORD": PASSWORD, "PGPASSWORD": PASSWORD, "PGSSLMODE": "disable"})
    assert config.password is None
    arguments = driver_arguments(config, 180000)
    assert (arguments["sslmode"], arguments["require_auth"]) == ("verify-full", "password")


@pytest.mark.parametrize("text", ["true", "false", "0", ""])
def test_the_samples_switch_for_renewal_changes_nothing(text: str) -> None:
    assert of({"DB_REFRESH_TOKEN": text}) == of({})


# An ordinary PostgreSQL.


@pytest.mark.parametrize("text", ["0", "f", "F", "false", "FALSE", "False"])
def test_false_means_a_password(text: str) -> None:
    config = of({"DB_USE_IAM": text, "DB_PASSWORD": PASSWORD, "PGPASSWORD": "other", "DB_HOST": "db.internal"})
    assert config.password is not None
    assert config.password.token() == PASSWORD
    assert (config.endpoint.host, config.user, config.port) == ("db.internal", "admin", 5432)
    with pytest.raises(ConfigError, match="no tokens"):
        config.provider.load()
    other = of({"DB_USE_IAM": text, "PGPASSWORD": PASSWORD, "DB_HOST": "db.internal"})
    assert other == config
    assert of({"DB_USE_IAM": text, "PGPASSWORD": "x", "DB_HOST": "db.internal"}) != config


def test_it_needs_no_aws_keys_and_no_region() -> None:
    config = Config.from_env({"DB_USE_IAM": "false", "DB_PASSWORD": PASSWORD, "DB_HOST": "10.0.0.7"})
    assert config.endpoint.host == "10.0.0.7"
    # What looks like a cluster's id is a name there.
    named = Config.from_env({"DB_USE_IAM": "false", "DB_PASSWORD": PASSWORD, "DB_HOST": ID})
    assert named.endpoint.host == ID
    assert config.replace(user="x", port=7).password == config.password


def test_the_tls_of_an_ordinary_postgresql(tmp_path: Path) -> None:
    roots = tmp_path / "roots.pem"
    roots.touch()

    def arguments(environ: dict[str, str], **keywords: Any) -> dict[str, Any]:
        password = {"DB_USE_IAM": "false", "DB_PASSWORD": PASSWORD, "DB_HOST": "db.internal"}
        config = Config.from_env({**password, **environ}, **keywords)
        assert not config.trusts_only_amazon
        found = driver_arguments(config, 180000)
        assert "password" not in found
        return found

    default = arguments({})
    # Verified as ever, against the system's roots; no server before PostgreSQL 17 speaks direct TLS.
    assert (default["sslmode"], default["sslrootcert"]) == ("verify-full", "system")
    assert (default["sslnegotiation"], default["gssencmode"]) == ("postgres", "disable")
    assert default["require_auth"] == "scram-sha-256,md5,none,password"
    told = arguments({"PGSSLMODE": "disable"})
    assert told["sslmode"] == "disable"
    # In clear, or to a server that nobody verified, the password does not go as it is.
    assert told["require_auth"] == "scram-sha-256,md5,none"
    assert arguments({"PGSSLMODE": "disable"}, sslmode="verify-full")["sslmode"] == "verify-full"
    assert arguments({"PGSSLROOTCERT": str(roots)})["sslrootcert"] == str(roots)
    assert arguments({}, sslnegotiation="direct")["sslnegotiation"] == "direct"


def test_of_the_process_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {**KEYS, "CLUSTER_ENDPOINT": HOST, "CLUSTER_USER": "reader"}.items():
        monkeypatch.setenv(name, text)
    config = Config.from_env()
    assert (config.endpoint.host, config.user) == (HOST, "reader")
    # Read at each renewal, as a TokenSource does.
    assert config.provider == dsql_fast.TokenSource(HOST)._provider
