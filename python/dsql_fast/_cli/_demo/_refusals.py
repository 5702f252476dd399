"""Step: what must not work, does not."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import psycopg

from dsql_fast.local import LocalCluster

from ..._bench._rivals import driver_only
from ..._tokens import generate_token
from ...psycopg import connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._stage import Stage

_WHERE = re.compile(r"^connection failed: connection to server at .*?, port \d+ failed: (FATAL: +)?")
_DENIED = "unable to accept connection, access denied"
_NOT_VERIFIED = "certificate verify failed"


def show_refusals(stage: Stage) -> None:
    """Present bad tokens to the cluster, and a good one to an impostor."""
    cluster = stage.cluster
    token = stage.source().token()
    host, keys = cluster.host, cluster.credentials
    an_hour_ago = datetime.now(timezone.utc) - timedelta(hours=1)
    wrong = {
        "a tampered token": _tampered(token),
        "an expired token": generate_token(host, credentials=keys, now=an_hour_ago),
        "another user's token": generate_token(host, user="app", credentials=keys),
        "another cluster's token": generate_token("0" * 26 + host[26:], credentials=keys),
    }
    arguments = driver_only(stage.arguments())
    texts = {what: _refusal(_connecting(arguments, password)) for what, password in wrong.items()}
    # The same name, the same address but for the port, and a certificate by somebody whom nobody trusts.
    with LocalCluster(cluster_id=cluster.cluster_id, region=cluster.region, certificate="unknown-ca") as impostor:
        text = _refusal(lambda: connect(**stage.arguments(port=impostor.port)))
        met = impostor.stats()
    for what, said in texts.items():
        stage.fact(what, said)
    stage.fact("an impostor's certificate", text)
    for what, said in texts.items():
        stage.check(f"{what} is refused by the cluster", _DENIED in said, said)
    stage.check("an impostor with a certificate of an unknown CA is refused by us", _NOT_VERIFIED in text, text)
    stage.check(
        "the impostor was reached, and never got past TLS, so it saw no token",
        met["attempted"] >= 1 and met["refused_by_reason"] == {"tls-failed": met["attempted"]},
        met["refused_by_reason"],
    )
    secrets = (keys.secret_key, token.rpartition("=")[2])
    leaks = sum(secret in said for secret in secrets for said in (*texts.values(), text))
    stage.check("no refusal repeats a signature or a secret", not leaks, f"{leaks} do")


def _tampered(token: str) -> str:
    last = "0" if token[-1] != "0" else "1"
    return token[:-1] + last


def _connecting(arguments: dict[str, Any], password: str) -> Callable[[], psycopg.Connection[Any]]:
    return lambda: psycopg.connect(**arguments, password=password)


def _refusal(attempt: Callable[[], psycopg.Connection[Any]]) -> str:
    """The words with which a connect is refused; empty when it is not."""
    try:
        attempt().close()
    except psycopg.OperationalError as error:
        # libpq tells first where it connected to; what comes then is the server's, or OpenSSL's.
        said = _WHERE.sub("", str(error.args[0])).split("\n")
        return " - ".join(" ".join(line.split()) for line in said)
    return ""
