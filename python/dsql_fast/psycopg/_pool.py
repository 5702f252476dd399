"""A pool of psycopg connections that fit Aurora DSQL.

A subclass of psycopg_pool's. The private parts that are overridden or called (psycopg_pool is pinned to one
minor version) are held by a test, ``tests/pools/test_private_parts.py``.
"""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar, cast

import psycopg_pool
from psycopg_pool.abc import CT
from psycopg_pool.pool import AddConnection, MaintenanceTask, Schedule

from .._connecting import Held, PutOff
from .._errors import ConfigError, without_frames
from .._lifetimes import HEALTH_CHECK_PERIOD, MAX_IDLE, MAX_LIFETIME, check_period, first_sweep
from .._run import run_transaction
from ._checkout import Checkout
from ._connection import Connection, with_tokens
from ._paced import PacedAttempt
from ._pool_settings import connection_settings, merged_kwargs
from ._refresh import RefreshingPool
from ._trouble import PoolTimeout, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg_pool.abc import ConnectFailedCB, ConnectionCB, ConninfoParam, KwargsParam
    from psycopg_pool.base import AttemptWithBackoff
    from typing_extensions import Unpack

    from .._config import Config, ConnectKeywords
    from .._retry import RetryPolicy

T = TypeVar("T")
# What a checkout runs through is called without `super`: before Python 3.12 that costs as much as what we look at.
_Theirs: Any = psycopg_pool.ConnectionPool


class _Sweep(MaintenanceTask):
    def _run(self, pool: psycopg_pool.ConnectionPool[Any]) -> None:
        aging = cast("ConnectionPool[Any]", pool)
        # First: a failing sweep must not be the last.
        aging.schedule_task(self, aging.health_check_period)
        with aging._lock:
            aging._replace_due()


class _Replace(MaintenanceTask):
    def __init__(self, pool: ConnectionPool[Any], connection: Any) -> None:
        super().__init__(pool)
        self._connection = connection
        self._held = Held(spread=False)  # ages are: no turn in the fleet to wait for

    def _run(self, pool: psycopg_pool.ConnectionPool[Any]) -> None:
        try:
            with self._held:
                cast("ConnectionPool[Any]", pool)._replace(self._connection)
        except PutOff as put_off:
            pool.schedule_task(self, put_off.seconds)


class _Close(MaintenanceTask):
    def __init__(self, pool: ConnectionPool[Any], connection: Any) -> None:
        super().__init__(pool)
        self._connection = connection

    def _run(self, pool: psycopg_pool.ConnectionPool[Any]) -> None:
        pool._close_connection(self._connection)


class TokenPool(psycopg_pool.ConnectionPool[CT]):
    """The part that all pools have: they connect with tokens, and tell why they have no connection."""

    _trouble: Trouble

    def _begin(
        self,
        conninfo: ConninfoParam | Config,
        connection_class: type[CT],
        kwargs: KwargsParam | None,
        connection: dict[str, Any],
        **settings: Any,
    ) -> BaseException | None:
        """Check the settings and call psycopg_pool's constructor; return what that failed with, without frames."""
        try:
            self._trouble = Trouble()
            checked = connection_settings(conninfo, connection, kwargs)
            super().__init__(
                cast("ConninfoParam", conninfo),  # handed on as it is
                connection_class=with_tokens(connection_class),
                kwargs=merged_kwargs(checked, kwargs),
                **settings,
            )
        except BaseException as error:  # noqa: BLE001 (raised by the caller)
            failure = error
        else:
            return None
        return without_frames(failure)

    # What callers see.

    def connection(self, timeout: float | None = None) -> Checkout[CT]:  # type: ignore[override]  # no generator
        """Take a connection out for a ``with`` block, which ends in a commit, or in a rollback.

        Args:
            timeout: seconds to wait for it; default: the pool's.

        Raises:
            PoolTimeout: none came in time, or none can be had until something is changed; it tells why.
        """
        return Checkout(self, timeout)

    def getconn(self, timeout: float | None = None) -> CT:
        """Take a connection; give it back with `putconn`.

        Raises:
            PoolTimeout: none came in time, or none can be had until something is changed; it tells why.
        """
        if not self._pool and self._trouble.is_fresh:
            raise self._trouble.explain("no connection")
        began = monotonic()
        try:
            return super().getconn(timeout)
        except psycopg_pool.PoolTimeout:
            failure = self._trouble.explain(f"no connection in {monotonic() - began:.2f} s")
        raise failure

    def wait(self, timeout: float = 30.0) -> None:
        """Wait until `min_size` connections are there.

        Raises:
            PoolTimeout: they did not come in time, or cannot be had; the pool is closed, as psycopg_pool does.
        """
        began = monotonic()
        try:
            super().wait(timeout)
        except psycopg_pool.PoolTimeout:
            pass
        else:
            if not self._trouble.is_permanent:
                return
            self.close()
        raise self._trouble.explain(f"the pool was not ready in {monotonic() - began:.2f} s")

    def run_transaction(
        self, fn: Callable[[CT], T], *, policy: RetryPolicy | None = None, idempotent: bool = False
    ) -> T:
        """Run a function in a transaction, and the whole again if it lost against another one.

        As `run_transaction`, with this pool's connections.
        """
        return run_transaction(self, fn, policy=policy, idempotent=idempotent)

    # Connecting.

    def _connect(self, timeout: float | None = None) -> CT:
        try:
            connection = super()._connect(timeout)
        except Exception as failure:
            if self._trouble.note(failure):
                self._refuse_waiting()
            raise
        self._trouble.over()
        return connection

    def _add_connection(self, attempt: AttemptWithBackoff | None, growing: bool = False) -> None:
        paced = attempt if isinstance(attempt, PacedAttempt) else PacedAttempt(timeout=self.reconnect_timeout)
        try:
            with paced.held:
                super()._add_connection(paced, growing)
        except PutOff as put_off:
            self._stats[self._CONNECTIONS_NUM] -= 1  # it was not tried
            self._trouble.put_off(put_off.seconds)
            again = AddConnection(self, paced, growing=growing)
            self.schedule_task(again, put_off.seconds)

    def _refuse_waiting(self) -> None:
        """Tell those who wait at once what waiting does not change."""
        with self._lock:
            waiting = list(self._waiting)
            self._waiting.clear()
            ready = self._pool_full_event
        for client in waiting:
            client.fail(PoolTimeout("refused"))  # `getconn` says why
        if ready is not None:
            ready.set()  # `wait` looks at the trouble


class ConnectionPool(RefreshingPool, TokenPool[CT]):
    """A pool of connections to one cluster.

    Connections are retired at an age drawn from the last quarter of `max_lifetime`; none past its time is ever
    handed out. A sweep every `health_check_period` opens the successor before an old connection goes. Safe
    for threads.

    Args:
        conninfo: as for `Connection.connect`; may be a callable, as in psycopg_pool.
        connection_class: default `Connection`; a subclass of psycopg's own is given our ``connect``.
        kwargs: further arguments for ``connect`` (``autocommit``, ``row_factory``, ...), or a callable
            that returns them for each connection.
        min_size: connections kept; default 4.
        max_size: default `min_size`.
        open: start connecting at once; default True. Close the pool, or use it in a ``with`` statement.
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
        num_workers: threads that connect; default 3.
        health_check_period: seconds between two sweeps; default 30. The first comes at random, after a half to one
            and a half of it.
        **connection: the settings of `Connection.connect` (``region``, ``user``, ``credentials``, ...).

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
        conninfo: ConninfoParam | Config = "",
        *,
        connection_class: type[CT] = cast("type[CT]", Connection),  # noqa: B008 (as in psycopg_pool)
        kwargs: KwargsParam | None = None,
        min_size: int = 4,
        max_size: int | None = None,
        open: bool = True,  # noqa: A002 (psycopg_pool's name)
        configure: ConnectionCB[CT] | None = None,
        check: ConnectionCB[CT] | None = None,
        reset: ConnectionCB[CT] | None = None,
        name: str | None = None,
        close_returns: bool = False,
        timeout: float = 30.0,
        max_waiting: int = 0,
        max_lifetime: float = MAX_LIFETIME,
        max_idle: float = MAX_IDLE,
        reconnect_timeout: float = 5 * 60.0,
        reconnect_failed: ConnectFailedCB | None = None,
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

    def refresh(self, *, wait: bool = True, timeout: float = 30.0) -> None:
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
        with self._lock:
            began = self._begin_refresh()
        while wait:
            event = threading.Event()
            with self._lock:
                if not self._await_progress(began, event):
                    return
            left = began + timeout - monotonic()
            if self._trouble.is_permanent_since(began) or not event.wait(max(left, 0.0)):
                raise self._trouble.explain(
                    "not all connections were replaced", "their successors are not there yet"
                )
            self._check_open_getconn()

    def close(self, timeout: float = 5.0) -> None:
        """Close the pool; connections in use are closed when they are given back.

        Args:
            timeout: seconds to wait for the pool's threads to end.
        """
        super().close(timeout)
        with self._lock:
            self._progressed()

    # Ages: what is decided stands in `AgingPool` and `RefreshingPool`.

    def _get_ready_connection(self, timeout: float | None) -> CT | None:
        pool = self._pool
        if pool and pool[0]._expire_at <= monotonic():
            self._discard_old()  # psycopg_pool holds the lock here
        connection: CT | None = _Theirs._get_ready_connection(self, timeout)
        return connection

    def _return_connection(self, conn: CT, from_getconn: bool) -> None:
        if conn._expire_at <= monotonic() + self._ahead or conn._created_at <= self._drained_at:
            with self._lock:
                if self._take_returned(conn, from_getconn=from_getconn):
                    return
        _Theirs._return_connection(self, conn, from_getconn)

    def _start_initial_tasks(self) -> None:
        super()._start_initial_tasks()
        self.run_task(Schedule(self, _Sweep(self), first_sweep(self.health_check_period)))

    def _add_to_pool(self, conn: CT) -> None:
        _Theirs._add_to_pool(self, conn)
        if conn._created_at <= self._drained_at:  # a refresh came while it was on its way in
            with self._lock:
                self._replace_drained()

    def _replace(self, old: CT) -> None:
        """Open a successor, put it into the pool, and close the old connection."""
        with self._lock:
            if not self._begin_replacing(old):
                return
        try:
            self._put_in_place_of(old)
        finally:
            with self._lock:
                self._end_replacing(old)

    def _put_in_place_of(self, old: CT) -> None:
        try:
            successor = self._connect()
        except PutOff:
            self._stats[self._CONNECTIONS_NUM] -= 1  # it was not tried
            raise
        except BaseException:
            with self._lock:
                self._not_succeeded(old)
            raise  # the worker logs it
        with self._lock:
            to_close = self._succeeded(old, successor)
        if to_close is not successor:
            self._add_to_pool(successor)
        if to_close is not None:
            self._close_connection(to_close)
