"""`run_transaction` and its kin, for psycopg's connections and psycopg_pool's pools, ours or not."""

from __future__ import annotations

import functools
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

import psycopg
import psycopg_pool

from .. import _transactions
from .._errors import ConfigError
from ._transaction import AsyncTransaction, Transaction

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Protocol

    from .._retry import RetryPolicy

    class _Decorator(Protocol):
        @overload
        def __call__(
            self, fn: Callable[Concatenate[C, P], T], /
        ) -> Callable[Concatenate[C | psycopg_pool.ConnectionPool[C], P], T]: ...
        @overload
        def __call__(
            self, fn: Callable[Concatenate[AC, P], Awaitable[T]], /
        ) -> Callable[Concatenate[AC | psycopg_pool.AsyncConnectionPool[AC], P], Coroutine[Any, Any, T]]: ...


T = TypeVar("T")
P = ParamSpec("P")
C = TypeVar("C", bound="psycopg.Connection[Any]")
AC = TypeVar("AC", bound="psycopg.AsyncConnection[Any]")


class _OneConnection(Generic[C]):
    has_others = False

    def __init__(self, connection: C) -> None:
        self._connection = connection

    def connection(self, time_left: float | None) -> AbstractContextManager[C]:  # noqa: ARG002 (there it is)
        return nullcontext(self._connection)

    def transaction(self, connection: C) -> Transaction:
        return Transaction(connection)


class _Pool(Generic[C]):
    has_others = True

    def __init__(self, pool: psycopg_pool.ConnectionPool[C]) -> None:
        self._pool = pool

    def connection(self, time_left: float | None) -> AbstractContextManager[C]:
        return self._pool.connection(_shorter(self._pool.timeout, time_left))

    def transaction(self, connection: C) -> Transaction:
        return Transaction(connection)


class _OneAsyncConnection(Generic[AC]):
    has_others = False

    def __init__(self, connection: AC) -> None:
        self._connection = connection

    def connection(self, time_left: float | None) -> AbstractAsyncContextManager[AC]:  # noqa: ARG002
        return nullcontext(self._connection)

    def transaction(self, connection: AC) -> AsyncTransaction:
        return AsyncTransaction(connection)


class _AsyncPool(Generic[AC]):
    has_others = True

    def __init__(self, pool: psycopg_pool.AsyncConnectionPool[AC]) -> None:
        self._pool = pool

    def connection(self, time_left: float | None) -> AbstractAsyncContextManager[AC]:
        return self._pool.connection(_shorter(self._pool.timeout, time_left))

    def transaction(self, connection: AC) -> AsyncTransaction:
        return AsyncTransaction(connection)


def _shorter(timeout: float, time_left: float | None) -> float:
    return timeout if time_left is None else min(timeout, time_left)


def run_transaction(
    pool_or_connection: C | psycopg_pool.ConnectionPool[C],
    fn: Callable[[C], T],
    *,
    policy: RetryPolicy | None = None,
    idempotent: bool = False,
) -> T:
    """Run a function in a transaction, and the whole again if it lost against another one.

    BEGIN and COMMIT are sent here, on connections in autocommit mode too. `fn` may be called several times, each
    time on a fresh snapshot, so whatever it does outside of the database it may do several times. In it,
    ``conn.commit()``, ``conn.rollback()`` and ``conn.transaction()`` are refused. What it raises rolls the
    transaction back, and is raised (`psycopg.Rollback` too).

    Run again: conflicts; before COMMIT also DSQL's XX000 and, where a pool has others, a lost connection. A pool's
    connection is given back before each wait.

    Args:
        pool_or_connection: a pool of psycopg_pool's (ours, or any), or a psycopg connection that is idle.
        fn: is called with the connection. It must let the database's errors out.
        policy: how often, and how long between; default ``RetryPolicy()``.
        idempotent: running `fn` twice is as good as once: it is also run again where the outcome of COMMIT is
            unknown.

    Returns:
        What `fn` returned, when COMMIT was answered with success.

    Raises:
        ConfigError: an argument cannot be used. Nothing was sent.
        NestedTransaction: the connection is in a transaction (nothing was sent), or `fn` wanted a block inside.
        TransactionAborted: a statement had failed, and `fn` hid it. Nothing was applied.
        TransactionEnded: `fn` ended the transaction itself.
        CommitOutcomeUnknown: COMMIT was sent, and nothing tells whether it was applied.
        psycopg.Error: the last attempt's error, itself; a note tells how many there were.
    """
    return _transactions.run(_source(pool_or_connection), fn, policy, idempotent=idempotent)


async def run_transaction_async(
    pool_or_connection: AC | psycopg_pool.AsyncConnectionPool[AC],
    fn: Callable[[AC], Awaitable[T]],
    *,
    policy: RetryPolicy | None = None,
    idempotent: bool = False,
) -> T:
    """Run an async function in a transaction. As `run_transaction`.

    A cancellation rolls back, or closes the connection, and is raised, never run again. One that comes during
    COMMIT has a `CommitOutcomeUnknown` as its ``__cause__``.
    """
    return await _transactions.run_async(_async_source(pool_or_connection), fn, policy, idempotent=idempotent)


@overload
def retry_on_conflict(
    fn: Callable[Concatenate[C, P], T], /
) -> Callable[Concatenate[C | psycopg_pool.ConnectionPool[C], P], T]: ...
@overload
def retry_on_conflict(
    fn: Callable[Concatenate[AC, P], Awaitable[T]], /
) -> Callable[Concatenate[AC | psycopg_pool.AsyncConnectionPool[AC], P], Coroutine[Any, Any, T]]: ...
@overload
def retry_on_conflict(*, policy: RetryPolicy | None = None, idempotent: bool = False) -> _Decorator: ...
def retry_on_conflict(fn: Any = None, /, *, policy: RetryPolicy | None = None, idempotent: bool = False) -> Any:
    """Make a function one that runs in a transaction of its own, and again if it lost against another one.

    The function's first argument is a connection; that of the decorated one, a pool or an idle connection, given
    by position. So it is no decorator for methods: call `run_transaction` in them. With and without parentheses,
    for ``def`` and ``async def``. What it does is `run_transaction`'s.

    Args:
        fn: the function.
        policy: as for `run_transaction`.
        idempotent: as for `run_transaction`.

    Raises:
        ConfigError: it cannot be used on this; or, when called, the first argument is no pool and no connection.
    """
    _transactions.checked(policy)
    if fn is None:
        return functools.partial(_decorated, policy=policy, idempotent=idempotent)
    return _decorated(fn, policy=policy, idempotent=idempotent)


def _decorated(fn: Any, *, policy: RetryPolicy | None, idempotent: bool) -> Any:
    if not callable(fn) or isgeneratorfunction(fn) or isasyncgenfunction(fn):
        raise ConfigError("retry_on_conflict is for functions and async functions")
    name = getattr(fn, "__name__", repr(fn))

    if iscoroutinefunction(fn):

        @functools.wraps(fn)
        async def run_async(*args: Any, **kwargs: Any) -> Any:
            source = _async_source(_first(args, name))
            again = functools.partial(_with_first, fn, args, kwargs)
            return await _transactions.run_async(source, again, policy, idempotent=idempotent)

        return run_async

    @functools.wraps(fn)
    def run(*args: Any, **kwargs: Any) -> Any:
        source = _source(_first(args, name))
        again = functools.partial(_with_first, fn, args, kwargs)
        return _transactions.run(source, again, policy, idempotent=idempotent)

    return run


def _first(args: tuple[Any, ...], name: str) -> Any:
    if not args:
        raise ConfigError(f"{name}() needs a pool or a connection as its first argument, by position")
    return args[0]


def _with_first(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], connection: Any) -> Any:
    return fn(connection, *args[1:], **kwargs)


def _source(given: C | psycopg_pool.ConnectionPool[C]) -> _transactions.Source[C]:
    if isinstance(given, psycopg_pool.ConnectionPool):
        return _Pool(given)
    if isinstance(given, psycopg.Connection):
        return _OneConnection(given)
    raise _unusable(given, "run_transaction_async", "psycopg connection or psycopg_pool pool")


def _async_source(given: AC | psycopg_pool.AsyncConnectionPool[AC]) -> _transactions.AsyncSource[AC]:
    if isinstance(given, psycopg_pool.AsyncConnectionPool):
        return _AsyncPool(given)
    if isinstance(given, psycopg.AsyncConnection):
        return _OneAsyncConnection(given)
    raise _unusable(given, "run_transaction", "asynchronous psycopg connection or psycopg_pool pool")


def _unusable(given: object, other: str, wanted: str) -> ConfigError:
    theirs = (
        psycopg.Connection,
        psycopg.AsyncConnection,
        psycopg_pool.ConnectionPool,
        psycopg_pool.AsyncConnectionPool,
    )
    hint = f"; that is for {other}, or an async function" if isinstance(given, theirs) else ""
    return ConfigError(f"a {wanted} is needed, not {type(given).__name__}{hint}")
