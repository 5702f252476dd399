"""The plain case of `generate_token` against the whole of it: it agrees, or keeps out."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dsql_fast
from dsql_fast import _tokens
from dsql_fast._errors import Error
from dsql_fast._native import sign_plain

HOST = "foo0bar1baz2quux3quuux4q00.dsql.us-east-1.on.aws"
KEYS = dsql_fast.Credentials("AKIAIOSFODNN7EXAMPLE", "made-up")
NOW = datetime(2024, 8, 27, 1, 2, 3, tzinfo=timezone.utc)


class Text(str):
    """Not exactly text."""

    __slots__ = ()


def whole(host: Any, region: Any, user: Any, expires_in: Any, credentials: Any, now: Any) -> str | None:
    """What `generate_token` makes without its plain case; None where it refuses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_tokens, "sign_plain", lambda *_: None)
        try:
            return dsql_fast.generate_token(
                host, region, user=user, expires_in=expires_in, credentials=credentials, now=now
            )
        except Error:
            return None


labels = st.sampled_from(
    [
        "",
        "a",
        "A1",
        "-",
        "-a",
        "a-",
        "dsql",
        "dsql-x",
        "dsql-",
        "us-east-1",
        "us-east-1-",
        "on",
        "aws",
        "On",
        "ä",
        "a_b",
        "1.2",
        "\0",
        "K",
    ]
)
hosts = st.one_of(
    st.just(HOST),
    st.lists(labels, max_size=6).map(".".join),
    st.lists(st.sampled_from(["dsql", "us-east-1", "on", "aws", "x"]), min_size=5, max_size=5).map(".".join),
    st.tuples(labels, labels, labels).map(lambda some: f"{some[0]}.{some[1]}.{some[2]}.on.aws"),
    st.text(max_size=20),
    st.sampled_from([None, b"a.b", 5, Text(HOST), HOST.upper(), "a" * 26, f"a.{'b' * 252}", f"a.{'b' * 251}"]),
)
regions = st.one_of(st.none(), labels, st.sampled_from(["US-EAST-1", "eu-west-1", Text("us-east-1"), 5, "\ud800"]))
users = st.one_of(
    st.just("admin"),
    st.text(max_size=5),
    st.sampled_from([None, Text("admin"), "Admin", "a\0", "\ud800", 5, b"admin"]),
)
lives = st.one_of(
    st.just(900),
    st.integers(-1, 2),
    st.integers(604_799, 604_801),
    st.sampled_from([None, True, "900", 900.0, 900.5, 2**70, -(2**70), float("nan")]),
)
credentials = st.sampled_from(
    [
        KEYS,
        dsql_fast.Credentials("a/b+c", "made-up", "ses/sion"),
        dsql_fast.Credentials("akid", "made-up", expires_at=NOW),
        dsql_fast.Credentials("akid", "made-up", expires_at=NOW.replace(minute=3)),
    ]
)
times = st.sampled_from([NOW, NOW.replace(year=9999), NOW.replace(year=1969), NOW.replace(tzinfo=None)])


@given(host=hosts, region=regions, user=users, expires_in=lives, credentials=credentials, now=times)
def test_it_agrees_or_keeps_out(**arguments: Any) -> None:
    plain = sign_plain(*arguments.values())
    assert plain is None or plain == whole(**arguments)


ALMOST_OURS = [
    HOST,
    HOST.upper(),
    "ID.dsql.us-east-1.on.aws",
    "id.dsql-x1.us-east-1.on.aws",
    "id.dsqlx.us-east-1.on.aws",
    "id.rds.us-east-1.on.aws",
    "id.dsql.us-east-1.on.awsx",
    "id.dsql.us-east-1.off.aws",
    "x.id.dsql.us-east-1.on.aws",
    "dsql.us-east-1.on.aws",
    "id.dsql.-us-east-1.on.aws",
    "id.dsql.us_east_1.on.aws",
    "id.dsql..on.aws",
    ".id.dsql.us-east-1.on.aws",
    "proxy.example.com",
    "proxy..example.com",
    "proxy",
    "a" * 26,
]


@pytest.mark.parametrize("host", ALMOST_OURS)
def test_it_agrees_about_the_region(host: str) -> None:
    for region in (None, "us-east-1", "-us-east-1", "us-east-1-", "US-EAST-1", "eu-west-1", "-eu", "eu-", "-", ""):
        plain = sign_plain(host, region, "admin", 900, KEYS, NOW)
        assert plain is None or plain == whole(host, region, "admin", 900, KEYS, NOW), region


@pytest.mark.parametrize(
    ("host", "region"),
    [
        (HOST, None),
        (HOST, "us-east-1"),
        ("id.dsql-x1.eu-west-1.on.aws", None),
        ("proxy.example.com", "eu-west-1"),
    ],
)
@pytest.mark.parametrize("user", ["admin", "somebody"])
def test_what_is_plain_is_signed(host: str, region: str | None, user: str) -> None:
    arguments = (host, region, user, 900, KEYS, NOW)
    plain = sign_plain(*arguments)
    assert plain is not None
    assert plain == whole(*arguments)


def test_what_is_to_be_looked_up_is_not_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert sign_plain("proxy.example.com", None, "admin", 900, KEYS, NOW) is None
    assert sign_plain("a" * 26, "eu-west-1", "admin", 900, KEYS, NOW) is None
    assert sign_plain(HOST, None, "admin", 900, None, NOW) is None


def test_the_environments_keys_as_they_are_now(monkeypatch: pytest.MonkeyPatch) -> None:
    def signed() -> str:
        return dsql_fast.generate_token(HOST, now=NOW)

    def expected(*keys: Any) -> str:
        return dsql_fast.generate_token(HOST, credentials=dsql_fast.Credentials(*keys), now=NOW)

    for number in range(3):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", f"akid{number}")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "made-up")
        assert signed() == signed() == expected(f"akid{number}", "made-up")
        monkeypatch.setenv("AWS_SESSION_TOKEN", "session")
        assert signed() == signed() == expected(f"akid{number}", "made-up", "session")
        monkeypatch.setenv("AWS_SECURITY_TOKEN", "older")
        assert signed() == signed() == expected(f"akid{number}", "made-up", "older")
        monkeypatch.delenv("AWS_SECURITY_TOKEN")
        monkeypatch.delenv("AWS_SESSION_TOKEN")
    monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", "2024-08-27T01:02:03Z")
    for _ in range(2):
        with pytest.raises(dsql_fast.CredentialsExpired):
            signed()
    monkeypatch.delenv("AWS_CREDENTIAL_EXPIRATION")
    assert signed() == signed()
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    for _ in range(2):
        with pytest.raises(dsql_fast.CredentialsError, match="AWS_SECRET_ACCESS_KEY is not"):
            signed()
