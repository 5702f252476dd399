"""Any text as a connection string: a `Config` of what libpq would make of it, or a ConfigError that shows no secret."""

from __future__ import annotations

from typing import Any

import psycopg
from hypothesis import example, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from dsql_fast import ConfigError, Credentials
from dsql_fast._config import Config, driver_arguments, parse_config
from dsql_fast._libpq import LIBPQ_ENVIRONMENT, PASSED, REFUSED
from dsql_fast._settings import _OURS
from safety.leaks import assert_clean

ID = "foo0bar1baz2quux3quuux4q00"
HOST = f"{ID}.dsql.us-east-1.on.aws"
CREDENTIALS = Credentials("AKIA", "x")
KEYS = sorted({*PASSED, "host", "hostaddr", "port", "user", "dbname"})
_OURS_ALONE = set(_OURS) - {"host", "hostaddr", "port", "user", "dbname"} - {"database"}

_SNIPPETS = st.sampled_from(
    [
        *(HOST, ID, "postgresql://", "postgres://", "dsql://", "mysql://", "admin", "admin@", "user:x@", "5432"),
        *("127.0.0.1", "[::1]", "region=us-east-1", "verify-full", "require", "system", "TLSv1.2", "-c a=b"),
        *("password=x", "service=x", "token_duration_secs=60", "tokenDurationSecs=7", "nonsense=1", "database=a"),
        *("/", "//", "?", "&", "=", "@", ":", ",", " ", "'", "\\", "%20", "%", "%00", "%ff", "#", ";", "ä", "\n"),
    ]
)
_pairs = st.builds(lambda key, value: f"{key}={value}", st.sampled_from(KEYS), _SNIPPETS | st.text(max_size=6))
_texts = st.lists(_SNIPPETS | _pairs | st.text(max_size=4), max_size=8).map("".join)
_spaced = st.lists(_pairs | _SNIPPETS, max_size=6).map(" ".join)
_uris = st.builds(
    lambda scheme, user, host, port, dbname, query: f"{scheme}://{user}{host}{port}/{dbname}?{'&'.join(query)}",
    st.sampled_from(["postgresql", "postgres", "dsql", "http"]),
    st.sampled_from(["", "admin@", "a%40b@", "a:b@"]),
    st.sampled_from([HOST, ID, "", "a,b", "%41"]),
    st.sampled_from(["", ":1", ":65536", ":x"]),
    st.text(max_size=4),
    st.lists(_pairs, max_size=4),
)


def ours(text: str) -> Config | ConfigError:
    try:
        return parse_config(text, {"credentials": CREDENTIALS}, {"AWS_REGION": "us-east-1"})
    except ConfigError as error:
        return error


def libpq(text: str) -> dict[str, str] | None:
    """What libpq makes of it, the scheme of other connectors taken for its own; None: it refuses."""
    scheme, separator, rest = text.partition("://")
    if separator and scheme.lower() in ("dsql", "postgres", "postgresql"):
        text = f"postgresql://{rest}"
    try:
        return {key: str(value) for key, value in conninfo_to_dict(text).items()}
    except (psycopg.Error, UnicodeDecodeError, UnicodeEncodeError):
        return None


def said_by(config: Config) -> dict[str, str]:
    """The settings that were said, as libpq names them."""
    arguments = driver_arguments(config, 180000)
    return {key: str(value) for key, value in arguments.items()}


def is_bare(text: str) -> bool:
    return "=" not in text and "://" not in text


@settings(max_examples=600)
@given(_texts | _spaced | _uris)
@example(f"host={HOST} sslmode=verify-full options='-c a=b'")
@example(f"postgresql://admin@{HOST}:5432/postgres?connect_timeout=3")
@example(f"dsql://{HOST}/?region=us-east-1")
@example(f"host={ID} host={HOST}")
@example(f"host={HOST} user=\0 user=a")
@example(f"dsql://{HOST}/?application_name=\0&application_name=a")
def test_what_is_read_is_what_libpq_reads(text: str) -> None:
    found = ours(text)
    if isinstance(found, ConfigError):
        assert str(found)
        return
    if is_bare(text):
        assert found.endpoint.host in (text.strip().lower(), f"{text.strip().lower()}.dsql.us-east-1.on.aws")
        return
    expected = libpq(text)
    if expected is None:
        # libpq knows none of our keywords; all else that it refuses we refuse.
        assert any(name in text for name in (*_OURS_ALONE, "tokenDurationSecs", "token-duration-secs", "database"))
        return
    written = said_by(found)
    for name, value in expected.items():
        if name == "host":
            assert written["host"] in (value.lower(), f"{value.lower()}.dsql.us-east-1.on.aws")
        elif name == "hostaddr":
            assert value in ("", written.get("hostaddr")) or ":" in value
        elif value != "" or name in PASSED:
            # An empty value of the five that have defaults means the default, for libpq too.
            assert written[name] == value or (name == "sslrootcert" and value == "")
    assert set(expected) <= set(PASSED) | {"host", "hostaddr", "port", "user", "dbname"}


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(st.sampled_from(KEYS), st.text(st.characters(exclude_characters="\0"), max_size=8)), max_size=4
    )
)
def test_what_libpq_accepts_is_read_alike_or_refused_with_a_reason(pairs: list[tuple[str, str]]) -> None:
    escaped = ((key, value.replace("\\", "\\\\").replace("'", "\\'")) for key, value in pairs)
    text = f"host={HOST} " + " ".join(f"{key}='{value}'" for key, value in escaped)
    found, expected = ours(text), libpq(text)
    if isinstance(found, ConfigError):
        assert str(found)
    else:
        assert expected is not None


def test_each_parameter_of_libpqs_is_passed_on_or_refused_by_name() -> None:
    known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
    for name in sorted(known):
        found = ours(f"host={HOST} {name}=x")
        if name in REFUSED:
            assert isinstance(found, ConfigError)
            assert name in str(found)
        else:
            assert name in KEYS
    assert set(LIBPQ_ENVIRONMENT)


# Secrets.

SECRET = "hunter2NeverShown"
_DELIMITERS = [
    *(
        "/",
        "?",
        "&",
        "=",
        "@",
        ":",
        ",",
        "#",
        " ",
        "'",
        "\\",
        "%",
        "%zz",
        "%00",
        "%ff",
        "://",
        "\udc80",
        "ä",
        "\n",
    ),
    *("/?sslmode=", "&sslmode=", "/?region=", "&region=", "/?hostaddr=", "/?connect_host=", "/?sslrootcert="),
    *("/?token_duration_secs=", "/?return_to_first_secs=", "/?port=", "/?user=", "/?x=", "1/", "1/d?", "=x"),
    *("/?connect_timeout=", "/?options=", "/?profile=", "a", "1", ""),
]
_around = st.lists(st.sampled_from(_DELIMITERS), max_size=4).map("".join)
_secrets = st.builds(lambda before, after: before + SECRET + after, _around, _around)


def conninfos(secret: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Where a password, or a token, is put."""
    return {
        "URI": (f"postgresql://admin:{secret}@{HOST}/postgres", {}),
        "URI with parameters": (f"dsql://admin:{secret}@{HOST}:5432/postgres?sslmode=verify-full", {}),
        "URI's parameter": (f"postgres://{HOST}/?password={secret}", {}),
        "pairs": (f"host={HOST} password={secret}", {}),
        "pairs, first": (f"password={secret} host={HOST}", {}),
        "quoted": (f"host={HOST} password='{secret}'", {}),
        "no scheme": (f"admin:{secret}@{HOST}/postgres", {}),
        "another scheme": (f"mysql://admin:{secret}@{HOST}/postgres", {}),
        "slashes forgotten": (f"postgresql:admin:{secret}@{HOST}/postgres", {}),
        "keyword": (HOST, {"password": secret}),
        "token": (f"postgresql://admin:{HOST}/?Action=DbConnect&X-Amz-Signature={secret}@{HOST}/postgres", {}),
    }


@settings(max_examples=400)
@given(_secrets, st.sampled_from(sorted(conninfos(""))))
def test_no_refusal_repeats_a_secret(secret: str, place: str) -> None:
    conninfo, keywords = conninfos(secret)[place]
    try:
        Config(conninfo, **{"credentials": CREDENTIALS, "region": "us-east-1", **keywords})
    except ConfigError as error:
        assert_clean(error, [SECRET])
        return
    # It came apart into something else that makes sense; then it is no secret of ours any more.
    assert place != "keyword"
