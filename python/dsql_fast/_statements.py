"""What work of several transactions asks of a driver, and the two loops that carry it out.

The work itself is a generator, written once: it yields what is to be done, a `Transact`, a `Pause` or a `Tell`,
and is sent the outcome. `carry_out` and `carry_out_async` do it, each transaction by `_transactions`.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from inspect import isawaitable, iscoroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from . import _transactions
from ._errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from ._retry import RetryPolicy
    from ._transactions import AsyncSource, Source

T = TypeVar("T")
C = TypeVar("C")


@dataclass(frozen=True)
class Statement:
    """One statement.

    Attributes:
        sql: its text, with ``$1``, ``$2`` ... for parameters; or what else the driver takes as one (psycopg's
            ``sql.Composable``).
        parameters: their values.
    """

    sql: Any
    parameters: Sequence[Any] = ()


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        columns: the names of the result's columns; empty where there is no result.
        rows: its rows.
        count: of rows that were written, as the command tag has it.
    """

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    count: int


# What is done inside of one transaction: yields statements, is sent their answers.
Body: TypeAlias = "Generator[Statement, Answer, T]"


@dataclass(frozen=True)
class Transact:
    """Run a transaction, and again as the policy has it; the outcome is what the body returned.

    Attributes:
        body: makes the body, anew for each attempt.
        idempotent: as for `run_transaction`.
    """

    body: Callable[[], Body[Any]]
    idempotent: bool = False


@dataclass(frozen=True)
class Pause:
    """Wait for so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Tell:
    """Call the user's function with something; it may be ``async def`` where the work is asynchronous."""

    hook: Callable[[Any], Any]
    news: Any


Request: TypeAlias = Transact | Pause | Tell
Work: TypeAlias = "Generator[Request, Any, T]"


class Described(Protocol):
    """What a driver tells without talking to the server."""

    def text(self, sql: Any) -> str:
        """Return a statement as text.

        Raises:
            ConfigError: the driver takes no such thing for one.
        """

    def most(self, given: Any) -> int | None:
        """Return how many transactions can run at once on what the user gave; None for any number."""


class Driver(Described, Protocol[C]):
    """A driver's part: where connections come from, and one statement on one of them."""

    def source(self, given: Any) -> Source[C]: ...
    def execute(self, connection: C, statement: Statement) -> Answer: ...


class AsyncDriver(Described, Protocol[C]):
    """As `Driver`."""

    def source(self, given: Any) -> AsyncSource[C]: ...
    async def execute(self, connection: C, statement: Statement) -> Answer: ...


class Session:
    """What requests are carried out on: a pool or connection of the user's.

    Args:
        driver: of the one that it belongs to.
        given: the pool or connection.
        policy: for every transaction.
    """

    def __init__(self, driver: Driver[Any], given: Any, policy: RetryPolicy) -> None:
        self._driver = driver
        self._source = driver.source(given)
        self._policy = policy

    def transact(self, request: Transact) -> Any:
        """Run a transaction until it is committed, or cannot be."""

        def attempt(connection: Any) -> Any:
            body = request.body()
            try:
                statement = next(body)
                while True:
                    statement = body.send(self._driver.execute(connection, statement))
            except StopIteration as done:
                return done.value
            finally:
                body.close()

        return _transactions.run(self._source, attempt, self._policy, idempotent=request.idempotent)

    def do(self, request: Request) -> Any:
        """Do what is asked."""
        if isinstance(request, Transact):
            return self.transact(request)
        if isinstance(request, Pause):
            time.sleep(request.seconds)
        elif iscoroutine(answer := request.hook(request.news)):
            answer.close()
            raise ConfigError("an async on_progress needs the asynchronous function")
        return None


class AsyncSession:
    """As `Session`."""

    def __init__(self, driver: AsyncDriver[Any], given: Any, policy: RetryPolicy) -> None:
        self._driver = driver
        self._source = driver.source(given)
        self._policy = policy

    async def transact(self, request: Transact) -> Any:
        """Run a transaction until it is committed, or cannot be."""

        async def attempt(connection: Any) -> Any:
            body = request.body()
            try:
                statement = next(body)
                while True:
                    statement = body.send(await self._driver.execute(connection, statement))
            except StopIteration as done:
                return done.value
            finally:
                body.close()

        return await _transactions.run_async(self._source, attempt, self._policy, idempotent=request.idempotent)

    async def do(self, request: Request) -> Any:
        """Do what is asked."""
        if isinstance(request, Transact):
            return await self.transact(request)
        if isinstance(request, Pause):
            await asyncio.sleep(request.seconds)
        elif isawaitable(answer := request.hook(request.news)):
            await answer
        return None


def carry_out(work: Work[T], session: Session) -> T:
    """Do what the work asks for until it is over; what that raises, is raised in it."""
    outcome: Any = None
    error: BaseException | None = None
    while True:
        try:
            request = work.send(outcome) if error is None else work.throw(error)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            error = None  # it may refer to this frame: no cycle
        outcome = None
        try:
            outcome = session.do(request)
        except BaseException as raised:  # noqa: BLE001 (raised again, in the work)
            error = raised


async def carry_out_async(work: Work[T], session: AsyncSession) -> T:
    """As `carry_out`."""
    outcome: Any = None
    error: BaseException | None = None
    while True:
        try:
            request = work.send(outcome) if error is None else work.throw(error)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            error = None
        outcome = None
        try:
            outcome = await session.do(request)
        except BaseException as raised:  # noqa: BLE001
            error = raised
