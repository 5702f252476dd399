"""PostgreSQL's wire protocol, version 3: the messages this gateway reads and writes.

Pure functions over bytes. Source: the PostgreSQL manual, "Frontend/Backend Protocol".
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dsql_fast.local._refusals import Refusal

SYNC = b"S\0\0\0\x04"
# The name of the gateway's own statement and portal in every backend.
HIDDEN = b"dsql gateway"

PROTOCOL_3 = 3 << 16
SSL_REQUEST = 80877103
GSSENC_REQUEST = 80877104
CANCEL_REQUEST = 80877102
LONGEST_STARTUP = 10_000  # bytes; PostgreSQL's MAX_STARTUP_PACKET_LENGTH

AUTHENTICATION_CLEARTEXT = b"R\0\0\0\x08\0\0\0\x03"
TERMINATE = b"X\0\0\0\x04"

# Types a client may send once it is authenticated: Bind, Close, CopyData, CopyDone, CopyFail,
# Describe, Execute, FunctionCall, Flush, Parse, Query, Sync, Terminate.
FRONTEND_TYPES = frozenset(b"BCdcfDEFHPQSX")
HEADER = 5  # bytes: type and length

_LENGTH = struct.Struct("!I")
_NULL = 0xFFFFFFFF
length_at = _LENGTH.unpack_from


def message(kind: bytes, body: bytes) -> bytes:
    """Frame one message."""
    return kind + _LENGTH.pack(len(body) + 4) + body


def error(refusal: Refusal, severity: str = "FATAL") -> bytes:
    """Build an ErrorResponse."""
    fields = [
        ("S", severity),
        ("V", severity),
        ("C", refusal.sqlstate),
        ("M", refusal.message),
    ]
    if refusal.detail is not None:
        fields.append(("D", refusal.detail))
    if refusal.hint is not None:
        fields.append(("H", refusal.hint))
    # A NUL inside a field would end it early; what clients sent may stand in a message.
    body = b"".join(
        kind.encode() + text.replace("\0", "").encode(errors="replace") + b"\0" for kind, text in fields
    )
    return message(b"E", body + b"\0")


def negotiate_version(unknown_options: Iterable[str]) -> bytes:
    """Build a NegotiateProtocolVersion: this server speaks 3.0 and none of those options."""
    names = [name.encode(errors="replace") + b"\0" for name in unknown_options]
    return message(b"v", struct.pack("!II", PROTOCOL_3, len(names)) + b"".join(names))


def startup(parameters: dict[str, str]) -> bytes:
    """Build a StartupMessage."""
    body = b"".join(
        name.encode(errors="surrogateescape") + b"\0" + value.encode(errors="surrogateescape") + b"\0"
        for name, value in parameters.items()
    )
    return struct.pack("!II", len(body) + 9, PROTOCOL_3) + body + b"\0"


def query(sql: str) -> bytes:
    """Build a Query message."""
    return query_bytes(sql.encode())


def query_bytes(sql: bytes) -> bytes:
    """Build a Query message from a text in whatever encoding."""
    return message(b"Q", sql + b"\0")


def execute_hidden(sql: bytes) -> bytes:
    """Build the messages that run one statement of the gateway's own, up to a Sync.

    Not a Query: that would destroy the client's unnamed statement and portal.
    """
    return (
        message(b"C", b"S" + HIDDEN + b"\0")
        + message(b"P", HIDDEN + b"\0" + sql + b"\0\0\0")
        + message(b"B", HIDDEN + b"\0" + HIDDEN + b"\0\0\0\0\0\0\0")
        + message(b"E", HIDDEN + b"\0\0\0\0\0")
        + message(b"C", b"P" + HIDDEN + b"\0")
        + SYNC
    )


HIDDEN_KINDS = b"CPBEC"


def parse(name: bytes, sql: bytes, types: bytes = b"\0\0") -> bytes:
    """Build a Parse message; `types` is the list of parameter types with its count before it."""
    return message(b"P", name + b"\0" + sql + b"\0" + types)


def command_complete(tag: bytes) -> bytes:
    """Build a CommandComplete."""
    return message(b"C", tag + b"\0")


def ready(status: int) -> bytes:
    """Build a ReadyForQuery: I, T or E."""
    return b"Z\0\0\0\x05" + bytes((status,))


def rows_of(tag: bytes) -> int:
    """How many rows a command wrote, by its tag; a SELECT writes none."""
    words = tag.split(b" ")
    if words[0] not in _WRITING_TAGS or not words[-1].isdigit():
        return 0
    return int(words[-1])


_WRITING_TAGS = frozenset({b"INSERT", b"UPDATE", b"DELETE", b"MERGE", b"COPY"})


def error_fields(body: bytes) -> dict[str, str]:
    """Take an ErrorResponse apart: field code to text."""
    fields = (part for part in body.split(b"\0") if part)
    return {part[:1].decode(): part[1:].decode(errors="replace") for part in fields}


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Cut complete messages off a buffer that holds nothing else: type and body."""
    at = 0
    while at < len(data):
        end = at + 1 + length_at(data, at + 1)[0]
        yield data[at], data[at + HEADER : end]
        at = end


def first_value(data: bytes | bytearray) -> str | None:
    """The first column of the first DataRow among messages, as text; None if there is no row, or it is null."""
    for kind, body in messages(bytes(data)):
        if kind == ord("D"):
            length = length_at(body, 2)[0]
            return None if length == _NULL else body[6 : 6 + length].decode()
    return None
