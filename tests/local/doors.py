"""The ways these tests come to a cluster: tokens by botocore, drivers, and bare sockets."""

from __future__ import annotations

import datetime as dt
import os
import socket
import ssl
import struct
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psycopg
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from botocore.credentials import ReadOnlyCredentials

    from dsql_fast.local import LocalCluster

SSL_REQUEST = struct.pack("!II", 8, 80877103)
GSSENC_REQUEST = struct.pack("!II", 8, 80877104)


class FrozenSigner(SigV4QueryAuth):  # type: ignore[misc]
    """botocore's presigner at a time of one's choice."""

    def __init__(self, credentials: object, region: str, expires: object, at: str) -> None:
        super().__init__(credentials, "dsql", region, expires)
        self.at = at

    def add_auth(self, request: AWSRequest) -> None:
        request.context["timestamp"] = self.at
        self._modify_request_before_signing(request)
        text = self.string_to_sign(request, self.canonical_request(request))
        self._inject_signature_to_request(request, self.signature(text, request))


def stamp(offset: float = 0.0) -> str:
    when = dt.datetime.fromtimestamp(time.time() + offset, dt.timezone.utc)
    return when.strftime("%Y%m%dT%H%M%SZ")


def sign(
    host: str,
    region: str,
    credentials: ReadOnlyCredentials,
    *,
    action: str = "DbConnectAdmin",
    expires: object = 900,
    at: str | None = None,
    extra: str = "",
) -> str:
    """A token by botocore."""
    keys = Credentials(credentials.access_key, credentials.secret_key, credentials.token)
    request = AWSRequest("GET", f"https://{host}/?Action={action}{extra}")
    FrozenSigner(keys, region, expires, at or stamp()).add_auth(request)
    return str(request.url).removeprefix("https://")


def token(cluster: LocalCluster, **changes: Any) -> str:
    """A good token, but for the changes."""
    arguments: dict[str, Any] = {
        "host": cluster.host,
        "region": cluster.region,
        "credentials": cluster.credentials,
        **changes,
    }
    return sign(arguments.pop("host"), arguments.pop("region"), arguments.pop("credentials"), **arguments)


def parameters(cluster: LocalCluster, **changes: Any) -> dict[str, Any]:
    """What libpq needs, verify-full, with a good admin token."""
    base: dict[str, Any] = {
        "host": cluster.host,
        "hostaddr": cluster.hostaddr,
        "port": cluster.port,
        "user": "admin",
        "dbname": "postgres",
        "sslmode": "verify-full",
        "sslrootcert": str(cluster.ca_file),
        "sslnegotiation": "direct",
        "connect_timeout": 10,
    }
    if "password" not in changes:
        action = "DbConnectAdmin" if changes.get("user", "admin") == "admin" else "DbConnect"
        base["password"] = token(cluster, action=action)
    return {name: value for name, value in {**base, **changes}.items() if value is not None}


def connect(cluster: LocalCluster, **changes: Any) -> psycopg.Connection[Any]:
    return psycopg.connect(**parameters(cluster, autocommit=True, **changes))


def refused(cluster: LocalCluster, **changes: Any) -> str:
    """Try to connect, which must fail; what was said."""
    try:
        connect(cluster, **changes).close()
    except psycopg.OperationalError as error:
        return str(error)
    raise AssertionError("connected")


def dial(cluster: LocalCluster) -> socket.socket:
    return socket.create_connection((cluster.hostaddr, cluster.port), timeout=10)


def tls(
    cluster: LocalCluster,
    *,
    direct: bool = True,
    alpn: str | None = "postgresql",
    name: str | None = "",
) -> ssl.SSLSocket:
    """A TLS connection by hand; `name=None` sends no SNI."""
    context = ssl.create_default_context(cafile=str(cluster.ca_file))
    context.check_hostname = False
    if alpn is not None:
        context.set_alpn_protocols([alpn])
    sock = dial(cluster)
    if not direct:
        sock.sendall(SSL_REQUEST)
        assert sock.recv(1) == b"S"
    return context.wrap_socket(sock, server_hostname=cluster.host if name == "" else name)


def startup(settings: dict[str, str] | None = None, *, user: str = "admin", version: int = 3 << 16) -> bytes:
    given = {"user": user, "database": "postgres", **(settings or {})}
    body = b"".join(f"{key}\0{value}\0".encode() for key, value in given.items()) + b"\0"
    return struct.pack("!II", len(body) + 8, version) + body


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def read_message(sock: socket.socket) -> tuple[bytes, bytes]:
    """One message, or two empty strings at the end."""
    header = read_exactly(sock, 5)
    if len(header) < 5:
        return b"", b""
    return header[:1], read_exactly(sock, struct.unpack("!I", header[1:])[0] - 4)


def read_exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        try:
            part = sock.recv(count - len(data))
        except (ConnectionResetError, ssl.SSLError):
            return data
        if not part:
            return data
        data += part
    return data


def fields(body: bytes) -> dict[str, str]:
    return {part[:1].decode(): part[1:].decode() for part in body.split(b"\0") if part}


def authenticated(cluster: LocalCluster) -> ssl.SSLSocket:
    """A bare connection, ready for a query."""
    sock = tls(cluster)
    sock.sendall(startup())
    assert read_message(sock)[0] == b"R"
    sock.sendall(message(b"p", token(cluster).encode() + b"\0"))
    while True:
        kind, _ = read_message(sock)
        assert kind in b"RSKZ"
        if kind == b"Z":
            return sock


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Wait until something holds; no time is asserted but that it comes at all."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"never came: {what}")
        time.sleep(0.01)


def settled(cluster: LocalCluster) -> dict[str, Any]:
    """The counters once everything that was opened is gone."""

    def quiet() -> bool:
        stats = cluster.stats()
        return [stats[name] for name in ("open", "opening", "backends")] == [0, 0, 0]

    wait_for(quiet, "no session, no opening, no backend")
    return cluster.stats()


def quoted(text: str) -> str:
    return quote(text, safe="")


def clear_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("AWS_", "PG", "SSL_CERT_")):
            monkeypatch.delenv(name)
