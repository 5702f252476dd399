"""What DSQL says to a step because of what was before it: the rules and limits of transactions, a stale schema."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dsql_fast.local import _protocol as protocol
from dsql_fast.local import _refusals as refusals
from dsql_fast.local._statements import Kind

if TYPE_CHECKING:
    from dsql_fast.local._clock import ClusterClock
    from dsql_fast.local._conversation import Reply
    from dsql_fast.local._database import Database
    from dsql_fast.local._effects import Effects
    from dsql_fast.local._refusals import Refusal
    from dsql_fast.local._schema import Relations
    from dsql_fast.local._statements import Statement
    from dsql_fast.local._steps import Step
    from dsql_fast.local._transaction import Transaction

# From so many rows on, what PostgreSQL made of them is measured.
_MANY_ROWS = 10
# A value is at most so many times as long as what was sent for it, in either format (quotes double, and so do
# bytes); but for what is short in any case, such as a date, a number, or a default that the schema knows.
_MOST_SPELT = 4
_MOST_SHORT = 64  # bytes


class Verdicts:
    """Judges one session's steps.

    Args:
        database: What all sessions share: the limits and the schema.
        clock: Ages transactions.
        effects: Measures what was written.
    """

    def __init__(self, database: Database, clock: ClusterClock, effects: Effects) -> None:
        self._db = database
        self._clock = clock
        self._effects = effects
        self._seen: int | None = None  # the version of the schema that this session last looked at

    async def before(self, transaction: Transaction | None, step: Step) -> Refusal | None:
        """What is said in place of running a step."""
        if step.refusal is not None:
            return step.refusal
        if transaction is not None and (refusal := self._rule(transaction, step)) is not None:
            return refusal
        return await self.stale(step)

    def _rule(self, transaction: Transaction, step: Step) -> Refusal | None:
        if (refusal := self.too_old(transaction)) is not None:
            return refusal
        if step.kind is Kind.DDL:
            if transaction.definitions:
                return refusals.SECOND_DDL
            if transaction.writes:
                return refusals.DDL_AND_DML
        elif transaction.definitions and writes(step):
            return refusals.DDL_AND_DML
        return None

    async def stale(self, step: Step) -> Refusal | None:
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

    def stale_commit(self) -> Refusal | None:
        """The same at COMMIT."""
        if self._seen is None or self._seen == self._db.schema.version:
            return None
        self._seen = self._db.schema.version
        return refusals.SCHEMA_CONFLICT

    def has_defined(self) -> None:
        """The session itself has changed the schema."""
        self._seen = self._db.schema.version

    def count(self, transaction: Transaction, step: Step, reply: Reply) -> Refusal | None:
        """Count what a step wrote; tells whether it is too much, with the answers to show cut accordingly."""
        transaction.writes = transaction.writes or writes(step)
        transaction.definitions += step.kind is Kind.DDL
        if writes(step):
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
        transaction.rows += reply.beside
        if limit is not None and transaction.rows > limit:
            del reply.shown[[0, 0, *reply.ends][-2] :]  # where the last answer begins
            return refusals.TOO_MANY_ROWS
        return None

    def too_old(self, transaction: Transaction) -> Refusal | None:
        """Whether it has lasted longer than it may."""
        limit = self._db.limits.transaction_seconds
        age = self._clock.session_time() - transaction.began
        if limit is None or age <= limit:
            return None
        return refusals.transaction_age(age, limit)

    async def too_large(self, transaction: Transaction) -> Refusal | None:
        """Whether it wrote more bytes than it may.

        What the client sent is counted always. What PostgreSQL made of it is measured, where many rows were
        written: each as text, with its new values. That reads whole tables, so it is not done where what was sent
        tells that it cannot be too much.
        """
        limit = self._db.limits.transaction_bytes
        if limit is None:
            return None
        size = transaction.size
        if transaction.rows >= _MANY_ROWS and size <= limit and self._most_bytes(transaction) > limit:
            size = max(size, await self._effects.written_bytes(transaction))
        return refusals.transaction_size(size, limit) if size > limit else None

    def _most_bytes(self, transaction: Transaction) -> float:
        """A bound of what it wrote, as text; infinite where there is none that is told by what was sent."""
        known = self._db.schema.known
        lengths: dict[int, float] = {}  # of each statement; most are run many times
        most = 0.0
        for entry in transaction.log:
            most += entry.step.size * _MOST_SPELT
            for statement in entry.step.run:
                length = lengths.get(id(statement))
                if length is None:
                    length = lengths[id(statement)] = _most_spelt(statement, known)
                most += length
        columns = max((len(each.columns) for each in known.named(transaction.names)), default=0)
        return most + transaction.rows * columns * _MOST_SHORT


def _most_spelt(statement: Statement, known: Relations) -> float:
    """A bound of the constants that a statement writes, as text."""
    if not statement.verbatim or any(each.lengthens for each in known.named(statement.names)):
        return math.inf
    return (statement.end - statement.start) * _MOST_SPELT


def writes(step: Step) -> bool:
    """Whether it writes or locks rows."""
    if step.kind in (Kind.SETTING, Kind.CURSOR):
        return any(statement.locks for statement in step.statements)
    return not step.reads
