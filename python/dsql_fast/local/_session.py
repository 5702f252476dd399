"""One client's session: its channel, its PostgreSQL backend, and what passes between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dsql_fast.local import _protocol as protocol
from dsql_fast.local._isolation import refuse_other_levels
from dsql_fast.local._refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from dsql_fast.local._backend import Backend
    from dsql_fast.local._channel import Channel
    from dsql_fast.local._clock import ClusterClock

_SQL_TYPES = frozenset(b"QP")
# PostgreSQL's text, for a type byte that is none.
_BAD_TYPE = Refusal("message-type", "invalid frontend message type {}", "08P01")
_BAD_LENGTH = Refusal("message-length", "invalid message length", "08P01")


class Session:
    """Relays one authenticated client.

    The client's side is cut into messages, because statements are looked at; the other side
    passes as it comes. Neither side is read while the other is behind, so a client that stops
    reading stops its own backend and costs a bounded buffer.

    Args:
        client: In pull mode; the greeting has not been sent yet.
        backend: A fresh backend.
        user: Who it is.
        application_name: As given at start-up.
        clock: Tells the session's age.
        message_bytes: The longest message of the client, or None.
        on_end: Called once at the end, with the session and the reason.
    """

    def __init__(
        self,
        client: Channel,
        backend: Backend,
        *,
        user: str,
        application_name: str,
        clock: ClusterClock,
        message_bytes: int | None,
        on_end: Callable[[Session, str], None],
    ) -> None:
        self.pid = backend.pid
        self.user = user
        self.message_bytes = message_bytes
        self.began = clock.session_time()
        self._application_name = application_name
        self._clock = clock
        self._client = client
        self._backend = backend.channel
        self._greeting = backend.greeting
        self._on_end = on_end
        self._pending = bytearray()
        self._wanted = 0  # bytes of pending below which there is no use in looking
        self._over = False

    def begin(self) -> None:
        """Greet the client and relay from now on."""
        self._client.write(self._greeting)
        self._greeting = b""
        self._client.relay(self._from_client, self._client_ended, self._client_drained)
        self._backend.relay(self._from_backend, self._backend_ended, self._backend_drained)

    @property
    def age(self) -> float:
        """Seconds since it began, on the cluster's session clock."""
        return self._clock.session_time() - self.began

    def describe(self) -> dict[str, Any]:
        """What `LocalCluster.sessions()` shows."""
        return {
            "pid": self.pid,
            "user": self.user,
            "application_name": self._application_name,
            "age": self.age,
        }

    def cut(self, reason: str) -> None:
        """End it without a word to the client: documented by AWS for the session's end."""
        self._finish(reason, said=False)

    # --- client to backend -----------------------------------------------------------------------

    def _from_client(self, data: bytes) -> None:
        if self._pending:
            self._pending += data
            if len(self._pending) < self._wanted:
                return
            data = bytes(self._pending)
        end, has_sql = self._complete(data)
        if end < 0:
            return
        self._pending = bytearray(data[end:]) if end < len(data) else bytearray()
        if end:
            complete = data if end == len(data) else data[:end]
            if has_sql:
                complete = refuse_other_levels(complete)
            self._backend.write(complete)
            if self._backend.full:
                self._client.pause()

    def _complete(self, data: bytes) -> tuple[int, bool]:
        """Find the end of the last complete message, and whether one of them carries SQL.

        Returns -1 if the session ended over a message that is none.
        """
        at, size, has_sql = 0, len(data), False
        self._wanted = protocol.HEADER
        while size - at >= protocol.HEADER:
            kind = data[at]
            length = protocol.length_at(data, at + 1)[0]
            if kind not in protocol.FRONTEND_TYPES:
                self._violated(_BAD_TYPE, kind)
                return -1, False
            if length < 4:  # noqa: PLR2004 - the length counts itself
                self._violated(_BAD_LENGTH)
                return -1, False
            if self.message_bytes is not None and length > self.message_bytes:
                # Documented by AWS: closed without an error.
                self.cut("message-size")
                return -1, False
            if at + 1 + length > size:
                self._wanted = 1 + length
                break
            has_sql = has_sql or kind in _SQL_TYPES
            at += 1 + length
        return at, has_sql

    def _violated(self, refusal: Refusal, *values: object) -> None:
        told = Refusal(refusal.reason, refusal.message.format(*values), refusal.sqlstate)
        self._client.write(protocol.error(told))
        self._finish(refusal.reason, said=True)

    def _client_ended(self) -> None:
        # What came before the end was forwarded already, and PostgreSQL works it off before it
        # sees that nobody is there any more.
        self._finish("client", said=False)

    def _client_drained(self) -> None:
        self._backend.resume()

    # --- backend to client -----------------------------------------------------------------------

    def _from_backend(self, data: bytes) -> None:
        self._client.write(data)
        if self._client.full:
            self._backend.pause()

    def _backend_ended(self) -> None:
        self._finish("backend", said=True)

    def _backend_drained(self) -> None:
        self._client.resume()

    # --- the end ---------------------------------------------------------------------------------

    def _finish(self, reason: str, *, said: bool) -> None:
        """End both sides; `said` lets what is on its way to the client arrive."""
        if self._over:
            return
        self._over = True
        if said:
            self._client.close()
        else:
            self._client.abort()
        self._backend.write(protocol.TERMINATE)
        self._backend.close()
        self._pending.clear()
        self._on_end(self, reason)
