"""A server's side of one connection, with TLS done in memory, and everything that comes in written down."""

from __future__ import annotations

import contextlib
import socket
import ssl
from dataclasses import dataclass, field


@dataclass
class Seen:
    """What one server got.

    Attributes:
        connections: how many came.
        bytes: all of them, those on the wire and the decrypted ones.
        start_ups: the parameters of each start-up message.
        passwords: what was sent as one.
        direct: connections that began with a TLS hello.
        gss: connections that asked for GSS encryption.
        sni: server names.
        tls_versions: as `ssl` names them.
    """

    connections: int = 0
    bytes: bytearray = field(default_factory=bytearray)
    start_ups: list[dict[str, str]] = field(default_factory=list)
    passwords: list[str] = field(default_factory=list)
    direct: int = 0
    gss: int = 0
    sni: list[str | None] = field(default_factory=list)
    tls_versions: list[str | None] = field(default_factory=list)


class Wire:
    """A socket whose every received byte is written down, with TLS on top on demand."""

    def __init__(self, sock: socket.socket, seen: Seen) -> None:
        self._socket = sock
        self._seen = seen
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._clear = bytearray()

    def _receive(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError
        self._seen.bytes += data
        if self._tls is None:
            self._clear += data
        else:
            self._incoming.write(data)

    def peek(self) -> bytes:
        while not self._clear:
            self._receive()
        return bytes(self._clear)

    def start_tls(self, context: ssl.SSLContext) -> None:
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._incoming.write(bytes(self._clear))
        self._clear.clear()
        try:
            while True:
                try:
                    self._tls.do_handshake()
                except ssl.SSLWantReadError:
                    self._flush()
                    self._receive()
                else:
                    break
        finally:
            # The last of the handshake, or the alert that ends it.
            self._flush()
        self._seen.tls_versions.append(self._tls.version())

    def end_tls(self) -> None:
        assert self._tls is not None
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLError):
            self._tls.unwrap()
        self._flush()
        self._tls = None

    def end(self) -> None:
        """Say that no more will come; go on reading."""
        self._socket.shutdown(socket.SHUT_WR)

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self._socket.sendall(data)

    def read(self, count: int) -> bytes:
        while len(self._clear) < count:
            if self._tls is None:
                self._receive()
                continue
            try:
                data = self._tls.read(65536)
            except ssl.SSLWantReadError:
                self._receive()
                continue
            if not data:
                raise ConnectionError
            self._seen.bytes += data
            self._clear += data
        taken = bytes(self._clear[:count])
        del self._clear[:count]
        return taken

    def write(self, data: bytes) -> None:
        if self._tls is None:
            self._socket.sendall(data)
        else:
            self._tls.write(data)
            self._flush()
