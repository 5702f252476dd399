"""The judge of tokens: by himself at frozen times, and at the door."""

from __future__ import annotations

import calendar
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

import boto3
import pytest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsql_fast.local._keys import Key, KeyRing
from dsql_fast.local._refusals import Refused
from dsql_fast.local._tokens import verify
from local.doors import connect, quoted, refused, sign, stamp, token

if TYPE_CHECKING:
    from collections.abc import Callable

    from dsql_fast.local import LocalCluster

DENIED = "unable to accept connection, access denied"
HOST = "test.dsql.us-east-1.on.aws"

# Service dsql, GET, path /, only the header host: signatures known from other signers.
KNOWN_ANSWERS = [
    (
        ("akid", "secret", None),
        ("peccy.dsql.us-east-1.on.aws", "20240827T000000Z", 450),
        "f5f2ad764ca5df44045d4ab6ccecba0eef941b0007e5765885a0b6ed3702a3f8",
        "267cf8d04d84444f7a62d5bdb40c44bfc6cb13dd6c64fa7f772df6bbaa90fff1",
    ),
    (
        ("ACCESS_KEY", "SECRET_KEY", "SESSION_TOKEN"),
        (HOST, "20241107T173933Z", 900),
        "57fe03e060348aaa21405c239bf02572bbc911076e94dcd65c12ae569dd8fcf4",
        "5ac084bc7cabccc19a52a5d1b5c24b50d3ce143f43b659bd484c91aaf555e190",
    ),
    (
        ("access_key", "secret_key", None),
        (HOST, "20241107T173933Z", 900),
        "e319d85380261f643d78a558f76257f05aacea758a6ccd42a2510e2ae0854a47",
        "a08adc4c84a490014ce374b90c98ba9ed015b77b451c0d9f9fb3f8ca8c6f9c36",
    ),
]


def ring(*keys: Key) -> KeyRing:
    made = KeyRing()
    for key in keys:
        made.add(key)
    return made


def judge(text: str, *, key: Key | None = None, user: str = "admin", now: float | None = None, **at: str) -> None:
    verify(
        text.encode(),
        user=user,
        host=at.get("host", HOST),
        region=at.get("region", "us-east-1"),
        keys=ring(key or Key("akid", "secret")),
        now=time.time() if now is None else now,
    )


def verdict(text: str, **arguments: Any) -> str:
    with pytest.raises(Refused) as caught:
        judge(text, **arguments)
    return caught.value.refusal.reason


def made(credentials: tuple[str, str, str | None] = ("akid", "secret", None), **changes: Any) -> str:
    return sign(HOST, "us-east-1", ReadOnlyCredentials(*credentials), **changes)


@pytest.mark.parametrize("admin", [False, True])
@pytest.mark.parametrize(("keys", "where", "connect_answer", "admin_answer"), KNOWN_ANSWERS)
def test_known_answers(
    keys: tuple[str, str, str | None],
    where: tuple[str, str, int],
    connect_answer: str,
    admin_answer: str,
    admin: bool,
) -> None:
    (access_key, secret, session_token), (host, at, expires) = keys, where
    scope = quoted(f"{access_key}/{at[:8]}/us-east-1/dsql/aws4_request")
    text = (
        f"{host}/?Action={'DbConnectAdmin' if admin else 'DbConnect'}"
        f"&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={scope}&X-Amz-Date={at}"
        f"&X-Amz-Expires={expires}&X-Amz-SignedHeaders=host"
        + (f"&X-Amz-Security-Token={session_token}" if session_token else "")
        + f"&X-Amz-Signature={admin_answer if admin else connect_answer}"
    )
    key = Key(access_key, secret, session_token)
    now = calendar.timegm(time.strptime(at, "%Y%m%dT%H%M%SZ"))
    user = "admin" if admin else "somebody"
    judge(text, key=key, user=user, now=now, host=host)
    judge(text, key=key, user=user, now=now + expires, host=host)
    assert verdict(text, key=key, user=user, now=now + expires + 1, host=host) == "token-expired"
    last = "0" if text[-1] != "0" else "1"
    assert verdict(text[:-1] + last, key=key, user=user, now=now, host=host) == "signature"


def odd_forms(text: str) -> list[str]:
    address, _, query = text.partition("?")
    pairs = query.split("&")
    lower_hex = query.replace("%2F", "%2f").replace("%2B", "%2b")
    return [
        text,
        f"{address.rstrip('/')}?{query}",
        f"{address}?{'&'.join(reversed(pairs))}",
        f"{address}?{'&'.join(sorted(pairs))}",
        f"{address}?{lower_hex}",
        f"{address}?{unquote(query.partition('X-Amz-Security-Token')[0])}"
        + query[len(query.partition("X-Amz-Security-Token")[0]) :],
        f"{address}?{query.replace('X-Amz', '%58-Amz')}",
    ]


@pytest.mark.parametrize("form", range(7))
def test_odd_forms_are_accepted(form: int) -> None:
    session_token = "a+b/c~d e=" * 20
    text = odd_forms(made(("akid", "secret", session_token)))[form]
    judge(text, key=Key("akid", "secret", session_token))


@pytest.mark.parametrize(
    ("plain", "encoded"), [("%20", "+"), ("~", "%7E"), ("~", "%7e"), ("-", "%2D"), ("%20", "%20")]
)
def test_odd_encodings_are_accepted(plain: str, encoded: str) -> None:
    session_token = "blank ~tilde-dash"
    text = made(("akid", "secret", session_token))
    before, name, after = text.partition("X-Amz-Security-Token=")
    value, separator, rest = after.partition("&")
    # botocore escapes the tilde or not, by version; both are one value.
    value = value.replace("%7E", "~")
    odd = before + name + value.replace(plain, encoded) + separator + rest
    judge(odd, key=Key("akid", "secret", session_token))


def test_an_empty_session_token_means_none() -> None:
    judge(made(("akid", "secret", "")))


@given(
    session_token=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60),
    expires=st.integers(1, 604_800),
    action=st.sampled_from(["DbConnect", "DbConnectAdmin"]),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_botocore_signs_is_accepted(session_token: str, expires: int, action: str) -> None:
    text = made(("akid", "secret", session_token or None), expires=expires, action=action)
    user = "admin" if action == "DbConnectAdmin" else "somebody"
    judge(text, key=Key("akid", "secret", session_token or None), user=user)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_one_changed_character_is_refused(data: st.DataObject) -> None:
    text = made()
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(codec="latin-1"))
    changed = text[:at] + other + text[at + 1 :]
    if dict(parse_qsl(changed.partition("?")[2])) == dict(parse_qsl(text.partition("?")[2])) and (
        changed.partition("?")[0].rstrip("/") == HOST
    ):
        return  # the same token in another encoding, or the same character
    with pytest.raises(Refused):
        judge(changed)


@given(st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_garbage_is_refused_and_never_fails(garbage: bytes) -> None:
    for text in (garbage, HOST.encode() + b"/?" + garbage, made().encode() + garbage):
        if text == made().encode():
            continue
        with pytest.raises(Refused):
            verify(text, user="admin", host=HOST, region="us-east-1", keys=ring(Key("akid", "secret")), now=0)


@pytest.mark.parametrize("name", ["Action", "X-Amz-Date", "X-Amz-Expires", "X-Amz-Signature", "X-Amz-Credential"])
def test_a_parameter_that_comes_twice_is_refused(name: str) -> None:
    text = made()
    value = dict(parse_qsl(text.partition("?")[2]))[name]
    assert verdict(f"{text}&{name}={quoted(value)}") == "token-malformed"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"action": "DbConnect"}, "action"),
        ({"action": "Connect"}, "action-unknown"),
        ({"expires": 604_801}, "token-expires"),
        ({"expires": 0}, "token-expires"),
        ({"expires": -1}, "token-expires"),
        ({"expires": "soon"}, "token-expires"),
        ({"expires": "\u0663"}, "token-expires"),
        ({"at": stamp(-901)}, "token-expired"),
        # In a day: the time is fixed when the tests are collected, and they run for a while.
        ({"at": stamp(86_400)}, "token-not-yet-current"),
        ({"credentials": ("other", "secret", None)}, "key-unknown"),
        ({"credentials": ("akid", "other", None)}, "signature"),
        ({"credentials": ("akid", "secret", "unasked")}, "session-token"),
    ],
)
def test_each_fault_has_its_reason(changes: dict[str, Any], reason: str) -> None:
    assert verdict(made(**changes)) == reason


def test_wrong_places_have_their_reason() -> None:
    keys = ReadOnlyCredentials("akid", "secret", None)
    assert verdict(sign("other.dsql.us-east-1.on.aws", "us-east-1", keys)) == "token-host"
    assert verdict(sign(HOST, "eu-west-1", keys)) == "token-scope"
    assert verdict("https://" + made()) == "token-host"


def test_a_clock_a_little_ahead_is_forgiven() -> None:
    judge(made(at=stamp(200)))


# --- at the door --------------------------------------------------------------------------------


@pytest.mark.parametrize("admin", [False, True])
def test_boto3_gets_in(cluster: LocalCluster, admin: bool, fresh_role: str) -> None:
    keys = cluster.credentials
    client = boto3.Session(keys.access_key, keys.secret_key).client("dsql", cluster.region)
    if admin:
        text, user = client.generate_db_connect_admin_auth_token(cluster.host, cluster.region, 900), "admin"
    else:
        text, user = client.generate_db_connect_auth_token(cluster.host, cluster.region, 900), fresh_role
    with connect(cluster, user=user, password=text) as conn:
        assert conn.execute("select current_user").fetchone() == (user,)


def test_temporary_credentials_get_in(cluster: LocalCluster) -> None:
    keys = cluster.issue_credentials(temporary=True)
    assert keys.token
    with connect(cluster, password=token(cluster, credentials=keys)):
        pass


def test_one_token_serves_many_connections(cluster: LocalCluster) -> None:
    text = token(cluster)
    for _ in range(3):
        connect(cluster, password=text).close()


BAD_TOKENS: dict[str, Callable[[LocalCluster], str]] = {
    "tampered": lambda c: token(c).replace("X-Amz-Expires=900", "X-Amz-Expires=901"),
    "cut": lambda c: token(c)[:-1],
    "empty_signature": lambda c: token(c)[:-64],
    "not_a_token": lambda _: "password",
    "wrong_host": lambda c: token(c, host="a" * 26 + ".dsql.us-east-1.on.aws"),
    "wrong_region": lambda c: token(c, region="eu-west-1"),
    "duplicate_parameter": lambda c: token(c) + "&Action=DbConnectAdmin",
    "unknown_key": lambda c: token(c, credentials=ReadOnlyCredentials("AKIAX", "x", None)),
    "wrong_secret": lambda c: token(c, credentials=c.credentials._replace(secret_key="not it")),
    "unasked_session_token": lambda c: token(c, credentials=c.credentials._replace(token="x")),
    "session_token_missing": lambda c: token(
        c, credentials=c.issue_credentials(temporary=True)._replace(token=None)
    ),
    "session_token_wrong": lambda c: token(
        c, credentials=c.issue_credentials(temporary=True)._replace(token="other")
    ),
}


@pytest.mark.parametrize("kind", BAD_TOKENS)
def test_bad_tokens_are_denied(cluster: LocalCluster, kind: str) -> None:
    assert DENIED in refused(cluster, password=BAD_TOKENS[kind](cluster))


def test_revoked_keys_are_denied_and_sessions_stay(cluster: LocalCluster) -> None:
    keys = cluster.issue_credentials()
    text = token(cluster, credentials=keys)
    with connect(cluster, password=text) as conn:
        cluster.revoke_credentials(keys.access_key)
        assert DENIED in refused(cluster, password=text)
        assert conn.execute("select 1").fetchone() == (1,)
    with pytest.raises(ValueError, match="no such access key"):
        cluster.revoke_credentials("AKIAX")


def test_expired_credentials_are_denied_though_the_token_still_runs(cluster: LocalCluster) -> None:
    keys = cluster.issue_credentials(temporary=True, lifetime=0)
    assert DENIED in refused(cluster, password=token(cluster, credentials=keys))


def test_no_secret_in_stats_events_or_repr(cluster: LocalCluster) -> None:
    text = token(cluster)
    connect(cluster, password=text).close()
    refused(cluster, password=text[:-3])
    shown = f"{cluster.stats()} {cluster.events()} {cluster!r}"
    assert "X-Amz" not in shown
    assert cluster.credentials.secret_key not in shown
