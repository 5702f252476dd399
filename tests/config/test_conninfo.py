"""Connection strings are read as libpq reads them, and more strictly in a few ways that are named here."""

from __future__ import annotations

from urllib.parse import quote

import psycopg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from dsql_fast import ConfigError
from dsql_fast._conninfo import parse_conninfo

# Keywords that libpq knows: of others it would say so, which is not the parser's business here.
KEYS = ("host", "user", "password", "dbname", "port", "options", "application_name", "sslmode")

# libpq reads C strings and takes bytes; psycopg gives it UTF-8.
_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
_awkward = st.text(st.sampled_from("ab'\\=% \t\n:/@?&#+,[]äé%20%41"), max_size=10)
_values = _text | _awkward


def libpq(text: str) -> dict[str, str] | None:
    """What libpq makes of it; None: it refuses, or it comes to what is not UTF-8."""
    try:
        return {key: str(value) for key, value in conninfo_to_dict(text).items() if value is not None}
    except (psycopg.Error, UnicodeDecodeError):
        return None


def ours(text: str) -> dict[str, str] | None:
    try:
        return parse_conninfo(text)
    except ConfigError:
        return None


def _pair(key: str, value: str, spaces: tuple[str, str], *, quoted: bool) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    if quoted or not escaped:
        escaped = f"'{escaped}'"
    else:
        escaped = "".join("\\" + c if c in " \t\n\r\f\v" else c for c in escaped)
    return f"{key}{spaces[0]}={spaces[1]}{escaped}"


_spaces = st.text(st.sampled_from(" \t\n"), max_size=2)
_pairs = st.builds(_pair, st.sampled_from(KEYS), _values, st.tuples(_spaces, _spaces), quoted=st.booleans())


@given(st.lists(_pairs, min_size=1, max_size=5), st.text(st.sampled_from(" \n"), min_size=1, max_size=2))
def test_well_formed_pairs(pairs: list[str], separator: str) -> None:
    text = separator.join(pairs)
    if "://" not in text.split("=", 1)[0]:
        expected = libpq(text)
        assert expected is not None
        assert parse_conninfo(text) == expected


@settings(max_examples=300)
@given(st.lists(st.sampled_from(KEYS) | _awkward | st.sampled_from(["=", " ", "'", "\\", "' "]), max_size=12))
@example(["user", "='a", "'", "host", "=b"])
@example(["user", "=", "a\\"])
@example(["user", "=", "'a\\"])
def test_any_pairs(parts: list[str]) -> None:
    """What libpq reads, we read alike; what it refuses, we refuse (or leave to the check of names)."""
    text = "".join(parts)
    if "=" not in text or "://" in text.split("=", 1)[0]:
        return
    expected, found = libpq(text), ours(text)
    if expected is not None:
        assert found == expected
    elif found is not None:
        assert set(found) - set(KEYS) or "port" in found


_raw = st.text(st.sampled_from("ab1:/@?&=#+.-äé") | st.sampled_from("%"), max_size=14)
_escaped = _values.map(lambda value: quote(value, safe=""))


def _uri(user: str, password: str, host: str, port: str, dbname: str, query: list[tuple[str, str]]) -> str:
    info = f"{user}:{password}@" if password else f"{user}@" if user else ""
    where = f"{host}:{port}" if port else host
    parameters = "&".join(f"{key}={value}" for key, value in query)
    return f"postgresql://{info}{where}/{dbname}" + (f"?{parameters}" if parameters else "")


@given(
    _escaped,
    _escaped,
    st.sampled_from(["", "h", "a.b-c", "%68"]),
    st.sampled_from(["", "1", "5432", "%31"]),
    _escaped,
    st.lists(st.tuples(st.sampled_from([*KEYS, "%75ser"]), _escaped), max_size=4),
)
def test_well_formed_uris(
    user: str, password: str, host: str, port: str, dbname: str, query: list[tuple[str, str]]
) -> None:
    text = _uri(user, password, host, port, dbname, query)
    expected = libpq(text)
    assert expected is not None
    assert parse_conninfo(text) == expected
    # The scheme of other connectors is the same grammar.
    assert parse_conninfo("dsql" + text.removeprefix("postgresql")) == expected
    assert parse_conninfo("postgres" + text.removeprefix("postgresql")) == expected


@settings(max_examples=500)
@given(_raw)
@example("a@b@h/")
@example("h?user=a@b")
@example("h/d?user=a&")
@example("h?&user=a")
@example("h?user=a&&user=b")
@example(" h /d")
@example("h/a b")
@example("h/?user= a")
@example("u:p@ss/w@h")
@example(":p@h")
@example("@h")
def test_any_uri(rest: str) -> None:
    text = "postgresql://" + rest
    expected, found = libpq(text), ours(text)
    if found is None:
        # An IP address in brackets is no cluster.
        assert expected is None or "[" in rest
    elif expected is None:
        assert set(found) - set(KEYS) or not found.get("port", "1").isdigit()
    elif "," not in rest:
        assert found == expected
    else:
        # Several hosts: ours is left with the comma, or a port, that the checks refuse.
        assert "," in found.get("host", "") + found.get("port", "") + found.get("dbname", "") + rest


@given(st.text(max_size=40))
def test_nothing_but_a_config_error(text: str) -> None:
    for conninfo in (text, "postgresql://" + text, "host=" + text, "dsql://h/?a=" + text):
        try:
            found = parse_conninfo(conninfo)
        except ConfigError as error:
            assert len(text) < 4 or text not in str(error)
        else:
            assert all(isinstance(part, str) for pair in found.items() for part in pair)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("  ", {}),
        ("abc.dsql.us-east-1.on.aws", {"host": "abc.dsql.us-east-1.on.aws"}),
        ("  abc \n", {"host": "abc"}),
        ("dsql://h", {"host": "h"}),
        ("DSQL://h", {"host": "h"}),
        ("PostgreSQL://h", {"host": "h"}),
        ("dsql://", {}),
        ("dsql:///", {}),
        ("dsql://h/d%20b", {"host": "h", "dbname": "d b"}),
        ("dsql://us%40er@h/", {"user": "us@er", "host": "h"}),
        (
            "dsql://h/?region=us-east-1&token_duration_secs=60",
            {"host": "h", "region": "us-east-1", "token_duration_secs": "60"},
        ),
        ("dsql://a/?host=b", {"host": "b"}),
        ("dsql://h/?user=a%26b%3Dc", {"host": "h", "user": "a&b=c"}),
        ("dsql://h/?user=a+b", {"host": "h", "user": "a+b"}),
        ("host=h user=a\\ b", {"host": "h", "user": "a b"}),
        ("host = h user='it\\'s'", {"host": "h", "user": "it's"}),
        ("options='postgresql://x' host=h", {"options": "postgresql://x", "host": "h"}),
        ("host=a host=b", {"host": "b"}),
    ],
)
def test_what_is_read(text: str, expected: dict[str, str]) -> None:
    assert parse_conninfo(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mysql://h/", "scheme must be"),
        ("://h", "scheme must be"),
        ("dsql://h/%", "two hexadecimal digits"),
        ("dsql://h/%4", "two hexadecimal digits"),
        ("dsql://h/%zz", "two hexadecimal digits"),
        ("dsql://h/%+1", "two hexadecimal digits"),
        ("dsql://h/%00", "%00"),
        ("dsql://h/%ff", "not UTF-8"),
        ("dsql://h/\udc80", "not UTF-8"),
        ("dsql://[::1]/", "IP address"),
        ("dsql://h/?user", "key=value"),
        ("dsql://h/?=x", "key=value"),
        ("dsql://h/?a=b=c", "key=value"),
        ("dsql://h/a b", "space"),
        ("host", None),
        ("host=a b", "malformed"),
        ("=a", "malformed"),
        ("host='a", "does not end"),
        ("host='a\\", "does not end"),
    ],
)
def test_what_is_refused(text: str, words: str | None) -> None:
    if words is None:
        assert parse_conninfo(text) == {"host": text}
        return
    with pytest.raises(ConfigError, match=words):
        parse_conninfo(text)
