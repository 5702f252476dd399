"""Pools of psycopg2 connections that fit Aurora DSQL.

They are psycopg2's pools to those who use them, with an inside of their own: psycopg2's opens, rolls back and
closes connections under the pool's lock, so that one who waits for credentials, or for the network, keeps
everybody else from the connections that are there. Here the lock is held to look things up, never to wait. What is
taken over from psycopg2's is held by a test, ``tests/with_psycopg2/test_private_parts.py``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

import psycopg2
import psycopg2.extensions
import psycopg2.pool
from psycopg2.extensions import TRANSACTION_STATUS_IDLE

from .. import _telemetry
from .._credentials import concealed
from .._errors import without_frames
from .._lifetimes import MAX_IDLE, MAX_LIFETIME, check_period, expiry
from .._run import run_transaction
from ._connection import check_settings, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator
    from typing import TypeAlias

    from .._retry import RetryPolicy

    Connection: TypeAlias = psycopg2.extensions.connection

T = TypeVar("T")


class _Pending:
    """The place of a connection that is being opened, or put in order to be given to others."""

    __slots__ = ("over",)

    def __init__(self) -> None:
        self.over = threading.Event()


class _Age:
    """When a connection is past its time, and since when it is idle; monotonic seconds."""

    __slots__ = ("expire_at", "idle_since")

    def __init__(self, expire_at: float) -> None:
        self.expire_at = expire_at
        self.idle_since = 0.0


class _Pool(psycopg2.pool.AbstractConnectionPool):
    """What both pools are.

    Attributes:
        max_lifetime: seconds.
        max_idle: seconds.
    """

    # psycopg2's: the idle connections (the last one back at the end), those in use by key, the keys by id.
    _pool: list[Connection]
    _used: dict[Hashable, Connection | _Pending]
    _rused: dict[int, Hashable]
    _args: tuple[Any, ...]
    _kwargs: dict[str, Any]

    def __init__(
        self,
        minconn: int,
        maxconn: int,
        *args: Any,
        max_lifetime: float = MAX_LIFETIME,
        max_idle: float = MAX_IDLE,
        **kwargs: Any,
    ) -> None:
        try:
            self.max_lifetime = check_period(max_lifetime, "max_lifetime")
            self.max_idle = check_period(max_idle, "max_idle")
            check_settings(*args, **kwargs)
            # None: psycopg2's constructor would connect without a token.
            super().__init__(0, maxconn, *args, **_without_secrets(kwargs))
            self.minconn = int(minconn)
            self._start()
        except BaseException as error:  # noqa: BLE001 (raised again below)
            failure = error
        else:
            return
        # Our frames hold what the caller passed, and error reporters show locals.
        without_frames(failure)
        del args, kwargs
        try:
            raise failure
        finally:
            del failure  # it refers to this frame: no cycle

    def _start(self) -> None:
        self._forget()
        _pools.add(self)
        opened: list[Connection] = []
        try:
            while len(opened) < self.minconn:
                opened.append(connect(*self._args, **self._kwargs))
        except BaseException:
            _close(opened)
            raise
        for conn in opened:
            self._ages[id(conn)] = _Age(self._draw_expiry())
            self._put_idle(conn)

    def _forget(self) -> None:
        """Have no connections: at the start, and in a forked process, whose parent's they are.

        psycopg2 ends no session when a connection goes in another process than the one that opened it.
        """
        self._lock = threading.Lock()
        self._pool = []
        self._used = {}
        self._rused = {}
        self._ages: dict[int, _Age] = {}

    # What callers see.

    def getconn(self, key: Hashable | None = None) -> Connection:
        """Take a connection; give it back with `putconn`.

        Args:
            key: who asks with the same key again, before it is given back, gets the same connection again.

        Raises:
            psycopg2.pool.PoolError: `maxconn` are in use, or the pool is closed.
            ConnectError: a new one could not be opened. What else `connect` raises is raised, too.
        """
        key = object() if key is None else key
        while True:
            opening: _Pending | None = None
            with self._lock:
                self._check_open()
                found = self._used.get(key)
                old = self._take_due()
                if found is None:
                    found = self._take_idle(key)
                if found is None:
                    self._check_room()
                    opening = self._used[key] = _Pending()
            try:
                if opening is not None:
                    return self._open(key, opening)
                if found is not None and not isinstance(found, _Pending):
                    return found
            finally:
                _close(old)
            if found is not None:
                found.over.wait()

    def putconn(self, conn: Connection | None = None, key: Hashable | None = None, close: bool = False) -> None:
        """Give a connection back. One in a transaction is rolled back; one that is broken or too old is closed.

        Args:
            conn: it; None if `key` tells.
            key: the one that it was taken with; default: it is known.
            close: close it, and keep it no longer.

        Raises:
            psycopg2.pool.PoolError: it is not in use, or the pool is closed.
        """
        with self._lock:
            self._check_open()
            if key is None:
                key = self._rused.get(id(conn))
            held = self._used.get(key)
            if held is None or isinstance(held, _Pending) or conn not in {None, held}:
                raise psycopg2.pool.PoolError("trying to put unkeyed connection")
            pending = self._used[key] = _Pending()
            del self._rused[id(held)]
        keep = False
        try:
            keep = not close and _in_order(held)
        finally:
            with self._lock:
                self._used.pop(key, None)
                old = self._put_away(held, keep=keep)
            pending.over.set()
            _close(old)

    def closeall(self) -> None:
        """Close all connections, those in use too.

        Raises:
            psycopg2.pool.PoolError: the pool is closed already.
        """
        with self._lock:
            self._check_open()
            self.closed = True
            in_use = [held for held in self._used.values() if not isinstance(held, _Pending)]
            everybody = self._pool + in_use
            self._pool = []
            self._used = {}
            self._rused = {}
            self._ages = {}
        _close(everybody)

    @contextlib.contextmanager
    def connection(self, key: Hashable | None = None) -> Iterator[Connection]:
        """Lend a connection for a ``with`` block: committed at its end, rolled back if it raises.

        Raises:
            psycopg2.pool.PoolError: as `getconn`.
        """
        conn = self.getconn(key)
        try:
            yield conn
            if conn.closed != _CLOSED_BY_THE_PROGRAM:
                conn.commit()
        finally:
            self.putconn(conn)

    def run_transaction(
        self, fn: Callable[[Connection], T], *, policy: RetryPolicy | None = None, idempotent: bool = False
    ) -> T:
        """Run a function in a transaction, and the whole again if it lost against another one.

        As `dsql_fast.run_transaction`, with this pool's connections.
        """
        return run_transaction(self, fn, policy=policy, idempotent=idempotent)

    # Without the lock: what may wait.

    def _open(self, key: Hashable, opening: _Pending) -> Connection:
        try:
            conn: Connection = connect(*self._args, **self._kwargs)
        except BaseException:
            self._opened(key, opening, None)
            raise
        if not self._opened(key, opening, conn):
            conn.close()
            raise psycopg2.pool.PoolError("connection pool is closed")
        return conn

    def _opened(self, key: Hashable, opening: _Pending, conn: Connection | None) -> bool:
        """Put a new connection, if there is one, into its place; tell whether the place was still there."""
        with self._lock:
            # Not if the pool was closed meanwhile, or this is a fork's child.
            is_there = self._used.get(key) is opening
            if is_there:
                del self._used[key]
            if is_there and conn is not None:
                self._ages[id(conn)] = _Age(self._draw_expiry())
                self._put_in_use(key, conn)
        opening.over.set()
        return is_there

    # With the lock.

    def _check_open(self) -> None:
        if self.closed:
            raise psycopg2.pool.PoolError("connection pool is closed")

    def _check_room(self) -> None:
        if len(self._used) >= self.maxconn:
            raise psycopg2.pool.PoolError("connection pool exhausted")

    def _take_idle(self, key: Hashable) -> Connection | None:
        if not self._pool:
            return None
        conn = self._pool.pop()
        self._put_in_use(key, conn)
        return conn

    def _put_in_use(self, key: Hashable, conn: Connection) -> None:
        self._used[key] = conn
        self._rused[id(conn)] = key

    def _put_idle(self, conn: Connection) -> None:
        self._ages[id(conn)].idle_since = time.monotonic()
        self._pool.append(conn)

    def _put_away(self, conn: Connection, *, keep: bool) -> list[Connection]:
        """Take a connection back, or not; return those that are to be closed."""
        if self.closed:
            return [conn]
        if not keep:
            self._ages.pop(id(conn), None)
            return [conn, *self._take_due()]
        self._put_idle(conn)
        return self._take_due()

    def _take_due(self) -> list[Connection]:
        """Take out the idle connections that are past their time, and those above `minconn` that nobody needs."""
        now = time.monotonic()
        spare = len(self._pool) + len(self._used) - self.minconn
        due: list[Connection] = []
        for conn in self._pool:  # the longest idle first
            age = self._ages[id(conn)]
            if age.expire_at <= now:
                _telemetry.record("connection_discarded", logging.DEBUG, "a psycopg2 connection was too old")
            elif not conn.closed and not (spare > 0 and age.idle_since + self.max_idle <= now):
                continue
            due.append(conn)
            spare -= 1
        for conn in due:
            self._pool.remove(conn)
            del self._ages[id(conn)]
        return due

    def _draw_expiry(self) -> float:
        return expiry(time.monotonic(), self.max_lifetime)


class ThreadedConnectionPool(_Pool, psycopg2.pool.ThreadedConnectionPool):
    """A pool of psycopg2 connections to one cluster, for threads.

    As psycopg2's, whose subclass it is, but: tokens are signed and connections opened outside of the pool's lock;
    connections retire at an age drawn from the last quarter of `max_lifetime`, and none past its time is handed
    out; up to `maxconn` are kept, those above `minconn` for `max_idle` (psycopg2's pool closes them when they come
    back). There is no thread behind it: all that happens when connections are taken and given back.

    Args:
        minconn: connections opened at once, and kept.
        maxconn: connections at most; who wants one more gets a ``PoolError`` at once, as with psycopg2's.
        *args: ``dsn``, ``connection_factory`` and ``cursor_factory``, as for `connect`.
        max_lifetime: seconds; default 55 minutes (DSQL ends sessions after 60).
        max_idle: seconds; default 10 minutes.
        **kwargs: the keywords of `connect`.

    Raises:
        ConfigError: something cannot be used. Nothing was sent.
        CredentialsError: no usable AWS credentials. Nothing was sent.
        ConnectError: one of the first `minconn` connections failed or was refused.
    """


class SimpleConnectionPool(_Pool, psycopg2.pool.SimpleConnectionPool):
    """As `ThreadedConnectionPool`, under the name that psycopg2 has for programs without threads."""


# ``connection.closed``; 2 if it was lost.
_CLOSED_BY_THE_PROGRAM = 1

_CREDENTIALS = ("credentials", "custom_credentials_provider")

_pools: WeakSet[_Pool] = WeakSet()


def _forget_all() -> None:
    for pool in list(_pools):
        pool._forget()


# Not at the child's next call: the lock may have been held, and the connections are the parent's from the start.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def _without_secrets(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the keywords with credentials in a form that shows nothing, should a reporter show the pool."""
    return {
        name: concealed(value) if name in _CREDENTIALS and value is not None else value
        for name, value in kwargs.items()
    }


def _in_order(conn: Connection) -> bool:
    """Leave a connection idle; tell whether it is."""
    if conn.closed:
        return False
    try:
        # Sends nothing where there is nothing to roll back, and is refused within a two-phase transaction.
        conn.rollback()
    except psycopg2.Error:
        return False
    return not conn.closed and conn.info.transaction_status == TRANSACTION_STATUS_IDLE


def _close(connections: list[Connection]) -> None:
    for conn in connections:
        with contextlib.suppress(psycopg2.Error):
            conn.close()
