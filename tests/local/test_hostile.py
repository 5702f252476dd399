"""Clients that do not behave: each is sent off, the others do not notice, nothing leaks."""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import struct
from typing import TYPE_CHECKING

import pytest

from local.doors import (
    SSL_REQUEST,
    authenticated,
    connect,
    dial,
    fields,
    message,
    read_exactly,
    read_message,
    settled,
    startup,
    tls,
    token,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from dsql_fast.local import LocalCluster


@pytest.fixture(autouse=True)
def nothing_leaks(cluster: LocalCluster) -> object:
    """Descriptors and tasks are as before, sessions and backends gone."""
    before = settled(cluster)
    yield
    after = settled(cluster)
    assert after["tasks"] <= before["tasks"]
    assert after["descriptors"] <= before["descriptors"]
    with connect(cluster) as conn:
        assert conn.execute("select 1").fetchone() == (1,)


@pytest.mark.parametrize("seed", range(10))
def test_garbage_before_tls(cluster: LocalCluster, seed: int) -> None:
    garbage = random.Random(seed).randbytes(300)
    with dial(cluster) as sock:
        sock.sendall(garbage)
        with contextlib.suppress(OSError):  # it may be closed already
            sock.shutdown(socket.SHUT_WR)
        while read_message(sock)[0]:
            pass


@pytest.mark.parametrize(
    "first",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\0\0\x04",
        b"\0\0\0\x07\x04\xd2\x16",
        b"\xff\xff\xff\xff\x04\xd2\x16\x2f",
        struct.pack("!II", 12, 80877103) + b"xxxx",
        struct.pack("!II", 8, 1234 << 16),
        b"\x16\x03\x01\xff\xff" + b"x" * 100,
        b"\x16",
    ],
)
def test_wrong_first_words_are_closed(cluster: LocalCluster, first: bytes) -> None:
    with dial(cluster) as sock:
        sock.sendall(first)
        if first == b"\x16":
            sock.shutdown(socket.SHUT_WR)
        # At most a TLS alert (its record is of type 21), never an invitation.
        assert read_exactly(sock, 1) in (b"", b"\x15")


@pytest.mark.parametrize("part", [0, 1, 4, 7, 8])
def test_half_of_a_request_and_gone(cluster: LocalCluster, part: int) -> None:
    with dial(cluster) as sock:
        sock.sendall(SSL_REQUEST[:part])


def test_a_handshake_broken_off(cluster: LocalCluster) -> None:
    context = ssl.create_default_context(cafile=str(cluster.ca_file))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=cluster.host)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    for size in (10, len(hello) // 2, len(hello)):
        with dial(cluster) as sock:
            sock.sendall(hello[:size])


@pytest.mark.parametrize("length", [0, 4, 7, 10_001, 1 << 31, (1 << 32) - 1])
def test_startup_of_a_wrong_length(cluster: LocalCluster, length: int) -> None:
    with tls(cluster) as sock:
        sock.sendall(struct.pack("!II", length, 3 << 16))
        kind, body = read_message(sock)
        assert kind == b"E"
        assert fields(body)["C"] == "08P01"
        assert read_message(sock) == (b"", b"")


@pytest.mark.parametrize(
    "body", [b"user\0admin\0", b"user\0admin", b"user\0\0", b"", b"\0\0", b"user\0admin\0\0rest\0"]
)
def test_startup_of_a_wrong_layout(cluster: LocalCluster, body: bytes) -> None:
    with tls(cluster) as sock:
        sock.sendall(struct.pack("!II", len(body) + 8, 3 << 16) + body)
        assert read_message(sock)[0] == b"E"
        assert read_message(sock) == (b"", b"")


def test_garbage_instead_of_a_startup(cluster: LocalCluster) -> None:
    for seed in range(10):
        with tls(cluster) as sock:
            sock.sendall(random.Random(seed).randbytes(500))
            assert read_message(sock)[0] == b"E"


def answer_to_password(cluster: LocalCluster, sent: bytes) -> dict[str, str]:
    with tls(cluster) as sock:
        sock.sendall(startup())
        assert read_message(sock)[0] == b"R"
        sock.sendall(sent)
        kind, body = read_message(sock)
        assert kind == b"E"
        assert read_message(sock) == (b"", b"")
        return fields(body)


def test_a_password_of_64_kib_is_read(cluster: LocalCluster) -> None:
    told = answer_to_password(cluster, message(b"p", b"x" * 65_536 + b"\0"))
    assert told["M"] == "unable to accept connection, access denied"


@pytest.mark.parametrize("size", [65_537, 1_000_000, 0])
def test_a_larger_password_is_refused(cluster: LocalCluster, size: int) -> None:
    told = answer_to_password(cluster, message(b"p", b"x" * size + (b"\0" if size else b"")))
    assert told["M"] == "invalid password packet size"
    assert told["C"] == "08P01"


@pytest.mark.parametrize("length", [0, 3, (1 << 32) - 1])
def test_a_password_of_a_wrong_length(cluster: LocalCluster, length: int) -> None:
    told = answer_to_password(cluster, b"p" + struct.pack("!I", length))
    assert told["M"] == "invalid password packet size"


def test_a_password_with_a_nul_inside(cluster: LocalCluster) -> None:
    sent = message(b"p", token(cluster).encode() + b"\0more\0")
    assert answer_to_password(cluster, sent)["M"] == "invalid password packet size"


def test_another_message_instead_of_the_password(cluster: LocalCluster) -> None:
    told = answer_to_password(cluster, message(b"Q", b"select 1\0"))
    assert told["C"] == "08P01"


@pytest.mark.parametrize("kind", [b"p", b"\0", b"z", b"\xff"])
def test_an_unknown_message_ends_the_session(cluster: LocalCluster, kind: bytes) -> None:
    with authenticated(cluster) as sock:
        sock.sendall(message(kind, b"x"))
        received, body = read_message(sock)
        assert received == b"E"
        assert fields(body)["M"] == f"invalid frontend message type {kind[0]}"
        assert read_message(sock) == (b"", b"")


def test_a_message_of_a_wrong_length_ends_the_session(cluster: LocalCluster) -> None:
    with authenticated(cluster) as sock:
        sock.sendall(b"Q\0\0\0\x03")
        assert read_message(sock)[0] == b"E"
        assert read_message(sock) == (b"", b"")


def test_half_a_message_and_gone(cluster: LocalCluster) -> None:
    for part in (1, 4, 5, 10):
        with authenticated(cluster) as sock:
            sock.sendall(message(b"Q", b"select 1\0")[:part])


def test_a_broken_record_inside_the_session(cluster: LocalCluster) -> None:
    sock = authenticated(cluster)
    with socket.socket(fileno=sock.detach()) as plain:
        plain.sendall(b"not a TLS record at all, and long enough to be looked at")
        plain.settimeout(10)
        while read_exactly(plain, 1):
            pass


def test_a_reset(cluster: LocalCluster) -> None:
    for sock in (dial(cluster), tls(cluster), authenticated(cluster)):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()


def test_two_hundred_silent_connections_disturb_nobody(cluster: LocalCluster) -> None:
    silent = [dial(cluster) for _ in range(200)]
    try:
        with connect(cluster) as conn:
            for _ in range(100):
                assert conn.execute("select 1").fetchone() == (1,)
        assert cluster.stats()["opening"] == 200
    finally:
        for sock in silent:
            sock.close()


def test_a_refused_client_that_keeps_sending(fresh_cluster: Callable[..., LocalCluster]) -> None:
    cluster = fresh_cluster(connections=0)
    with tls(cluster) as sock:
        # More than the sockets hold: a server that does not read would lose its own last words.
        sock.sendall(startup() + b"x" * 500_000)
        assert read_message(sock)[0] == b"E"
    settled(cluster)
