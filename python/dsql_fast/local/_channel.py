"""A connection as the gateway sees it: bytes in, bytes out, with TLS or without.

asyncio's own TLS transport goes through two memory buffers and reads ahead without end. This one
lets OpenSSL read and write the socket itself: fewer copies, an exact number of bytes when the
protocol is still being found out, and nothing in memory but what is being handed over.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

# Under malloc's threshold for mapping pages anew at each read.
_READ_BYTES = 64 * 1024
# One TLS record. OpenSSL wants an unfinished write repeated with the same bytes: a fixed size cut
# from the front of the buffer is that by itself.
_WRITE_BYTES = 16 * 1024
# A peer that is this far behind stops the reading from the other side.
HIGH_WATER = 256 * 1024
_LINGER_SECONDS = 1.0
_TRICKLE_SECONDS = 0.02
_LINGER_BYTES = 1024 * 1024

_WOULD_BLOCK = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class NamedSocket(ssl.SSLSocket):
    """A TLS socket that remembers the name the client asked for."""

    requested_name: str | None = None


class Channel:
    """One socket.

    It starts in *pull* mode, for the few messages of a start-up, which coroutines read exactly.
    `relay()` puts it into *push* mode for the rest of its life: what arrives is handed to a
    callback, which may `pause()` it.

    Args:
        sock: A connected, non-blocking socket; the channel owns it from now on.
        loop: The running loop.
    """

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self._sock = sock
        self._loop = loop
        self._fd = sock.fileno()
        self._out = bytearray()
        self._piece = HIGH_WATER
        self._lingering: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._on_data: Callable[[bytes], None] | None = None
        self._on_end: Callable[[], None] | None = None
        self._on_drained: Callable[[], None] | None = None
        self._paused = False
        self._writing = False
        self._rate: float | None = None
        self._trickling: asyncio.TimerHandle | None = None
        self._closing = False
        self.closed = False

    # --- pull mode -------------------------------------------------------------------------

    async def first_byte(self) -> bytes:
        """Look at the next byte without taking it; empty at the end."""
        while not self.unread():
            await self._readable()
            # Readable without a byte: that is the end.
            if not self.unread():
                return b""
        return self._sock.recv(1, socket.MSG_PEEK)

    async def read_exactly(self, count: int) -> bytes:
        """Read `count` bytes, and not one more off the socket.

        Raises:
            EOFError: If the peer ends, or the channel is aborted, before that.
        """
        parts: list[bytes] = []
        while count > 0:
            try:
                part = self._sock.recv(min(count, _READ_BYTES))
            except _WOULD_BLOCK:
                await self._readable()
                continue
            except OSError as error:
                raise EOFError from error
            if not part:
                raise EOFError
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def unread(self) -> bool:
        """Whether bytes are waiting that nobody asked for yet."""
        try:
            return bool(self._sock.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    async def start_tls(self, context: ssl.SSLContext) -> NamedSocket:
        """Do the server's side of a TLS handshake on this channel.

        Raises:
            OSError: If it fails (`ssl.SSLError` is one).
        """
        if self.closed:
            raise ConnectionAbortedError
        try:
            sock = context.wrap_socket(self._sock, server_side=True, do_handshake_on_connect=False)
        except OSError:
            # The descriptor is gone with the failed object, and may be somebody else's by now.
            self.closed = True
            raise
        if not isinstance(sock, NamedSocket):
            raise TypeError("the TLS context must make NamedSocket")
        self._sock = sock
        self._piece = _WRITE_BYTES
        while True:
            try:
                sock.do_handshake()
            except ssl.SSLWantReadError:
                await self._readable()
            except ssl.SSLWantWriteError:
                await self._writable()
            else:
                return sock
            if self.closed:
                raise ConnectionAbortedError

    async def _readable(self) -> None:
        await self._wait(self._loop.add_reader, self._loop.remove_reader)

    async def _writable(self) -> None:
        await self._wait(self._loop.add_writer, self._loop.remove_writer)

    async def _wait(self, add: Callable[..., None], remove: Callable[[int], bool]) -> None:
        if self.closed:
            raise EOFError
        waiter = self._waiter = self._loop.create_future()
        add(self._fd, _wake, waiter)
        try:
            await waiter
        finally:
            self._waiter = None
            if not self.closed:
                remove(self._fd)
        if self.closed:
            raise EOFError

    # --- push mode ---------------------------------------------------------------------------

    def relay(
        self,
        on_data: Callable[[bytes], None],
        on_end: Callable[[], None],
        on_drained: Callable[[], None],
    ) -> None:
        """Hand everything that arrives to `on_data`, from the next turn of the loop on.

        Args:
            on_data: Gets bytes, never empty.
            on_end: Called once, when the peer ends or fails.
            on_drained: Called when a full write buffer has room again.
        """
        self._on_data, self._on_end, self._on_drained = on_data, on_end, on_drained
        self.resume(first=True)

    def pause(self) -> None:
        """Stop reading until `resume()`."""
        if not self._paused and not self.closed:
            self._paused = True
            self._loop.remove_reader(self._fd)

    def resume(self, *, first: bool = False) -> None:
        """Read again."""
        if self.closed or self._closing or not (self._paused or first):
            return
        self._paused = False
        self._loop.add_reader(self._fd, self._on_readable)
        # What OpenSSL has already decrypted does not make the socket readable again.
        if isinstance(self._sock, ssl.SSLSocket) and self._sock.pending():
            self._loop.call_soon(self._on_readable)

    def _on_readable(self) -> None:
        if self.closed or self._paused or self._on_data is None:
            return
        try:
            data = self._sock.recv(_READ_BYTES)
        except _WOULD_BLOCK:
            return
        except OSError:
            data = b""
        if data:
            self._on_data(data)
        else:
            self._ended()

    def _ended(self) -> None:
        self.pause()
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end()

    # --- both ----------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether the peer is so far behind that no more should be written."""
        return len(self._out) > HIGH_WATER

    def write(self, data: bytes) -> None:
        """Send, or keep what cannot be sent yet."""
        if self.closed or self._closing:
            return
        if self._rate is not None:
            self._out += data
            if self._trickling is None:
                self._trickle()
            return
        if not self._out and len(data) <= self._piece:
            # The usual case: a small message, and the socket takes it whole.
            try:
                sent = self._sock.send(data)
            except _WOULD_BLOCK:
                sent = 0
            except OSError:
                self._broken()
                return
            if sent == len(data):
                return
            # TLS writes a record whole or not at all, so these bytes are the ones to repeat.
            data = data[sent:]
        self._out += data
        if not self._writing:
            self._flush()

    def slow(self, bytes_per_second: float) -> None:
        """Let what is written from now on leave at this rate only."""
        self._rate = bytes_per_second

    def _trickle(self) -> None:
        """Write a little, and the rest later."""
        self._trickling = None
        if self.closed or self._rate is None or not self._out:
            return
        count = max(1, int(self._rate * _TRICKLE_SECONDS))
        try:
            with memoryview(self._out) as view, view[:count] as piece:
                sent = self._sock.send(piece)
            del self._out[:sent]
        except _WOULD_BLOCK:
            pass
        except OSError:
            self._broken()
            return
        if self._out:
            self._trickling = self._loop.call_later(max(_TRICKLE_SECONDS, count / self._rate), self._trickle)

    def _flush(self) -> None:
        was_full = self.full
        try:
            while self._out:
                with memoryview(self._out) as view, view[: self._piece] as piece:
                    sent = self._sock.send(piece)
                del self._out[:sent]
        except _WOULD_BLOCK:
            if not self._writing:
                self._writing = True
                self._loop.add_writer(self._fd, self._flush)
        except OSError:
            self._broken()
            return
        else:
            if self._writing:
                self._writing = False
                self._loop.remove_writer(self._fd)
            if self._closing:
                self._lingering = self._loop.create_task(self._linger())
                return
        drained = was_full and len(self._out) <= HIGH_WATER
        if drained and self._on_drained is not None:
            self._on_drained()

    def _broken(self) -> None:
        # Not in the middle of the caller's work: the end is a thing of its own.
        self._out.clear()
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._fd)
        self._loop.call_soon(self._ended)

    def close(self) -> None:
        """Close once everything is sent; the last words reach the peer."""
        if self.closed or self._closing:
            return
        self._closing = True
        self._paused = True
        self._loop.remove_reader(self._fd)
        self._loop.call_later(_LINGER_SECONDS, self.abort)
        if not self._writing:
            self._flush()

    async def _linger(self) -> None:
        # Closing a socket with unread bytes resets the connection, and the peer may lose the
        # error it was sent. So: say that nothing more comes, and read what is still coming.
        with contextlib.suppress(OSError, ValueError):
            if isinstance(self._sock, ssl.SSLSocket):
                self._sock.unwrap()  # says close_notify; does not wait for the answer
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
        left = _LINGER_BYTES
        while not self.closed and left > 0:
            try:
                data = self._sock.recv(_READ_BYTES)
            except _WOULD_BLOCK:
                with contextlib.suppress(EOFError):
                    await self._readable()
                continue
            except OSError:
                break
            if not data:
                break
            left -= len(data)
        self._shut()

    def abort(self, *, reset: bool = False) -> None:
        """Close at once, without a word; with `reset` the peer gets a TCP reset."""
        if self.closed:
            return
        if reset:
            with contextlib.suppress(OSError):
                linger = struct.pack("ii", 1, 0)
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._shut()

    def _shut(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._out.clear()
        self._on_data = self._on_end = self._on_drained = None
        with contextlib.suppress(OSError):
            self._sock.close()
        if self._waiter is not None:
            _wake(self._waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
