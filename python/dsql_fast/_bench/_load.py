"""Clients that cost little, so that the gateway is what is measured: bare sockets over TLS, one process of them.

`python -m benches._load` reads JSON lines. The first says where the cluster is (`Door`); each other is a job,
`{"do": "...", ...}`, by the name of a method of `Load`, and is answered by a line. Every message is encoded before
the first is sent. An answer is looked at only as far as to know whether it is over and whether it is an error.
"""

from __future__ import annotations

import json
import resource
import selectors
import socket
import ssl
import struct
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_READ_BYTES = 64 * 1024
_CONFLICT = b"\0C40001\0"
_TERMINATE = b"X\0\0\0\4"


@dataclass(frozen=True)
class Door:
    """Where the cluster is, and what opens it.

    Attributes:
        host: The name to verify.
        hostaddr: Where to dial.
        port: The same.
        ca_file: Whom to trust.
        token: For admin.
    """

    host: str
    hostaddr: str
    port: int
    ca_file: str
    token: str

    def context(self) -> ssl.SSLContext:
        """Give the settings of TLS: verified, and at once (PostgreSQL 17's direct negotiation)."""
        context = ssl.create_default_context(cafile=self.ca_file)
        context.set_alpn_protocols(["postgresql"])
        return context


class Client:
    """One connection, and the transactions it runs over and over.

    Args:
        door: To the cluster.
        context: Of TLS.
        scripts: Transactions, each a list of encoded messages.
    """

    def __init__(self, door: Door, context: ssl.SSLContext, scripts: list[list[bytes]] | None = None) -> None:
        plain = socket.create_connection((door.hostaddr, door.port), timeout=30)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = context.wrap_socket(plain, server_hostname=door.host)
        self.done = self.conflicts = 0
        self._scripts = scripts or [[query("select 1")]]
        self._number = self._at = 0
        self._pending = b""
        self._lost = False
        self._authenticate(door.token)

    def _authenticate(self, token: str) -> None:
        body = b"user\0admin\0database\0postgres\0\0"
        self.sock.sendall(struct.pack("!II", len(body) + 8, 3 << 16) + body)
        answer = self.sock.recv(_READ_BYTES)
        assert answer[:1] == b"R", answer
        self.sock.sendall(_message(b"p", token.encode() + b"\0"))
        while not self.receive():
            pass

    def send(self) -> None:
        """Send the next message."""
        self.sock.sendall(self._scripts[self._number][self._at])

    def receive(self) -> bool:
        """Take in what has come; tells whether the answer is complete.

        Raises:
            AssertionError: If it is an error that is no conflict.
        """
        data = self._pending + self.sock.recv(_READ_BYTES)
        # ReadyForQuery, which ends every answer; none of those asked for here could end so by chance.
        if data[-6:-1] != b"Z\0\0\0\5":
            assert data != self._pending, "the cluster has hung up"
            self._pending = data
            return False
        self._pending = b""
        self._lost = data[:1] == b"E"
        assert not self._lost or _CONFLICT in data, data
        return True

    def advance(self) -> bool:
        """After an answer, go to the next message; tells whether a transaction has ended."""
        self._at += 1
        if self._lost:  # told at COMMIT: the same transaction, from its beginning
            self.conflicts += 1
            self._at = 0
            return True
        if self._at < len(self._scripts[self._number]):
            return False
        self.done += 1
        self._at = 0
        self._number = (self._number + 1) % len(self._scripts)
        return True

    def close(self) -> None:
        """Say goodbye."""
        self.sock.sendall(_TERMINATE)
        self.sock.close()


@dataclass
class Load:
    """Does jobs.

    Attributes:
        door: To the cluster.
        held: The connections that `hold` has opened.
    """

    door: Door
    held: list[Client] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._context = self.door.context()

    def run(self, scripts: list[list[list[str]]], windows: int, seconds: float) -> dict[str, Any]:
        """Run transactions, all clients at once.

        Args:
            scripts: For each client its transactions, which are lists of statements.
            windows: How many times to count, after one that warms up.
            seconds: How long each lasts.

        Returns:
            `rates`: in each window, transactions that were committed, a second; `done`: all that were committed;
            `conflicts`: all that were not; `cpu`: this process's seconds of CPU for each of `done`.
        """
        encoded = [[[query(sql) for sql in transaction] for transaction in script] for script in scripts]
        clients = [Client(self.door, self._context, script) for script in encoded]
        worked = time.process_time()
        rates = _rates(clients, windows, seconds)
        worked = time.process_time() - worked
        for client in clients:
            client.close()
        done = sum(client.done for client in clients)
        conflicts = sum(client.conflicts for client in clients)
        return {"rates": rates, "done": done, "conflicts": conflicts, "cpu": worked / done}

    def connect(self, times: int) -> list[float]:
        """Connect and hang up, one connection at a time; the seconds that each took."""
        took = []
        for _ in range(times):
            began = time.perf_counter()
            Client(self.door, self._context).close()
            took.append(time.perf_counter() - began)
        return took

    def hold(self, connections: int) -> float:
        """Open connections and keep them, idle; the seconds it took."""
        began = time.perf_counter()
        self.held = [Client(self.door, self._context) for _ in range(connections)]
        return time.perf_counter() - began

    def ask(self) -> float:
        """Ask on every connection that is held, on all at once; the seconds until each had its answer."""
        began = time.perf_counter()
        for client in self.held:
            client.send()
        for client in self.held:
            while not client.receive():
                pass
        return time.perf_counter() - began

    def release(self) -> None:
        """Close what is held."""
        while self.held:
            self.held.pop().close()


def _rates(clients: list[Client], windows: int, seconds: float) -> list[float]:
    """Serve all clients as their answers come, in one thread; what was done in each window, a second."""
    rates: list[float] = []
    with selectors.DefaultSelector() as ready:
        for client in clients:
            ready.register(client.sock, selectors.EVENT_READ, client)
            client.send()
        before, began = 0, time.perf_counter()
        while clients and len(rates) <= windows:
            _serve(ready.select())
            now = time.perf_counter()
            if now - began >= seconds:
                done = sum(client.done for client in clients)
                rates.append((done - before) / (now - began))
                before, began = done, now
        _finish(ready, clients)
    return rates[1:]


def _serve(events: Iterable[tuple[selectors.SelectorKey, int]]) -> None:
    for key, _ in events:
        client: Client = key.data
        if client.receive():
            client.advance()
            client.send()


def _finish(ready: selectors.BaseSelector, clients: list[Client]) -> None:
    """Let the transactions under way end, so that what is counted is what the cluster holds."""
    left = len(clients)
    while left:
        for key, _ in ready.select():
            client: Client = key.data
            if not client.receive():
                continue
            if client.advance():
                ready.unregister(client.sock)
                left -= 1
            else:
                client.send()


def query(sql: str) -> bytes:
    """Encode a simple Query."""
    return _message(b"Q", sql.encode() + b"\0")


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def main() -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(4096, hard)), hard))
    load = Load(Door(**json.loads(sys.stdin.readline())))
    for line in sys.stdin:
        job = json.loads(line)
        print(json.dumps(getattr(load, job.pop("do"))(**job)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
