"""What a transaction has done in PostgreSQL: given back, done again, or done on private copies.

PostgreSQL locks the rows that a statement writes and fails who comes too late. DSQL does neither. So
(docs/decisions/0009) whatever a transaction does stands behind a savepoint that stands behind its snapshot:
rolling back to it frees every lock and keeps the snapshot, and what was done can be done again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dsql_fast.local import _protocol as protocol
from dsql_fast.local._conversation import Part
from dsql_fast.local._schema import quoted
from dsql_fast.local._shadow import LARGEST_COPY, Shadow, Uncopyable
from dsql_fast.local._steps import Renderer, again
from dsql_fast.local._transaction import Status

if TYPE_CHECKING:
    from dsql_fast.local._conversation import Conversation, Reply
    from dsql_fast.local._database import Database
    from dsql_fast.local._statements import Statement
    from dsql_fast.local._steps import Cut, Step
    from dsql_fast.local._transaction import Transaction

# What is kept of a result in a transaction, since it may have to be asked for again.
_HOLD = 16 * 1024 * 1024
# PostgreSQL may say these over what was committed behind the snapshot: unique, foreign key and exclusion
# violations; and these say it plainly: serialization failure, deadlock, lock not available.
_DOUBTFUL = frozenset({"23505", "23503", "23P01"})
LOST = frozenset({"40001", "40P01", "55P03"})


def hidden(sql: str) -> Part:
    """A statement of the gateway's own, whose answers no client sees."""
    return Part(protocol.execute_hidden(sql.encode()), protocol.HIDDEN_KINDS, shown=(False,))


MARK = hidden('SAVEPOINT "dsql gateway"')
_TO_MARK = hidden('ROLLBACK TO SAVEPOINT "dsql gateway"')


class Effects:
    """The effects of one session's transactions. The caller holds the backend, and the turn where it says so.

    Args:
        conversation: To the backend.
        database: What all sessions share.
    """

    def __init__(self, conversation: Conversation, database: Database) -> None:
        self._talk = conversation
        self._db = database
        self.renderer = Renderer()

    def part(self, step: Step, cut: Cut | None = None, *, anew: bool = False) -> Part:
        """A step as messages; `anew` where it was run before, to no effect."""
        data, kinds, shown = self.renderer.render(step, cut, anew=anew)
        return Part(data, kinds, shown, step.tag, digest=not step.reads)

    async def run(self, transaction: Transaction, step: Step, *, anew: bool = False) -> Reply:
        """Run a step where the transaction is at work: in the tables, or in its copies.

        Raises:
            Uncopyable: If it needs copies that cannot be made.
        """
        unsent = transaction.take_unsent()
        if transaction.status is Status.NEW:
            transaction.commits = self._db.commits
            unsent.append(MARK)
        if not transaction.log and not step.reads and transaction.status in (Status.NEW, Status.READING):
            unsent.append(_seeding(transaction))
        if transaction.status is Status.SHADOW_TAKEN_BACK:
            await self.move(transaction, step.names)
        cut = None
        if transaction.status is Status.SHADOW and transaction.shadow is not None:
            await self._copy(transaction.shadow, step.names if not step.reads else self._views(step))
            cut = transaction.shadow.cut
        hold = _HOLD if step.reads else None
        return await self.exchange(unsent, step, self.part(step, cut, anew=anew), hold=hold)

    async def exchange(self, ahead: list[Part], step: Step, part: Part, *, hold: int | None = None) -> Reply:
        """Send a step and what goes ahead of it; have its rows counted where its tags may not tell all.

        PostgreSQL counts what a session does to each table. Work that was rolled back stays in the count, and so
        may that of transactions before: what counts is the difference, before and after.
        """
        if not self._writes_beside(step):
            *_, reply = await self._talk.exchange(*ahead, part, hold=hold)
            return reply
        *_, before, reply, after = await self._talk.exchange(*ahead, _COUNT, part, _COUNT, hold=hold)
        if reply.error is None:
            told = sum(map(protocol.rows_of, reply.tags))
            reply.beside = (
                int(protocol.first_value(after.shown) or 0) - int(protocol.first_value(before.shown) or 0) - told
            )
        return reply

    def _writes_beside(self, step: Step) -> bool:
        known = self._db.schema.known
        return any(
            (statement.compound and (statement.inserts or statement.updates or statement.deletes))
            or known.cascades(statement)
            or not statement.names.isdisjoint(known.functions)
            for statement in step.run
        )

    async def give_back(self, transaction: Transaction) -> None:
        """Undo everything but the snapshot, and with it every lock."""
        await self._talk.exchange(_TO_MARK)
        if transaction.status is Status.LIVE:
            transaction.status = Status.TAKEN_BACK
        elif transaction.status is Status.SHADOW:
            transaction.status = Status.SHADOW_TAKEN_BACK

    async def repeat(self, transaction: Transaction) -> bool:
        """Do again what was given back; False if it does not come to the same. The turn is held."""
        if await self._log_again(transaction, None):
            transaction.status = Status.LIVE
            return not await self.has_doubles(transaction)
        return False

    async def _log_again(self, transaction: Transaction, cut: Cut | None) -> bool:
        parts = [_seeding(transaction)]
        parts += [Part(*again(entry.step, cut), digest=True) for entry in transaction.log]
        self.renderer.lost_unnamed()
        _, *replies = await self._talk.exchange(*parts)
        return all(entry.same(reply) for entry, reply in zip(transaction.log, replies, strict=True))

    # --- conflicts ------------------------------------------------------------------------------------

    async def is_conflict(self, transaction: Transaction, step: Step, reply: Reply) -> bool:
        """Whether PostgreSQL's answer is about what others committed behind the snapshot."""
        if reply.error is not None:
            code = reply.sqlstate
            moved = self._db.commits != transaction.commits
            return code in LOST or (code in _DOUBTFUL and moved)
        return await self._has_doubles_in(transaction, self._takes_keys_in(step))

    async def has_doubles(self, transaction: Transaction) -> bool:
        """Whether a key is there twice.

        PostgreSQL's snapshots allow it: a row that is still visible may have been deleted by a later commit, or
        given another key, and then nothing stops an INSERT of its key.
        """
        return await self._has_doubles_in(
            transaction, frozenset().union(*(self._takes_keys_in(entry.step) for entry in transaction.log))
        )

    def _takes_keys_in(self, step: Step) -> frozenset[str]:
        """The names of what it may have put a key into."""
        if any(statement.inserts or self._db.schema.known.rekeys(statement) for statement in step.run):
            return step.names
        return frozenset()

    async def _has_doubles_in(self, transaction: Transaction, names: frozenset[str]) -> bool:
        freed = {name for name in names if self._db.freed.get(name, -1) > transaction.commits}
        if not freed:
            return False
        relations = await self._db.schema.relations()
        queries = []
        for relation in relations.named(freed):
            table = relation.qualified
            for key in relation.unique:
                same = " AND ".join(f"mine.{quoted(column)} = other.{quoted(column)}" for column in key)
                queries.append(
                    f"EXISTS (SELECT 1 FROM {table} mine WHERE {_MINE} AND EXISTS "  # noqa: S608 - quoted
                    f"(SELECT 1 FROM {table} other WHERE {same} AND other.ctid <> mine.ctid))"
                )
        if not queries:
            return False
        return await self._ask(f"SELECT {' OR '.join(queries)}") == "t"

    async def written_bytes(self, transaction: Transaction) -> int:
        """How large the rows are that it wrote, as text."""
        relations = await self._db.schema.relations()
        sizes = " UNION ALL ".join(
            f"SELECT sum(octet_length(mine::text)) AS size FROM {each.qualified} mine "  # noqa: S608
            f"WHERE {_MINE}"
            for each in relations.named(transaction.names)
            if each.kind == "r"
        )
        if not sizes:
            return 0
        measured = await self._ask(f"SELECT coalesce(sum(size), 0) FROM ({sizes}) sizes")  # noqa: S608
        return int(measured or 0)

    async def _ask(self, sql: str) -> str | None:
        """One value, in the client's transaction."""
        (reply,) = await self._talk.exchange(Part(protocol.execute_hidden(sql.encode()), protocol.HIDDEN_KINDS))
        return protocol.first_value(reply.shown)

    # --- private copies -------------------------------------------------------------------------------

    async def move(self, transaction: Transaction, names: frozenset[str]) -> None:
        """Move to private copies of the tables with these names, and of those that its effects are in.

        Raises:
            Uncopyable: If that would not give what DSQL gives; its effects are given back then.
        """
        await self._talk.exchange(_TO_MARK)
        transaction.status = Status.TAKEN_BACK
        shadow = Shadow(await self._db.schema.relations(), self._db.reader)
        await self._copy(shadow, names | transaction.names)
        if not await self._log_again(transaction, shadow.cut):
            raise Uncopyable
        transaction.status = Status.SHADOW
        transaction.shadow = shadow

    async def move_back(self, transaction: Transaction) -> None:
        """Give the private copies up again."""
        await self._talk.exchange(_TO_MARK)
        transaction.shadow = None
        transaction.status = Status.TAKEN_BACK if transaction.log else Status.READING

    async def _copy(self, shadow: Shadow, names: frozenset[str]) -> None:
        relations = shadow.needed(names)
        if not relations:
            return
        tables = ", ".join(str(relation.oid) for relation in relations if relation.kind == "r")
        size = await self._ask(
            f"SELECT coalesce(sum(pg_table_size(oid)), 0) FROM unnest(ARRAY[{tables}]::oid[]) oid"  # noqa: S608
        )
        if size is None or int(size) > LARGEST_COPY:
            raise Uncopyable
        (reply,) = await self._talk.exchange(Part(protocol.query(shadow.script(relations)), b"Q", shown=(False,)))
        self.renderer.lost_unnamed()
        if reply.error is not None:
            raise Uncopyable

    def _views(self, step: Step) -> frozenset[str]:
        # A table that is only read need not be copied: its rows are those of the snapshot. A view must be, since
        # it reads the tables and not their copies.
        relations = self._db.schema.known
        return frozenset(
            name for name in step.names if any(each.kind == "v" for each in relations.by_name.get(name, ()))
        )


# Rows that this session has written, in tables of users and in private copies; asks no lock.
_COUNT = Part(
    protocol.execute_hidden(
        b"SELECT coalesce(pg_catalog.sum(pg_catalog.pg_stat_get_xact_tuples_inserted(oid) "
        b"+ pg_catalog.pg_stat_get_xact_tuples_updated(oid) "
        b"+ pg_catalog.pg_stat_get_xact_tuples_deleted(oid)), 0) "
        b"FROM pg_catalog.pg_class WHERE relkind = 'r' AND oid >= 16384"
    ),
    protocol.HIDDEN_KINDS,
)


# The rows that this transaction wrote: whatever else it sees was written under an older number. (Its savepoints
# have numbers of their own, all above its own.) A scan of the whole table is needed for it, so each row counts:
# with age() it takes 0.6 times as long as with numbers made of them (160,000 rows).
_MINE = "pg_catalog.age(mine.xmin) <= (SELECT pg_catalog.age(pg_catalog.pg_current_xact_id_if_assigned()::xid))"


def _seeding(transaction: Transaction) -> Part:
    seed = transaction.seed
    return hidden(
        f"SELECT pg_catalog.setseed({int(seed, 16) / 2**64:.12f}), "
        f"pg_catalog.set_config('dsql_gateway.seed', '{seed}', true), "
        "pg_catalog.set_config('dsql_gateway.drawn', '0', true)"
    )


def wrote_nothing(step: Step, reply: Reply) -> bool:
    """Whether it met no row: then it did nothing that could conflict, or would have to be done again.

    A WITH may have written more than its tag tells.
    """
    if any(not _is_plain(statement) for statement in step.statements):
        return False
    return bool(reply.tags) and all(
        tag.startswith((b"INSERT", b"UPDATE", b"DELETE")) and protocol.rows_of(tag) == 0 for tag in reply.tags
    )


def _is_plain(statement: Statement) -> bool:
    return not statement.compound and statement.command in ("INSERT", "UPDATE", "DELETE")
