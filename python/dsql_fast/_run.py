"""`run_transaction` and its kin: for connections and pools of each driver, ours or not."""

from __future__ import annotations

import functools
import sys
from inspect import Parameter, isasyncgenfunction, iscoroutinefunction, isgeneratorfunction, signature
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from . import _attempts, _transactions
from ._drivers import async_source_of, is_asynchronous, source_of
from ._errors import ConfigError
from ._turns import turns_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
    from typing import Protocol

    import psycopg
    import psycopg_pool

    from ._retry import RetryPolicy
    from ._transactions import AsyncSource, Source
    from ._turns import Turns

    class Psycopg2Connection(Protocol):
        """A connection of psycopg2's, whose types are a package of their own that may not be there."""

        def get_transaction_status(self) -> int: ...

    class Psycopg2Pool(Protocol):
        """A pool of psycopg2's."""

        def getconn(self, key: Any = None) -> Any: ...
        def putconn(self, conn: Any, key: Any = None, close: bool = False) -> None: ...

    class Asyncpg(Protocol):
        """A connection or a pool of asyncpg's, which ships no types: both have this."""

        def fetchrow(self, query: str, *args: Any) -> Coroutine[Any, Any, Any]: ...

    class _Decorator(Protocol):
        @overload
        def __call__(
            self, fn: Callable[Concatenate[C, P], T], /
        ) -> Callable[Concatenate[C | psycopg_pool.ConnectionPool[C], P], T]: ...
        @overload
        def __call__(
            self, fn: Callable[Concatenate[AC, P], Awaitable[T]], /
        ) -> Callable[Concatenate[AC | psycopg_pool.AsyncConnectionPool[AC], P], Coroutine[Any, Any, T]]: ...
        @overload
        def __call__(
            self, fn: Callable[Concatenate[D, P], T], /
        ) -> Callable[Concatenate[D | Psycopg2Pool, P], T]: ...
        @overload
        def __call__(
            self, fn: Callable[Concatenate[G, P], Awaitable[T]], /
        ) -> Callable[Concatenate[Asyncpg, P], Coroutine[Any, Any, T]]: ...

    class _NamedDecorator(Protocol):
        # Which argument it is stands in a text: type checkers cannot follow.
        def __call__(self, fn: Callable[..., T], /) -> Callable[..., T]: ...


T = TypeVar("T")
P = ParamSpec("P")
C = TypeVar("C", bound="psycopg.Connection[Any]")
AC = TypeVar("AC", bound="psycopg.AsyncConnection[Any]")
D = TypeVar("D", bound="Psycopg2Connection")
G = TypeVar("G", bound="Asyncpg")


@overload
def run_transaction(
    pool_or_connection: C | psycopg_pool.ConnectionPool[C],
    fn: Callable[[C], T],
    *,
    policy: RetryPolicy | None = None,
    idempotent: bool = False,
) -> T: ...
@overload
def run_transaction(
    pool_or_connection: D,
    fn: Callable[[D], T],
    *,
    policy: RetryPolicy | None = None,
    idempotent: bool = False,
) -> T: ...
@overload
def run_transaction(
    pool_or_connection: Psycopg2Pool,
    fn: Callable[[Any], T],
    *,
    policy: RetryPolicy | None = None,
    idempotent: bool = False,
) -> T: ...
def run_transaction(
    pool_or_connection: Any,
    fn: Callable[[Any], T],
    *,
    policy: RetryPolicy | None = None,
    idempotent: bool = False,
) -> T:
    """Run a function in a transaction, and the whole again if it lost against another one.

    BEGIN and COMMIT are sent here, on connections in autocommit mode too. `fn` may be called several times, each
    time on a fresh snapshot, so whatever it does outside of the database it may do several times. In it,
    ``conn.commit()``, ``conn.rollback()`` and blocks (``conn.transaction()``; psycopg2's ``with conn:``) are
    refused. What it raises rolls the transaction back, and is raised (`psycopg.Rollback` too).

    Run again: conflicts; before COMMIT also DSQL's XX000 and, where a pool has others, a lost connection. A pool's
    connection is given back before each wait.

    Args:
        pool_or_connection: a pool of psycopg_pool's or psycopg2's (ours, or any), or a connection of psycopg's or
            psycopg2's that is idle.
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
        psycopg.Error: the last attempt's error, itself, of whatever driver; a note tells how many there were.
    """
    source = source_of(pool_or_connection)
    turns = _turns(source, pool_or_connection, fn)
    return _transactions.run(source, fn, policy, idempotent=idempotent, turns=turns)


@overload
async def run_transaction_async(
    pool_or_connection: AC | psycopg_pool.AsyncConnectionPool[AC],
    fn: Callable[[AC], Awaitable[T]],
    *,
    policy: RetryPolicy | None = None,
    idempotent: bool = False,
) -> T: ...
@overload
async def run_transaction_async(
    pool_or_connection: Asyncpg,
    fn: Callable[[Any], Awaitable[T]],
    *,
    policy: RetryPolicy | None = None,
    idempotent: bool = False,
) -> T: ...
async def run_transaction_async(
    pool_or_connection: Any,
    fn: Callable[[Any], Awaitable[T]],
    *,
    policy: RetryPolicy | None = None,
    idempotent: bool = False,
) -> T:
    """Run an async function in a transaction. As `run_transaction`; also for asyncpg's connections and pools.

    On asyncpg's, the outermost ``conn.transaction()`` in `fn` *is* this transaction: it sends nothing, and
    whatever comes after it in `fn` is part of the same. One inside of it raises `NestedTransaction`.

    A cancellation rolls back, or closes the connection, and is raised, never run again. One that comes during
    COMMIT has a `CommitOutcomeUnknown` as its ``__cause__``.
    """
    source = async_source_of(pool_or_connection)
    turns = _turns(source, pool_or_connection, fn)
    return await _transactions.run_async(source, fn, policy, idempotent=idempotent, turns=turns)


@overload
def retry_on_conflict(
    fn: Callable[Concatenate[C, P], T], /
) -> Callable[Concatenate[C | psycopg_pool.ConnectionPool[C], P], T]: ...
@overload
def retry_on_conflict(
    fn: Callable[Concatenate[AC, P], Awaitable[T]], /
) -> Callable[Concatenate[AC | psycopg_pool.AsyncConnectionPool[AC], P], Coroutine[Any, Any, T]]: ...
@overload
def retry_on_conflict(fn: Callable[Concatenate[D, P], T], /) -> Callable[Concatenate[D | Psycopg2Pool, P], T]: ...
@overload
def retry_on_conflict(
    fn: Callable[Concatenate[G, P], Awaitable[T]], /
) -> Callable[Concatenate[Asyncpg, P], Coroutine[Any, Any, T]]: ...
@overload
def retry_on_conflict(*, policy: RetryPolicy | None = None, idempotent: bool = False) -> _Decorator: ...
@overload
def retry_on_conflict(
    *, connection: str, policy: RetryPolicy | None = None, idempotent: bool = False
) -> _NamedDecorator: ...
def retry_on_conflict(
    fn: Any = None,
    /,
    *,
    connection: str | None = None,
    policy: RetryPolicy | None = None,
    idempotent: bool = False,
) -> Any:
    """Make a function one that runs in a transaction of its own, and again if it lost against another one.

    One of the function's arguments is a connection; for the decorated one it is a pool or an idle connection,
    given by position or by name. With and without parentheses, for ``def`` and ``async def``. What it does is
    `run_transaction`'s.

    Args:
        fn: the function.
        connection: the argument's name; default: the first one. A method's first is ``self``, so name it there:
            ``@retry_on_conflict(connection="conn")``.
        policy: as for `run_transaction`.
        idempotent: as for `run_transaction`.

    Raises:
        ConfigError: it cannot be used on this; or, when called, the argument is no pool and no connection.
    """
    _transactions.checked(policy)
    decorate = functools.partial(_decorated, connection=connection, policy=policy, idempotent=idempotent)
    return decorate if fn is None else decorate(fn)


def _decorated(fn: Any, *, connection: str | None, policy: RetryPolicy | None, idempotent: bool) -> Any:
    if not callable(fn) or isgeneratorfunction(fn) or isasyncgenfunction(fn):
        raise ConfigError("retry_on_conflict is for functions and async functions")
    place = _Place(fn, connection)

    if iscoroutinefunction(fn):

        @functools.wraps(fn)
        async def run_async(*args: Any, **kwargs: Any) -> Any:
            given = place.given(args, kwargs)
            source = async_source_of(given)
            again = functools.partial(place.call, fn, args, kwargs)
            turns = _turns(source, given, fn)
            return await _transactions.run_async(source, again, policy, idempotent=idempotent, turns=turns)

        return run_async

    @functools.wraps(fn)
    def run(*args: Any, **kwargs: Any) -> Any:
        given = place.given(args, kwargs)
        source = source_of(given)
        again = functools.partial(place.call, fn, args, kwargs)
        turns = _turns(source, given, fn)
        return _transactions.run(source, again, policy, idempotent=idempotent, turns=turns)

    return run


def _turns(source: Source[Any] | AsyncSource[Any], given: Any, fn: Any) -> Turns | None:
    """Return the turns of a function's transactions; a connection of one's own is nobody else's, and has none."""
    return turns_of(given, fn) if source.has_others else None


class _Place:
    """Where among a function's arguments the connection is.

    Raises:
        ConfigError: it has no such argument.
    """

    def __init__(self, fn: Callable[..., Any], name: str | None) -> None:
        self._function = getattr(fn, "__name__", repr(fn))
        try:
            parameters = list(signature(fn).parameters.values())
        except ValueError:
            parameters = []  # a built-in function may not tell
        named = [
            each.name for each in parameters if each.kind not in {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD}
        ]
        if name is not None and name not in named:
            raise ConfigError(f"{self._function}() has no argument {name!r}; it has {', '.join(named) or 'none'}")
        if name is None and named[:1] in (["self"], ["cls"]):
            raise ConfigError(
                f"{self._function}() is a method, whose first argument is {named[0]}: say which one is the "
                "connection, @retry_on_conflict(connection=...) with its name"
            )
        self._index = 0 if name is None else named.index(name)
        found = parameters[self._index : self._index + 1]
        kind = found[0].kind if found else Parameter.POSITIONAL_ONLY
        self._name = None if kind in {Parameter.POSITIONAL_ONLY, Parameter.VAR_POSITIONAL} else found[0].name
        self._by_position = kind is not Parameter.KEYWORD_ONLY

    def given(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the pool or connection among the arguments of a call."""
        if self._is_by_position(args):
            return args[self._index]
        if self._name in kwargs:
            return kwargs[self._name]
        what = f"as its argument {self._name!r}" if self._name else "as its first argument, by position"
        raise ConfigError(f"{self._function}() needs a pool or a connection {what}")

    def call(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], connection: Any) -> Any:
        """Call the function with a connection in that place."""
        if self._is_by_position(args):
            return fn(*args[: self._index], connection, *args[self._index + 1 :], **kwargs)
        return fn(*args, **{**kwargs, str(self._name): connection})

    def _is_by_position(self, args: tuple[Any, ...]) -> bool:
        return self._by_position and len(args) > self._index


@overload
def conflict_attempts(
    pool_or_connection: C | psycopg_pool.ConnectionPool[C],
    *,
    policy: RetryPolicy | None = None,
    idempotent: bool = False,
) -> Iterator[_attempts.Attempt[C]]: ...
@overload
def conflict_attempts(
    pool_or_connection: D, *, policy: RetryPolicy | None = None, idempotent: bool = False
) -> Iterator[_attempts.Attempt[D]]: ...
@overload
def conflict_attempts(
    pool_or_connection: Psycopg2Pool, *, policy: RetryPolicy | None = None, idempotent: bool = False
) -> Iterator[_attempts.Attempt[Any]]: ...
@overload
def conflict_attempts(
    pool_or_connection: AC | psycopg_pool.AsyncConnectionPool[AC],
    *,
    policy: RetryPolicy | None = None,
    idempotent: bool = False,
) -> AsyncIterator[_attempts.AsyncAttempt[AC]]: ...
@overload
def conflict_attempts(
    pool_or_connection: Asyncpg, *, policy: RetryPolicy | None = None, idempotent: bool = False
) -> AsyncIterator[_attempts.AsyncAttempt[Any]]: ...
def conflict_attempts(
    pool_or_connection: Any, *, policy: RetryPolicy | None = None, idempotent: bool = False
) -> Any:
    """Run a block in a transaction, and again if it lost against another one.

    ::

        for attempt in conflict_attempts(pool):
            with attempt as conn:
                conn.execute(...)

    With an asynchronous pool or connection: ``async for`` and ``async with``. What holds for the function that
    `run_transaction` calls holds for the block. COMMIT is sent when the loop goes round (``continue`` too) and,
    if it is answered with success, the loop ends. A loop that is left by ``break`` or ``return`` is left before
    COMMIT: the transaction is rolled back, with a RuntimeWarning. To leave the loop from inside, call
    ``attempt.commit()`` (awaited where it is asynchronous) as the last thing in the block.

    Args:
        pool_or_connection: as for `run_transaction` and `run_transaction_async`.
        policy: as for `run_transaction`.
        idempotent: as for `run_transaction`.

    Returns:
        The attempts. Their errors are raised by the loop or by the block, as `run_transaction` raises them.

    Raises:
        ConfigError: an argument cannot be used. Nothing was sent.
    """
    checked = _transactions.checked(policy)
    block = sys._getframe(1).f_code  # noqa: SLF001 (whose block it is: what `fn` is to run_transaction)
    if is_asynchronous(pool_or_connection):
        source = async_source_of(pool_or_connection)
        turns = _turns(source, pool_or_connection, block)
        return _attempts.attempts_async(source, checked, idempotent=idempotent, turns=turns)
    lender = source_of(pool_or_connection)
    turns = _turns(lender, pool_or_connection, block)
    return _attempts.attempts(lender, checked, idempotent=idempotent, turns=turns)
