"""What is told of a text: words that are only assumed of DSQL, other drivers' words, and any text at all."""

from __future__ import annotations

import re
import socket
import ssl
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dsql_fast
from dsql_fast import _errors, _failures
from dsql_fast._diagnosis import KINDS, Known, diagnose, redacted, token_facts
from dsql_fast._diagnosis._known import span

if TYPE_CHECKING:
    from dsql_fast.local import LocalCluster

PAGE = Path(__file__).parent.parent.parent / "docs" / "errors.md"
HOST = "cluster000000000000000000a.dsql.us-east-1.on.aws"
NOW = 1_770_000_000.0  # 2026-02-02T02:40:00Z
DENIED = "connection failed: FATAL:  unable to accept connection, access denied"


def token(**more: str) -> str:
    """One that was signed ten seconds before NOW, for fifteen minutes."""
    fields = {
        "Action": "DbConnectAdmin",
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": "AKIAFAKE/20260202/us-east-1/dsql/aws4_request",
        "X-Amz-Date": "20260202T023950Z",
        "X-Amz-Expires": "900",
        "X-Amz-SignedHeaders": "host",
        "X-Amz-Signature": "f5f2ad76" * 8,
        **more,
    }
    return f"{HOST}/?" + "&".join(f"{name}={value}" for name, value in fields.items())


KNOWN = Known(
    now=NOW,
    host=HOST,
    region="us-east-1",
    user="admin",
    port=5432,
    token=token_facts(token()),
    credential_source="credentials=",
)


def test_what_a_token_tells() -> None:
    facts = token_facts(token())
    assert facts is not None
    assert (facts.host, facts.region, facts.action) == (HOST, "us-east-1", "DbConnectAdmin")
    assert (facts.signed_at, facts.lifetime, facts.ends_at) == (NOW - 10, 900, NOW + 890)
    assert (facts.has_session_token, facts.key_prefix) == (False, "AKIA")
    signed = dsql_fast.generate_token(HOST, credentials=dsql_fast.Credentials("ASIAFAKE", "s", "t"))
    facts = token_facts(signed)
    assert facts is not None
    assert (facts.has_session_token, facts.key_prefix, facts.lifetime) == (True, "ASIA", 900)
    assert "SESSION" not in repr(facts)


@pytest.mark.parametrize(
    "text", ["", "?", HOST, token(**{"X-Amz-Date": "20269999T999999Z"}), token(**{"X-Amz-Credential": "a/b"})]
)
def test_what_is_no_token_tells_nothing(text: str) -> None:
    assert token_facts(text) is None


# The hint's forms that DSQL may have, of which the tail is assumed: without it, the token's own time has to do.
HINTS = {
    "Signature expired: 20260202T023950Z is now earlier than 20260202T032500Z (20260202T034000Z - 15 min.)": (
        "clock-skew",
        "is 1 h behind",
    ),
    "Signature expired: 20260202T023950Z": ("clock-skew", "at least 14 min 50 s behind"),
    "Signature expired": ("clock-skew", "at least 14 min 50 s behind"),
    "Signature not yet current: 20260202T023950Z": ("clock-skew", "is ahead of"),
    "Wrong user to action mapping. user: admin, action: DbConnect": ("wrong-action", "the token is for DbConnect"),
    "Wrong user to action mapping. user: Signature expired, action: DbConnectAdmin": (
        "wrong-action",
        "user Signature",
    ),
    "User: arn:aws:iam::123456789012:user/x is not authorized to perform: dsql:DbConnect on resource: "
    "arn:aws:dsql:us-east-1:123456789012:cluster/a with an explicit deny in a resource-based policy": (
        "not-authorized",
        "a policy denies it",
    ),
    "User: x is not authorized to perform: something": ("not-authorized", "may not do dsql:DbConnectAdmin"),
    "User: arn:aws:iam::1:user/x is not authorized to access this resource": ("other-account", "of account 1"),
    "User: x is not authorized to access this resource": ("other-account", "of one account"),
    "X-Amz-Expires must be less than a week (in seconds)": ("token-lifetime", "a lifetime of 900 s"),
    "The security token included in the request is expired": ("expired-credentials", "ended"),
    "The security token included in the request is invalid.": ("unknown-key", "does not know"),
    "something new": ("access-denied", "credentials that do not hold"),
}


@pytest.mark.parametrize("hint", HINTS)
@pytest.mark.parametrize("label", ["HINT", "TIPP"])
def test_hints(hint: str, label: str) -> None:
    kind, words = HINTS[hint]
    found = diagnose(f"{DENIED}\n{label}:  {hint}", KNOWN)
    assert found.kind == kind
    assert words in found.cause
    assert found.hint == hint
    assert issubclass(found.error, dsql_fast.AccessDenied)


def test_a_token_that_is_over_by_both_clocks_is_no_clock_that_is_wrong() -> None:
    old = replace(KNOWN, token=token_facts(token(**{"X-Amz-Date": "20260202T013950Z"})))
    hint = "Signature expired: 20260202T013950Z is now earlier than 20260202T022500Z (20260202T024000Z - 15 min.)"
    for known in (old, replace(old, token=None)):
        found = diagnose(f"{DENIED}\nHINT:  {hint}", known)
        assert (found.kind, found.error) == ("token-expired", dsql_fast.AccessDenied)
    short = replace(KNOWN, token=token_facts(token(**{"X-Amz-Expires": "5"})))
    found = diagnose(f"{DENIED}\nHINT:  Signature expired", short)
    assert "raise token_duration_secs, which is 5" in found.next_step


def test_without_a_hint_what_the_client_knows_decides() -> None:
    for known, kind in (
        (replace(KNOWN, credentials_end=NOW - 60), "expired-credentials"),
        (replace(KNOWN, credentials_end=NOW + 60), "access-denied"),
        (replace(KNOWN, user="app"), "role-not-granted"),
        (replace(KNOWN, options="-c amzn-cluster-id=" + "b" * 26), "another-cluster"),
        (replace(KNOWN, options="-c amzn-cluster-id=" + HOST[:26]), "access-denied"),
        (Known(), "access-denied"),
    ):
        assert diagnose(DENIED, known).kind == kind
    assert "ended 1 min ago" in diagnose(DENIED, replace(KNOWN, credentials_end=NOW - 60)).cause
    # A host that does not tell its Region leaves that open, one that does, does not.
    assert "not in us-east-1" in diagnose(DENIED, replace(KNOWN, host="db.example.com")).cause
    assert "not in us-east-1" not in diagnose(DENIED, KNOWN).cause


def test_what_got_farthest_decides() -> None:
    """psycopg lists the failures of all addresses of a name, the last one first."""
    text = "connection timeout expired\nMultiple connection attempts failed. All failures were:\n- ...: " + DENIED
    assert (
        diagnose(text + "\nHINT:  Wrong user to action mapping. user: a, action: b", KNOWN).kind == "wrong-action"
    )
    assert diagnose("Network is unreachable\n- Connection refused").kind == "connection-refused"


OTHERS: dict[str, BaseException] = {
    "timeout": TimeoutError(),
    "connection-refused": ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 1)"),
    "unreachable": OSError(113, "Connect call failed ('10.0.0.1', 1)"),
    "host-not-found": socket.gaierror(-2, "Name or service not known"),
    "certificate-not-trusted": ssl.SSLCertVerificationError(
        1, "[SSL: ...] certificate verify failed: self-signed"
    ),
    "certificate-of-another-name": ssl.SSLCertVerificationError(
        1, "certificate verify failed: Hostname mismatch, certificate is not valid for 'a'. (_ssl.c:1006)"
    ),
    "connection-closed": ConnectionResetError(104, "Connection reset by peer"),
    "no-such-database": asyncpg.InvalidCatalogNameError('database "x" does not exist'),
    "too-many-connections": asyncpg.TooManyConnectionsError(
        "Unable to accept connection, too many open connections."
    ),
    "no-roots": psycopg.OperationalError('root certificate file "/x" does not exist'),
    "unknown": psycopg.OperationalError("the moon is in the wrong quarter"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_drivers_words(kind: str) -> None:
    error = OTHERS[kind]
    assert diagnose(f"{error}\n{type(error).__name__}", KNOWN).kind == kind


def test_real_texts_that_a_connect_of_ours_cannot_provoke(cluster: LocalCluster) -> None:
    """A token for another user, and one for another Region."""
    keys = cluster.credentials
    arguments = {"host": cluster.host, "hostaddr": cluster.hostaddr, "port": cluster.port, "user": "admin"}
    for kind, made in (
        ("wrong-action", dsql_fast.generate_token(cluster.host, user="app", credentials=keys)),
        ("access-denied", dsql_fast.generate_token("db.example.com", "eu-west-1", credentials=keys)),
    ):
        with pytest.raises(psycopg.OperationalError) as caught:
            psycopg.connect(**arguments, dbname="postgres", sslmode="require", password=made)  # type: ignore[arg-type]
        assert diagnose(str(caught.value)).kind == kind


# --- any text


pieces = st.sampled_from(
    [
        *HINTS,
        DENIED,
        *map(str, OTHERS.values()),
        token(),
        "\nHINT:  ",
        "%",
        "{",
        "{0}",
        "\\",
        "arn:aws:",
        "\n",
        "\0",
    ]
)
texts = st.lists(pieces | st.text(), max_size=6).map("".join)
numbers = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e11, max_value=1e11)
knowns = st.builds(
    Known,
    now=numbers,
    host=st.none() | texts,
    region=st.none() | texts,
    user=st.none() | texts,
    dialled=st.none() | texts,
    port=st.none() | st.integers(1, 65535),
    options=st.none() | texts,
    token=st.none() | st.builds(token_facts, st.just(token()) | texts),
    credential_source=st.none() | texts | st.just("profile 'x'"),
    credentials_end=st.none() | numbers,
    roots=st.lists(texts, max_size=2).map(tuple),
)
TOKEN_LIKE = re.compile("X-Amz-[A-Za-z-]+=|[0-9a-f]{64}", re.IGNORECASE)


@settings(max_examples=200)
@given(texts, knowns)
def test_any_text_is_told_of_without_what_looks_like_a_token(text: str, known: Known) -> None:
    found = diagnose(text, known)
    assert found.kind in KINDS
    facts = found.facts()
    told = [part for name, part in facts.items() if name not in {"host", "region"} and isinstance(part, str)]
    for part in (*told, found.advice(), found.hint or ""):
        assert not TOKEN_LIKE.search(part)
    # Three to four lines, whatever a name holds.
    assert all(line.isprintable() for line in found.advice().split("\n"))
    assert len(found.advice().split("\n")) <= 4
    assert found.cause
    assert found.next_step


@given(st.text(max_size=200))
def test_any_text_is_a_token_or_none(text: str) -> None:
    assert token_facts(text) is None
    facts = token_facts(token(**{"X-Amz-Signature": text.replace("&", "").replace("=", "")}))
    assert facts is None or facts.lifetime == 900


def test_what_is_redacted() -> None:
    session = "FwoGZXIvYXdzE" * 10
    for secret in (token(), "X-Amz-Signature=" + "0a" * 32, "0A" * 32, session, "x-amz-security-token%3Dabc"):
        assert redacted(f"before {secret} after") in {"before [...] after", f"before {HOST}/?[...] after"}
    arn = "arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_Developers_0123456789abcdef/somebody@example.com"
    for harmless in (arn, HOST, "X-Amz-Expires must be less than a week", '{"Action": "dsql:DbConnect"}'):
        assert redacted(harmless) == harmless


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        *((0, "0 s"), (0.4, "0 s"), (-5, "0 s"), (59.6, "1 min"), (61, "1 min 1 s"), (900, "15 min")),
        *((7199, "1 h 59 min"), (7200, "2 h"), (86_400, "1 d"), (90_061, "1 d 1 h"), (1e9, "11574 d 1 h")),
    ],
)
def test_spans_of_time(seconds: float, words: str) -> None:
    assert span(seconds) == words


# --- the page


def sections() -> set[str]:
    """The anchors of the page's headings, as GitHub makes them."""
    headings = re.findall(r"^#{1,6} (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    anchors = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    assert len(anchors) == len(set(anchors))  # a second one would be called -1
    return set(anchors)


def test_each_kind_has_its_section() -> None:
    assert set(KINDS) <= sections()


def test_each_link_of_a_message_leads_to_a_section() -> None:
    linked = {_errors.docs_link(kind) for kind in KINDS}
    linked |= {dsql_fast.ConnectError.docs, dsql_fast.ConflictRetriesExhausted.docs}
    linked |= {_errors.docs_link("commit-outcome-unknown")}
    assert {link.partition("#")[0] for link in linked} == {_failures._PAGE}
    assert _failures._PAGE.endswith("docs/errors.md")
    assert {link.partition("#")[2] for link in linked} <= sections()


def test_each_section_of_a_kind_is_a_kinds() -> None:
    """No section outlives its case."""
    page = PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"^`kind` is `([\w-]+)`", page, re.MULTILINE))
    assert named == set(KINDS)
