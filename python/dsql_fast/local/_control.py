"""The gateway's side of the control line: one JSON object in, one JSON object out."""

from __future__ import annotations

import asyncio
import json
import os
import resource
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsql_fast.local._backend import first_value
from dsql_fast.local._errors import StartFailed
from dsql_fast.local._refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dsql_fast.local._clock import ClusterClock
    from dsql_fast.local._counters import Counters
    from dsql_fast.local._gateway import Gateway
    from dsql_fast.local._keys import Key, KeyRing
    from dsql_fast.local._postgres import Postgres

# Without the gateway's own, the one that counts among them.
_COUNT_BACKENDS = """
SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename <> current_user
"""


class Control:
    """Does what the program that owns the cluster asks for.

    Every command is a method `do_<name>`; its keyword arguments are the command's.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        postgres: Postgres,
        keys: KeyRing,
        clock: ClusterClock,
        counters: Counters,
    ) -> None:
        self._gateway = gateway
        self._postgres = postgres
        self._keys = keys
        self._clock = clock
        self._counters = counters

    async def answer(self, line: bytes) -> bytes:
        """Carry out one command."""
        command: dict[str, Any] = json.loads(line)
        method: Callable[..., Awaitable[Any]] = getattr(self, "do_" + command.pop("do"))
        try:
            reply = {"result": await method(**command)}
        except (ValueError, TypeError) as error:
            reply = {"error": type(error).__name__, "message": str(error)}
        except (Refused, StartFailed, EOFError) as error:
            reply = {"error": "LocalClusterError", "message": f"PostgreSQL does not answer: {error}"}
        return json.dumps(reply).encode() + b"\n"

    async def do_sessions(self) -> list[dict[str, Any]]:
        """The open sessions, oldest first."""
        return [session.describe() for session in self._gateway.roster.sessions()]

    async def do_kill_sessions(self, pid: int | None, in_transaction: bool | None) -> int:
        """Cut one session, or all."""
        return self._gateway.roster.kill(pid, in_transaction)

    async def do_order_fault(self, order: str, **arguments: Any) -> None:
        """Order a fault or a latency, or forget them; `order` is the name of a method of `Faults`."""
        getattr(self._gateway.faults, order)(**arguments)

    async def do_pending_faults(self) -> list[dict[str, Any]]:
        """The faults that are ordered and not used up."""
        return [asdict(each) for each in self._gateway.faults.pending()]

    async def do_set_certificate(self, kind: str) -> None:
        """Show another certificate from now on."""
        self._gateway.set_certificate(kind)

    async def do_advance(self, seconds: float) -> None:
        """Age the sessions."""
        self._clock.advanced += seconds
        self._gateway.roster.look()

    async def do_skew(self, seconds: float) -> None:
        """Move the clock that tokens are judged by."""
        self._clock.skewed += seconds

    async def do_set_limits(self, **changes: float | None) -> dict[str, float | None]:
        """Change limits."""
        self._gateway.set_limits(self._gateway.limits.changed(**changes))
        return self._gateway.limits.as_dict()

    async def do_issue_key(self, *, lifetime: float | None, **described: Any) -> dict[str, str | None]:
        """Make one more access key."""
        expires_at = None if lifetime is None else self._clock.token_time() + lifetime
        return describe_key(self._keys.issue(expires_at=expires_at, **described))

    async def do_deny(self, who: str, action: str | None) -> None:
        """Take an action from a user or role."""
        self._gateway.policies.deny(who, action)

    async def do_allow(self, who: str, action: str | None) -> None:
        """Give an action back."""
        self._gateway.policies.allow(who, action)

    async def do_revoke_key(self, access_key_id: str) -> bool:
        """Take an access key back."""
        return self._keys.revoke(access_key_id)

    async def do_stats(self) -> dict[str, Any]:
        """Counters, and what the gateway holds just now."""
        superuser = self._postgres.superuser
        backends = await first_value(self._postgres.socket_path, superuser, _COUNT_BACKENDS)
        return {
            **self._counters.stats(),
            "latency": self._gateway.faults.latencies(),
            "open": len(self._gateway.roster),
            "opening": self._gateway.opening,
            "backends": int(backends),
            "tasks": len(asyncio.all_tasks()),
            "descriptors": _open_descriptors(),
            "memory_bytes": _memory_bytes(),
        }

    async def do_events(self) -> list[dict[str, Any]]:
        """The latest events."""
        return self._counters.events()


def describe_key(key: Key) -> dict[str, str | None]:
    """The form in which a key goes over the control line, the only place it ever goes."""
    return {
        "access_key": key.access_key_id,
        "secret_key": key.secret_access_key,
        "token": key.session_token,
        "name": key.name,
        "arn": key.arn,
    }


def _open_descriptors() -> int | None:
    try:
        return len(list(Path("/dev/fd").iterdir())) - 1  # without the one that lists
    except OSError:
        return None


def _memory_bytes() -> int:
    """Resident memory now on Linux, its highest so far elsewhere."""
    try:
        with open("/proc/self/statm") as statm:  # noqa: PTH123 - shorter, and read once
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
