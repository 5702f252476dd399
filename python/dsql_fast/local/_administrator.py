"""The gateway's own connection to PostgreSQL, as its superuser."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dsql_fast.local import _protocol as protocol
from dsql_fast.local._backend import open_backend
from dsql_fast.local._conversation import BackendGone, Conversation, Part
from dsql_fast.local._errors import StartFailed

if TYPE_CHECKING:
    from pathlib import Path

# It must never wait for a lock that a client's session holds: all sessions would wait with it. (Reading a
# sequence that an open transaction has dropped did that.)
_OPTIONS = "-c lock_timeout=20ms -c search_path=pg_catalog"


class Administrator:
    """Asks and tells PostgreSQL what no client may. One question at a time.

    Args:
        socket_path: Where PostgreSQL listens.
        superuser: Its name.
    """

    def __init__(self, socket_path: Path, superuser: str) -> None:
        self._path = socket_path
        self._superuser = superuser
        self._lock = asyncio.Lock()
        self._conversation: Conversation | None = None

    async def value(self, sql: str) -> str | None:
        """Run one statement and return the first column of its first row, as text.

        Returns:
            None if there is no row, if it is null, or if the statement failed (a lock that was not to be had).

        Raises:
            BackendGone: If PostgreSQL is gone.
        """
        async with self._lock:
            if self._conversation is None:
                self._conversation = await self._open()
            part = Part(protocol.query(sql), b"Q")
            (reply,) = await self._conversation.exchange(part)
        return None if reply.error is not None else protocol.first_value(reply.shown)

    async def cancel(self, pid: int) -> None:
        """Make a backend give up what it is in the middle of, if it is."""
        await self.value(f"SELECT pg_cancel_backend({pid:d})")

    async def terminate(self, pid: int) -> None:
        """End a backend that is in the middle of something."""
        await self.value(f"SELECT pg_terminate_backend({pid:d})")

    def close(self) -> None:
        """Hang up."""
        if self._conversation is not None:
            self._conversation.close()

    async def _open(self) -> Conversation:
        parameters = {"user": self._superuser, "database": "postgres", "options": _OPTIONS}
        try:
            backend = await open_backend(self._path, parameters)
        except StartFailed as error:
            raise BackendGone from error
        return Conversation(backend.channel, to_client=lambda _: None, on_slow=lambda: None, on_end=lambda: None)
