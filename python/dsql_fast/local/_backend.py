"""Opens connections to the PostgreSQL behind the gateway."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dsql_fast.local import _protocol as protocol
from dsql_fast.local._channel import Channel
from dsql_fast.local._errors import StartFailed
from dsql_fast.local._refusals import ROLE_DENIED, TOO_MANY, WAKING_UP, Refusal, Refused

if TYPE_CHECKING:
    from pathlib import Path

# PostgreSQL's refusals in DSQL's words. What is not here (say, 22023 for a bad DateStyle) is the
# client's business and goes out as PostgreSQL put it.
_IN_DSQL_WORDS = {
    "28000": ROLE_DENIED,  # role does not exist, or may not log in
    "28P01": ROLE_DENIED,
    "53300": TOO_MANY,
    "57P03": WAKING_UP,
}


@dataclass(frozen=True)
class Backend:
    """A connection that PostgreSQL has accepted and that waits for its first statement.

    Attributes:
        channel: In pull mode.
        pid: The backend's process id, as BackendKeyData told it.
        greeting: The messages from AuthenticationOk to ReadyForQuery, for the client.
    """

    channel: Channel
    pid: int
    greeting: bytes


async def open_backend(path: Path, parameters: dict[str, str]) -> Backend:
    """Connect over the private socket and start a session.

    Args:
        path: The socket.
        parameters: The start-up parameters, `user` and `database` among them.

    Raises:
        Refused: If PostgreSQL does not want it, in DSQL's words where it has some.
    """
    loop = asyncio.get_running_loop()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    sock.setblocking(False)
    try:
        await loop.sock_connect(sock, str(path))
    except OSError:
        sock.close()
        raise Refused(WAKING_UP) from None
    channel = Channel(sock, loop)
    try:
        channel.write(protocol.startup(parameters))
        return await _greeted(channel)
    except BaseException as error:
        channel.abort()
        if isinstance(error, EOFError):
            raise Refused(WAKING_UP) from None
        raise


async def _greeted(channel: Channel) -> Backend:
    greeting = bytearray()
    pid = 0
    while True:
        header = await channel.read_exactly(protocol.HEADER)
        body = await channel.read_exactly(protocol.length_at(header, 1)[0] - 4)
        kind = header[:1]
        if kind == b"E":
            raise Refused(_translated(protocol.error_fields(body)))
        if kind == b"K":
            pid = protocol.length_at(body)[0]
        greeting += header + body
        if kind == b"Z":
            return Backend(channel, pid, bytes(greeting))


def _translated(fields: dict[str, str]) -> Refusal:
    code = fields.get("C", "XX000")
    known = _IN_DSQL_WORDS.get(code)
    return known or Refusal("postgres", fields.get("M", ""), code, fields.get("H"))


async def run_script(path: Path, user: str, script: str) -> bytes:
    """Run statements as `user`, all of them in one Query message.

    Returns:
        The body of the last DataRow, or nothing.

    Raises:
        StartFailed: With PostgreSQL's message.
    """
    backend = await open_backend(path, {"user": user, "database": "postgres"})
    row = b""
    try:
        backend.channel.write(protocol.query(script))
        while True:
            header = await backend.channel.read_exactly(protocol.HEADER)
            body = await backend.channel.read_exactly(protocol.length_at(header, 1)[0] - 4)
            if header[:1] == b"E":
                raise StartFailed(protocol.error_fields(body).get("M", "a statement failed"))
            if header[:1] == b"D":
                row = body
            if header[:1] == b"Z":
                return row
    finally:
        backend.channel.write(protocol.TERMINATE)
        backend.channel.abort()


async def first_value(path: Path, user: str, sql: str) -> str:
    """Run a query and return the first column of its last row, as text."""
    row = await run_script(path, user, sql)
    return row[6 : 6 + protocol.length_at(row, 2)[0]].decode()  # after the count of columns
