"""One client's session: its messages in, its answers out, and its end."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from dsql_fast.local import _protocol as protocol
from dsql_fast.local._channel import HIGH_WATER
from dsql_fast.local._conversation import BackendGone, Conversation
from dsql_fast.local._executor import Cut, Executor
from dsql_fast.local._refusals import FUNCTION_CALL, Refusal
from dsql_fast.local._steps import Unit

if TYPE_CHECKING:
    from collections.abc import Callable

    from dsql_fast.local._backend import Backend
    from dsql_fast.local._channel import Channel
    from dsql_fast.local._clock import ClusterClock
    from dsql_fast.local._database import Database

# PostgreSQL, too, looks after its client about as often in the middle of a statement.
_FAREWELL_SECONDS = 0.5
# PostgreSQL's text, for a type byte that is none.
_BAD_TYPE = Refusal("message-type", "invalid frontend message type {}", "08P01")
_BAD_LENGTH = Refusal("message-length", "invalid message length", "08P01")
_QUERY, _SYNC, _FLUSH, _TERMINATE, _FUNCTION_CALL = b"QSHXF"
_COPY_DATA, _COPY_DONE, _COPY_FAIL = b"dcf"
_ENDS_A_UNIT = frozenset({_QUERY, _SYNC, _FLUSH, _COPY_DATA, _COPY_DONE, _COPY_FAIL, _FUNCTION_CALL})


class Session:
    """Serves one authenticated client.

    What it sends is cut into units and run one after the other. It is not read further while much of it waits, and
    PostgreSQL is not read while the client is behind, so a client costs a bounded buffer.

    Args:
        client: In pull mode; the greeting has not been sent yet.
        backend: A fresh backend.
        user: Who it is.
        application_name: As given at start-up.
        clock: Tells the session's age.
        message_bytes: The longest message of the client, or None.
        database: What sessions share.
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
        database: Database,
        on_end: Callable[[Session, str], None],
    ) -> None:
        self.pid = backend.pid
        self.user = user
        self.message_bytes = message_bytes
        self.began = clock.session_time()
        self._application_name = application_name
        self._clock = clock
        self._client = client
        self._greeting = backend.greeting
        self._database = database
        self._on_end = on_end
        self._pending = bytearray()
        self._wanted = 0  # bytes of pending below which there is no use in looking
        self._unit = Unit()
        self._units: deque[Unit] = deque()
        self._waiting_bytes = 0
        self._arrived = asyncio.Event()
        self._drained = asyncio.Event()
        self._muted = False
        self._over = False
        self._talk = Conversation(
            backend.channel,
            to_client=self._to_client,
            on_slow=database.watchdog.notice,
            on_end=self._backend_ended,
        )
        self._executor = Executor(
            self._talk, self.pid, user, database=database, clock=clock, to_client=self._to_client
        )
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Greet the client and serve it from now on."""
        self._database.watchdog.add(self._executor)
        self._client.write(self._greeting)
        self._greeting = b""
        self._client.relay(self._from_client, self._client_ended, self._client_drained)
        self._task = asyncio.get_running_loop().create_task(self._serve())

    @property
    def age(self) -> float:
        """Seconds since it began, on the cluster's session clock."""
        return self._clock.session_time() - self.began

    @property
    def in_transaction(self) -> bool:
        """Whether the client has an open transaction block."""
        return self._executor.in_transaction

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

    def mute(self) -> None:
        """Answer nothing any more, as a peer that is gone without a word."""
        self._muted = True

    def slow(self, bytes_per_second: float) -> None:
        """Let what is sent to the client arrive at this rate only."""
        self._client.slow(bytes_per_second)

    # --- from the client -------------------------------------------------------------------------

    def _from_client(self, data: bytes) -> None:
        if self._muted:
            return
        if self._pending:
            self._pending += data
            if len(self._pending) < self._wanted:
                return
            data = bytes(self._pending)
        at, size = 0, len(data)
        self._wanted = protocol.HEADER
        while size - at >= protocol.HEADER:
            kind = data[at]
            length = protocol.length_at(data, at + 1)[0]
            if not self._acceptable(kind, length):
                return
            end = at + 1 + length
            if end > size:
                self._wanted = 1 + length
                break
            if kind == _TERMINATE:
                self._units.append(Unit())
                self._arrived.set()
                return
            self._add(kind, data[at:end])
            at = end
        self._pending = bytearray(data[at:]) if at < size else bytearray()
        if self._waiting_bytes > HIGH_WATER:
            self._client.pause()

    def _acceptable(self, kind: int, length: int) -> bool:
        """Whether it is a message; if not, the session has ended over it."""
        if kind not in protocol.FRONTEND_TYPES:
            self._violated(_BAD_TYPE, kind)
        elif length < 4:  # noqa: PLR2004 - the length counts itself
            self._violated(_BAD_LENGTH)
        elif self.message_bytes is not None and length > self.message_bytes:
            # Documented by AWS: closed without an error.
            self.cut("message-size")
        else:
            return True
        return False

    def _add(self, kind: int, raw: bytes) -> None:
        unit = self._unit
        unit.messages.append((kind, raw))
        unit.size += len(raw)
        if kind in _ENDS_A_UNIT:
            unit.ends = kind
            self._waiting_bytes += unit.size
            self._units.append(unit)
            self._unit = Unit()
            self._arrived.set()

    def _violated(self, refusal: Refusal, *values: object) -> None:
        told = Refusal(refusal.reason, refusal.message.format(*values), refusal.sqlstate)
        self._client.write(protocol.error(told))
        self._finish(refusal.reason, said=True)

    def _client_ended(self) -> None:
        # What came before the end is worked off, as PostgreSQL does: a COMMIT among it counts. But nobody waits
        # for a long statement's result any more.
        if not self._units and not self._talk.busy:
            self._finish("client", said=False)
            return
        self._muted = True
        self._units.append(Unit())
        self._arrived.set()
        self._client_drained()
        asyncio.get_running_loop().call_later(_FAREWELL_SECONDS, self._finish_after_client)

    def _finish_after_client(self) -> None:
        self._finish("client", said=False)

    def _client_drained(self) -> None:
        self._drained.set()
        self._talk.resume()

    # --- serving ---------------------------------------------------------------------------------

    async def _serve(self) -> None:
        try:
            while not self._over:
                if not self._units:
                    self._arrived.clear()
                    await self._arrived.wait()
                    continue
                unit = self._units.popleft()
                if not unit.messages:
                    break
                await self._run(unit)
                self._waiting_bytes -= unit.size
                if self._waiting_bytes <= HIGH_WATER:
                    self._client.resume()
                while self._client.full and not self._over and not self._muted:
                    self._drained.clear()
                    await self._drained.wait()
        except BackendGone:
            self._finish("backend", said=True)
        except Cut:
            self._finish("fault", said=False)
        except Exception as error:  # noqa: BLE001 - ends this session only; a defect, and told
            self._database.counters.broken(self.user, error)
        else:
            self._finish("client", said=False)
        finally:
            self._finish("broken", said=False)

    async def _run(self, unit: Unit) -> None:
        executor = self._executor
        if executor.copying:
            if unit.ends == _COPY_DATA:
                executor.copy_data(unit.messages[0][1])
            elif unit.ends in (_COPY_DONE, _COPY_FAIL):
                await executor.end_copy(unit.messages[0][1])
            # PostgreSQL skips everything else while it waits for data.
        elif unit.ends == _FUNCTION_CALL:
            self._client.write(protocol.error(FUNCTION_CALL, "ERROR") + executor.ready())
        elif unit.ends in (_QUERY, _SYNC, _FLUSH):
            await executor.run(unit)

    def _to_client(self, data: bytes) -> None:
        if self._muted:
            return
        self._client.write(data)
        if self._client.full:
            self._talk.pause()

    def _backend_ended(self) -> None:
        self._finish("backend", said=True)

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
        if self._talk.busy:
            # In the middle of a statement, whose locks nobody may wait for. The exchange ends with the backend.
            self._database.terminate(self.pid)
        else:
            self._talk.close()
        self._pending.clear()
        self._units.clear()
        self._arrived.set()
        self._drained.set()
        self._database.watchdog.discard(self._executor)
        self._on_end(self, reason)
