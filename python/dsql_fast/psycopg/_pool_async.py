"""A pool of asynchronous psycopg connections that fit Aurora DSQL.

A subclass of psycopg_pool's. The private parts that are overridden or called (psycopg_pool is pinned to one
minor version) are held by a test, ``tests/pools/test_private_parts.py``.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar, cast

import psycopg_pool
from psycopg_pool.abc import ACT
from psycopg_pool.pool_async import AddConnection, MaintenanceTask, Schedule

from .._connecting import Held, PutOff
from .._errors import ConfigError, without_frames
from .._lifetimes import HEALTH_CHECK_PERIOD, MAX_IDLE, MAX_LIFETIME, check_period, first_sweep
from .._run import run_transaction_async
from ._checkout import AsyncCheckout
from ._connection import AsyncConnection, with_tokens
from ._paced import PacedAttempt
from ._pool_settings import connection_settings, merged_async_kwargs
from ._refresh import RefreshingPool
from ._trouble import PoolTimeout, Trouble

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from psycopg_pool.abc import (
        AsyncConnectFailedCB,
        AsyncConnectionCB,
        AsyncConninfoParam,
        AsyncKwargsParam,
    )
    from psycopg_pool.base import AttemptWithBackoff
    from typing_extensions import Unpack

    from .._config import Config, ConnectKeywords
    from .._retry import RetryPolicy

T = TypeVar("T")


class _Sweep(MaintenanceTask):
    async def _run(self, pool: psycopg_pool.AsyncConnectionPool[Any]) -> None:
        aging = cast("AsyncConnectionPool[Any]", pool)
        # First: a failing sweep must not be the last.
        await aging.schedule_task(self, aging.health_check_period)
        async with aging._lock:
            aging._replace_due()


class _Replace(MaintenanceTask):
    def __init__(self, pool: AsyncConnectionPool[Any], connection: Any) -> None:
        super().__init__(pool)
        self._connection = connection
        self._held = Held(spread=False)  # ages are: no turn in the fleet to wait for

    async def _run(self, pool: psycopg_pool.AsyncConnectionPool[Any]) -> None:
        try:
            with self._held:
                await cast("AsyncConnectionPool[Any]", pool)._replace(self._connection)
        except PutOff as put_off:
            await pool.schedule_task(self, put_off.seconds)


class _Close(MaintenanceTask):
    def __init__(self, pool: AsyncConnectionPool[Any], connection: Any) -> None:
        super().__init__(pool)
        self._connection = connection

    async def _run(self, pool: psycopg_pool.AsyncConnectionPool[Any]) -> None:
        await pool._close_connection(self._connection)


class AsyncTokenPool(psycopg_pool.AsyncConnectionPool[ACT]):
    """As `TokenPool`."""

    _trouble: Trouble

    def _begin(
        self,
        conninfo: AsyncConninfoParam | Config,
        connection_class: type[ACT],
        kwargs: AsyncKwargsParam | None,
        connection: dict[str, Any],
        **settings: Any,
    ) -> BaseException | None:
        """Check the settings and call psycopg_pool's constructor; return what that failed with, without frames."""
        try:
            self._trouble = Trouble()
            checked = connection_settings(conninfo, connection, kwargs)
            super().__init__(
                cast("AsyncConninfoParam", conninfo),  # handed on as it is
                connection_class=with_tokens(connection_class),
                kwargs=merged_async_kwargs(checked, kwargs),
                **settings,
            )
        except BaseException as error:  # noqa: BLE001 (raised by the caller)
            failure = error
        else:
            return None
        return without_frames(failure)

    # What callers see.

    def connection(self, timeout: float | None = None) -> AsyncCheckout[ACT]:  # type: ignore[override]  # no generator
        """Take a connection out for an ``async with`` block, which ends in a commit, or in a rollback.

        Args:
            timeout: seconds to wait for it; default: the pool's.

        Raises:
            PoolTimeout: none came in time, or none can be had until something is changed; it tells why.
        """
        return AsyncCheckout(self, timeout)

    async def getconn(self, timeout: float | None = None) -> ACT:
        """Take a connection; give it back with `putconn`.

        Raises:
            PoolTimeout: none came in time, or none can be had until something is changed; it tells why.
        """
        if not self._pool and self._trouble.is_fresh:
            raise self._trouble.explain("no connection")
        began = monotonic()
        try:
            return await super().getconn(timeout)
        except psycopg_pool.PoolTimeout:
            failure = self._trouble.explain(f"no connection in {monotonic() - began:.2f} s")
        raise failure

    async def wait(self, timeout: float = 30.0) -> None:
        """Wait until `min_size` connections are there.

        Raises:
            PoolTimeout: they did not come in time, or cannot be had; the pool is closed, as psycopg_pool does.
        """
        began = monotonic()
        try:
            await super().wait(timeout)
        except psycopg_pool.PoolTimeout:
            pass
        else:
            if not self._trouble.is_permanent:
                return
            await self.close()
        raise self._trouble.explain(f"the pool was not ready in {monotonic() - began:.2f} s")

    async def run_transaction(
        self, fn: Callable[[ACT], Awaitable[T]], *, policy: RetryPolicy | None = None, idempotent: bool = False
    ) -> T:
        """Run an async function in a transaction, and the whole again if it lost against another one.

        As `run_transaction_async`, with this pool's connections.
        """
        return await run_transaction_async(self, fn, policy=policy, idempotent=idempotent)

    # Connecting.

    async def _connect(self, timeout: float | None = None) -> ACT:
        try:
            connection = await super()._connect(timeout)
        except Exception as failure:
            if self._trouble.note(failure):
                await self._refuse_waiting()
            raise
        self._trouble.over()
        return connection

    async def _add_connection(self, attempt: AttemptWithBackoff | None, growing: bool = False) -> None:
        paced = attempt if isinstance(attempt, PacedAttempt) else PacedAttempt(timeout=self.reconnect_timeout)
        try:
            with paced.held:
                await super()._add_connection(paced, growing)
        except PutOff as put_off:
            self._stats[self._CONNECTIONS_NUM] -= 1  # it was not tried
            self._trouble.put_off(put_off.seconds)
            again = AddConnection(self, paced, growing=growing)
            await self.schedule_task(again, put_off.seconds)

    async def _refuse_waiting(self) -> None:
        """Tell those who wait at once what waiting does not change."""
        async with self._lock:
            waiting = list(self._waiting)
            self._waiting.clear()
            ready = self._pool_full_event
        for client in waiting:
            await client.fail(PoolTimeout("refused"))  # `getconn` says why
        if ready is not None:
            ready.set()  # `wait` looks at the trouble


class AsyncConnectionPool(RefreshingPool, AsyncTokenPool[ACT]):
    """A pool of connections to one cluster.

    Connections are retired at an age drawn from the last quarter of `max_lifetime`; none past its time is ever
    handed out. A sweep every `health_check_period` opens the successor before an old connection goes. Safe
    for all tasks of one event loop.

    Args:
        conninfo: as for `AsyncConnection.connect`; may be a callable, as in psycopg_pool.
        connection_class: default `AsyncConnection`; a subclass of psycopg's own is given our ``connect``.
        kwargs: further arguments for ``connect`` (``autocommit``, ``row_factory``, ...), or a callable (or
            ``async def``) that returns them for each connection.
        min_size: connections kept; default 4.
        max_size: default `min_size`.
        open: default False: open it with ``async with`` or ``await pool.open()``.
        configure: called with each new connection.
        check: called with a connection before it is handed out. What it raises discards the connection.
        reset: called with a connection when it is given back.
        name: shown in logs.
        close_returns: ``close()`` of a connection gives it back.
        timeout: seconds to wait for a connection; default 30.
        max_waiting: callers that may wait; default 0: any number.
        max_lifetime: seconds; default 55 minutes (DSQL ends sessions after 60).
        max_idle: seconds until connections above `min_size` are closed; default 10 minutes.
        reconnect_timeout: seconds until a failing reconnection is given up; default 300.
        reconnect_failed: called then.
        num_workers: tasks that connect; default 3.
        health_check_period: seconds between two sweeps; default 30. The first comes at random, after a half to one
            and a half of it.
        **connection: the settings of `AsyncConnection.connect` (``region``, ``user``, ``credentials``, ...).

    Raises:
        ConfigError: something cannot be used. Nothing was sent.
        CredentialsError: the environment's credentials cannot be used.
    """

    __module__ = "dsql_fast"

    _add_task = AddConnection
    _close_task = _Close
    _replace_task = _Replace

    def __init__(
        self,
        conninfo: AsyncConninfoParam | Config = "",
        *,
        connection_class: type[ACT] = cast("type[ACT]", AsyncConnection),  # noqa: B008 (as in psycopg_pool)
        kwargs: AsyncKwargsParam | None = None,
        min_size: int = 4,
        max_size: int | None = None,
        open: bool = False,  # noqa: A002 (psycopg_pool's name)
        configure: AsyncConnectionCB[ACT] | None = None,
        check: AsyncConnectionCB[ACT] | None = None,
        reset: AsyncConnectionCB[ACT] | None = None,
        name: str | None = None,
        close_returns: bool = False,
        timeout: float = 30.0,
        max_waiting: int = 0,
        max_lifetime: float = MAX_LIFETIME,
        max_idle: float = MAX_IDLE,
        reconnect_timeout: float = 5 * 60.0,
        reconnect_failed: AsyncConnectFailedCB | None = None,
        num_workers: int = 3,
        health_check_period: float = HEALTH_CHECK_PERIOD,
        **connection: Unpack[ConnectKeywords],
    ) -> None:
        try:
            self._start_aging(check_period(health_check_period))
        except ConfigError as error:
            failure: BaseException | None = error
        else:
            failure = self._begin(
                conninfo,
                connection_class,
                kwargs,
                cast("dict[str, Any]", connection),
                min_size=min_size,
                max_size=max_size,
                open=open,
                configure=configure,
                check=check,
                reset=reset,
                name=name,
                close_returns=close_returns,
                timeout=timeout,
                max_waiting=max_waiting,
                max_lifetime=max_lifetime,
                max_idle=max_idle,
                reconnect_timeout=reconnect_timeout,
                reconnect_failed=reconnect_failed,
                num_workers=num_workers,
            )
        if failure is None:
            return
        # Our frames hold what the caller passed, and error reporters show locals.
        del conninfo, kwargs, connection
        try:
            raise failure
        finally:
            del failure  # it refers to this frame: no cycle

    async def refresh(self, *, wait: bool = True, timeout: float = 30.0) -> None:
        """Replace all connections: after a change of roles or of the schema, say.

        An idle one serves until its successor is there; so no caller waits, and for that while there are up to
        `num_workers` connections more than `max_size`. One that is in use is closed when it is given back, and
        another opened. Where none can be opened the old ones stay, and the sweep tries again.

        Args:
            wait: return when no idle connection is left that was made before the call; else at once.
            timeout: seconds to wait for that.

        Raises:
            PoolClosed: the pool is not open, or was closed meanwhile.
            PoolTimeout: idle ones are left; it tells why. They are replaced when that can be done.
        """
        self._check_open_getconn()
        async with self._lock:
            began = self._begin_refresh()
        while wait:
            event = asyncio.Event()
            async with self._lock:
                if not self._await_progress(began, event):
                    return
            left = began + timeout - monotonic()
            if self._trouble.is_permanent_since(began) or not await _is_set(event, left):
                raise self._trouble.explain(
                    "not all connections were replaced", "their successors are not there yet"
                )
            self._check_open_getconn()

    async def close(self, timeout: float = 5.0) -> None:
        """Close the pool; connections in use are closed when they are given back.

        Args:
            timeout: seconds to wait for the pool's tasks to end.
        """
        await super().close(timeout)
        async with self._lock:
            self._progressed()

    # Ages: what is decided stands in `AgingPool` and `RefreshingPool`.

    # No coroutine of ours around psycopg_pool's where there is nothing to decide: it would cost more than that.

    def _get_ready_connection(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, timeout: float | None
    ) -> Coroutine[Any, Any, ACT | None]:
        if self._pool and self._pool[0]._expire_at <= monotonic():
            self._discard_old()  # psycopg_pool holds the lock here
        return super()._get_ready_connection(timeout)

    def _return_connection(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, conn: ACT, from_getconn: bool
    ) -> Coroutine[Any, Any, None]:
        returning = super()._return_connection
        if conn._expire_at <= monotonic() + self._ahead or conn._created_at <= self._drained_at:
            return self._return_old(conn, from_getconn, returning)
        return returning(conn, from_getconn)

    async def _return_old(
        self, conn: ACT, from_getconn: bool, returning: Callable[[ACT, bool], Coroutine[Any, Any, None]]
    ) -> None:
        async with self._lock:
            if self._take_returned(conn, from_getconn=from_getconn):
                return
        await returning(conn, from_getconn)

    def _start_initial_tasks(self) -> None:
        super()._start_initial_tasks()
        self.run_task(Schedule(self, _Sweep(self), first_sweep(self.health_check_period)))

    async def _add_to_pool(self, conn: ACT) -> None:
        await super()._add_to_pool(conn)
        if conn._created_at <= self._drained_at:  # a refresh came while it was on its way in
            async with self._lock:
                self._replace_drained()

    async def _replace(self, old: ACT) -> None:
        """Open a successor, put it into the pool, and close the old connection."""
        async with self._lock:
            if not self._begin_replacing(old):
                return
        try:
            await self._put_in_place_of(old)
        finally:
            async with self._lock:
                self._end_replacing(old)

    async def _put_in_place_of(self, old: ACT) -> None:
        try:
            successor = await self._connect()
        except PutOff:
            self._stats[self._CONNECTIONS_NUM] -= 1  # it was not tried
            raise
        except BaseException:
            async with self._lock:
                self._not_succeeded(old)
            raise  # the worker logs it
        async with self._lock:
            to_close = self._succeeded(old, successor)
        if to_close is not successor:
            await self._add_to_pool(successor)
        if to_close is not None:
            await self._close_connection(to_close)


async def _is_set(event: asyncio.Event, seconds: float) -> bool:
    # Not wait_for: before Python 3.12 it swallows a cancellation that comes along with the event.
    in_time = True

    def give_up() -> None:
        nonlocal in_time
        in_time = event.is_set()
        event.set()

    timer = asyncio.get_running_loop().call_later(max(seconds, 0.0), give_up)
    try:
        await event.wait()
    finally:
        timer.cancel()
    return in_time
