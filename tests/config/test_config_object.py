"""`Config`: a description of a connection that users build, pass around and change copies of."""

from __future__ import annotations

import copy
import os
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dsql_fast
from dsql_fast import Config, ConfigError
from dsql_fast._config import driver_arguments, parse_config
from dsql_fast.psycopg._attempt import begin
from safety.leaks import assert_clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Keys

ID = "foo0bar1baz2quux3quuux4q00"
OTHER = ID[::-1]
HOST = f"{ID}.dsql.us-east-1.on.aws"
SECRET = "hunter2NeverShown"

BUILT: dict[str, Callable[[], Config]] = {
    "keywords": lambda: Config(host=HOST, user="reader", port=5433, connect_timeout=7),
    "named string": lambda: Config(conninfo=f"dsql://reader@{HOST}:5433/?connect_timeout=7"),
    "string": lambda: Config(f"dsql://reader@{HOST}:5433/?connect_timeout=7"),
    "pairs": lambda: Config(f"host={HOST} user=reader port=5433 connect_timeout=7"),
    "id and keywords": lambda: Config(ID, region="us-east-1", user="reader", port="5433", connect_timeout=7),
    "replaced": lambda: Config(HOST).replace(user="reader", port=5433, connect_timeout=7),
    "environment": lambda: Config.from_env(
        {**os.environ, "DB_HOST": HOST, "DB_USER": "reader", "DB_PORT": "5433", "PGCONNECT_TIMEOUT": "7"},
        credentials=dsql_fast.Credentials("AKIA", "x"),
    ),
}


@pytest.mark.parametrize("built", BUILT)
def test_the_ways_to_build_one_come_to_the_same(built: str, aws_keys: Keys) -> None:
    config = BUILT[built]()
    arguments = driver_arguments(config, 180000)
    assert arguments == driver_arguments(BUILT["keywords"](), 180000)
    assert (config.endpoint.region, config.user, config.port) == ("us-east-1", "reader", 5433)
    if built != "environment":
        assert config == BUILT["keywords"]()
        assert hash(config) == hash(BUILT["keywords"]())


def test_equal_ones_share_a_plan_and_others_do_not(aws_keys: Keys) -> None:
    first, second, third = Config(HOST), Config(HOST), Config(HOST, user="reader")
    assert begin(first, {})._plan is begin(second, {})._plan
    assert begin(first, {})._plan is not begin(third, {})._plan
    assert begin(first, {"user": "reader"})._plan.config == third
    assert first != third
    assert first != HOST


def test_keywords_beat_a_config_and_a_config_beats_the_environment(
    aws_keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(HOST, user="mine")
    for name, value in {"PGUSER": "x", "PGPORT": "1", "PGDATABASE": "y", "AWS_REGION": "eu-west-1"}.items():
        monkeypatch.setenv(name, value)
    arguments = begin(config, {}).arguments()
    assert (arguments["user"], arguments["port"], arguments["dbname"]) == ("mine", 5432, "postgres")
    assert begin(config, {"user": "other", "port": None}).arguments()["user"] == "other"


@pytest.mark.parametrize("name", ["PGSERVICE", "PGGEQO"])
def test_what_libpq_would_read_now_is_refused_now(
    name: str, aws_keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(HOST)
    monkeypatch.setenv(name, "x")
    with pytest.raises(ConfigError, match=name):
        begin(config, {})
    with pytest.raises(ConfigError, match=name):
        Config(HOST)


def test_replace(aws_keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGUSER", "from_environment")
    config = Config(ID, region="us-east-1", user="mine", profile=None, database="d", hostaddr="127.0.0.1")
    monkeypatch.delenv("PGUSER")
    assert config.replace() == config
    assert config.replace(user=None).user == "from_environment"
    assert config.replace(database=None).dbname == "postgres"
    assert config.replace(host=OTHER).endpoint.host == f"{OTHER}.dsql.us-east-1.on.aws"
    assert config.replace(region="eu-west-1").endpoint.host == f"{ID}.dsql.eu-west-1.on.aws"
    by_name = config.replace(connect_host="tunnel.example")
    assert (by_name.hostaddr, by_name.connect_host) == (None, "tunnel.example")
    assert by_name.replace(hostaddr="127.0.0.2").connect_host is None
    assert config.user == "mine"
    keys = dsql_fast.Credentials("AKIAOTHER", "x")
    assert config.replace(credentials=keys).replace(user="a").provider.load() is keys
    assert config.replace(credentials=keys).replace(credentials=None).provider == config.provider
    with pytest.raises(ConfigError, match="contradicts"):
        config.replace(host=f"{OTHER}.dsql.eu-west-1.on.aws")
    with pytest.raises(ConfigError, match="did you mean user"):
        config.replace(usr="x")  # type: ignore[call-arg]


def test_a_profile_gives_way_to_credentials_that_come_later() -> None:
    keys = dsql_fast.Credentials("AKIAOTHER", "x")
    config = Config(HOST, profile="p")
    assert config.replace(credentials=keys).provider.load() is keys
    assert config.replace(credentials=keys).replace(profile="p").provider == config.provider
    with pytest.raises(ConfigError, match="both credentials= and profile="):
        config.replace(credentials=keys, profile="p")


def test_it_cannot_be_changed_and_can_be_copied(aws_keys: Keys) -> None:
    config = Config(HOST)
    changes: list[Callable[[], None]] = [
        lambda: setattr(config, "user", "x"),
        lambda: setattr(config, "nonsense", "x"),
        lambda: delattr(config, "user"),
    ]
    for change in changes:
        with pytest.raises(AttributeError, match="cannot be changed"):
            change()
    assert copy.copy(config) is config
    assert copy.deepcopy([config])[0] is config
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(config)


def test_keys_of_the_environment_are_read_when_a_token_is_made(
    aws_keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(HOST)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIACHANGED")
    assert config.provider.load().access_key_id == "AKIACHANGED"
    other = Config.from_env({"CLUSTER_ENDPOINT": HOST, "AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "b"})
    assert other.provider.load().access_key_id == "A"


def test_a_token_source_of_a_config(aws_keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(HOST, user="reader", token_duration_secs=60)
    source = dsql_fast.TokenSource(config)
    assert "Action=DbConnect&" in source.token()
    assert "X-Amz-Expires=60&" in source.token()
    assert "X-Amz-Expires=61&" in dsql_fast.TokenSource(config, token_duration_secs=61).token()
    assert "Action=DbConnectAdmin&" in dsql_fast.TokenSource(config, user="admin").token()
    with pytest.raises(ConfigError, match="for one endpoint"):
        dsql_fast.TokenSource(Config(host=[HOST, HOST]))
    monkeypatch.setenv("DB_USE_IAM", "false")
    with pytest.raises(ConfigError, match="no tokens"):
        dsql_fast.TokenSource(Config.from_env({"DB_USE_IAM": "0", "DB_PASSWORD": SECRET, "DB_HOST": "db"}))
    for nothing in (7, None, [HOST]):
        with pytest.raises(ConfigError, match="host"):
            dsql_fast.TokenSource(nothing)  # type: ignore[arg-type]


SHOWN: dict[str, Callable[[], Config]] = {
    **BUILT,
    "credentials": lambda: Config(HOST, credentials=dsql_fast.Credentials("AKIA", SECRET)),
    "several": lambda: Config(host=[HOST, ID], region="us-east-1", connect_host="a.example"),
    "password": lambda: Config.from_env({"DB_USE_IAM": "false", "DB_PASSWORD": SECRET, "DB_HOST": "db"}),
}


@pytest.mark.parametrize("built", SHOWN)
def test_its_repr_shows_where_and_no_secret(built: str, aws_keys: Keys) -> None:
    config = SHOWN[built]()
    shown = f"{config!r} {config} {config.provider!r} {config.password!r} {config.alternatives!r}"
    assert config.endpoint.host in shown
    for secret in (SECRET, aws_keys.secret_key, aws_keys.session_token):
        assert secret not in shown


REFUSED: dict[str, Callable[[], object]] = {
    "constructor": lambda: Config(f"dsql://a:{SECRET}@{HOST}/"),
    "keyword": lambda: Config(HOST, password=SECRET),  # type: ignore[call-arg]
    "replace": lambda: Config(HOST).replace(password=SECRET),  # type: ignore[call-arg]
    "environment": lambda: Config.from_env(
        {"DB_USE_IAM": "false", "DB_PASSWORD": SECRET, "DB_HOST": "db", "DB_PORT": "x"}
    ),
    "environment's host": lambda: Config.from_env({"DB_HOST": f"a:{SECRET}@db"}),
    "credentials": lambda: Config("x y", credentials=dsql_fast.Credentials("AKIA", SECRET)),
}


@pytest.mark.parametrize("refused", REFUSED)
def test_no_refusal_shows_a_secret(refused: str, aws_keys: Keys) -> None:
    with pytest.raises(ConfigError) as caught:
        REFUSED[refused]()
    assert_clean(caught.value, [SECRET, aws_keys.secret_key])


# Several endpoints.

EAST, WEST = HOST, f"{OTHER}.dsql.us-west-2.on.aws"


def places(**keywords: Any) -> list[tuple[Any, ...]]:
    config = parse_config("", keywords, {"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "b"})
    return [
        (one.endpoint.host, one.endpoint.region, one.port, one.hostaddr, one.connect_host)
        for one in config.alternatives or (config,)
    ]


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        (
            {"host": [EAST, WEST]},
            [(EAST, "us-east-1", 5432, None, None), (WEST, "us-west-2", 5432, None, None)],
        ),
        (
            {"host": (ID, OTHER), "region": ("us-east-1", "us-west-2"), "port": [1, "2"]},
            [(EAST, "us-east-1", 1, None, None), (WEST, "us-west-2", 2, None, None)],
        ),
        (
            # A Region that is no list: for the ids.
            {"host": [WEST, ID], "region": "us-east-1", "port": 7},
            [(WEST, "us-west-2", 7, None, None), (EAST, "us-east-1", 7, None, None)],
        ),
        (
            {"host": [EAST, ID], "region": [None, "us-east-1"], "hostaddr": ["127.0.0.1", None]},
            [(EAST, "us-east-1", 5432, "127.0.0.1", None), (EAST, "us-east-1", 5432, None, None)],
        ),
        (
            {"host": [EAST, WEST], "connect_host": ["a.example", "B.example"]},
            [(EAST, "us-east-1", 5432, None, "a.example"), (WEST, "us-west-2", 5432, None, "b.example")],
        ),
        ({"host": [EAST, WEST], "hostaddr": "127.0.0.1"}, None),
        ({"host": [EAST]}, [(EAST, "us-east-1", 5432, None, None)]),
    ],
)
def test_several_endpoints(keywords: dict[str, Any], expected: list[tuple[Any, ...]] | None) -> None:
    if expected is None:
        expected = [(EAST, "us-east-1", 5432, "127.0.0.1", None), (WEST, "us-west-2", 5432, "127.0.0.1", None)]
    assert places(**keywords) == expected


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"host": []}, "empty list"),
        ({"host": [EAST, ""]}, "no host"),
        ({"host": [EAST, 7]}, "text, not int"),
        ({"host": [EAST, None]}, "no host"),
        ({"host": [EAST, f"{WEST},{EAST}"]}, "comma"),
        ({"host": [EAST, WEST], "port": [1]}, "2 endpoints, and port has 1"),
        ({"host": [EAST, WEST], "region": ["us-east-1"] * 3}, "2 endpoints, and region has 3"),
        ({"host": [EAST, WEST], "region": "us-east-1"}, "contradicts"),
        ({"host": [EAST, WEST], "region": ["us-east-1", "eu-west-1"]}, "contradicts"),
        ({"host": [EAST, ID]}, "needs a Region"),
        ({"host": EAST, "port": [1, 2]}, "port is a list and host is not"),
        ({"host": EAST, "hostaddr": ["127.0.0.1"]}, "hostaddr is a list"),
        ({"host": [EAST, WEST], "user": ["a", "b"]}, "user must be"),
        ({"host": [EAST, WEST], "hostaddr": "a"}, "one IP address"),
        ({"host": [EAST, WEST], "hostaddr": "127.0.0.1", "connect_host": "a"}, "both hostaddr and connect_host"),
        ({"host": [EAST, WEST], "connect_timeout": -3}, "0 or more"),
        ({"host": [EAST, WEST], "connect_timeout": "soon"}, "number of seconds"),
        ({"host": [EAST, WEST], "return_to_first_secs": -1}, "0 or more"),
        ({"host": EAST, "return_to_first_secs": "soon"}, "0 or more"),
        ({"host": EAST, "return_to_first_secs": True}, "0 or more"),
        ({"host": EAST, "return_to_first_secs": float("nan")}, "0 or more"),
        ({"host": EAST, "connect_host": "a:1"}, "connect_host: .*colon"),
        ({"host": EAST, "connect_host": ""}, "connect_host is empty"),
        ({"host": f"{EAST},{WEST}"}, r"comma \(several endpoints are a list"),
    ],
)
def test_lists_that_are_refused(keywords: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        places(**keywords)


def test_each_endpoints_credentials_are_asked_for_in_its_region(aws_keys: Keys) -> None:
    role = dsql_fast.AssumeRole("arn:aws:iam::123456789012:role/r")
    config = Config(host=[EAST, WEST], credentials=role)
    for one in (*config.alternatives, Config(EAST, credentials=role).replace(host=WEST)):
        assert one.provider == one.provider.in_region(one.endpoint.region)
    assert config.alternatives[0].provider != config.alternatives[1].provider
    assert config.replace(user="reader").alternatives[1].provider == config.alternatives[1].provider


def test_the_deadline_of_several_endpoints() -> None:
    def deadline(environ: dict[str, str], **keywords: Any) -> float | None:
        keys = {"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "b"}
        return parse_config("", {"host": [EAST, WEST], **keywords}, {**keys, **environ}).deadline

    assert deadline({}) == 30
    assert deadline({}, connect_timeout=8) == 8
    assert deadline({"PGCONNECT_TIMEOUT": "9"}) == 9
    assert deadline({"PGCONNECT_TIMEOUT": "9"}, connect_timeout="8.5") == 8.5
    assert deadline({}, connect_timeout=1) == 1
    assert deadline({}, connect_timeout=0) is None


def test_a_list_shares_a_plan_though_it_has_no_hash(aws_keys: Keys) -> None:
    first = begin("", {"host": [EAST, WEST]})._whole
    assert begin("", {"host": [EAST, WEST]})._whole is first
    assert begin("", {"host": (EAST, WEST)})._whole is not None
    assert begin("", {"host": [WEST, EAST]})._whole is not first


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_text_is_a_config_or_a_config_error(conninfo: str, host: str) -> None:
    keys = dsql_fast.Credentials("AKIA", "x")
    builds: list[Callable[[], Config]] = [
        lambda: Config(conninfo, region="us-east-1", credentials=keys),
        lambda: Config(host=host, connect_host=conninfo or None, region="us-east-1", credentials=keys),
        lambda: Config.from_env({"DB_HOST": host, "REGION": "us-east-1", "DB_PORT": conninfo}, credentials=keys),
    ]
    for build in builds:
        try:
            config = build()
        except ConfigError:
            continue
        assert repr(config).startswith("Config(host=")
