"""Transactions as a block that is run again: ``for attempt in ...: with attempt as connection: ...``.

Two loops around `_retry.Run`, as those of `_transactions` are, turned inside out: the caller's block stands where
these call a function.

COMMIT is sent when the loop goes round, not at the end of the ``with`` block. There Python does not tell whether
the block came to its end or is left by ``break`` or ``return``; a COMMIT that conflicts could not be run again
after these, and the program would go on as if it had been applied. So what is left early is rolled back, each time
and not only with a conflict; who wants to leave early calls `commit`, inside of the block, where its conflict is
an exception like any other.
"""

from __future__ import annotations

import warnings
from contextlib import AsyncExitStack, ExitStack
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ._errors import TransactionError
from ._retry import RetryPolicy, Run
from ._transactions import AsyncLent, Lent, failure_of, pause, pause_async, stays

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from types import TracebackType

    from ._retry import RetryState
    from ._transactions import AsyncSource, AsyncTransaction, Source, Standing, Transaction
    from ._turns import Turns

C = TypeVar("C")


class _Stage(Enum):
    NEW = auto()
    ENTERED = auto()
    LEFT = auto()  # without an error: to be committed
    COMMITTED = auto()
    FAILED = auto()


class _Course:
    """How far an attempt has come, as far as sync and async have it in common."""

    def __init__(self, run: Run, source: Source[Any] | AsyncSource[Any]) -> None:
        self._run = run
        self._source = source
        self._stage = _Stage.NEW
        # A COMMIT of the block's that failed: however the block is left, it was not a success.
        self._refusal: BaseException | None = None
        self._again: RetryState | None = None

    @property
    def is_new(self) -> bool:
        return self._stage is _Stage.NEW

    @property
    def is_over(self) -> bool:
        return self._stage in {_Stage.COMMITTED, _Stage.FAILED}

    def enter(self) -> None:
        if self._stage is not _Stage.NEW:
            raise TransactionError("an attempt is entered once: take the next one from the loop")
        self._stage = _Stage.ENTERED

    def check_inside(self) -> None:
        if self._stage is not _Stage.ENTERED or self._refusal is not None:
            raise TransactionError("commit() is called once, inside of the attempt's block")

    def refused(self, error: BaseException) -> None:
        self._refusal = error

    def committed(self) -> None:
        self._stage = _Stage.COMMITTED

    def leave(self, error: BaseException | None) -> BaseException | None:
        """Return what the block failed with, if it did."""
        if self._stage is _Stage.COMMITTED:
            return None
        if error is None:
            error, self._refusal = self._refusal, None
        if error is None:
            self._stage = _Stage.LEFT
        return error

    def failed(self, error: BaseException, transaction: Standing) -> bool:
        """Decide, after the rollback; return whether there is another attempt."""
        self._stage = _Stage.FAILED
        self._again = self._run.failed(failure_of(error, transaction, self._source))
        return self._again is not None

    def take_again(self) -> RetryState | None:
        again, self._again = self._again, None
        return again

    def check_left(self) -> None:
        """See to it that the block was run, before COMMIT."""
        if self._stage is not _Stage.LEFT:
            what = "was not entered" if self.is_new else "is still open"
            raise TransactionError(f"the attempt's block {what}: write `with attempt as connection:` in the loop")

    def warn_of_loss(self) -> None:
        """Say that the loop was left before COMMIT, unless an error of the block tells it."""
        if self._stage is _Stage.COMMITTED or (self._stage is _Stage.FAILED and self._again is None):
            return
        warnings.warn(
            "the loop over conflict_attempts() was left by break or return before COMMIT: the transaction is "
            "rolled back. Let the loop end by itself, or call attempt.commit() first, inside of the block",
            RuntimeWarning,
            stacklevel=4,  # the loop: it closes the generator where it is left
        )


class Attempt(Generic[C]):
    """One attempt at a transaction. A context manager, of the connection, that is used once."""

    def __init__(self, course: _Course, connection: C, transaction: Transaction, lent: ExitStack) -> None:
        self._course = course
        self._connection = connection
        self._transaction = transaction
        self._lent = lent

    def commit(self) -> None:
        """Send COMMIT now, so that the loop may be left by ``break`` or ``return``.

        The last thing in the block: let what it raises out of that, and a conflict is run again.

        Raises:
            TransactionError: it is not the time for it; or there is nothing to commit.
        """
        self._course.check_inside()
        try:
            self._transaction.commit()
        except BaseException as error:
            self._course.refused(error)
            raise
        self._course.committed()

    def __enter__(self) -> C:
        self._course.enter()
        return self._connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        failure = self._course.leave(error)
        if failure is None:
            if self._course.is_over:
                self._lent.__exit__(kind, error, traceback)
            return False
        try:
            again = self._fail(failure)
            if not again and failure is not error:
                raise failure  # the block hid that its COMMIT had failed
        finally:
            del failure  # it refers to this frame: no cycle
        return again

    def _begin(self) -> bool:
        """Send BEGIN; return whether the block can be run."""
        try:
            self._transaction.begin()
        except BaseException as error:
            if not self._fail(error):
                raise
            return False
        return True

    def _end(self) -> RetryState | None:
        """Commit, if that is not done; return what comes before the next attempt, if there is one."""
        if not self._course.is_over:
            try:
                self._course.check_left()
                self._transaction.commit()
            except BaseException as error:
                if not self._fail(error):
                    raise
            else:
                self._course.committed()
        return self._course.take_again()

    def _fail(self, error: BaseException) -> bool:
        self._transaction.roll_back()
        try:
            again = self._course.failed(error, self._transaction)
        except BaseException:
            self._lent.close()
            raise
        if not again:
            self._lent.close()
        return again

    def _abandon(self) -> None:
        if not self._course.is_over:
            self._transaction.roll_back()
        self._lent.close()
        self._course.warn_of_loss()


class AsyncAttempt(Generic[C]):
    """As `Attempt`; entered by ``async with``."""

    def __init__(
        self, course: _Course, connection: C, transaction: AsyncTransaction, lent: AsyncExitStack
    ) -> None:
        self._course = course
        self._connection = connection
        self._transaction = transaction
        self._lent = lent

    async def commit(self) -> None:
        """Send COMMIT now, as `Attempt.commit`."""
        self._course.check_inside()
        try:
            await self._transaction.commit()
        except BaseException as error:
            self._course.refused(error)
            raise
        self._course.committed()

    async def __aenter__(self) -> C:
        self._course.enter()
        return self._connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        failure = self._course.leave(error)
        if failure is None:
            if self._course.is_over:
                await self._lent.__aexit__(kind, error, traceback)
            return False
        try:
            again = await self._fail(failure)
            if not again and failure is not error:
                raise failure
        finally:
            del failure
        return again

    async def _begin(self) -> bool:
        try:
            await self._transaction.begin()
        except BaseException as error:
            if not await self._fail(error):
                raise
            return False
        return True

    async def _end(self) -> RetryState | None:
        if not self._course.is_over:
            try:
                self._course.check_left()
                await self._transaction.commit()
            except BaseException as error:
                if not await self._fail(error):
                    raise
            else:
                self._course.committed()
        return self._course.take_again()

    async def _fail(self, error: BaseException) -> bool:
        await self._transaction.roll_back()
        try:
            again = self._course.failed(error, self._transaction)
        except BaseException:
            await self._lent.aclose()
            raise
        if not again:
            await self._lent.aclose()
        return again

    async def _abandon(self) -> None:
        if not self._course.is_over:
            await self._transaction.roll_back()
        await self._lent.aclose()
        self._course.warn_of_loss()


def attempts(
    source: Source[C], policy: RetryPolicy, *, idempotent: bool, turns: Turns | None
) -> Iterator[Attempt[C]]:
    """Yield attempts until one is committed, or cannot be."""
    run = Run(policy, idempotent=idempotent, turns=turns)
    while True:
        with ExitStack() as lent:
            connection = lent.enter_context(Lent(source, run))
            while True:
                transaction = source.transaction(connection)
                attempt = Attempt(_Course(run, source), connection, transaction, lent)
                run.begins()
                if attempt._begin():  # noqa: SLF001 (this module's)
                    try:
                        yield attempt
                    except GeneratorExit:
                        attempt._abandon()  # noqa: SLF001
                        raise
                again = attempt._end()  # noqa: SLF001
                if again is None:
                    return
                if not stays(again, transaction):
                    break
                pause(run, again)
                del again  # it refers to an error, whose frames refer to this one: no cycle
        # Nothing is held while waiting.
        pause(run, again)
        del again


async def attempts_async(
    source: AsyncSource[C], policy: RetryPolicy, *, idempotent: bool, turns: Turns | None
) -> AsyncIterator[AsyncAttempt[C]]:
    """As `attempts`."""
    run = Run(policy, idempotent=idempotent, turns=turns)
    while True:
        async with AsyncExitStack() as lent:
            connection = await lent.enter_async_context(AsyncLent(source, run))
            while True:
                transaction = source.transaction(connection)
                attempt = AsyncAttempt(_Course(run, source), connection, transaction, lent)
                run.begins()
                if await attempt._begin():  # noqa: SLF001
                    try:
                        yield attempt
                    except GeneratorExit:
                        await attempt._abandon()  # noqa: SLF001
                        raise
                again = await attempt._end()  # noqa: SLF001
                if again is None:
                    return
                if not stays(again, transaction):
                    break
                await pause_async(run, again)
                del again
        await pause_async(run, again)
        del again
