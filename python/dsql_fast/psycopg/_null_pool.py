"""A pool that keeps no connection: each checkout opens one, and it is closed when it is given back.

For programs behind a pooler, and for those that connect seldom; what it brings is the bound, `max_size`, and the
queue. A subclass of psycopg_pool's, as `_pool` has it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

import psycopg_pool
from psycopg_pool.abc import CT
from psycopg_pool.pool import MaintenanceTask

from .._connecting import Held, PutOff
from .._lifetimes import MAX_IDLE, MAX_LIFETIME
from ._connection import Connection
from ._pool import TokenPool

if TYPE_CHECKING:
    from psycopg_pool.abc import ConnectFailedCB, ConnectionCB, ConninfoParam, KwargsParam
    from typing_extensions import Unpack

    from .._config import Config, ConnectKeywords


class _Refuse(MaintenanceTask):
    def _run(self, pool: psycopg_pool.ConnectionPool[Any]) -> None:
        TokenPool._refuse_waiting(cast("TokenPool[Any]", pool))


class NullConnectionPool(  # pyright: ignore[reportIncompatibleMethodOverride]
    TokenPool[CT], psycopg_pool.NullConnectionPool[CT]
):
    """A pool that opens a connection for each checkout, and bounds how many there are. Safe for threads.

    A connection that is given back goes to a caller who waits for one, and is closed if there is none. As in
    psycopg_pool, callers connect one after another.

    Args:
        conninfo: as for `Connection.connect`; may be a callable, as in psycopg_pool.
        connection_class: default `Connection`; a subclass of psycopg's own is given our ``connect``.
        kwargs: further arguments for ``connect`` (``autocommit``, ``row_factory``, ...), or a callable
            that returns them for each connection.
        min_size: 0, and nothing else.
        max_size: connections at a time; default 0: any number.
        open: default True. Close the pool, or use it in a ``with`` statement.
        configure: called with each new connection.
        check: called with a connection before it is handed out. What it raises discards the connection.
        reset: called with a connection when it is given back and goes to a caller who waits.
        name: shown in logs.
        close_returns: of no effect, as in psycopg_pool.
        timeout: seconds to wait for a connection; default 30.
        max_waiting: callers that may wait; default 0: any number.
        max_lifetime: seconds; default 55 minutes. An older one goes to no other caller.
        max_idle: of no effect, as in psycopg_pool.
        reconnect_timeout: seconds until a failing connect for those who wait is given up; default 300.
        reconnect_failed: called then.
        num_workers: threads that connect where a connection came back broken; default 3.
        **connection: the settings of `Connection.connect` (``region``, ``user``, ``credentials``, ...).

    Raises:
        ConfigError: something cannot be used. Nothing was sent.
        CredentialsError: the environment's credentials cannot be used.
    """

    __module__ = "dsql_fast"

    def __init__(
        self,
        conninfo: ConninfoParam | Config = "",
        *,
        connection_class: type[CT] = cast("type[CT]", Connection),  # noqa: B008 (as in psycopg_pool)
        kwargs: KwargsParam | None = None,
        min_size: int = 0,
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
        **connection: Unpack[ConnectKeywords],
    ) -> None:
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
            num_workers=num_workers,
        )
        # psycopg_pool's null pool takes it, and drops it.
        self._reconnect_failed = reconnect_failed
        if failure is None:
            return
        # Our frames hold what the caller passed, and error reporters show locals.
        del conninfo, kwargs, connection
        try:
            raise failure
        finally:
            del failure  # it refers to this frame: no cycle

    def refresh(self, *, wait: bool = True, timeout: float = 30.0) -> None:  # noqa: ARG002 (as in the other pools)
        """Have the connections in use closed when they are given back, whoever waits for one. Returns at once.

        Raises:
            PoolClosed: the pool is not open.
        """
        self._check_open_getconn()
        self.drain()

    def _getconn_unchecked(self, timeout: float) -> CT:
        """Take a connection, or open one. Where the cluster refuses for now, wait: without psycopg_pool's lock.

        Under it everybody else would wait too, with connections to give back.
        """
        held = Held(deadline=time.monotonic() + timeout)
        while True:
            try:
                with held:
                    return super()._getconn_unchecked(held.deadline - time.monotonic())
            except PutOff as put_off:
                self._stats[self._CONNECTIONS_NUM] -= 1  # it was not tried
                self._trouble.put_off(put_off.seconds)
                seconds = put_off.seconds
            except psycopg_pool.PoolTimeout:
                delay = held.delay(time.monotonic())
                if delay is None:
                    raise
                seconds = delay
            time.sleep(seconds)
            self._check_open_getconn()

    def _get_ready_connection(self, timeout: float | None) -> CT | None:
        try:
            return super()._get_ready_connection(timeout)
        except (psycopg_pool.PoolTimeout, psycopg_pool.TooManyRequests):
            raise
        except Exception:  # noqa: BLE001, S110 (`_connect` kept it)
            pass
        raise psycopg_pool.PoolTimeout("refused")  # `getconn` says why, as in the other pools

    def _refuse_waiting(self) -> None:
        # psycopg_pool holds the lock while it connects for a caller: this is for a worker.
        self.run_task(_Refuse(self))
