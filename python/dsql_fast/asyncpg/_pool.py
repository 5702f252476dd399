"""A pool of asyncpg connections that fit Aurora DSQL.

A subclass of asyncpg's. The private parts that are overridden or touched (asyncpg is pinned to one minor version)
are held by a test, ``tests/asyncpg_driver/test_private_parts.py``.

How one connection follows another: asyncpg's holders, one for each place in the pool, have a connection or not,
and whoever finds one without makes a new one (`_get_new_connection`). Here a successor is opened first and laid
ready, and that method takes it: so neither a checkout nor the refilling of the pool waits for a connect.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

from .. import _telemetry
from .._config import parse_config
from .._credentials import concealed
from .._errors import without_frames
from .._lifetimes import HEALTH_CHECK_PERIOD, MAX_IDLE, MAX_LIFETIME, check_period, expiry, first_sweep
from .._run import run_transaction_async
from ._connection import Connection, checked_dsn, connect, settings_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping

    from typing_extensions import Self

    from .._config import Config
    from .._retry import RetryPolicy

T = TypeVar("T")

# Seconds for an old connection to say goodbye.
_PATIENCE = 5.0

# asyncpg's arguments of `connect` that are no settings of ours.
_DRIVER_ONLY = (
    "timeout",
    "statement_cache_size",
    "max_cached_statement_lifetime",
    "max_cacheable_statement_size",
    "command_timeout",
    "server_settings",
)


class Pool(asyncpg.Pool):  # type: ignore[misc]  # asyncpg ships no types
    """A pool of connections to one cluster; `create_pool` makes it.

    Connections are retired at an age drawn from the last quarter of `max_lifetime`; none past its time is handed
    out. A sweep every `health_check_period` opens the successor before an old connection goes.
    """

    __module__ = "dsql_fast.asyncpg"

    def __init__(
        self,
        dsn: str | Config | None,
        *,
        max_lifetime: float,
        health_check_period: float,
        connect: Callable[..., Awaitable[Any]] | None,
        reset: Callable[[Any], Awaitable[None]] | None,
        connection_class: type[Any],
        pool: Mapping[str, Any],
        connection: Mapping[str, Any],
    ) -> None:
        self._max_lifetime = check_period(max_lifetime, "max_lifetime")
        self._health_check_period = check_period(health_check_period)
        # When each connection is past its time (monotonic seconds).
        self._expire_at: weakref.WeakKeyDictionary[Any, float] = weakref.WeakKeyDictionary()
        # Successors that are open and not yet in their places; the old connections that have one, and those for
        # which one is being opened.
        self._ready: list[Any] = []
        self._succeeded: weakref.WeakSet[Any] = weakref.WeakSet()
        self._opening: weakref.WeakSet[Any] = weakref.WeakSet()
        # Old ones that are being closed.
        self._leaving: set[Any] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._next_sweep: asyncio.TimerHandle | None = None
        self._is_ours = connect is None
        super().__init__(
            dsn,
            connect=connect or _connect,
            reset=reset or _reset_for(connection_class),
            connection_class=connection_class,
            **pool,
            **(self._checked(dsn, connection) if self._is_ours else connection),
        )

    async def run_transaction(
        self, fn: Callable[[Any], Awaitable[T]], *, policy: RetryPolicy | None = None, idempotent: bool = False
    ) -> T:
        """Run an async function in a transaction, and the whole again if it lost against another one.

        As `run_transaction_async`, with this pool's connections.
        """
        return await run_transaction_async(self, fn, policy=policy, idempotent=idempotent)

    def set_connect_args(self, dsn: str | Config | None = None, **connect_kwargs: Any) -> None:
        """As in asyncpg: the settings of all connections from now on, checked.

        Raises:
            ConfigError: something cannot be used.
            CredentialsError: the environment's credentials cannot be used.
        """
        super().set_connect_args(dsn, **(self._checked(dsn, connect_kwargs) if self._is_ours else connect_kwargs))

    @staticmethod
    def _checked(dsn: str | Config | None, connection: Mapping[str, Any]) -> dict[str, Any]:
        """Check the settings of connections; return them with credentials that show no secret."""
        given = {name: value for name, value in connection.items() if value is not None}
        ours = {name: value for name, value in given.items() if name not in _DRIVER_ONLY}
        ours = settings_of(ours.pop("ssl", None), ours.pop("direct_tls", None), ours)
        parse_config(checked_dsn(dsn), ours, os.environ)
        for name in ("credentials", "custom_credentials_provider"):
            if ours.get(name) is not None:
                ours[name] = concealed(ours[name])
        return {**{name: value for name, value in connection.items() if name in _DRIVER_ONLY}, **ours}

    # Opening and closing.

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        opening: Generator[Any, None, Self] = super().__await__()
        return opening

    async def _initialize(self) -> None:
        await super()._initialize()
        self._sweep_later(first_sweep(self._health_check_period))

    async def close(self) -> None:
        """As in asyncpg: wait until all connections are given back, and close them."""
        try:
            await super().close()
        finally:
            await self._stop()

    def terminate(self) -> None:
        """As in asyncpg: close all connections at once."""
        super().terminate()
        self._stop_sweeping()

    async def _stop(self) -> None:
        self._stop_sweeping()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _stop_sweeping(self) -> None:
        if self._next_sweep is not None:
            self._next_sweep.cancel()
            self._next_sweep = None
        for task in self._tasks:
            task.cancel()
        # A task that is cancelled before its first step has closed nothing.
        for connection in (*self._ready, *self._leaving):
            connection.terminate()
        self._ready.clear()
        self._leaving.clear()

    # Connecting.

    async def _get_new_connection(self) -> Any:
        while self._ready:
            connection = self._ready.pop()
            if not connection.is_closed() and not self._is_due(connection):
                return connection
            connection.terminate()
        return await self._open()

    async def _open(self) -> Any:
        connection = await super()._get_new_connection()
        self._expire_at[connection] = expiry(time.monotonic(), self._max_lifetime)
        return connection

    # Ages.

    def _is_due(self, connection: Any, ahead: float = 0.0) -> bool:
        """Tell whether a connection is past its time, or will be in so many seconds."""
        expires_at = self._expire_at.get(connection)
        return expires_at is not None and expires_at <= time.monotonic() + ahead

    def _idle_holders(self) -> list[Any]:
        # In the queue is who can be taken: one that is being taken is not in it, nor yet marked as in use.
        return [holder for holder in self._queue._queue if holder.is_connected()]

    async def _acquire(self, timeout: float | None) -> Any:
        if self._queue is not None:
            self._discard_due()
        return await super()._acquire(timeout)

    async def release(self, connection: Any, *, timeout: float | None = None) -> None:
        """As in asyncpg: give a connection back. One past its time is closed, and so is one with a successor."""
        held = getattr(connection, "_con", None)
        if held is not None and (self._has_successor(held) or self._is_due(held)):
            # asyncpg closes on release what is of another generation than the pool.
            connection._holder._generation = None
        await super().release(connection, timeout=timeout)

    async def expire_connections(self) -> None:
        """As in asyncpg: have all connections replaced at their next checkout."""
        await super().expire_connections()
        while self._ready:
            self._ready.pop().terminate()

    def _has_successor(self, connection: Any) -> bool:
        # One that was laid ready may have gone to another place.
        return bool(self._ready) and connection in self._succeeded

    def _discard_due(self) -> None:
        """Throw out the idle connections past their time: the next checkout gets a live one, if there is one."""
        due = [holder for holder in self._idle_holders() if self._is_due(holder._con)]
        for holder in due:
            _telemetry.record("connection_discarded", logging.DEBUG, "a connection of a pool was too old")
            self._close_soon(_taken_out_of(holder))
        if due:
            self._schedule_min_size_maintenance()

    def _sweep(self) -> None:
        """Have the connections replaced that are past their time before the next sweep."""
        self._sweep_later()
        succeeded = 0
        for holder in self._holders:
            connection = holder._con
            if not holder.is_connected() or not self._is_due(connection, self._health_check_period):
                continue
            if connection in self._opening or self._has_successor(connection):
                succeeded += 1
            else:
                self._opening.add(connection)
                self._start(self._replace(holder, connection))
        while len(self._ready) > succeeded:
            # Whose place it was to take is closed.
            self._close_soon(self._ready.pop(0))

    def _sweep_later(self, seconds: float | None = None) -> None:
        if self.is_closing():
            return
        # Not by a task, nor by a reference to the pool: one that nobody closes must be able to go.
        delay = seconds or self._health_check_period
        self._next_sweep = self._loop.call_later(delay, _sweep_of, weakref.ref(self))

    async def _replace(self, holder: Any, old: Any) -> None:
        """Open a successor, and put it where the old connection is, or lay it ready for when that comes back."""
        try:
            successor = await self._open()
        except Exception as error:  # noqa: BLE001 (the next sweep tries again)
            _telemetry.record(
                "replacement_failed",
                logging.WARNING,
                "no successor for a connection of a pool: %s",
                type(error).__name__,
            )
            return
        finally:
            self._opening.discard(old)
        if self.is_closing() or holder._con is not old:
            # The old one went meanwhile, by its own way out.
            self._close_soon(successor)
            return
        _telemetry.record("connection_replaced", logging.DEBUG, "a connection of a pool was replaced")
        self._ready.append(successor)
        self._succeeded.add(old)
        if holder in self._queue._queue:
            # Nothing is awaited until the successor is in its place: nobody sees the place empty.
            self._close_soon(_taken_out_of(holder))
            await holder.connect()

    def _close_soon(self, connection: Any) -> None:
        self._leaving.add(connection)
        self._start(self._close_one(connection))

    async def _close_one(self, connection: Any) -> None:
        try:
            await connection.close(timeout=_PATIENCE)
        except Exception:  # noqa: BLE001 (whatever it is, the connection goes)
            connection.terminate()
        self._leaving.discard(connection)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _sweep_of(found: weakref.ref[Pool]) -> None:
    pool = found()
    if pool is not None:
        pool._sweep()


def _taken_out_of(holder: Any) -> Any:
    """Take an idle connection out of its holder, which is to get another one."""
    connection = holder._con
    holder._maybe_cancel_inactive_callback()
    holder._con = None
    connection._pool_holder = None  # its end is no longer the holder's affair
    return connection


async def _connect(dsn: str | Config | None, **settings: Any) -> Any:
    return await connect(dsn, **settings)


async def _reset(connection: Any) -> None:
    await connection.execute("RESET ALL")


def _reset_for(connection_class: type[Any]) -> Callable[[Any], Awaitable[None]] | None:
    """Return how connections of a class are reset; None if the class says it itself."""
    for name in ("reset", "get_reset_query"):
        if getattr(connection_class, name, None) is not getattr(asyncpg.Connection, name):
            return None
    return _reset


def create_pool(
    dsn: str | Config | None = None,
    *,
    init_size: int | None = None,
    min_size: int = 10,
    max_size: int = 10,
    max_queries: int = 50000,
    max_inactive_connection_lifetime: float = MAX_IDLE,
    max_lifetime: float = MAX_LIFETIME,
    health_check_period: float = HEALTH_CHECK_PERIOD,
    connect: Callable[..., Awaitable[Any]] | None = None,
    setup: Callable[[Any], Awaitable[None]] | None = None,
    init: Callable[[Any], Awaitable[None]] | None = None,
    reset: Callable[[Any], Awaitable[None]] | None = None,
    loop: asyncio.AbstractEventLoop | None = None,
    connection_class: type[Any] = Connection,
    record_class: type[Any] = asyncpg.Record,
    **connect_kwargs: Any,
) -> Pool:
    """Make a pool of connections to one cluster, for ``async with`` or ``await``.

    Settings are checked here, before anything is sent.

    Args:
        dsn: as for `connect`.
        init_size: connections opened at first; default `min_size`.
        min_size: connections kept; default 10.
        max_size: default 10.
        max_queries: a connection is replaced after so many; default 50000.
        max_inactive_connection_lifetime: seconds until idle connections above `min_size` are closed; default 10
            minutes.
        max_lifetime: seconds; default 55 minutes (DSQL ends sessions after 60).
        health_check_period: seconds between two sweeps; default 30.
        connect: as in asyncpg: called in place of `connect`, with the same arguments; they are not checked then.
        setup: as in asyncpg.
        init: as in asyncpg.
        reset: as in asyncpg; default: ROLLBACK if a transaction is open, and RESET ALL.
        loop: as in asyncpg.
        connection_class: as in asyncpg; default `Connection`.
        record_class: as in asyncpg.
        **connect_kwargs: further arguments of `connect`.

    Raises:
        ConfigError: something cannot be used. Nothing was sent.
        CredentialsError: the environment's credentials cannot be used.
    """
    try:
        return Pool(
            dsn,
            max_lifetime=max_lifetime,
            health_check_period=health_check_period,
            connect=connect,
            reset=reset,
            connection_class=connection_class,
            pool={
                "init_size": init_size,
                "min_size": min_size,
                "max_size": max_size,
                "max_queries": max_queries,
                "max_inactive_connection_lifetime": max_inactive_connection_lifetime,
                "setup": setup,
                "init": init,
                "loop": loop,
                "record_class": record_class,
            },
            connection=connect_kwargs,
        )
    except BaseException as error:  # noqa: BLE001 (raised again below)
        failure = error
    # Our frames hold what the caller passed, and error reporters show locals.
    without_frames(failure)
    del dsn, connect_kwargs
    try:
        raise failure
    finally:
        del failure  # it refers to this frame: no cycle
