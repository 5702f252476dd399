"""One session's talk with its PostgreSQL backend: messages sent in one write, and the answers to each.

The gateway puts commands of its own between the client's, so every answer has to be told apart: which
message it belongs to, and whether the client is to see it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dsql_fast.local import _protocol as protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from dsql_fast.local._channel import Channel

# PostgreSQL waits for locks without a word: whoever takes longer than this may be waiting for one.
SLOW_SECONDS = 0.003
_SUM_MASK = (1 << 64) - 1

_DATA_ROW, _COMPLETE, _ERROR, _READY = b"DCEZ"
_COPY_IN = ord("G")
# A parameter that changed, a notification: they come at any time, and are nobody's answer.
_UNASKED = frozenset(b"SA")
# The answers that end what a Parse, Bind, Close, Describe or Execute is given.
_LAST_ANSWERS = frozenset(b"123nTCIs")


class BackendGone(Exception):  # noqa: N818 - what happened
    """PostgreSQL has closed the connection, or the session was ended."""


@dataclass(slots=True)
class Part:
    """Messages that PostgreSQL answers with one ReadyForQuery: one Query, or several up to a Sync.

    Attributes:
        data: The messages.
        kinds: Their types in order, without the Sync.
        shown: For each of them, whether the client sees its answers; None for all.
        tag: Shown in place of PostgreSQL's command tag.
        digest: Whether the rows are to be summed up, so that a later run can be compared.
    """

    data: bytes
    kinds: bytes
    shown: tuple[bool, ...] | None = None
    tag: bytes | None = None
    digest: bool = False


@dataclass(slots=True)
class Reply:
    """What came back for a part.

    Attributes:
        shown: The messages for the client that were not passed on already, without an ErrorResponse and
            without ReadyForQuery.
        tags: The command tags, in order.
        ends: Where in `shown` each of these commands ends; means something only where nothing was passed on.
        completion: Where in `shown` the last CommandComplete begins.
        error: The ErrorResponse, whole, or None.
        status: What ReadyForQuery said: I, T or E.
        rows: The sum over the rows, whatever their order.
        answered: How many of the messages were answered to their end.
        done: How many of them were the client's.
        beside: Rows that were written beside those that the tags tell.
        copy_header: The CopyInResponse, or None.
    """

    shown: bytearray = field(default_factory=bytearray)
    tags: list[bytes] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    completion: int = 0
    error: bytes | None = None
    status: int = 0
    rows: int = 0
    answered: int = 0
    done: int = 0
    beside: int = 0
    copy_header: bytes | None = None

    @property
    def sqlstate(self) -> str:
        """The error's code; empty without one."""
        if self.error is None:
            return ""
        return protocol.error_fields(self.error[protocol.HEADER :]).get("C", "")


class Conversation:
    """Sends parts and gathers their replies, one exchange at a time.

    Args:
        channel: To the backend; put into push mode here.
        to_client: Passes on what cannot wait: results too large to be kept, and what PostgreSQL says unasked.
        on_slow: Called when an exchange takes longer than `SLOW_SECONDS`.
        on_end: Called once, when PostgreSQL closes the connection.

    Attributes:
        passed_on: Whether a part of the present result was.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        to_client: Callable[[bytes], None],
        on_slow: Callable[[], None],
        on_end: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._channel = channel
        self._to_client = to_client
        self._on_slow = on_slow
        self._on_end = on_end
        self._pending = bytearray()
        self._wanted = protocol.HEADER
        self._parts: tuple[Part, ...] = ()
        self._replies: list[Reply] = []
        self._future: asyncio.Future[list[Reply]] | None = None
        self._hold: int | None = None
        self.passed_on = False
        self._over = False
        channel.relay(self._received, self._ended, lambda: None)

    @property
    def busy(self) -> bool:
        """Whether an exchange is going on."""
        return self._future is not None

    async def exchange(self, *parts: Part, hold: int | None = None) -> list[Reply]:
        """Send parts in one write and wait for all the replies.

        Args:
            *parts: At least one.
            hold: Bytes of one reply to keep at most; what is more is passed on at once. None keeps all.

        Returns:
            One reply for each part.

        Raises:
            BackendGone: If the connection ends before the last of them.
        """
        if self._over:
            raise BackendGone
        self._parts = parts
        self._replies = [Reply()]
        self._hold = hold
        self.passed_on = False
        self._future = self._loop.create_future()
        slow = self._loop.call_later(SLOW_SECONDS, self._on_slow)
        try:
            self._channel.write(parts[0].data if len(parts) == 1 else b"".join([part.data for part in parts]))
            return await self._future
        finally:
            slow.cancel()
            self._future = None

    def keep_all(self) -> None:
        """Pass nothing on before the exchange that is going on has ended."""
        self._hold = None

    def pause(self) -> None:
        """Stop reading from PostgreSQL: the client is behind."""
        self._channel.pause()

    def resume(self) -> None:
        """Read again."""
        self._channel.resume()

    def close(self) -> None:
        """Say goodbye; an exchange that is going on fails."""
        if not self._over:
            self._over = True
            self._channel.write(protocol.TERMINATE)
            self._channel.close()
            self._fail()

    # --- from PostgreSQL -------------------------------------------------------------------------

    def _received(self, data: bytes) -> None:
        if self._pending:
            self._pending += data
            if len(self._pending) < self._wanted:
                return
            data = bytes(self._pending)
        at, size = 0, len(data)
        self._wanted = protocol.HEADER
        while size - at >= protocol.HEADER:
            end = at + 1 + protocol.length_at(data, at + 1)[0]
            if end > size:
                self._wanted = end - at
                break
            self._take(data[at], data[at:end])
            at = end
        self._pending = bytearray(data[at:]) if at < size else bytearray()
        if self._hold is not None and self._replies:
            reply = self._replies[-1]
            if len(reply.shown) > self._hold:
                self.passed_on = True
                self._to_client(bytes(reply.shown))
                reply.shown.clear()

    def _take(self, kind: int, message: bytes) -> None:
        if self._future is None or kind in _UNASKED:
            self._to_client(message)
            return
        part, reply = self._parts[len(self._replies) - 1], self._replies[-1]
        if kind == _READY:
            reply.status = message[protocol.HEADER]
            self._next_reply()
        elif kind == _ERROR:
            reply.error = message
        elif kind == _COPY_IN:
            reply.copy_header = message
        else:
            _gather(part, reply, kind, message)

    def _next_reply(self) -> None:
        if len(self._replies) < len(self._parts):
            self._replies.append(Reply())
        elif self._future is not None and not self._future.done():
            self._future.set_result(self._replies)

    def _ended(self) -> None:
        self._over = True
        self._channel.abort()
        self._fail()
        self._on_end()

    def _fail(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_exception(BackendGone())


def _gather(part: Part, reply: Reply, kind: int, message: bytes) -> None:
    """Add one answer to the reply."""
    if kind == _DATA_ROW and part.digest:
        reply.rows = (reply.rows + hash(message)) & _SUM_MASK
    elif kind == _COMPLETE:
        reply.tags.append(message[protocol.HEADER : -1])
        if part.tag is not None:
            message = protocol.command_complete(part.tag)
        reply.completion = len(reply.shown)
    shown = part.shown is None or part.shown[min(reply.answered, len(part.shown) - 1)]
    if shown:
        reply.shown += message
    if kind == _COMPLETE:
        reply.ends.append(len(reply.shown))
    if kind in _LAST_ANSWERS and part.kinds != b"Q":
        reply.answered += 1
        reply.done += shown
