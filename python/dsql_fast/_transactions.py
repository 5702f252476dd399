"""Transactions that are run until they are committed or cannot be: two loops around one decision.

What a driver has to bring is below, a source of connections and a transaction on one of them, each in a
synchronous and an asynchronous form. When to run again is `_retry`'s.
"""

from __future__ import annotations

import asyncio
import time
from inspect import isawaitable, iscoroutine
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from ._errors import ConfigError
from ._retry import DEFAULT_POLICY, Failure, RetryPolicy, Run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from types import TracebackType

    from ._retry import Phase, RetryState
    from ._turns import Turns

T = TypeVar("T")
C = TypeVar("C")
S = TypeVar("S")


class Standing(Protocol):
    """How a transaction stands.

    Attributes:
        phase: how far it has come.
        usable: after `roll_back`, the connection can have another one.
    """

    phase: Phase

    @property
    def usable(self) -> bool: ...

    def lost(self, error: BaseException) -> bool:
        """Tell whether the error is that the connection went."""


class Transaction(Standing, Protocol):
    """One transaction on one connection."""

    def begin(self) -> None:
        """Begin it, and from then on keep the user from ending it, or from beginning another inside.

        Raises:
            NestedTransaction: the connection is in a transaction; nothing was sent.
        """

    def commit(self) -> None:
        """Commit it.

        Raises:
            TransactionError: there is nothing to commit, or nothing was committed.
        """

    def roll_back(self) -> None:
        """Leave the connection idle, or closed. Does nothing to a connection that `begin` refused."""


class AsyncTransaction(Standing, Protocol):
    """As `Transaction`."""

    async def begin(self) -> None: ...
    async def commit(self) -> None: ...
    async def roll_back(self) -> None: ...


class Source(Protocol[C]):
    """Where connections come from.

    Attributes:
        has_others: a connection that is lost can be replaced by another (a pool's).
    """

    has_others: bool

    def connection(self, time_left: float | None) -> AbstractContextManager[C]:
        """Lend a connection; wait for it no longer than so many seconds, and than the pool would."""

    def transaction(self, connection: C) -> Transaction:
        """Make a transaction that has not begun."""


class AsyncSource(Protocol[C]):
    """As `Source`."""

    has_others: bool

    def connection(self, time_left: float | None) -> AbstractAsyncContextManager[C]: ...
    def transaction(self, connection: C) -> AsyncTransaction: ...


class _Loan(Generic[S]):
    """A turn, and a connection, for an attempt.

    A class, and no generators on a stack: between a program's transactions each call of ours costs many times what
    it costs in a loop, and everybody's transaction pays for it.
    """

    __slots__ = ("_attempts", "_lending", "_source")

    def __init__(self, source: S, attempts: Run) -> None:
        self._source = source
        self._attempts = attempts


class Lent(_Loan[Source[C]], Generic[C]):
    """Both of them for a block; what keeps them from it ends the attempts."""

    __slots__ = ()
    _lending: AbstractContextManager[C]

    def __enter__(self) -> C:
        attempts = self._attempts
        try:
            attempts.turn.take(attempts.time_left())
            try:
                self._lending = self._source.connection(attempts.time_left())
                return self._lending.__enter__()
            except BaseException:
                attempts.turn.give()
                raise
        except BaseException as error:
            attempts.stopped(error)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        try:
            return self._lending.__exit__(kind, error, traceback)
        finally:
            self._attempts.turn.give()


class AsyncLent(_Loan[AsyncSource[C]], Generic[C]):
    """As `Lent`."""

    __slots__ = ()
    _lending: AbstractAsyncContextManager[C]

    async def __aenter__(self) -> C:
        attempts = self._attempts
        try:
            await attempts.turn.take_async(attempts.time_left())
            try:
                self._lending = self._source.connection(attempts.time_left())
                return await self._lending.__aenter__()
            except BaseException:
                attempts.turn.give()
                raise
        except BaseException as error:
            attempts.stopped(error)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        try:
            return await self._lending.__aexit__(kind, error, traceback)
        finally:
            self._attempts.turn.give()


def run(
    source: Source[C],
    fn: Callable[[C], T],
    policy: RetryPolicy | None,
    *,
    idempotent: bool,
    turns: Turns | None = None,
) -> T:
    """Run `fn` in a transaction until that is committed, or cannot be."""
    attempts = Run(checked(policy), idempotent=idempotent, turns=turns)
    while True:
        with Lent(source, attempts) as connection:
            while True:
                transaction = source.transaction(connection)
                attempts.begins()
                try:
                    transaction.begin()
                    result = _no_coroutine(fn(connection), "an async function")
                    transaction.commit()
                except BaseException as error:
                    transaction.roll_back()
                    again = attempts.failed(failure_of(error, transaction, source))
                    if again is None:
                        raise
                else:
                    return result
                if not stays(again, transaction):
                    break
                pause(attempts, again)
                del again  # it refers to this frame: no cycle
        # Nothing is held while waiting.
        pause(attempts, again)
        del again


async def run_async(
    source: AsyncSource[C],
    fn: Callable[[C], Awaitable[T]],
    policy: RetryPolicy | None,
    *,
    idempotent: bool,
    turns: Turns | None = None,
) -> T:
    """As `run`."""
    attempts = Run(checked(policy), idempotent=idempotent, turns=turns)
    while True:
        async with AsyncLent(source, attempts) as connection:
            while True:
                transaction = source.transaction(connection)
                attempts.begins()
                try:
                    await transaction.begin()
                    result = await _awaitable(fn(connection))
                    await transaction.commit()
                except BaseException as error:
                    await transaction.roll_back()
                    again = attempts.failed(failure_of(error, transaction, source))
                    if again is None:
                        raise
                else:
                    return result
                if not stays(again, transaction):
                    break
                await pause_async(attempts, again)
                del again
        await pause_async(attempts, again)
        del again


def checked(policy: RetryPolicy | None) -> RetryPolicy:
    """Return the policy, or the default one.

    Raises:
        ConfigError: it is none.
    """
    if policy is None:
        return DEFAULT_POLICY
    if not isinstance(policy, RetryPolicy):
        raise ConfigError(f"policy must be a RetryPolicy or None, not {type(policy).__name__}")
    return policy


def _no_coroutine(result: T, what: str) -> T:
    if iscoroutine(result):
        result.close()
        raise ConfigError(f"{what} needs an asynchronous transaction")
    return result


def _awaitable(result: Awaitable[T]) -> Awaitable[T]:
    if not isawaitable(result):
        raise ConfigError("an asynchronous transaction needs an async function")
    return result


def failure_of(error: BaseException, transaction: Standing, source: Source[Any] | AsyncSource[Any]) -> Failure:
    """Say what is known of an attempt that failed, after it was rolled back."""
    return Failure(
        error,
        transaction.phase,
        lost=transaction.lost(error),
        can_go_on=source.has_others or transaction.usable,
    )


def stays(again: RetryState, transaction: Standing) -> bool:
    """Tell whether the next attempt is on the same connection, at once.

    After a schema conflict it must be: it is this session whose view of the schema is new now.
    """
    return again.kind == "schema" and not again.delay and transaction.usable


def pause(attempts: Run, again: RetryState) -> None:
    """Wait before the next attempt; raises if there is none after all."""
    try:
        hook = attempts.policy.before_retry
        if hook is not None:
            _no_coroutine(hook(again), "an async before_retry")
        if again.delay:
            time.sleep(again.delay)
    except BaseException as error:
        attempts.stopped(error)
        raise
    attempts.resume(again)


async def pause_async(attempts: Run, again: RetryState) -> None:
    """As `pause`."""
    try:
        hook = attempts.policy.before_retry
        if hook is not None:
            answer = hook(again)
            if answer is not None:
                await answer
        if again.delay:
            await asyncio.sleep(again.delay)
    except BaseException as error:
        attempts.stopped(error)
        raise
    attempts.resume(again)
