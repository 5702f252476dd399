"""Runs a session's statements so that they conflict as DSQL's do: at COMMIT, and never by waiting.

PostgreSQL locks the rows it changes and decides every conflict; what this adds (docs/decisions/0009):

* a transaction at rest that holds what another waits for gives it back: it is rolled back to a savepoint behind
  which its snapshot stands, and what it did is done again, and compared, before its next statement;
* one statement that writes is under way at a time, and a commit falls into no other's statement;
* a transaction that has lost goes on with private copies of its tables, and is told at COMMIT.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from dsql_fast.local import _protocol as protocol
from dsql_fast.local import _refusals as refusals
from dsql_fast.local._conversation import BackendGone, Part
from dsql_fast.local._copy_in import CopyIn, undone
from dsql_fast.local._effects import LOST, MARK, Effects, hidden, wrote_nothing
from dsql_fast.local._refusals import Refusal
from dsql_fast.local._shadow import Uncopyable
from dsql_fast.local._statements import Kind
from dsql_fast.local._steps import Cutter, Step, Unit
from dsql_fast.local._transaction import Status, Transaction
from dsql_fast.local._verdicts import Verdicts

if TYPE_CHECKING:
    from collections.abc import Callable

    from dsql_fast.local._clock import ClusterClock
    from dsql_fast.local._conversation import Conversation, Reply
    from dsql_fast.local._database import Database
    from dsql_fast.local._faults import CommitFault
    from dsql_fast.local._turn import Turn

_QUERY, _FLUSH, _EXECUTE = b"QHE"
_IDLE, _OPEN, _FAILED = b"ITE"

# What is kept of a result outside of transactions, before it is passed on.
_HOLD = 32 * 1024
# How long others wait for a query that is under way, in seconds, before it has to give way.
_PATIENCE = 0.05
_CANCELLED = "57014"

_BEGIN = hidden("BEGIN")
_COMMIT = hidden("COMMIT")
_ROLLBACK = hidden("ROLLBACK")
# An error, which makes PostgreSQL fail the transaction: there is no such statement.
_FAIL = Part(protocol.message(b"B", b"\0dsql gateway nothing\0\0\0\0\0\0\0") + protocol.SYNC, b"B", shown=(False,))


class Cut(Exception):  # noqa: N818 - what happens
    """The session is to end without a word."""


class Executor:
    """Runs the units of one session.

    Args:
        conversation: To its backend.
        pid: The backend's process id.
        user: Who it is.
        database: What all sessions share.
        clock: Ages transactions.
        to_client: Takes what the client is to get.
    """

    def __init__(
        self,
        conversation: Conversation,
        pid: int,
        user: str,
        *,
        database: Database,
        clock: ClusterClock,
        to_client: Callable[[bytes], None],
    ) -> None:
        self.pid = pid
        self._talk = conversation
        self._user = user
        self._db = database
        self._clock = clock
        self._to_client = to_client
        self._cutter = Cutter(database.reader)
        self._effects = Effects(conversation, database)
        self._verdicts = Verdicts(database, clock, self._effects)
        self._backend = asyncio.Lock()  # who may talk to PostgreSQL
        self._query: _Query | None = None  # that is under way over effects that others may want gone
        self._transaction: Transaction | None = None
        self._out = bytearray()
        self._skipping = False  # to the next Sync
        self._simple = False  # whether the unit is a Query
        self._completion = 0  # bytes of the CommandComplete that is last in what goes out, in a simple Query
        self._copying: CopyIn | None = None

    @property
    def busy(self) -> bool:
        """Whether PostgreSQL is working for it."""
        return self._talk.busy

    @property
    def in_transaction(self) -> bool:
        """Whether the client has an open transaction block."""
        return self._transaction is not None and not self._transaction.implicit

    @property
    def copying(self) -> bool:
        """Whether the client is to send the data of a COPY."""
        return self._copying is not None

    # --- units -----------------------------------------------------------------------------------

    async def run(self, unit: Unit) -> None:
        """Run a unit and answer it.

        Raises:
            BackendGone: If PostgreSQL is gone.
            Cut: If the session is to end.
        """
        self._simple = unit.ends == _QUERY
        self._completion = 0
        if self._simple:
            self._skipping = False
        steps = self._cutter.cut(unit)
        if self._skipping:
            self._cutter.not_run([op for step in steps for op in step.ops])
            steps = []
        elif self._transaction is None and unit.ends != _FLUSH and self._all_native(unit, steps):
            await self._run_native(unit, steps)
            return
        for at, step in enumerate(steps):
            if not await self._step(step, alone=len(steps) == 1 and unit.ends != _FLUSH):
                self._cutter.not_run([op for later in steps[at + 1 :] for op in later.ops])
                self._skipping = unit.ends == _FLUSH
                break
            if self._copying is not None:
                self._flush()
                return
        await self._end_unit(unit.ends)

    async def _end_unit(self, ends: int) -> None:
        if ends == _FLUSH:
            self._flush()
            return
        self._skipping = False
        if self._transaction is not None and self._transaction.implicit:
            await self._commit(None)
        self._out += protocol.ready(self._state())
        self._flush()

    def ready(self) -> bytes:
        """A ReadyForQuery."""
        return protocol.ready(self._state())

    def _state(self) -> int:
        if self._transaction is None:
            return _IDLE
        return _FAILED if self._transaction.status is Status.FAILED else _OPEN

    def _all_native(self, unit: Unit, steps: list[Step]) -> bool:
        return (unit.ends != _QUERY or len(steps) == 1) and all(step.native for step in steps)

    async def _run_native(self, unit: Unit, steps: list[Step]) -> None:
        """Have PostgreSQL run what nobody else can notice, as it is."""
        for step in steps:
            refusal = await self._verdicts.stale(step) or self._fault()
            if refusal is not None:
                self._cutter.not_run([op for each in steps for op in each.ops])
                self._error(refusal)
                self._out += protocol.ready(_IDLE)
                self._flush()
                return
        if unit.ends == _QUERY or len(steps) == 1:
            parts = [self._effects.part(steps[0])]
        elif steps:
            merged = Step(Kind.READ, ops=[op for step in steps for op in step.ops])
            parts = [self._effects.part(merged)]
        else:
            parts = [Part(protocol.SYNC, b"")]
        async with self._backend:
            (reply,) = await self._talk.exchange(*parts, hold=_HOLD)
        self._show(reply)
        if reply.error is not None:
            self._cutter.not_run([op for step in steps for op in step.ops][reply.done :])
        self._cutter.forget_portals()
        self._out += protocol.ready(reply.status)
        self._flush()

    # --- steps -----------------------------------------------------------------------------------

    async def _step(self, step: Step, *, alone: bool) -> bool:
        """Run one step; False if it failed. `alone` tells that its unit has no other, and ends with it."""
        if step.kind in (Kind.COMMIT, Kind.ROLLBACK) and step.refusal is None:
            return await self._end(step)
        transaction = self._transaction
        if transaction is not None and transaction.status is Status.FAILED:
            return await self._forward(step)  # PostgreSQL says 25P02
        refusal = await self._verdicts.before(transaction, step) or self._fault()
        if refusal is not None:
            self._cutter.not_run(step.ops)
            await self._refuse(refusal)
            return False
        if step.kind is Kind.BEGIN:
            return await self._begin(step)
        if transaction is None and alone and not step.reads and step.kind is not Kind.COPY_IN:
            return await self._autocommit(step)
        return await self._run_in_transaction(step)

    async def _run_in_transaction(self, step: Step) -> bool:
        if self._transaction is None:
            self._transaction = self._new_transaction(implicit=True)
            self._transaction.unsent.append(_BEGIN)
        if step.kind is Kind.COPY_IN:
            return await self._begin_copy(step)
        if step.reads:
            return await self._read(step)
        return await self._write(step)

    def _new_transaction(self, *, implicit: bool) -> Transaction:
        return Transaction(implicit, self._clock.session_time(), self._db.commits)

    async def _begin(self, step: Step) -> bool:
        if self._transaction is None:
            if not await self._forward(step):
                return False
            self._transaction = self._new_transaction(implicit=False)
            return True
        # A BEGIN among the statements of one Query makes what was begun implicitly the client's.
        self._transaction.implicit = False
        return await self._forward(step)

    async def _forward(self, step: Step) -> bool:
        """Have PostgreSQL run it as it is."""
        async with self._backend:
            unsent = self._take_unsent()
            *_, reply = await self._talk.exchange(*unsent, self._effects.part(step), hold=_HOLD)
        self._show(reply)
        if reply.error is not None:
            self._cutter.not_run(step.ops[reply.done :])
        return reply.error is None

    async def _end(self, step: Step) -> bool:
        """Run the client's COMMIT or ROLLBACK."""
        transaction = self._transaction
        if step.kind is Kind.COMMIT and transaction is not None and transaction.status is not Status.FAILED:
            return await self._commit(step)
        ok = await self._forward(step)
        self._over()
        return ok

    def _over(self) -> None:
        self._transaction = None
        self._cutter.forget_portals()

    # --- reading and writing -----------------------------------------------------------------------

    async def _enter(self, transaction: Transaction, *, writing: bool) -> bool:
        """Take what a step needs: the turn to write, then the backend. Returns whether the turn is held."""
        while True:
            apart = transaction.status in (Status.SHADOW, Status.SHADOW_TAKEN_BACK, Status.FAILED)
            needs_turn = transaction.status is Status.TAKEN_BACK or (writing and not apart)
            if needs_turn:
                await self._db.turn.take()
            await self._backend.acquire()
            if needs_turn or transaction.status is not Status.TAKEN_BACK:
                return needs_turn
            self._backend.release()  # taken back just now

    async def _read(self, step: Step) -> bool:
        transaction = self._must()
        yielding = True
        while True:
            turn = _HeldTurn(self._db.turn, held=await self._enter(transaction, writing=False))
            try:
                reply = await self._try_to_read(transaction, step, turn, yielding=yielding)
                if reply is not None:
                    if transaction.status is Status.NEW:
                        transaction.status = Status.READING
                    return self._done(transaction, step, reply)
                yielding = False
            except Uncopyable:
                return await self._fail(refusals.CONFLICT)
            finally:
                self._backend.release()
                turn.give()

    async def _try_to_read(
        self, transaction: Transaction, step: Step, turn: _HeldTurn, *, yielding: bool
    ) -> Reply | None:
        """Run a query; None if it gave way to others and is to be tried again.

        Raises:
            Uncopyable: If the transaction has lost, and copies would not do.
        """
        if transaction.status is Status.TAKEN_BACK and not await self._effects.repeat(transaction):
            await self._lose(transaction, step, turn)
        turn.give()
        if transaction.status is not Status.LIVE or not yielding:
            return await self._effects.run(transaction, step, anew=not yielding)
        self._query = query = _Query()
        try:
            reply = await self._effects.run(transaction, step)
        finally:
            self._query = None
        if query.told is not None:
            await query.told.wait()
            if reply.sqlstate == _CANCELLED:
                return await self._read_apart(transaction, step)
        return reply

    async def _read_apart(self, transaction: Transaction, step: Step) -> Reply | None:
        """Run a query on private copies, where it is in nobody's way; None if there cannot be any."""
        try:
            await self._effects.move(transaction, frozenset())
            reply = await self._effects.run(transaction, step, anew=True)
        except Uncopyable:
            await self._effects.move_back(transaction)
            return None
        if reply.error is None:
            await self._effects.move_back(transaction)
        return reply

    async def _lose(self, transaction: Transaction, step: Step, turn: _HeldTurn) -> None:
        """Go on with private copies, to be told at COMMIT.

        Raises:
            Uncopyable: If that would not give what DSQL gives.
        """
        turn.give()  # copying needs none: the others go on meanwhile
        transaction.lost = True
        await self._effects.move(transaction, step.names)

    async def _write(self, step: Step) -> bool:
        transaction = self._must()
        holds_turn = await self._enter(transaction, writing=True)
        turn = _HeldTurn(self._db.turn, held=holds_turn)
        try:
            try:
                reply = await self._try(transaction, step, turn)
            except Uncopyable:
                return await self._fail(refusals.CONFLICT)
            if transaction.status is Status.NEW:
                transaction.status = Status.READING
            if reply.error is None and not wrote_nothing(step, reply):
                transaction.keep(step, reply)
                refusal = self._verdicts.count(transaction, step, reply)
                if refusal is not None:
                    self._out += reply.shown
                    return await self._fail(refusal)
            return self._done(transaction, step, reply)
        finally:
            self._backend.release()
            turn.give()

    async def _try(self, transaction: Transaction, step: Step, turn: _HeldTurn) -> Reply:
        """Run a step that writes: in the tables, or if it has lost there, in private copies.

        Raises:
            Uncopyable: If it has lost, and copies would not do.
        """
        effects = self._effects
        if transaction.status is Status.TAKEN_BACK and not await effects.repeat(transaction):
            await self._lose(transaction, step, turn)
        reply = await effects.run(transaction, step)
        if transaction.status is not Status.SHADOW and await effects.is_conflict(transaction, step, reply):
            await self._lose(transaction, step, turn)
            reply = await effects.run(transaction, step, anew=True)
            if wrote_nothing(step, reply):
                # ON CONFLICT DO NOTHING met a row of the snapshot: that is no write, and nothing is lost.
                await effects.move_back(transaction)
                transaction.lost = False
        if transaction.status is Status.SHADOW and reply.sqlstate in LOST:
            raise Uncopyable
        return reply

    async def _autocommit(self, step: Step) -> bool:
        """Run a statement and commit it at once.

        Nobody else writes meanwhile, so it can neither lose nor be asked to give anything back. Unless COMMIT is
        to take its time: then it is a transaction as any other.
        """
        delay = self._db.faults.commit_delay()
        transaction = self._new_transaction(implicit=True)
        if delay > 0:
            transaction.commit_delay = delay
            transaction.unsent.append(_BEGIN)
            self._transaction = transaction
            return await self._write(step)
        fault = None
        await self._db.turn.take()
        try:
            async with self._backend:
                reply = await self._effects.exchange([_BEGIN], step, self._effects.part(step))
                refusal = None
                if reply.error is None:
                    transaction.keep(step, reply)
                    refusal = self._verdicts.count(transaction, step, reply)
                    refusal = refusal or await self._verdicts.too_large(transaction)
                    fault = self._commit_fault() if refusal is None and transaction.writes else None
                takes_effect = reply.error is None and refusal is None and (fault is None or fault.takes_effect)
                (ended,) = await self._talk.exchange(_COMMIT if takes_effect else _ROLLBACK)
                if takes_effect and ended.error is None:
                    self._note_commit(transaction)
        finally:
            self._db.turn.give()
        if fault is not None and fault.error is None:
            raise Cut
        refusal = fault.error if fault is not None else refusal
        failure = reply.error or ended.error
        if step.sql is not None and (refusal or ended.error):
            # As PostgreSQL does: in a simple Query, the command is complete when it is committed.
            del reply.shown[reply.completion :]
        reply.error = None
        self._show(reply)
        if refusal is not None:
            self._error(refusal)
        elif failure is not None:
            self._out += failure
            self._cutter.not_run(step.ops[reply.done :])
        self._cutter.forget_portals()
        return refusal is None and failure is None

    def _commit_fault(self) -> CommitFault | None:
        fault = self._db.faults.commit()
        if fault is not None:
            self._db.counters.happened("fault", self._user, fault.kind)
        return fault

    def _note_commit(self, transaction: Transaction) -> None:
        self._db.committed(transaction)
        self._db.counters.happened("commit", self._user, "")
        if transaction.definitions:
            self._verdicts.has_defined()

    def _done(self, transaction: Transaction, step: Step, reply: Reply) -> bool:
        self._show(reply)
        if reply.error is None:
            return True
        transaction.status = Status.FAILED
        self._cutter.not_run(step.ops[reply.done :])
        return False

    async def give_back(self) -> None:
        """Let go of everything that others may wait for.

        What the client's transaction did at rest is undone. A query over it that is under way is let come to
        its end for a moment, and then has to give way.
        """
        transaction = self._transaction
        if self._query is not None:
            await asyncio.sleep(_PATIENCE)
            await self._interrupt()
        async with self._backend:
            if transaction is None or transaction is not self._transaction or transaction.unsent:
                return
            if transaction.status not in (Status.READING, Status.LIVE, Status.SHADOW):
                return
            with contextlib.suppress(BackendGone):
                await self._effects.give_back(transaction)

    async def _interrupt(self) -> None:
        query = self._query
        if query is None or query.told is not None or self._talk.passed_on:
            return
        # PostgreSQL may get the signal after the query's end, and must not be given anything else before.
        query.told = asyncio.Event()
        self._talk.keep_all()
        try:
            await self._db.administrator.cancel(self.pid)
        finally:
            query.told.set()

    # --- COMMIT ---------------------------------------------------------------------------------------

    async def _commit(self, step: Step | None) -> bool:
        """End the transaction; with `step` the client's COMMIT is answered, without it only errors are shown."""
        transaction = self._must()
        if transaction.status is Status.FAILED:
            return await self._roll_back(None)
        if not transaction.writes:
            return await self._commit_reading(step)
        refusal = self._verdicts.too_old(transaction) or self._verdicts.stale_commit()
        fault = None
        if refusal is None:
            delay = transaction.commit_delay
            await asyncio.sleep(self._db.faults.commit_delay() if delay is None else delay)
            fault = self._commit_fault()
        if fault is not None and not fault.takes_effect:
            if fault.error is None:
                raise Cut
            refusal = fault.error
        if refusal is not None:
            return await self._roll_back(refusal, step)
        reply = await self._commit_writing(transaction, step)
        if isinstance(reply, Refusal):
            return await self._roll_back(reply, step)
        self._over()
        if fault is not None:
            if fault.error is None:
                raise Cut
            self._error(fault.error)
            return False
        return self._committed(step, reply)

    async def _commit_writing(self, transaction: Transaction, step: Step | None) -> Reply | Refusal:
        """Have PostgreSQL commit, if nobody else was first; tells what it said, or why not."""
        await self._db.turn.take(to_commit=True)
        try:
            async with self._backend:
                refusal = await self._validate(transaction)
                if refusal is not None:
                    return refusal
                (reply,) = await self._talk.exchange(_COMMIT if step is None else self._effects.part(step))
                if reply.sqlstate in LOST:
                    return refusals.CONFLICT
                if reply.error is None:
                    self._note_commit(transaction)
                return reply
        finally:
            self._db.turn.give()

    def _committed(self, step: Step | None, reply: Reply) -> bool:
        if step is not None:
            self._show(reply)
        elif reply.error is not None:
            self._drop_completion()
            self._out += reply.error
        if reply.status == _OPEN:  # COMMIT AND CHAIN
            self._transaction = self._new_transaction(implicit=False)
        return reply.error is None

    async def _validate(self, transaction: Transaction) -> Refusal | None:
        """Bring its effects into PostgreSQL, or tell why they cannot be committed. The turn is held."""
        if (refusal := self._verdicts.stale_commit()) is not None:
            return refusal
        if transaction.lost:
            return refusals.CONFLICT
        if transaction.status is Status.TAKEN_BACK:
            if not await self._effects.repeat(transaction):
                return refusals.CONFLICT
        elif await self._effects.has_doubles(transaction):
            return refusals.CONFLICT
        return await self._verdicts.too_large(transaction)

    async def _commit_reading(self, step: Step | None) -> bool:
        async with self._backend:
            part = _COMMIT if step is None else self._effects.part(step)
            *_, reply = await self._talk.exchange(*self._take_unsent(), part)
        self._over()
        return self._committed(step, reply)

    async def _roll_back(self, refusal: Refusal | None, step: Step | None = None) -> bool:
        """End the transaction without its effects."""
        parts: list[Part] = []
        if step is not None and step.sql is None:
            # What comes before the Execute is answered as ever.
            parts.append(self._effects.part(Step(Kind.READ, ops=[op for op in step.ops if op.kind != _EXECUTE])))
        async with self._backend:
            replies = await self._talk.exchange(*self._take_unsent(), *parts, _ROLLBACK)
        if parts:
            self._out += replies[-2].shown
        self._over()
        if refusal is not None:
            if step is None:
                self._drop_completion()
            self._error(refusal)
        return False

    # --- what is refused ------------------------------------------------------------------------------

    def _fault(self) -> Refusal | None:
        fault = self._db.faults.statement(self.in_transaction)
        if fault is None:
            return None
        self._db.counters.happened("fault", self._user, fault.kind)
        if fault.error is None:
            raise Cut
        return fault.error

    async def _refuse(self, refusal: Refusal) -> None:
        """Answer with an error in place of a statement, which PostgreSQL never sees."""
        if self._transaction is None:
            self._error(refusal)
            return
        async with self._backend:
            await self._fail(refusal)

    async def _fail(self, refusal: Refusal) -> bool:
        """Fail the transaction. The backend is held."""
        transaction = self._must()
        unsent = self._take_unsent()
        await self._talk.exchange(*unsent, _FAIL)
        transaction.status = Status.FAILED
        self._error(refusal)
        return False

    # --- COPY FROM STDIN --------------------------------------------------------------------------------

    async def _begin_copy(self, step: Step) -> bool:
        """Ask PostgreSQL how the data is to come, and hold nothing until it is here."""
        transaction = self._must()
        if step.sql is None:
            return await self._fail_copy_extended(step)
        async with self._backend:
            unsent = self._take_unsent()
            if transaction.status is Status.NEW:
                transaction.commits = self._db.commits
                transaction.status = Status.READING
                unsent.append(MARK)
            replies = await self._talk.exchange(*unsent, *undone(step.sql))
            self._effects.renderer.lost_unnamed()
            reply = replies[-3]
            if reply.copy_header is None:
                await self._talk.exchange(_FAIL)
                transaction.status = Status.FAILED
                self._out += reply.error or b""
                return False
            if transaction.implicit and not transaction.log:
                # Its snapshot is that of the end, when the data is here.
                await self._talk.exchange(_ROLLBACK)
                self._over()
        self._out += reply.copy_header
        self._copying = CopyIn(step, self._db.limits.transaction_bytes)
        return True

    async def _fail_copy_extended(self, step: Step) -> bool:
        self._cutter.not_run(step.ops)
        async with self._backend:
            return await self._fail(refusals.COPY_EXTENDED)

    def copy_data(self, raw: bytes) -> None:
        """Take a CopyData message."""
        if self._copying is not None:
            self._copying.add(raw)

    async def end_copy(self, raw: bytes) -> None:
        """Run the COPY: its data, and the client's CopyDone or CopyFail, are here."""
        copying, self._copying = self._copying, None
        if copying is None:
            return
        copy = copying.ended_by(raw)
        if isinstance(copy, Refusal):
            await self._refuse(copy)
        elif self._transaction is None:
            await self._autocommit(copy)
        else:
            await self._write(copy)
        await self._end_unit(_QUERY)

    # --- to the client --------------------------------------------------------------------------------

    def _take_unsent(self) -> list[Part]:
        return [] if self._transaction is None else self._transaction.take_unsent()

    def _show(self, reply: Reply) -> None:
        self._out += reply.shown
        self._completion = len(reply.shown) - reply.completion if reply.tags and self._simple else 0
        if reply.error is not None:
            self._out += reply.error

    def _drop_completion(self) -> None:
        """Take the last CommandComplete back: in a simple Query, the command is complete when it is committed."""
        if self._completion:
            del self._out[-self._completion :]
            self._completion = 0

    def _error(self, refusal: Refusal) -> None:
        self._db.counters.happened(_kind_of(refusal), self._user, refusal.reason)
        self._out += protocol.error(refusal, "ERROR")

    def _flush(self) -> None:
        if self._out:
            self._to_client(bytes(self._out))
            self._out.clear()

    def _must(self) -> Transaction:
        if self._transaction is None:
            raise RuntimeError("no transaction")
        return self._transaction


class _Query:
    """A query that is under way.

    Attributes:
        told: None until it has to give way; set when PostgreSQL has been told.
    """

    def __init__(self) -> None:
        self.told: asyncio.Event | None = None


class _HeldTurn:
    """The turn to write, which may be given up early and is given up once."""

    def __init__(self, turn: Turn, *, held: bool) -> None:
        self._turn = turn
        self._held = held

    def give(self) -> None:
        if self._held:
            self._held = False
            self._turn.give()


def _kind_of(refusal: Refusal) -> str:
    if refusal in (refusals.CONFLICT, refusals.SCHEMA_CONFLICT):
        return "conflict" if refusal is refusals.CONFLICT else "schema-conflict"
    return "limit" if refusal.sqlstate == "54000" else "refused-statement"
