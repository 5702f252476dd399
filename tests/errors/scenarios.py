"""What can keep a connect from succeeding, each provoked at a real cluster or a real socket.

A scenario is a context: it gives the keywords of the connect that fails, and sets right what it disturbed.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dsql_fast
from dsql_fast import AccessDenied, ClockSkew, ConnectError, RateExceeded, TooManyConnections, WakingUp
from dsql_fast._config import parse_config
from dsql_fast._native import sign_token
from dsql_fast._tokens import shared_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from dsql_fast.local import LocalCluster

    Provoke = Callable[[LocalCluster], AbstractContextManager[dict[str, Any]]]

ANOTHER_ID = "another0cluster00000000000"


@dataclass(frozen=True)
class Scenario:
    """One of them.

    Attributes:
        kind: what the error must say that it is.
        error: the class of ours that it must be.
        words: in the likeliest cause or the next step.
        permanent: as the error must have it.
        provoke: brings it about.
    """

    kind: str
    error: type[ConnectError]
    words: str
    permanent: bool
    provoke: Provoke


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    name: str, kind: str, words: str, error: type[ConnectError] = ConnectError, *, permanent: bool = False
) -> Callable[[Provoke], Provoke]:
    def keep(provoke: Provoke) -> Provoke:
        SCENARIOS[name] = Scenario(kind, error, words, permanent, provoke)
        return provoke

    return keep


def with_keywords(name: str, kind: str, words: str, permanent: bool = True, **keywords: Any) -> None:
    @contextlib.contextmanager
    def provoke(cluster: LocalCluster) -> Iterator[dict[str, Any]]:
        yield {**cluster.connect_kwargs(), **keywords}

    denied = AccessDenied if kind in {"role-not-granted", "another-cluster"} else ConnectError
    SCENARIOS[name] = Scenario(kind, denied, words, permanent, provoke)


def with_keys(cluster: LocalCluster, key: str, secret: str, token: str | None = None) -> dict[str, Any]:
    return {**cluster.connect_kwargs(), "credentials": dsql_fast.Credentials(key, secret, token)}


def as_admin(cluster: LocalCluster, statement: str) -> None:
    """Run a statement on a connection of its own: no view of the schema is old."""
    with dsql_fast.connect(**cluster.connect_kwargs(), autocommit=True) as conn:
        conn.execute(statement)


@contextlib.contextmanager
def skewed(cluster: LocalCluster, seconds: float) -> Iterator[None]:
    """Move the clock that tokens are judged by, for as long as this lasts."""
    cluster.clock.skew(seconds)
    try:
        yield
    finally:
        cluster.clock.skew(-seconds)


# --- who it is


@scenario("wrong secret", "bad-signature", "is not the one of this access key", AccessDenied, permanent=True)
@contextlib.contextmanager
def wrong_secret(cluster: LocalCluster) -> Iterator[dict[str, Any]]:
    yield with_keys(cluster, cluster.credentials.access_key, "w" * 40)


@scenario("unknown key", "unknown-key", "does not know the access key", AccessDenied, permanent=True)
@contextlib.contextmanager
def unknown_key(cluster: LocalCluster) -> Iterator[dict[str, Any]]:
    yield with_keys(cluster, "AKIANOBODYHASTHISKEY", "w" * 40)


@scenario("revoked key", "unknown-key", "`aws sts get-caller-identity`", AccessDenied, permanent=True)
@contextlib.contextmanager
def revoked_key(cluster: LocalCluster) -> Iterator[dict[str, Any]]:
    keys = cluster.issue_credentials()
    cluster.revoke_credentials(keys.access_key)
    yield with_keys(cluster, keys.access_key, keys.secret_key)


@scenario("session token missing", "unknown-key", "its session token is missing", AccessDenied, permanent=True)
@contextlib.contextmanager
def session_token_missing(cluster: LocalCluster) -> Iterator[dict[str, Any]]:
    keys = cluster.issue_credentials(temporary=True)
    yield with_keys(cluster, keys.access_key, keys.secret_key)


@scenario("session token left over", "unknown-key", "unset AWS_SESSION_TOKEN", AccessDenied, permanent=True)
@contextlib.contextmanager
def session_token_left_over(cluster: LocalCluster) -> Iterator[dict[str, Any]]:
    other = cluster.issue_credentials(temporary=True)
    yield with_keys(cluster, cluster.credentials.access_key, cluster.credentials.secret_key, other.token)


@scenario("session token cut", "unknown-key", "its session token is cut", AccessDenied, permanent=True)
@contextlib.contextmanager
def session_token_cut(cluster: LocalCluster) -> Iterator[dict[str, Any]]:
    keys = cluster.issue_credentials(temporary=True)
    assert keys.token is not None
    yield with_keys(cluster, keys.access_key, keys.secret_key, keys.token[:-9])


@scenario(
    "expired credentials",
    "expired-credentials",
    "credentials that signed the token ended",
    AccessDenied,
    permanent=True,
)
@contextlib.contextmanager
def expired_credentials(cluster: LocalCluster) -> Iterator[dict[str, Any]]:
    keys = cluster.issue_credentials(temporary=True, lifetime=300)
    with skewed(cluster, 400):
        yield with_keys(cluster, keys.access_key, keys.secret_key, keys.token)


@scenario("denied by IAM", "not-authorized", '"Action": "dsql:DbConnectAdmin"', AccessDenied, permanent=True)
@contextlib.contextmanager
def denied_by_iam(cluster: LocalCluster) -> Iterator[dict[str, Any]]:
    keys = cluster.issue_credentials("reporter", temporary=True)
    cluster.deny(keys.arn, "DbConnectAdmin")
    try:
        yield with_keys(cluster, keys.access_key, keys.secret_key, keys.token)
    finally:
        cluster.allow(keys.arn, "DbConnectAdmin")


@scenario("another account", "other-account", "account 999988887777", AccessDenied, permanent=True)
@contextlib.contextmanager
def another_account(cluster: LocalCluster) -> Iterator[dict[str, Any]]:
    keys = cluster.issue_credentials(account="999988887777")
    yield with_keys(cluster, keys.access_key, keys.secret_key)


@scenario("role without a grant", "role-not-granted", "AWS IAM GRANT accountant TO", AccessDenied, permanent=True)
@contextlib.contextmanager
def role_without_grant(cluster: LocalCluster) -> Iterator[dict[str, Any]]:
    as_admin(cluster, "create role accountant with login")
    try:
        yield {**cluster.connect_kwargs(), "user": "accountant"}
    finally:
        as_admin(cluster, "drop role accountant")


with_keywords("no such role", "role-not-granted", 'CREATE ROLE "No Body" WITH LOGIN', user="No Body")
with_keywords("another cluster's id", "another-cluster", ANOTHER_ID, options=f"-c amzn-cluster-id={ANOTHER_ID}")

# --- the time


@scenario("clock behind", "clock-skew", "behind the cluster's", ClockSkew)
@contextlib.contextmanager
def clock_behind(cluster: LocalCluster) -> Iterator[dict[str, Any]]:
    with skewed(cluster, 7200):
        yield cluster.connect_kwargs()


@scenario("clock ahead", "clock-skew", "ahead of the cluster's", ClockSkew)
@contextlib.contextmanager
def clock_ahead(cluster: LocalCluster) -> Iterator[dict[str, Any]]:
    with skewed(cluster, -7200):
        yield cluster.connect_kwargs()


@scenario("old token", "token-expired", "signed 2 h ago", AccessDenied)
@contextlib.contextmanager
def old_token(cluster: LocalCluster) -> Iterator[dict[str, Any]]:
    """A source that takes an old token for a fresh one, and has dropped one just now."""
    kwargs = cluster.connect_kwargs()
    config = parse_config("", kwargs, os.environ)
    source = shared_source(config.endpoint, config.action, config.lifetime, config.provider)
    keys, now = kwargs["credentials"], time.time()
    assert source._drop_expired(time.monotonic())
    _, lease = source._get()
    assert lease is not None
    credentials = dsql_fast.Credentials(keys.access_key, keys.secret_key)
    token, _, _ = sign_token(credentials, cluster.host, cluster.region, "DbConnectAdmin", 900, now - 7200)
    lease.fulfil(token, now, now + 900)
    yield kwargs


# --- admission: one try each


@scenario("rate", "rate-exceeded", "100 connections a second", RateExceeded)
@contextlib.contextmanager
def rate(cluster: LocalCluster) -> Iterator[dict[str, Any]]:
    before = cluster.limits
    cluster.set_limits(rate=0, burst=0)
    try:
        yield {**cluster.connect_kwargs(), "pacing": False}
    finally:
        cluster.set_limits(rate=before.rate, burst=before.burst)


@scenario("too many", "too-many-connections", "max_size smaller", TooManyConnections)
@contextlib.contextmanager
def too_many(cluster: LocalCluster) -> Iterator[dict[str, Any]]:
    before = cluster.limits.connections
    cluster.set_limits(connections=0)
    try:
        yield {**cluster.connect_kwargs(), "pacing": False}
    finally:
        cluster.set_limits(connections=before)


@scenario("waking up", "waking-up", "connect again in a second", WakingUp)
@contextlib.contextmanager
def waking_up(cluster: LocalCluster) -> Iterator[dict[str, Any]]:
    cluster.faults.refuse_connections(reason="waking-up", share=1.0)
    try:
        yield {**cluster.connect_kwargs(), "pacing": False}
    finally:
        cluster.faults.clear()


# --- start-up and TLS

_WRONG_HOST = f"{ANOTHER_ID}.dsql.us-east-1.on.aws"
with_keywords("address as host", "no-server-name", "as hostaddr=", host="127.0.0.1", sslmode="require")
with_keywords("wrong host", "certificate-of-another-name", f"is not {_WRONG_HOST}", host=_WRONG_HOST)
with_keywords("wrong SNI", "wrong-server-name", f"--identifier {ANOTHER_ID}", host=_WRONG_HOST, sslmode="require")
with_keywords("no TLS", "no-tls", "leave sslmode out", sslmode="disable")
with_keywords("setting", "setting-not-supported", "take statement_timeout out", options="-c statement_timeout=5")
with_keywords("database", "no-such-database", "leave dbname out", dbname="other")


def with_certificate(kind: str, expected: str, words: str) -> None:
    @contextlib.contextmanager
    def provoke(cluster: LocalCluster) -> Iterator[dict[str, Any]]:
        cluster.set_certificate(kind)
        try:
            yield cluster.connect_kwargs()
        finally:
            cluster.set_certificate("valid")

    SCENARIOS[f"certificate: {kind}"] = Scenario(expected, ConnectError, words, True, provoke)


with_certificate("self-signed", "certificate-not-trusted", "ca.pem")
with_certificate("unknown-ca", "certificate-not-trusted", "openssl s_client -connect 127.0.0.1:")
with_certificate("expired", "certificate-not-trusted", "this machine's clock shows")
with_certificate("wrong-name", "certificate-of-another-name", "a certificate of its own")


@scenario("no roots named", "certificate-not-trusted", "the Amazon roots and this system's roots", permanent=True)
@contextlib.contextmanager
def no_roots_named(cluster: LocalCluster) -> Iterator[dict[str, Any]]:
    kwargs = cluster.connect_kwargs()
    del kwargs["sslrootcert"]
    yield kwargs


# --- the network


@contextlib.contextmanager
def listening(answer: Callable[[socket.socket], None] | None) -> Iterator[int]:
    """A port where connections are taken and `answer` is called with each; None: they stay in the queue."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    with server.accept()[0] as client:
                        answer(client)  # type: ignore[misc]  # only called where it is not None

        thread = threading.Thread(target=serve)
        if answer is not None:
            thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            if answer is not None:
                server.shutdown(socket.SHUT_RDWR)
                thread.join(20)


def answering(
    name: str, kind: str, words: str, answer: Callable[[socket.socket], None] | None, **more: Any
) -> None:
    @contextlib.contextmanager
    def provoke(cluster: LocalCluster) -> Iterator[dict[str, Any]]:
        with listening(answer) as port:
            yield {**cluster.connect_kwargs(), "port": port, **more}

    SCENARIOS[name] = Scenario(kind, ConnectError, words, False, provoke)


def as_http(client: socket.socket) -> None:
    client.recv(1000)
    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def not_at_all(client: socket.socket) -> None:
    client.recv(1000)


with_keywords("refused", "connection-refused", "nothing listens at 127.0.0.1, port 1", permanent=False, port=1)
# The shortest that libpq and psycopg know.
answering("silent", "timeout", "raise connect_timeout", None, connect_timeout=2)
answering("closed", "connection-closed", "without a word", not_at_all)
answering("HTTP", "no-dsql-there", "does not speak PostgreSQL's protocol", as_http)
answering("HTTP, classic", "no-dsql-there", "check host, hostaddr and port", as_http, sslnegotiation="postgres")


@scenario("name", "host-not-found", "there is no host cluster.invalid")
@contextlib.contextmanager
def name(cluster: LocalCluster) -> Iterator[dict[str, Any]]:
    kwargs = {**cluster.connect_kwargs(), "host": "cluster.invalid"}  # RFC 6761: never there
    del kwargs["hostaddr"]
    yield kwargs
