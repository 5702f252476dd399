"""Runs a session's statements so that they conflict as DSQL's do: at COMMIT, and never by waiting.

PostgreSQL locks the rows it changes and decides every conflict; what this adds (docs/decisions/0009):

* a transaction at rest that holds what another waits for gives it back: it is rolled back to a savepoint behind
  which its snapshot stands, and what it did is done again, and compared, before its next statement;
* one statement that writes is under way at a time, and a commit falls into no other's statement;
* a transaction that has lost goes on with private copies of its tables, and is told at COMMIT.
"""

from __future__ import annotations

import asyncio
import enum
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dsql_fast.local import _protocol as protocol
from dsql_fast.local import _refusals as refusals
from dsql_fast.local._conversation import BackendGone, Conversation, Part, Reply
from dsql_fast.local._refusals import Refusal
from dsql_fast.local._shadow import LARGEST_COPY, Shadow, Uncopyable
from dsql_fast.local._statements import Kind
from dsql_fast.local._steps import Cutter, Renderer, Step, Unit, again

if TYPE_CHECKING:
    from collections.abc import Callable

    from dsql_fast.local._clock import ClusterClock
    from dsql_fast.local._database import Database
    from dsql_fast.local._faults import CommitFault
    from dsql_fast.local._statements import Statement
    from dsql_fast.local._turn import Turn

_QUERY, _FLUSH, _EXECUTE = b"QHE"
_IDLE, _OPEN, _FAILED = b"ITE"

# What is kept of a result before it is passed on: outside of transactions, and where it may be asked for again.
_HOLD = 32 * 1024
_HOLD_IN_TRANSACTION = 16 * 1024 * 1024

# PostgreSQL may say these over what was committed behind the snapshot: serialization failure, unique, foreign key
# and exclusion violations.
# From so many rows on, what PostgreSQL made of them is measured.
_MANY_ROWS = 10
_PLAIN = frozenset({"INSERT", "UPDATE", "DELETE"})
_DOUBTFUL = frozenset({"23505", "23503", "23P01"})
_LOST = frozenset({"40001", "40P01", "55P03"})


def _hidden(sql: str) -> Part:
    return Part(protocol.execute_hidden(sql.encode()), protocol.HIDDEN_KINDS, shown=(False,))


_BEGIN = _hidden("BEGIN")
_COMMIT = _hidden("COMMIT")
_ROLLBACK = _hidden("ROLLBACK")
_MARK = _hidden('SAVEPOINT "dsql gateway"')
_TO_MARK = _hidden('ROLLBACK TO SAVEPOINT "dsql gateway"')
# An error, which makes PostgreSQL fail the transaction: there is no such statement.
_FAIL = Part(protocol.message(b"B", b"\0dsql gateway nothing\0\0\0\0\0\0\0") + protocol.SYNC, b"B", shown=(False,))


class Status(enum.Enum):
    """Where a transaction stands."""

    NEW = enum.auto()  # no snapshot yet
    READING = enum.auto()  # a snapshot, and nothing to repeat
    LIVE = enum.auto()  # its effects and locks are in PostgreSQL
    TAKEN_BACK = enum.auto()  # they were, and are not now
    SHADOW = enum.auto()  # has lost, works on private copies
    SHADOW_TAKEN_BACK = enum.auto()  # has lost, its copies are gone
    FAILED = enum.auto()  # waits for ROLLBACK


@dataclass(slots=True)
class Entry:
    """A step that was run, and what came of it."""

    step: Step
    tags: list[bytes]
    rows: int

    def same(self, reply: Reply) -> bool:
        """Whether doing it again came to the same."""
        return reply.error is None and reply.tags == self.tags and reply.rows == self.rows


@dataclass(slots=True)
class Transaction:
    """One transaction.

    Attributes:
        implicit: Whether it ends with the unit it began in.
        began: On the session clock, in seconds.
        commits: The number of commits before its snapshot.
        seed: Makes random values the same when it is repeated.
        status: Where it stands.
        log: What has to be repeated.
        lost: Whether it can only end in a conflict.
        writes: Whether it wrote or locked.
        definitions: How many DDL statements it ran.
        rows: How many rows it wrote.
        size: Bytes of the statements and values it wrote by.
        commit_delay: Seconds that its COMMIT is to take longer, if that was drawn already.
        unsent: What goes to PostgreSQL before its next step.
        shadow: The private copies.
    """

    implicit: bool
    began: float
    commits: int
    seed: str = field(default_factory=lambda: secrets.token_hex(8))
    status: Status = Status.NEW
    log: list[Entry] = field(default_factory=list)
    lost: bool = False
    writes: bool = False
    definitions: int = 0
    rows: int = 0
    size: int = 0
    commit_delay: float | None = None
    unsent: list[Part] = field(default_factory=list)
    shadow: Shadow | None = None

    @property
    def names(self) -> frozenset[str]:
        """Every identifier in what has to be repeated."""
        return frozenset().union(*(entry.step.names for entry in self.log))


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
        self._renderer = Renderer()
        self._backend = asyncio.Lock()  # who may talk to PostgreSQL
        self._transaction: Transaction | None = None
        self._out = bytearray()
        self._skipping = False  # to the next Sync
        self._simple = False  # whether the unit is a Query
        self._completion = 0  # bytes of the CommandComplete that is last in what goes out, in a simple Query
        self._seen: int | None = None  # the version of the schema that this session last looked at
        self._copying: Step | None = None
        self._copy_data = bytearray()
        self._copy_overflow = False

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
            refusal = await self._stale(step) or self._fault()
            if refusal is not None:
                self._cutter.not_run([op for each in steps for op in each.ops])
                self._error(refusal)
                self._out += protocol.ready(_IDLE)
                self._flush()
                return
        if unit.ends == _QUERY or len(steps) == 1:
            parts = [self._client_part(steps[0])]
        elif steps:
            merged = Step(Kind.READ, ops=[op for step in steps for op in step.ops])
            parts = [self._client_part(merged)]
        else:
            parts = [Part(protocol.SYNC, b"")]
        async with self._backend:
            (reply,) = await self._talk.exchange(*parts, hold=_HOLD)
        self._show(reply)
        if reply.error is not None:
            self._cutter.not_run([op for step in steps for op in step.ops][reply.answered :])
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
        refusal = step.refusal or self._rule(step) or await self._stale(step) or self._fault()
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
            *_, reply = await self._talk.exchange(*unsent, self._client_part(step), hold=_HOLD)
        self._show(reply)
        if reply.error is not None:
            self._cutter.not_run(step.ops[reply.answered :])
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
        holds_turn = await self._enter(transaction, writing=False)
        try:
            try:
                if transaction.status is Status.TAKEN_BACK and not await self._repeat(transaction):
                    self._db.turn.give()
                    holds_turn = False
                    await self._lose(transaction, step.names)
                elif holds_turn:
                    self._db.turn.give()
                    holds_turn = False
                reply = await self._exchange_in_place(transaction, step)
            except Uncopyable:
                return await self._fail(refusals.CONFLICT)
            if transaction.status is Status.NEW:
                transaction.status = Status.READING
            return self._done(transaction, step, reply)
        finally:
            self._backend.release()
            if holds_turn:
                self._db.turn.give()

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
            if reply.error is None and not _wrote_nothing(step, reply):
                transaction.log.append(Entry(step, reply.tags, reply.rows))
                if transaction.status is not Status.SHADOW:
                    transaction.status = Status.LIVE
                refusal = self._count(transaction, step, reply)
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
        if transaction.status is Status.TAKEN_BACK and not await self._repeat(transaction):
            turn.give()
            await self._lose(transaction, step.names)
        reply = await self._exchange_in_place(transaction, step)
        if transaction.status is not Status.SHADOW and await self._is_conflict(transaction, step, reply):
            turn.give()  # copying needs none: the others go on meanwhile
            await self._lose(transaction, step.names)
            reply = await self._exchange_in_place(transaction, step)
            if _wrote_nothing(step, reply):
                # ON CONFLICT DO NOTHING met a row of the snapshot: that is no write, and nothing is lost.
                await self._not_lost(transaction)
        if transaction.status is Status.SHADOW and reply.sqlstate in _LOST:
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
                _, reply = await self._talk.exchange(_BEGIN, self._client_part(step))
                refusal = None
                if reply.error is None:
                    transaction.log.append(Entry(step, reply.tags, reply.rows))
                    refusal = self._count(transaction, step, reply) or await self._too_large(transaction)
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
            self._cutter.not_run(step.ops[reply.answered :])
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
            self._seen = self._db.schema.version

    async def _exchange_in_place(self, transaction: Transaction, step: Step) -> Reply:
        """Run a step where the transaction is at work: in the tables, or in its copies."""
        unsent = self._take_unsent()
        if transaction.status is Status.NEW:
            transaction.commits = self._db.commits
            unsent.append(_MARK)
        if not transaction.log and not step.reads and transaction.status in (Status.NEW, Status.READING):
            unsent.append(self._seeding(transaction))
        if transaction.status is Status.SHADOW_TAKEN_BACK:
            await self._lose(transaction, step.names)
        cut = None
        if transaction.status is Status.SHADOW and transaction.shadow is not None:
            await self._copy(transaction, step.names if not step.reads else self._views(step))
            cut = transaction.shadow.cut
        hold = _HOLD_IN_TRANSACTION if step.reads else None
        *_, reply = await self._talk.exchange(*unsent, self._client_part(step, cut), hold=hold)
        return reply

    def _done(self, transaction: Transaction, step: Step, reply: Reply) -> bool:
        self._show(reply)
        if reply.error is None:
            return True
        transaction.status = Status.FAILED
        self._cutter.not_run(step.ops[reply.answered :])
        return False

    def _seeding(self, transaction: Transaction) -> Part:
        seed = transaction.seed
        return _hidden(
            f"SELECT pg_catalog.setseed({int(seed, 16) / 2**64:.12f}), "
            f"pg_catalog.set_config('dsql_gateway.seed', '{seed}', true), "
            "pg_catalog.set_config('dsql_gateway.drawn', '0', true)"
        )

    # --- giving back and doing again ------------------------------------------------------------------

    async def give_back(self) -> None:
        """Let go of everything that others may wait for, if the client's transaction is at rest."""
        transaction = self._transaction
        async with self._backend:
            if transaction is None or transaction is not self._transaction or transaction.unsent:
                return
            if transaction.status not in (Status.READING, Status.LIVE, Status.SHADOW):
                return
            try:
                await self._talk.exchange(_TO_MARK)
            except BackendGone:
                return
            if transaction.status is Status.LIVE:
                transaction.status = Status.TAKEN_BACK
            elif transaction.status is Status.SHADOW:
                transaction.status = Status.SHADOW_TAKEN_BACK

    async def _repeat(self, transaction: Transaction) -> bool:
        """Do again what was taken back; False if it does not come to the same. The turn is held."""
        parts = [self._seeding(transaction)]
        parts += [Part(*again(entry.step), digest=True) for entry in transaction.log]
        self._renderer.lost_unnamed()
        _, *replies = await self._talk.exchange(*parts)
        if all(entry.same(reply) for entry, reply in zip(transaction.log, replies, strict=True)):
            transaction.status = Status.LIVE
            return not await self._has_doubles(transaction)
        return False

    async def _is_conflict(self, transaction: Transaction, step: Step, reply: Reply) -> bool:
        """Whether PostgreSQL's answer is about what others committed behind the snapshot."""
        if reply.error is not None:
            code = reply.sqlstate
            moved = self._db.commits != transaction.commits
            return code in _LOST or (code in _DOUBTFUL and moved)
        return _takes_keys(step) and await self._has_doubles(transaction, step)

    async def _has_doubles(self, transaction: Transaction, step: Step | None = None) -> bool:
        """Whether a key is there twice.

        PostgreSQL's snapshots allow it: a row that is still visible may have been deleted by a later commit, and
        then nothing stops an INSERT of its key.
        """
        names: set[str] = set(step.names) if step is not None else set()
        for entry in transaction.log:
            if _takes_keys(entry.step):
                names |= entry.step.names
        freed = {name for name in names if self._db.freed.get(name, -1) > transaction.commits}
        if not freed:
            return False
        relations = await self._db.schema.relations()
        queries = []
        for relation in relations.named(freed):
            table = f"{_quoted(relation.schema)}.{_quoted(relation.name)}"
            for key in relation.unique:
                columns = ", ".join(map(_quoted, key))
                present = " AND ".join(f"{_quoted(column)} IS NOT NULL" for column in key)
                queries.append(
                    f"EXISTS (SELECT 1 FROM {table} WHERE {present} GROUP BY {columns} "  # noqa: S608 - quoted
                    "HAVING count(*) > 1)"
                )
        if not queries:
            return False
        return await self._ask(f"SELECT {' OR '.join(queries)}") == b"t"

    async def _ask(self, sql: str) -> bytes | None:
        """One value, in the client's transaction."""
        part = Part(protocol.execute_hidden(sql.encode()), protocol.HIDDEN_KINDS)
        (reply,) = await self._talk.exchange(part)
        for kind, body in protocol.messages(bytes(reply.shown)):
            if kind == ord("D"):
                return body[6 : 6 + protocol.length_at(body, 2)[0]]
        return None

    # --- having lost ----------------------------------------------------------------------------------

    async def _lose(self, transaction: Transaction, names: frozenset[str]) -> None:
        """Go on with private copies.

        Raises:
            Uncopyable: If that would not give what DSQL gives.
        """
        transaction.lost = True
        await self._talk.exchange(_TO_MARK)
        transaction.status = Status.SHADOW
        transaction.shadow = Shadow(await self._db.schema.relations(), self._db.reader)
        await self._copy(transaction, names | transaction.names)
        parts = [self._seeding(transaction)]
        parts += [Part(*again(entry.step, transaction.shadow.cut), digest=True) for entry in transaction.log]
        self._renderer.lost_unnamed()
        _, *replies = await self._talk.exchange(*parts)
        if not all(entry.same(reply) for entry, reply in zip(transaction.log, replies, strict=True)):
            raise Uncopyable

    async def _not_lost(self, transaction: Transaction) -> None:
        """Give the private copies up again."""
        await self._talk.exchange(_TO_MARK)
        transaction.lost = False
        transaction.shadow = None
        transaction.status = Status.TAKEN_BACK if transaction.log else Status.READING

    async def _copy(self, transaction: Transaction, names: frozenset[str]) -> None:
        shadow = transaction.shadow
        relations = shadow.needed(names) if shadow is not None else []
        if shadow is None or not relations:
            return
        tables = ", ".join(str(relation.oid) for relation in relations if relation.kind == "r")
        size = await self._ask(
            f"SELECT coalesce(sum(pg_table_size(oid)), 0) FROM unnest(ARRAY[{tables}]::oid[]) oid"  # noqa: S608
        )
        if size is None or int(size) > LARGEST_COPY:
            raise Uncopyable
        (reply,) = await self._talk.exchange(Part(protocol.query(shadow.script(relations)), b"Q", shown=(False,)))
        self._renderer.lost_unnamed()
        if reply.error is not None:
            raise Uncopyable

    def _views(self, step: Step) -> frozenset[str]:
        # A table that is only read need not be copied: its rows are those of the snapshot. A view must be, since
        # it reads the tables and not their copies.
        relations = self._db.schema.known
        return frozenset(
            name for name in step.names if any(each.kind == "v" for each in relations.by_name.get(name, ()))
        )

    # --- COMMIT ---------------------------------------------------------------------------------------

    async def _commit(self, step: Step | None) -> bool:
        """End the transaction; with `step` the client's COMMIT is answered, without it only errors are shown."""
        transaction = self._must()
        if transaction.status is Status.FAILED:
            return await self._roll_back(None)
        if not transaction.writes:
            return await self._commit_reading(step)
        refusal = self._too_old(transaction) or self._stale_commit()
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
                (reply,) = await self._talk.exchange(_COMMIT if step is None else self._client_part(step))
                if reply.sqlstate in _LOST:
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
        if (refusal := self._stale_commit()) is not None:
            return refusal
        if transaction.lost:
            return refusals.CONFLICT
        if transaction.status is Status.TAKEN_BACK:
            if not await self._repeat(transaction):
                return refusals.CONFLICT
        elif await self._has_doubles(transaction):
            return refusals.CONFLICT
        return await self._too_large(transaction)

    async def _commit_reading(self, step: Step | None) -> bool:
        async with self._backend:
            part = _COMMIT if step is None else self._client_part(step)
            *_, reply = await self._talk.exchange(*self._take_unsent(), part)
        self._over()
        return self._committed(step, reply)

    async def _roll_back(self, refusal: Refusal | None, step: Step | None = None) -> bool:
        """End the transaction without its effects."""
        parts: list[Part] = []
        if step is not None and step.sql is None:
            # What comes before the Execute is answered as ever.
            parts.append(self._client_part(Step(Kind.READ, ops=[op for op in step.ops if op.kind != _EXECUTE])))
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

    def _rule(self, step: Step) -> Refusal | None:
        """DSQL's rules over the statements of one transaction."""
        transaction = self._transaction
        if transaction is None:
            return None
        if (refusal := self._too_old(transaction)) is not None:
            return refusal
        if step.kind is Kind.DDL:
            if transaction.definitions:
                return refusals.SECOND_DDL
            if transaction.writes:
                return refusals.DDL_AND_DML
        elif transaction.definitions and _writes(step):
            return refusals.DDL_AND_DML
        return None

    def _too_old(self, transaction: Transaction) -> Refusal | None:
        limit = self._db.limits.transaction_seconds
        age = self._clock.session_time() - transaction.began
        if limit is None or age <= limit:
            return None
        return refusals.transaction_age(age, limit)

    async def _too_large(self, transaction: Transaction) -> Refusal | None:
        """Whether it wrote more bytes than it may.

        What the client sent is counted always. What PostgreSQL made of it is measured, where many rows were
        written: each as text, with its new values.
        """
        limit = self._db.limits.transaction_bytes
        if limit is None:
            return None
        size = transaction.size
        if transaction.rows >= _MANY_ROWS and size <= limit:
            relations = await self._db.schema.relations()
            tables = [each for each in relations.named(transaction.names) if each.kind == "r"]
            sizes = " UNION ALL ".join(
                f"SELECT sum(octet_length(t::text)) AS size FROM {_quoted(each.schema)}.{_quoted(each.name)} t "  # noqa: S608
                "WHERE t.xmin::text::int8 >= (SELECT pg_current_xact_id_if_assigned()::text::int8 % 4294967296)"
                for each in tables
            )
            if sizes:
                measured = await self._ask(f"SELECT coalesce(sum(size), 0) FROM ({sizes}) sizes")  # noqa: S608
                size = max(size, int(measured or 0))
        return refusals.transaction_size(size, limit) if size > limit else None

    def _count(self, transaction: Transaction, step: Step, reply: Reply) -> Refusal | None:
        """Count what a step wrote; tells whether it is too much, with the answers to show cut accordingly."""
        transaction.writes = transaction.writes or _writes(step)
        transaction.definitions += step.kind is Kind.DDL
        if _writes(step):
            transaction.size += step.size
        longest = self._db.limits.row_bytes
        if longest is not None and step.size > longest and sum(map(protocol.rows_of, reply.tags)) == 1:
            del reply.shown[:]
            return refusals.ROW_SIZE
        limit = self._db.limits.transaction_rows
        for tag, end in zip(reply.tags, [0, *reply.ends], strict=False):
            transaction.rows += protocol.rows_of(tag)
            if limit is not None and transaction.rows > limit:
                del reply.shown[end:]
                return refusals.TOO_MANY_ROWS
        return None

    async def _stale(self, step: Step) -> Refusal | None:
        """Whether the schema has changed since this session last looked at it; looking clears it."""
        if step.reads and not step.statements:
            return None
        relations = await self._db.schema.relations()
        looks = step.kind is Kind.DDL or any(name in relations.by_name for name in step.names)
        if not looks:
            return None
        seen, self._seen = self._seen, self._db.schema.version
        if seen is None or seen == self._seen:
            return None
        return refusals.SCHEMA_CONFLICT

    def _stale_commit(self) -> Refusal | None:
        if self._seen is None or self._seen == self._db.schema.version:
            return None
        self._seen = self._db.schema.version
        return refusals.SCHEMA_CONFLICT

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
        mark, undo = _hidden('SAVEPOINT "dsql copy"'), _hidden('ROLLBACK TO SAVEPOINT "dsql copy"')
        release = _hidden('RELEASE SAVEPOINT "dsql copy"')
        probe = Part(protocol.query_bytes(step.sql) + protocol.message(b"f", b"\0"), b"Q", shown=(False,))
        async with self._backend:
            unsent = self._take_unsent()
            if transaction.status is Status.NEW:
                transaction.commits = self._db.commits
                transaction.status = Status.READING
                unsent.append(_MARK)
            replies = await self._talk.exchange(*unsent, mark, probe, undo, release)
            self._renderer.lost_unnamed()
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
        self._copying = step
        self._copy_data.clear()
        self._copy_overflow = False
        return True

    async def _fail_copy_extended(self, step: Step) -> bool:
        self._cutter.not_run(step.ops)
        async with self._backend:
            return await self._fail(refusals.COPY_EXTENDED)

    def copy_data(self, raw: bytes) -> None:
        """Take a CopyData message."""
        limit = self._db.limits.transaction_bytes
        if limit is not None and len(self._copy_data) + len(raw) > limit:
            self._copy_overflow = True
            self._copy_data.clear()
        if not self._copy_overflow:
            self._copy_data += raw

    async def end_copy(self, raw: bytes) -> None:
        """Run the COPY: its data, and the client's CopyDone or CopyFail, are here."""
        step, self._copying = self._copying, None
        if step is None or step.sql is None:
            return
        if self._copy_overflow:
            limit = self._db.limits.transaction_bytes or 0
            await self._refuse(refusals.transaction_size(limit + 1, limit))
        else:
            data = bytes(self._copy_data) + raw
            self._copy_data.clear()
            copy = Step(Kind.WRITE, step.sql, statements=step.statements, size=len(data), after=data)
            if self._transaction is None:
                await self._autocommit(copy)
            else:
                await self._write(copy)
        await self._end_unit(_QUERY)

    # --- to the client --------------------------------------------------------------------------------

    def _client_part(self, step: Step, cut: Callable[[bytes, Statement], bytes] | None = None) -> Part:
        data, kinds, shown = self._renderer.render(step, cut)
        return Part(data, kinds, shown, step.tag, digest=not step.reads)

    def _take_unsent(self) -> list[Part]:
        transaction = self._transaction
        if transaction is None or not transaction.unsent:
            return []
        unsent, transaction.unsent = transaction.unsent, []
        return unsent

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


class _HeldTurn:
    """The turn to write, which may be given up early and is given up once."""

    def __init__(self, turn: Turn, *, held: bool) -> None:
        self._turn = turn
        self._held = held

    def give(self) -> None:
        if self._held:
            self._held = False
            self._turn.give()


def _writes(step: Step) -> bool:
    if step.kind in (Kind.SETTING, Kind.CURSOR):
        return any(statement.locks for statement in step.statements)
    return not step.reads


def _takes_keys(step: Step) -> bool:
    return any(statement.inserts or statement.updates for statement in step.statements)


def _wrote_nothing(step: Step, reply: Reply) -> bool:
    """Whether it met no row: then it did nothing that could conflict, or would have to be done again.

    A WITH may have written more than its tag tells.
    """
    if any(statement.compound or statement.command not in _PLAIN for statement in step.statements):
        return False
    return bool(reply.tags) and all(
        tag.startswith((b"INSERT", b"UPDATE", b"DELETE")) and protocol.rows_of(tag) == 0 for tag in reply.tags
    )


def _kind_of(refusal: Refusal) -> str:
    if refusal in (refusals.CONFLICT, refusals.SCHEMA_CONFLICT):
        return "conflict" if refusal is refusals.CONFLICT else "schema-conflict"
    return "limit" if refusal.sqlstate == "54000" else "refused-statement"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
