"""A PostgreSQL server that wants the token, and writes down every byte that it gets.

It speaks just enough of the protocol to make libpq send a password. TLS is done in memory, so that the bytes on the
wire and the decrypted ones are both seen.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from typing_extensions import Self

from safety.wire import Seen, Wire

if TYPE_CHECKING:
    from safety.certificates import Certificate

_SSL_REQUEST = 80877103
_GSS_REQUEST = 80877104

CLEARTEXT = b"R" + struct.pack("!II", 8, 3)
MD5 = b"R" + struct.pack("!II", 12, 5) + b"salt"
SCRAM = b"R" + struct.pack("!II", 8 + 15, 10) + b"SCRAM-SHA-256\0\0"
NO_AUTHENTICATION = b"R" + struct.pack("!II", 8, 0)


_DENIED_FIELDS = (
    b"SFATAL\0VFATAL\0C28000\0Munable to accept connection, access denied\0"
    b"HWrong user to action mapping. user: admin, action: DbConnect\0\0"
)
DENIED = b"E" + struct.pack("!I", 4 + len(_DENIED_FIELDS)) + _DENIED_FIELDS


def _parameter(name: bytes, value: bytes) -> bytes:
    return b"S" + struct.pack("!I", 4 + len(name) + len(value) + 2) + name + b"\0" + value + b"\0"


READY = (
    NO_AUTHENTICATION
    + _parameter(b"server_version", b"16.0")
    + _parameter(b"client_encoding", b"UTF8")
    + _parameter(b"standard_conforming_strings", b"on")
    + _parameter(b"DateStyle", b"ISO, MDY")  # or psycopg2 would set it, and wait for the answer
    + b"K"
    + struct.pack("!III", 12, 1, 1)
    + b"Z"
    + struct.pack("!I", 5)
    + b"I"
)


@dataclass(frozen=True)
class Behaviour:
    """What the server does.

    Attributes:
        answer: to the request for TLS.
        greeting: sent at once, before anything was received.
        strip: "start": promises TLS and then speaks in clear; "end": does TLS, ends it, and speaks in clear.
        authentication: what is asked for, in the clear and inside TLS.
        refuse_password: refuses it as DSQL does.
        silent: says nothing after it.
    """

    answer: bytes = b"S"
    greeting: bytes = b""
    strip: str = ""
    authentication: bytes = CLEARTEXT
    refuse_password: bool = False
    silent: bool = False


class Recorder:
    """The server, on a loopback port of its own, a thread a connection. Use it in a ``with`` statement.

    Attributes:
        port: where it listens.
        seen: what it got so far.
        password_came: set when a password was sent.
    """

    def __init__(self, certificate: Certificate | None = None, behaviour: Behaviour | None = None) -> None:
        self.seen = Seen()
        self.password_came = threading.Event()
        self._behaviour = behaviour or Behaviour()
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate.chain, certificate.key)
            self._context.set_alpn_protocols(["postgresql"])
            self._context.sni_callback = self._note_sni
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        # A close() alone would leave accept() waiting.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(10)
        self.settle()

    def only_tls(self, version: str) -> None:
        """Speak this version of TLS and no other."""
        assert self._context is not None
        self._context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            only = ssl.TLSVersion[version.replace(".", "_")]
            self._context.minimum_version = self._context.maximum_version = only

    def settle(self) -> Seen:
        """Wait until every connection was read to its end, and return what was seen."""
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive(), "a connection to the recorder was left open"
        return self.seen

    def _note_sni(self, _: object, name: str | None, __: object) -> None:
        self.seen.sni.append(name)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.seen.connections += 1
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            sock.settimeout(10)
            wire = Wire(sock, self.seen)
            with contextlib.suppress(OSError):
                self._talk(wire)
            # asyncio's TLS waits for the other side's end.
            with contextlib.suppress(OSError):
                wire.end()
            # Whatever else the client says is written down as well.
            with contextlib.suppress(OSError):
                while True:
                    self.seen.bytes += (data := sock.recv(65536))
                    if not data:
                        return

    def _talk(self, wire: Wire) -> None:
        behaviour = self._behaviour
        if behaviour.greeting:
            wire.write(behaviour.greeting)
        if wire.peek()[0] == 0x16:
            self.seen.direct += 1
            if self._context is None:
                wire.write(behaviour.authentication)
                return
            wire.start_tls(self._context)
            if behaviour.strip == "end":
                wire.end_tls()
        self._start_up(wire)
        wire.write(behaviour.authentication)
        if behaviour.authentication == NO_AUTHENTICATION:
            wire.write(READY)
        kind = wire.read(1)
        body = wire.read(struct.unpack("!I", wire.read(4))[0] - 4)
        if kind == b"p":
            self.seen.passwords.append(body.rstrip(b"\0").decode("latin-1"))
            self.password_came.set()
            if behaviour.refuse_password:
                wire.write(DENIED)
                return
            if not behaviour.silent:
                wire.write(READY)
            while wire.read(1) != b"X":
                pass

    def _start_up(self, wire: Wire) -> None:
        behaviour = self._behaviour
        while True:
            length, code = struct.unpack("!II", wire.read(8))
            if code == _GSS_REQUEST:
                self.seen.gss += 1
                wire.write(b"N")
            elif code == _SSL_REQUEST:
                wire.write(behaviour.answer)
                if behaviour.strip == "start":
                    wire.write(behaviour.authentication)
                    # libpq would wait for more of what it takes for the server's hello.
                    wire.end()
                    return
                if behaviour.answer == b"S":
                    assert self._context is not None
                    wire.start_tls(self._context)
                    if behaviour.strip == "end":
                        wire.end_tls()
            else:
                words = wire.read(length - 8).decode("latin-1").split("\0")
                self.seen.start_ups.append(dict(zip(words[::2], words[1::2], strict=False)))
                return
