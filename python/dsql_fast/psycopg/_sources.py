"""Where `run_transaction` gets its connections: psycopg's connections, and psycopg_pool's pools, ours or not."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import psycopg
import psycopg_pool

from ._checkout import AsyncCheckout, Checkout
from ._transaction import AsyncTransaction, Transaction

if TYPE_CHECKING:
    from .. import _transactions

C = TypeVar("C", bound="psycopg.Connection[Any]")
AC = TypeVar("AC", bound="psycopg.AsyncConnection[Any]")


def source(given: object) -> _transactions.Source[Any] | None:
    """Return what `given` is as a source of synchronous connections; None if it is none of psycopg's."""
    if isinstance(given, psycopg_pool.ConnectionPool):
        return _Pool(given)
    if isinstance(given, psycopg.Connection):
        return _OneConnection(given)
    return None


def async_source(given: object) -> _transactions.AsyncSource[Any] | None:
    """Return what `given` is as a source of asynchronous connections; None if it is none of psycopg's."""
    if isinstance(given, psycopg_pool.AsyncConnectionPool):
        return _AsyncPool(given)
    if isinstance(given, psycopg.AsyncConnection):
        return _OneAsyncConnection(given)
    return None


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
        lending: AbstractContextManager[C] = self._pool.connection(_shorter(self._pool.timeout, time_left))
        if isinstance(lending, Checkout):
            lending.ends_itself = True
        return lending

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
        lending: AbstractAsyncContextManager[AC] = self._pool.connection(_shorter(self._pool.timeout, time_left))
        if isinstance(lending, AsyncCheckout):
            lending.ends_itself = True
        return lending

    def transaction(self, connection: AC) -> AsyncTransaction:
        return AsyncTransaction(connection)


def _shorter(timeout: float, time_left: float | None) -> float:
    return timeout if time_left is None else min(timeout, time_left)
