"""From the first byte to TLS."""

from __future__ import annotations

import ssl
import struct
from typing import TYPE_CHECKING

import pytest

from local.doors import (
    GSSENC_REQUEST,
    SSL_REQUEST,
    connect,
    dial,
    message,
    parameters,
    read_message,
    refused,
    startup,
    tls,
    token,
    wait_for,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from dsql_fast.local import LocalCluster


@pytest.mark.parametrize("negotiation", ["direct", "postgres"])
def test_both_negotiations_on_one_port(cluster: LocalCluster, negotiation: str) -> None:
    with connect(cluster, sslnegotiation=negotiation) as conn:
        assert conn.pgconn.ssl_in_use
        assert conn.execute("select current_user").fetchone() == ("admin",)


def test_direct_tls_without_alpn_is_closed(cluster: LocalCluster) -> None:
    before = cluster.stats()["refused_by_reason"].get("no-alpn", 0)
    for alpn in (None, "http/1.1"):
        sock = tls(cluster, alpn=alpn)
        sock.sendall(startup())
        assert read_message(sock) == (b"", b"")
        sock.close()
    assert cluster.stats()["refused_by_reason"]["no-alpn"] == before + 2


@pytest.mark.parametrize("alpn", [None, "postgresql"])
def test_classic_tls_with_and_without_alpn(cluster: LocalCluster, alpn: str | None) -> None:
    with tls(cluster, direct=False, alpn=alpn) as sock:
        sock.sendall(startup())
        assert read_message(sock) == (b"R", struct.pack("!I", 3))


def test_gss_encryption_is_declined(cluster: LocalCluster) -> None:
    context = ssl.create_default_context(cafile=str(cluster.ca_file))
    with dial(cluster) as plain:
        plain.sendall(GSSENC_REQUEST)
        assert plain.recv(1) == b"N"
        plain.sendall(SSL_REQUEST)
        assert plain.recv(1) == b"S"
        with context.wrap_socket(plain, server_hostname=cluster.host) as sock:
            sock.sendall(startup())
            assert read_message(sock)[0] == b"R"


def test_bytes_before_the_handshake_are_refused(cluster: LocalCluster) -> None:
    with dial(cluster) as sock:
        sock.sendall(SSL_REQUEST + startup())
        kind, body = read_message(sock)
        assert kind == b"E"
        assert b"received unencrypted data after SSL request" in body


def test_old_tls_is_refused(cluster: LocalCluster) -> None:
    context = ssl.create_default_context(cafile=str(cluster.ca_file))
    context.set_alpn_protocols(["postgresql"])
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with context.wrap_socket(dial(cluster), server_hostname=cluster.host) as sock:
        assert sock.version() == "TLSv1.2"
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with dial(cluster) as plain, pytest.raises(OSError):
        context.wrap_socket(plain, server_hostname=cluster.host)


def test_strict_verification_accepts_the_certificate(cluster: LocalCluster) -> None:
    context = ssl.create_default_context(cafile=str(cluster.ca_file))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["postgresql"])
    with context.wrap_socket(dial(cluster), server_hostname=cluster.host) as sock:
        assert sock.selected_alpn_protocol() == "postgresql"


@pytest.mark.parametrize("how", ["plain", "tls"])
def test_a_cancel_request_has_no_effect(cluster: LocalCluster, how: str) -> None:
    with connect(cluster) as conn:
        pid = conn.info.backend_pid
        request = struct.pack("!IIII", 16, 80877102, pid, 1)
        with dial(cluster) if how == "plain" else tls(cluster) as sock:
            sock.sendall(request)
            assert read_message(sock) == (b"", b"")
        assert conn.execute("select 1").fetchone() == (1,)


@pytest.mark.parametrize(
    ("certificate", "text"),
    [
        ("self-signed", "certificate verify failed"),
        ("expired", "certificate has expired"),
        ("wrong-name", "does not match host name"),
        ("unknown-ca", "certificate verify failed"),
    ],
)
def test_bad_certificates_turn_libpq_away(
    fresh_cluster: Callable[..., LocalCluster], certificate: str, text: str
) -> None:
    cluster = fresh_cluster(certificate=certificate)
    said = refused(cluster)
    assert text in said or "certificate verify failed" in said
    # The token is not even asked for.
    wait_for(lambda: cluster.stats()["opening"] == 0, "the end of it")
    assert cluster.stats()["admitted"] == 0
    # And nothing else is wrong with that cluster.
    if certificate != "expired":
        with connect(cluster, sslmode="require", sslrootcert=None):
            pass


def test_the_token_may_come_in_pieces(cluster: LocalCluster) -> None:
    with tls(cluster) as sock:
        for byte in startup():
            sock.sendall(bytes([byte]))
        assert read_message(sock)[0] == b"R"
        password = message(b"p", token(cluster).encode() + b"\0")
        for at in range(0, len(password), 50):
            sock.sendall(password[at : at + 50])
        assert read_message(sock) == (b"R", struct.pack("!I", 0))


def test_everything_at_once(cluster: LocalCluster) -> None:
    # A client that does not wait for the server's questions, down to its first query.
    with tls(cluster) as sock:
        password = message(b"p", token(cluster).encode() + b"\0")
        sock.sendall(startup() + password + message(b"Q", b"select 42\0"))
        kinds = b""
        while not kinds.endswith(b"C"):
            kinds += read_message(sock)[0]
        assert kinds.endswith(b"ZTDC")


def test_host_names_come_from_parameters(cluster: LocalCluster) -> None:
    assert parameters(cluster)["host"] == cluster.host
    assert cluster.host == f"{cluster.cluster_id}.dsql.{cluster.region}.on.aws"
