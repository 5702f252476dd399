"""Step: one connection, and what it is."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from psycopg import pq

from ...psycopg import connect
from ._tls import negotiated_tls

if TYPE_CHECKING:
    from ._stage import Stage

_DIRECT_TLS_LIBPQ = 170000


def show_connect(stage: Stage) -> None:
    """Connect, and show the TLS that was negotiated, who we are, and how the token was made."""
    with connect(**stage.arguments()) as connection:
        row = connection.execute(
            "select current_user, pg_backend_pid(), current_setting('transaction_isolation')"
        ).fetchone()
        user, pid, isolation = row if row is not None else ("", 0, "")
        stage.fact("host", connection.info.host)
        stage.fact("dialled", f"{connection.info.hostaddr} port {connection.info.port}")
        stage.fact("server", f"PostgreSQL {connection.info.parameter_status('server_version')}")
        stage.fact("user", user)
        stage.fact("backend pid", pid)
        stage.fact("isolation", isolation)
        tls = negotiated_tls(connection)
        known = [session.pid for session in stage.cluster.sessions()]
    if tls is not None:
        stage.fact("TLS", f"{tls.protocol or 'yes'}, {tls.cipher or 'cipher not told'}")
        stage.fact(
            "negotiation", "direct (TLS from the first byte)" if tls.direct else "classic (asked for in clear)"
        )
        stage.fact("verified name", tls.verified_name)
        stage.fact("verified against", "the local cluster's own certificate authority")
    stage.check("the connection is encrypted", tls is not None)
    if tls is not None:
        stage.check("TLS is 1.2 or newer", tls.protocol in ("TLSv1.2", "TLSv1.3", None), tls.protocol)
        stage.check("the certificate was verified for the cluster's name", tls.verified_name == stage.cluster.host)
        if pq.version() >= _DIRECT_TLS_LIBPQ:
            stage.check("TLS was direct", tls.direct)
    stage.check("the cluster knows the session by its backend", pid in known, f"{pid} is not in {known}")
    stage.check("isolation is REPEATABLE READ", isolation == "repeatable read", isolation)
    _show_token(stage)


def _show_token(stage: Stage) -> None:
    source = stage.source()
    signed = source.stats().issued
    token = source.token()
    # A token is a URL without its scheme.
    query = {name: values[0] for name, values in parse_qs(urlsplit(f"//{token}").query).items()}
    scope = query["X-Amz-Credential"].split("/")
    signed_at = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    stage.fact("token: action", query["Action"])
    stage.fact("token: Region, service", f"{scope[2]}, {scope[3]}")
    stage.fact("token: signed at", signed_at.isoformat())
    stage.fact("token: lifetime, s", int(query["X-Amz-Expires"]))
    stage.fact("token: length", len(token))
    stage.fact("token: access key", f"{scope[0][:4]}...{scope[0][-2:]}")
    stage.check(
        "the token is for DbConnectAdmin, as admin needs", query["Action"] == "DbConnectAdmin", query["Action"]
    )
    stage.check("the token is for the cluster's Region", scope[2] == stage.cluster.region, scope[2])
    stage.check("it is the one that was used: none was signed since", source.stats().issued == signed == 1, signed)
