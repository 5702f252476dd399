"""A PostgreSQL server that does as it is told: what a real one does too seldom, between COMMIT and its answer.

It speaks the protocol, without TLS and without a database, on a loopback port: a real socket and the real driver.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeAlias

    from typing_extensions import Self

    Answer: TypeAlias = "Refusal | str"

# Answers that are no errors.
CUT = "cut"  # close the connection without a word
WELL = "well"  # as usual
HANG = "hang"  # wait until `go_on` is set, then answer as usual
ROLLED_BACK = "ROLLBACK"  # the tag of a COMMIT that did nothing

_SSL_REQUEST = 80877103
_GSS_REQUEST = 80877104
_CANCEL_REQUEST = 80877102


@dataclass(frozen=True)
class Refusal:
    """An ErrorResponse; a FATAL one is followed by the connection's end."""

    sqlstate: str
    message: str = "as told"
    severity: str = "ERROR"


DATA = Refusal("40001", "change conflicts with another transaction (OC000)")
SCHEMA = Refusal("40001", "schema has been updated by another transaction (OC001)")
UNAVAILABLE = Refusal("XX000", "server unavailable")
SHUT_DOWN = Refusal("57P01", "terminating connection due to administrator command", "FATAL")


def told(*answers: Answer) -> list[Answer]:
    """Make a list of answers of different kinds."""
    return list(answers)


def message(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return kind + struct.pack("!I", 4 + len(body)) + body


def error_response(refusal: Refusal) -> bytes:
    severity = refusal.severity.encode()
    fields = (b"S" + severity, b"V" + severity, b"C" + refusal.sqlstate.encode(), b"M" + refusal.message.encode())
    return message(b"E", b"".join(field + b"\0" for field in fields), b"\0")


class ScriptedServer:
    """The server; use it in a ``with`` statement.

    Attributes:
        queries: all that was executed, in the order of its coming.
        connections: how many were made, those for a cancel request aside.
        cancels: how many cancel requests came; they have no effect, as in DSQL.
        hanging: set when a HANG is reached.
        go_on: ends a HANG.
    """

    def __init__(self, **answers: Sequence[Answer]) -> None:
        self.queries: list[str] = []
        self.connections = 0
        self.cancels = 0
        self.hanging = threading.Event()
        self.go_on = threading.Event()
        self._answers: dict[str, deque[Answer]] = defaultdict(deque)
        for statement, some in answers.items():
            self._answers[statement].extend(some)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def conninfo(self) -> str:
        return f"host=127.0.0.1 port={self.port} user=u dbname=d sslmode=disable gssencmode=disable"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        # A connect of our own ends the accept: closing a listener does not, everywhere.
        self._listener.settimeout(0)
        with contextlib.suppress(OSError):
            socket.create_connection(self._listener.getsockname()).close()
        self._listener.close()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def executed(self, statement: str) -> int:
        """How often a statement was. Transactions in which nothing was do not count: psycopg2 needs some."""
        ahead = [*self.queries[1:], ""]
        empty = {
            at for at, pair in enumerate(zip(self.queries, ahead, strict=True)) if pair == ("BEGIN", "ROLLBACK")
        }
        empty |= {at + 1 for at in empty}
        return [query for at, query in enumerate(self.queries) if at not in empty].count(statement)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self._sockets.append(sock)
                self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        with sock, sock.makefile("rb") as stream, contextlib.suppress(OSError, EOFError):
            read = _Reader(stream.read)
            while True:
                length, code = struct.unpack("!II", read(8))
                read(length - 8)
                if code not in {_SSL_REQUEST, _GSS_REQUEST}:
                    break
                sock.sendall(b"N")
            if code == _CANCEL_REQUEST:
                self.cancels += 1
                return
            self.connections += 1
            parameters = (b"server_version\x0016.0\0", b"client_encoding\0UTF8\0", b"DateStyle\0ISO, MDY\0")
            sock.sendall(
                message(b"R", struct.pack("!I", 0))
                + b"".join(message(b"S", parameter) for parameter in parameters)
                + message(b"K", struct.pack("!II", 1, 1))
                + message(b"Z", b"I")
            )
            for answer in _Conversation(self, read).answers():
                sock.sendall(answer)

    def answer_to(self, statement: str) -> Answer | None:
        statement = statement.rstrip(";")  # asyncpg's has one
        self.queries.append(statement)
        waiting = self._answers[statement]
        answer = waiting.popleft() if waiting else None
        if answer is HANG:
            self.hanging.set()
            self.go_on.wait(60)
            return None
        return None if answer == WELL else answer


class _Reader:
    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read

    def __call__(self, count: int) -> bytes:
        data = self._read(count)
        if len(data) < count:
            raise EOFError
        return data


class _Conversation:
    """One session: its transaction status, and the answer to each message."""

    def __init__(self, server: ScriptedServer, read: _Reader) -> None:
        self._server = server
        self._read = read
        self._status = b"I"
        self._statement = ""
        self._skipping = False
        self._over = False

    def answers(self) -> Iterator[bytes]:
        while not self._over:
            kind = self._read(1)
            (length,) = struct.unpack("!I", self._read(4))
            body = self._read(length - 4)
            if kind == b"X":
                return
            if kind == b"Q":
                yield self._execute(body[:-1].decode()) + message(b"Z", self._status)
            elif kind == b"S":
                self._skipping = False
                yield message(b"Z", self._status)
            elif self._skipping:
                continue
            elif kind == b"P":
                self._statement = body.split(b"\0")[1].decode()
                yield message(b"1")
            elif kind in {b"B", b"D", b"C"}:
                yield {b"B": message(b"2"), b"D": message(b"n"), b"C": message(b"3")}[kind]
            elif kind == b"E":
                answer = self._execute(self._statement)
                self._skipping = answer.startswith(b"E")
                yield answer

    def _execute(self, statement: str) -> bytes:
        answer = self._server.answer_to(statement)
        if answer == CUT:
            raise EOFError
        verb = statement.rstrip(";").split(maxsplit=1)[0]
        if isinstance(answer, Refusal):
            self._over = answer.severity == "FATAL"
            self._status = b"I" if verb == "COMMIT" or self._status == b"I" else b"E"
            return error_response(answer)
        failed = self._status == b"E"
        if failed and verb not in {"COMMIT", "ROLLBACK"}:
            return error_response(Refusal("25P02", "current transaction is aborted"))
        if verb == "BEGIN":
            self._status = b"T"
        elif verb in {"COMMIT", "ROLLBACK"}:
            self._status = b"I"
            verb = ROLLED_BACK if failed else answer or verb
        elif verb == "UPDATE":
            verb = "UPDATE 1"
        return message(b"C", verb.encode() + b"\0")
