"""The door: takes connections in, finds out what they are, and makes sessions of the good ones."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from typing import TYPE_CHECKING

from dsql_fast.local import _protocol as protocol
from dsql_fast.local import _refusals as refusals
from dsql_fast.local._admission import Admission
from dsql_fast.local._backend import open_backend
from dsql_fast.local._channel import Channel, NamedSocket
from dsql_fast.local._conversation import BackendGone
from dsql_fast.local._database import Database
from dsql_fast.local._faults import Faults
from dsql_fast.local._iam import Policies, holds_role
from dsql_fast.local._refusals import Refused
from dsql_fast.local._roster import Roster
from dsql_fast.local._session import Session
from dsql_fast.local._startup import Startup
from dsql_fast.local._tokens import action_of, verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dsql_fast.local._backend import Backend
    from dsql_fast.local._clock import ClusterClock
    from dsql_fast.local._counters import Counters
    from dsql_fast.local._faults import ConnectFault
    from dsql_fast.local._identity import Identity
    from dsql_fast.local._keys import Key, KeyRing
    from dsql_fast.local._limits import Limits
    from dsql_fast.local._postgres import Postgres

_ALPN = "postgresql"
_TLS_HANDSHAKE = b"\x16"
_LONGEST_PASSWORD = 64 * 1024  # bytes; tokens of 4 KiB were seen, none of 64
_ACCEPTED_AT_ONCE = 64
_OUT_OF_DESCRIPTORS_SECONDS = 0.1


class Gateway:
    """Listens, negotiates, authenticates, and hands over to sessions.

    Args:
        listener: A bound, listening, non-blocking socket on loopback.
        write_certificate: Writes a new certificate of a kind and its key, and tells where.
        certificate: The kind to begin with.
        identity: The cluster.
        postgres: The server behind.
        keys: The access keys that are known.
        clock: Both clocks.
        limits: To begin with.
        counters: Where everything is counted.
    """

    def __init__(
        self,
        listener: socket.socket,
        write_certificate: Callable[[str], Path],
        *,
        certificate: str,
        identity: Identity,
        postgres: Postgres,
        keys: KeyRing,
        clock: ClusterClock,
        limits: Limits,
        counters: Counters,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._write_certificate = write_certificate
        self.set_certificate(certificate)
        self._identity = identity
        self._postgres = postgres
        self._keys = keys
        self._clock = clock
        self.limits = limits
        self._counters = counters
        self.faults = Faults()
        self.database = Database(postgres, faults=self.faults, limits=limits, counters=counters)
        self.policies = Policies(identity, keys)
        self._admission = Admission(limits, time.monotonic())
        self.roster = Roster(self._loop, clock, limits.session_seconds)
        self._opening: set[asyncio.Task[None]] = set()

    @property
    def opening(self) -> int:
        """Connections that are neither sessions nor gone yet."""
        return len(self._opening)

    async def start(self) -> None:
        """Accept connections."""
        await self.database.begin()
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def set_limits(self, limits: Limits) -> None:
        """Take new limits; they hold for open sessions too."""
        self.limits = self.database.limits = limits
        self._admission.set_limits(limits, time.monotonic())
        for session in self.roster.sessions():
            session.message_bytes = limits.message_bytes
        self.roster.limit(limits.session_seconds)

    def set_certificate(self, kind: str) -> None:
        """Show a new certificate to whoever comes from now on."""
        self._tls = _tls_context(self._write_certificate(kind))

    async def stop(self) -> None:
        """Close the door and end everything behind it."""
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        opening = list(self._opening)
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        self.roster.close()
        await self.database.stop()

    # --- taking in -------------------------------------------------------------------------------

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                sock, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                # No descriptors left. Whoever waits in the queue waits on; the loop must not spin.
                self._loop.remove_reader(self._listener.fileno())
                self._loop.call_later(_OUT_OF_DESCRIPTORS_SECONDS, self._accept_again)
                return
            sock.setblocking(False)
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._counters.attempted()
            task = self._loop.create_task(self._open(Channel(sock, self._loop)))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def _accept_again(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    async def _open(self, channel: Channel) -> None:
        """See one connection through to its session, or to its end."""
        fault = self.faults.connection()
        if fault is not None:
            self._counters.happened("fault", "", fault.kind)
        visit = _Visit(channel, fault)
        deadline = None
        if self.limits.handshake_seconds is not None:
            deadline = self._loop.call_later(self.limits.handshake_seconds, visit.time_out)
        try:
            if visit.meets("silent"):
                await self._stay_silent(visit)
            await self._make_session(visit)
        except Refused as verdict:
            self._turn_away(visit, verdict.refusal)
        except EOFError:
            self._turn_away(visit, refusals.TIMEOUT if visit.timed_out else refusals.GONE)
        except BaseException:
            self._turn_away(visit, refusals.GONE)
            raise
        finally:
            if deadline is not None:
                deadline.cancel()

    def _turn_away(self, visit: _Visit, refusal: refusals.Refusal) -> None:
        if visit.admitted:
            self._admission.leave()
        self._counters.refused(visit.user, refusal.reason)
        if refusal.message:
            visit.channel.write(protocol.error(refusal))
            visit.channel.close()
        else:
            visit.channel.abort()

    async def _stay_silent(self, visit: _Visit) -> None:
        """Take in what comes, and never answer; ends with the client, or at its time-out."""
        with contextlib.suppress(EOFError):
            while True:
                await visit.channel.read_exactly(1)
        raise Refused(refusals.SILENT)

    # --- from the first byte to the session ------------------------------------------------------

    async def _make_session(self, visit: _Visit) -> None:
        channel = visit.channel
        requested, packet = await self._negotiate(channel)
        startup = Startup.parse(packet)
        visit.user = startup.user
        startup.check_name(requested, self._identity.host, self._identity.cluster_id)
        startup.check_settings()
        fault = visit.fault
        if fault is not None and fault.refusal is not None:
            raise Refused(fault.refusal)
        self._admission.enter(time.monotonic())
        visit.admitted = True
        if startup.minor or startup.unknown_options:
            channel.write(protocol.negotiate_version(startup.unknown_options))
        channel.write(protocol.AUTHENTICATION_CLEARTEXT)
        key = verify(
            await _read_password(channel),
            user=startup.user,
            host=self._identity.host,
            region=self._identity.region,
            keys=self._keys,
            now=self._clock.token_time(),
        )
        self.policies.check(key, action_of(startup.user))
        if startup.user == self._postgres.superuser:
            raise Refused(refusals.ROLE_DENIED)
        if delay := self.faults.connect_delay():
            await asyncio.sleep(delay)
        backend = await self._backend_of(startup, key)
        if channel.closed:  # timed out meanwhile
            backend.channel.abort()
            raise EOFError
        session = Session(
            channel,
            backend,
            user=startup.user,
            application_name=startup.settings.get("application_name", ""),
            clock=self._clock,
            message_bytes=self.limits.message_bytes,
            database=self.database,
            on_end=self._session_ended,
        )
        self._counters.admitted(startup.user)
        self.roster.add(session)
        if fault is not None and fault.bytes_per_second is not None:
            session.slow(fault.bytes_per_second)
        session.begin()
        if visit.meets("half-open"):
            session.mute()

    async def _backend_of(self, startup: Startup, key: Key) -> Backend:
        """Open the session's backend, which tells whether the role exists, and ask whether it is the key's."""
        backend = await open_backend(self._postgres.socket_path, startup.backend_parameters())
        granted = False
        try:
            # admin is nobody's by a grant: the action that the token is for stands for it (documented by AWS).
            granted = startup.user == "admin" or await holds_role(key, startup.user, self.database.administrator)
        except BackendGone:
            raise Refused(refusals.WAKING_UP) from None
        finally:
            if not granted:
                backend.channel.abort()
        if not granted:
            raise Refused(refusals.ROLE_DENIED)
        return backend

    def _session_ended(self, session: Session, reason: str) -> None:
        self.roster.discard(session)
        self._admission.leave()
        self._counters.ended(session.user, reason)

    async def _negotiate(self, channel: Channel) -> tuple[str | None, bytes]:
        """Get to TLS, by either way, and read the start-up packet behind it.

        Returns:
            The server name of the handshake, and the packet without its length.
        """
        if await channel.first_byte() == _TLS_HANDSHAKE:
            tls = await self._handshake(channel)
            # PostgreSQL 17's rule for direct TLS: without ALPN, another protocol could be meant.
            if tls.selected_alpn_protocol() != _ALPN:
                raise Refused(refusals.NO_ALPN)
        else:
            while (request := await _plain_request(channel)) == protocol.GSSENC_REQUEST:
                channel.write(b"N")
            if request != protocol.SSL_REQUEST:
                raise Refused(refusals.PLAINTEXT)
            if channel.unread():
                raise Refused(refusals.EARLY_BYTES)
            channel.write(b"S")
            tls = await self._handshake(channel)
        packet = await _read_startup(channel)
        if _is_cancel(packet):
            raise Refused(refusals.CANCEL)
        return tls.requested_name, packet

    async def _handshake(self, channel: Channel) -> NamedSocket:
        try:
            return await channel.start_tls(self._tls)
        except OSError:
            if channel.closed:
                raise EOFError from None
            raise Refused(refusals.TLS_FAILED) from None


class _Visit:
    """One connection on its way in."""

    def __init__(self, channel: Channel, fault: ConnectFault | None) -> None:
        self.channel = channel
        self.fault = fault
        self.user = ""
        self.admitted = False
        self.timed_out = False

    def meets(self, kind: str) -> bool:
        return self.fault is not None and self.fault.kind == kind

    def time_out(self) -> None:
        self.timed_out = True
        self.channel.abort()


async def _plain_request(channel: Channel) -> int:
    """Read what comes before TLS: a request code, or 0 for a start-up message."""
    length = protocol.length_at(await channel.read_exactly(4))[0]
    if not 8 <= length <= protocol.LONGEST_STARTUP:  # noqa: PLR2004 - length and code
        raise Refused(refusals.GARBAGE)
    code = protocol.length_at(await channel.read_exactly(4))[0]
    if code == protocol.CANCEL_REQUEST:
        raise Refused(refusals.CANCEL)
    if code in (protocol.SSL_REQUEST, protocol.GSSENC_REQUEST):
        if length != 8:  # noqa: PLR2004 - length and code
            raise Refused(refusals.GARBAGE)
        return int(code)
    if code >> 16 != protocol.PROTOCOL_3 >> 16:
        raise Refused(refusals.GARBAGE)
    return 0


async def _read_startup(channel: Channel) -> bytes:
    length = protocol.length_at(await channel.read_exactly(4))[0]
    if not 8 <= length <= protocol.LONGEST_STARTUP:  # noqa: PLR2004 - length and code
        raise Refused(refusals.STARTUP_LENGTH)
    return await channel.read_exactly(length - 4)


async def _read_password(channel: Channel) -> bytes:
    header = await channel.read_exactly(protocol.HEADER)
    if header[:1] != b"p":
        raise Refused(refusals.MESSAGE_TYPE)
    length = protocol.length_at(header, 1)[0] - 4
    # One more than the password: the NUL at its end.
    if not 1 <= length <= _LONGEST_PASSWORD + 1:
        raise Refused(refusals.PASSWORD_SIZE)
    body = await channel.read_exactly(length)
    if body.find(b"\0") != length - 1:
        raise Refused(refusals.PASSWORD_SIZE)
    return body[:-1]


def _is_cancel(packet: bytes) -> bool:
    return bool(protocol.length_at(packet)[0] == protocol.CANCEL_REQUEST)


def _tls_context(server_file: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(server_file)
    context.set_alpn_protocols([_ALPN])
    # As PostgreSQL has it: a session that is resumed would skip the look at the certificate.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    context.sslsocket_class = NamedSocket

    def remember_name(tls: object, name: str | None, _: ssl.SSLContext) -> None:
        # Never refused here: DSQL completes the handshake and says why in its own words.
        if isinstance(tls, NamedSocket):
            tls.requested_name = name

    context.sni_callback = remember_name
    return context
