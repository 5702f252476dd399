"""Keywords beat the connection string (or a `Config`), which beats the environment, which beats the default."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dsql_fast import Config, Credentials
from dsql_fast._config import AMAZON_ROOTS, driver_arguments, parse_config
from dsql_fast._credentials import CredentialsProvider, credentials_provider
from dsql_fast._libpq import PASSED
from dsql_fast._settings import _OURS

ID = "foo0bar1baz2quux3quuux4q00"
HOST = f"{ID}.dsql.us-east-1.on.aws"
KEYS = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "fake-secret"}
BY_KEYWORD = Credentials("AKIAKEYWORD", "x")
FILE = str(Path(__file__))


class Setting(NamedTuple):
    """One setting in all its sources, and how it comes out.

    Attributes:
        name: by which it is given.
        out: how it comes out: an attribute of `Config`, of its endpoint, or an argument of libpq's.
        keyword: the value by keyword.
        string: the value in a connection string, or None where it has no place there.
        variable: the variable, or None where no variable tells it, or libpq alone reads it.
        environment: the variable's value.
        default: how it comes out where nobody says; None: not at all.
        expected: what the values come out as, where that is not their text.
    """

    name: str
    out: str
    keyword: Any
    string: str | None
    variable: str | None
    environment: str
    default: Any
    expected: dict[Any, Any] = {}  # noqa: RUF012 (never changed)


SETTINGS = [
    Setting(
        "host", "host", ID, ID[::-1], None, "", None, {ID: HOST, ID[::-1]: f"{ID[::-1]}.dsql.us-east-1.on.aws"}
    ),
    Setting("region", "region", "eu-west-1", "eu-west-2", "AWS_REGION", "eu-west-3", None),
    Setting("region", "region", "eu-west-1", "eu-west-2", "AWS_DEFAULT_REGION", "eu-west-3", None),
    Setting("user", "user", "a", "b", "PGUSER", "c", "admin"),
    Setting("dbname", "dbname", "a", "b", "PGDATABASE", "c", "postgres"),
    Setting("database", "dbname", "a", "b", "PGDATABASE", "c", "postgres"),
    Setting("port", "port", 1, "2", "PGPORT", "3", 5432, {"2": 2, "3": 3}),
    Setting("hostaddr", "hostaddr", "127.0.0.1", "::1", "PGHOSTADDR", "127.0.0.3", None),
    Setting("connect_host", "connect_host", "a", "b", None, "", None),
    *(
        Setting(spelling, "lifetime", 60, "61", None, "", 900, {"61": 61})
        for spelling in ("token_duration_secs", "tokenDurationSecs", "token-duration-secs")
    ),
    Setting("return_to_first_secs", "return_to_first_secs", 1.5, "2", None, "", 60.0, {"2": 2.0}),
    Setting("profile", "provider", "p", "q", None, "", None),
    Setting("credentials", "provider", BY_KEYWORD, None, None, "", None),
    Setting("custom_credentials_provider", "provider", BY_KEYWORD, None, None, "", None),
    Setting("sslrootcert", "sslrootcert", "system", FILE, "PGSSLROOTCERT", FILE, AMAZON_ROOTS),
    Setting(
        "ssl_min_protocol_version",
        "ssl_min_protocol_version",
        "TLSv1.2",
        "TLSv1.3",
        "PGSSLMINPROTOCOLVERSION",
        "TLSv1.3",
        "TLSv1.2",
    ),
    Setting("sslmode", "sslmode", "verify-ca", "require", None, "", "verify-full"),
    Setting("sslnegotiation", "sslnegotiation", "direct", "postgres", None, "", "direct"),
    Setting("options", "options", "-c a=b", "-c c=d", None, "", ""),
    Setting("ssl_max_protocol_version", "ssl_max_protocol_version", "TLSv1.3", "TLSv1.2", None, "", ""),
    Setting("fallback_application_name", "fallback_application_name", "a", "b", None, "", None),
    Setting("orm_prefix", "orm_prefix", "a", "b", None, "", None),
]
# libpq reads a variable for each of these by itself, where nothing is passed.
_THROUGH = sorted(set(PASSED) - {setting.name for setting in SETTINGS})
SETTINGS += [Setting(name, name, "1", "2", None, "", None) for name in _THROUGH]


def test_no_setting_is_left_out() -> None:
    # `pacing` is an object, which no string or variable can hold (tests/pacing).
    assert {setting.name for setting in SETTINGS} >= {*_OURS, *PASSED} - {"pacing"}


def provider(
    credentials: Any = None, profile: str | None = None, custom_credentials_provider: Any = None
) -> CredentialsProvider:
    found = credentials_provider(
        credentials, profile, KEYS, environment_by_value=True, custom=custom_credentials_provider
    )
    return found.in_region("us-east-1")


def outcome(config: Config, out: str) -> Any:
    if out in ("host", "region"):
        return getattr(config.endpoint, out)
    if out == "provider":
        return config.provider
    if hasattr(config, out):
        return getattr(config, out)
    return driver_arguments(config, 180000).get(out)


def conninfo_of(setting: Setting, form: str) -> str:
    where = {} if setting.name in ("host", "region") else {"host": HOST}
    if setting.name == "region":
        where = {"host": ID}
    if setting.name == "host":
        where = {"region": "us-east-1"}
    parts = {**where, setting.name: str(setting.string)}
    if form == "pairs":
        return " ".join(f"{name}='{value}'" for name, value in parts.items())
    return "dsql://?" + "&".join(f"{n}={v.replace('=', '%3D').replace(' ', '%20')}" for n, v in parts.items())


CASES = [
    pytest.param(setting, *sources, id=f"{setting.name}-{setting.variable}-{'-'.join(map(str, sources))}")
    for setting in SETTINGS
    for sources in product((False, True), (None, "pairs", "URI", "Config"), (False, True))
    if (sources[1] is None or setting.string is not None) and (not sources[2] or setting.variable is not None)
]


@pytest.mark.parametrize(("setting", "keyword", "string", "environment"), CASES)
def test_precedence(setting: Setting, keyword: bool, string: str | None, environment: bool) -> None:
    environ = {**KEYS, **({setting.variable: setting.environment} if environment and setting.variable else {})}
    needs_region = setting.name == "host"
    keywords: dict[str, Any] = {"region": "us-east-1"} if needs_region else {}
    if keyword:
        keywords[setting.name] = setting.keyword
    conninfo: str | Config
    if string is None:
        conninfo = "" if needs_region else (ID if setting.name == "region" else HOST)
    elif string == "Config":
        conninfo = parse_config(conninfo_of(setting, "pairs"), {}, environ)
    else:
        conninfo = conninfo_of(setting, string)
    said = next(
        (
            value
            for is_said, value in (
                (keyword, setting.keyword),
                (string is not None, setting.string),
                (environment, setting.environment),
            )
            if is_said
        ),
        None,
    )
    if said is None and setting.name in ("host", "region"):
        return  # both are needed; that they are missing has tests of its own
    config = parse_config(conninfo, keywords, environ)
    if setting.out == "provider":
        expected = provider(**{} if said is None else {setting.name: said})
    else:
        expected = setting.default if said is None else setting.expected.get(said, said)
    assert outcome(config, setting.out) == expected


def test_none_counts_as_not_given() -> None:
    for setting in SETTINGS:
        if setting.name in ("host", "region") or setting.string is None:
            continue
        text = conninfo_of(setting, "pairs")
        assert parse_config(text, {setting.name: None}, KEYS) == parse_config(text, {}, KEYS)


@pytest.mark.parametrize("stronger", ["hostaddr", "connect_host"])
def test_of_two_ways_to_dial_the_stronger_source_wins(stronger: str) -> None:
    values = {"hostaddr": "127.0.0.1", "connect_host": "tunnel.example"}
    weaker = "connect_host" if stronger == "hostaddr" else "hostaddr"
    text = f"host={HOST} {weaker}={values[weaker]}"
    config = parse_config(text, {stronger: values[stronger]}, KEYS)
    assert (getattr(config, stronger), getattr(config, weaker)) == (values[stronger], None)
    by_variable = parse_config(HOST, {"connect_host": "tunnel.example"}, {**KEYS, "PGHOSTADDR": "127.0.0.1"})
    assert (by_variable.hostaddr, by_variable.connect_host) == (None, "tunnel.example")
