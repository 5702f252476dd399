"""Cuts what a client sends into steps: what is run, repeated and judged as one.

A simple Query has a step for each statement. In the extended protocol a step is a run of Executes of one
class with the messages before them; what begins, ends or redefines something is a step of its own, also in the
middle of a pipeline.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dsql_fast.local import _protocol as protocol
from dsql_fast.local._statements import Kind, Statement

if TYPE_CHECKING:
    from collections.abc import Callable

    from dsql_fast.local._refusals import Refusal
    from dsql_fast.local._statements import Reader

    # Changes the text of a statement.
    Cut = Callable[[bytes, Statement], bytes]

_PARSE, _BIND, _DESCRIBE, _EXECUTE, _CLOSE, _QUERY, _SYNC, _FLUSH = b"PBDECQSH"
# What neither changes data nor must be repeated: PREPARE outlives a rollback.
_READING = frozenset({Kind.EMPTY, Kind.READ, Kind.PREPARE})
# What is repeated when its effects were taken back. Settings and cursors are undone by a rollback, too.
_REPEATED = frozenset({Kind.WRITE, Kind.EXECUTE, Kind.SETTING, Kind.CURSOR})
# What PostgreSQL runs by itself outside a transaction block, as it is: nobody else can notice.
_NATIVE = _READING | {Kind.SETTING, Kind.CURSOR, Kind.COMMIT, Kind.ROLLBACK}


@dataclass(slots=True)
class Unit:
    """Messages of a client that are answered together.

    Attributes:
        messages: Type and whole message.
        ends: The type of the last: Query, Sync or Flush; 0 while there is none.
        size: Bytes.
    """

    messages: list[tuple[int, bytes]] = field(default_factory=list)
    ends: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A statement as a Parse gave it.

    Attributes:
        sql: The text to run.
        types: The parameter types as in the message.
        statement: What it is.
    """

    sql: bytes
    types: bytes
    statement: Statement


@dataclass(slots=True, eq=False)
class Portal:
    """A statement bound to its parameters.

    Attributes:
        name: Empty for the unnamed one.
        prepared: The statement.
        rest: The Bind message behind the two names.
        executed: Whether an Execute of it is in a step already.
    """

    name: bytes
    prepared: Prepared
    rest: bytes
    executed: bool = False


@dataclass(slots=True)
class Op:
    """One message of the extended protocol.

    Attributes:
        kind: Its type.
        raw: The message, in PostgreSQL's terms.
        name: Of the statement that is parsed, bound or described.
        prepared: The statement it is about, if that is known.
        portal: The portal it is about, if that is known.
        bound_here: For an Execute, whether its Bind is in the same step.
        first: For an Execute, whether it is the first of its portal.
        previous: For a Parse, what had the name before.
    """

    kind: int
    raw: bytes
    name: bytes = b""
    prepared: Prepared | None = None
    portal: Portal | None = None
    bound_here: bool = True
    first: bool = True
    previous: Prepared | None = None


@dataclass(slots=True)
class Step:
    """What is run as one.

    Attributes:
        kind: Of its statements; READ where nothing is executed.
        sql: The text of a simple Query; None in the extended protocol.
        ops: The messages of the extended protocol.
        statements: What is executed, in order.
        refusal: What is answered instead, or None.
        size: Bytes that the client sent for it.
        after: Messages that follow the Query: the data of a COPY.
        prepared: What an EXECUTE in it may run.
    """

    kind: Kind
    sql: bytes | None = None
    ops: list[Op] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)
    refusal: Refusal | None = None
    size: int = 0
    after: bytes = b""
    prepared: list[Statement] = field(default_factory=list)

    @property
    def names(self) -> frozenset[str]:
        """Every identifier in its statements."""
        if len(self.statements) == 1 and not self.prepared:
            return self.statements[0].names
        return frozenset().union(*(statement.names for statement in self.run))

    @property
    def run(self) -> list[Statement]:
        """Its statements, and those that an EXECUTE among them may run."""
        return self.statements + self.prepared

    @property
    def native(self) -> bool:
        """Whether PostgreSQL may run it outside a transaction block as it is."""
        return self.kind in _NATIVE and self.refusal is None

    @property
    def reads(self) -> bool:
        """Whether it leaves nothing that would have to be repeated."""
        return self.kind in _READING

    @property
    def tag(self) -> bytes | None:
        """The tag to show in place of PostgreSQL's."""
        return self.statements[0].tag if self.statements else None


class Cutter:
    """Knows the prepared statements and portals of a session, and cuts its units.

    Args:
        reader: Reads SQL.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._prepared: dict[bytes, Prepared] = {}
        self._portals: dict[bytes, Portal] = {}
        self._in_sql: dict[Statement, None] = {}  # PREPARE statements; a set that keeps its order

    def cut(self, unit: Unit) -> list[Step]:
        """Cut a unit into its steps."""
        steps = self._cut_query(unit.messages[0][1]) if unit.ends == _QUERY else self._cut_extended(unit)
        for step in steps:
            for statement in step.statements:
                if statement.command == "PREPARE":
                    self._in_sql[statement] = None
                elif statement.kind is Kind.EXECUTE:
                    # Which of its identifiers is the name is not told: all that may be meant.
                    step.prepared += [each for each in self._in_sql if each.names & statement.names]
        return steps

    def forget_portals(self) -> None:
        """Take note that a transaction ended, and all portals with it."""
        if self._portals:
            self._portals.clear()

    def not_run(self, ops: list[Op]) -> None:
        """Take back what was noted for messages that PostgreSQL refused or never got."""
        for op in reversed(ops):
            if op.kind == _PARSE:
                if op.previous is None:
                    self._prepared.pop(op.name, None)
                else:
                    self._prepared[op.name] = op.previous
            elif op.kind == _BIND:
                self._portals.pop(op.name, None)

    # --- simple ----------------------------------------------------------------------------------

    def _cut_query(self, raw: bytes) -> list[Step]:
        sql = raw[protocol.HEADER :].partition(b"\0")[0]
        self._prepared.pop(b"", None)  # a Query takes the unnamed statement's place
        self._portals.pop(b"", None)
        statements = self._reader.read(sql)
        steps = []
        for statement in statements:
            text = statement.replacement
            if text is None:
                text = sql if len(statements) == 1 else sql[statement.start : statement.end]
            size = statement.end - statement.start
            step = Step(statement.kind, text, statements=[statement], refusal=statement.refusal, size=size)
            steps.append(step)
            self._note_deallocated(statement)
        return steps

    # --- extended --------------------------------------------------------------------------------

    def _cut_extended(self, unit: Unit) -> list[Step]:
        steps: list[Step] = []
        ops: list[Op] = []
        size = 0
        for kind, raw in unit.messages:
            if kind in (_SYNC, _FLUSH):
                continue
            op = self._op(kind, raw)
            ops.append(op)
            size += len(raw)
            if kind == _PARSE and op.prepared is not None and op.prepared.statement.refusal is not None:
                # DSQL's parser says it, so at Parse.
                steps.append(Step(Kind.WRITE, ops=ops, refusal=op.prepared.statement.refusal, size=size))
            elif kind == _EXECUTE:
                self._executed(steps, ops, op, size)
            else:
                continue
            ops, size = [], 0
        if ops:
            steps.append(Step(Kind.READ, ops=ops, size=size))
        return steps

    def _executed(self, steps: list[Step], ops: list[Op], op: Op, size: int) -> None:
        """Make the messages up to an Execute a step, or a part of the last one."""
        portal = op.portal
        if portal is None:  # PostgreSQL says that there is none
            steps.append(Step(Kind.READ, ops=ops, size=size))
            return
        statement = portal.prepared.statement
        kind = statement.kind
        if kind is Kind.READ and portal.name and op.raw[-4:] != b"\0\0\0\0":
            kind = Kind.CURSOR  # rows in portions: how far it has come must survive
        op.first, portal.executed = not portal.executed, True
        self._note_deallocated(statement)
        last = steps[-1] if steps else None
        if last is not None and last.refusal is None and last.statements and _same_class(last.kind, kind):
            last.ops += ops
            last.statements.append(statement)
            last.size += size
            if kind is Kind.WRITE:
                last.kind = kind
        else:
            last = Step(kind, ops=ops, statements=[statement], size=size)
            steps.append(last)
        op.bound_here = any(other.kind == _BIND and other.portal is portal for other in reversed(last.ops))

    def _op(self, kind: int, raw: bytes) -> Op:
        body = raw[protocol.HEADER :]
        if kind == _PARSE:
            return self._parse(body)
        if kind == _BIND:
            return self._bound(raw, body)
        if kind == _EXECUTE:
            name = body.partition(b"\0")[0]
            return Op(kind, raw, name, portal=self._portals.get(name))
        is_statement, name = body[:1] == b"S", body[1:].partition(b"\0")[0]
        if kind == _CLOSE:
            known: dict[bytes, Any] = self._prepared if is_statement else self._portals
            known.pop(name, None)
        elif is_statement:
            return Op(kind, raw, name, prepared=self._prepared.get(name))
        return Op(kind, raw, name)

    def _bound(self, raw: bytes, body: bytes) -> Op:
        portal_name, _, rest = body.partition(b"\0")
        name, _, rest = rest.partition(b"\0")
        prepared = self._prepared.get(name)
        if prepared is None:
            self._portals.pop(portal_name, None)
            return Op(_BIND, raw, portal_name)
        portal = self._portals[portal_name] = Portal(portal_name, prepared, rest)
        return Op(_BIND, raw, portal_name, prepared, portal)

    def _parse(self, body: bytes) -> Op:
        name, _, rest = body.partition(b"\0")
        sql, _, types = rest.partition(b"\0")
        statement = self._reader.read(sql)[0]
        if statement.replacement is not None:
            sql = statement.replacement
        op = Op(_PARSE, protocol.parse(name, sql, types), name, Prepared(sql, types, statement))
        op.previous = self._prepared.get(name)
        if op.prepared is not None:
            self._prepared[name] = op.prepared
        return op

    def _note_deallocated(self, statement: Statement) -> None:
        if statement.command == "DEALLOCATE" and statement.names:
            self._in_sql = {each: None for each in self._in_sql if not each.names & statement.names}
            for name in statement.names:
                self._prepared.pop(name.encode(errors="surrogateescape"), None)
        elif statement.command == "DEALLOCATE" or (statement.command == "DISCARD" and not statement.names):
            self._prepared.clear()
            self._in_sql.clear()


def _same_class(left: Kind, right: Kind) -> bool:
    return (left in _READING and right in _READING) or (left in _REPEATED and right in _REPEATED)


class Renderer:
    """Turns steps into messages for PostgreSQL.

    It knows what PostgreSQL holds as the unnamed statement, because repetitions use it: before the client binds
    its own again, it is parsed anew.
    """

    def __init__(self) -> None:
        self._unnamed: Prepared | None = None

    def lost_unnamed(self) -> None:
        """Take note that a Query of the gateway destroyed the unnamed statement."""
        self._unnamed = None

    def render(
        self, step: Step, cut: Cut | None = None, *, anew: bool = False
    ) -> tuple[bytes, bytes, tuple[bool, ...] | None]:
        """Give the messages as the client sent them, with what was lost meanwhile put before them.

        Args:
            step: What to run.
            cut: Changes the texts of what is bound or queried; None leaves them.
            anew: Whether it was run before, to no effect. Named statements that it prepared are still there then.

        Returns:
            The messages, their types, and which of them the client sees the answers of; None for all.
        """
        if step.sql is not None:
            self._unnamed = None
            sql = step.sql if cut is None else cut(step.sql, step.statements[0])
            return protocol.query_bytes(sql) + step.after, b"Q", None
        out = _Messages()
        for op in step.ops:
            if op.kind == _PARSE and not op.name:
                self._unnamed = op.prepared
            elif op.kind == _PARSE and anew:
                out.add(_CLOSE, protocol.message(b"C", b"S" + op.name + b"\0"), show=False)
            elif op.kind == _BIND and op.portal is not None:
                self._bind(out, op.portal, op.raw, cut, show=True)
                continue
            elif op.kind == _EXECUTE and op.portal is not None and op.first and not op.bound_here:
                # Bound in an earlier unit, and perhaps taken back since.
                portal = op.portal
                out.add(_CLOSE, protocol.message(b"C", b"P" + portal.name + b"\0"), show=False)
                self._bind(out, portal, _bind_unnamed(portal), cut, show=False)
            elif op.kind == _DESCRIBE and op.prepared is not None and not op.name:
                self._have(out, op.prepared, op.prepared.sql)
            out.add(op.kind, op.raw, show=True)
        return b"".join(out.data) + protocol.SYNC, bytes(out.kinds), None if all(out.shown) else tuple(out.shown)

    def _bind(self, out: _Messages, portal: Portal, raw: bytes, cut: Cut | None, *, show: bool) -> None:
        prepared = portal.prepared
        text = prepared.sql if cut is None else cut(prepared.sql, prepared.statement)
        is_unnamed = raw[protocol.HEADER + len(portal.name) + 1] == 0
        if text != prepared.sql:
            self._have(out, prepared, text)
            raw = _bind_unnamed(portal)
        elif is_unnamed:
            self._have(out, prepared, text)
        out.add(_BIND, raw, show=show)

    def _have(self, out: _Messages, prepared: Prepared, text: bytes) -> None:
        """See to it that the unnamed statement is this one."""
        if self._unnamed is not prepared or text != prepared.sql:
            out.add(_PARSE, protocol.parse(b"", text, prepared.types), show=False)
            self._unnamed = prepared if text == prepared.sql else None


def again(step: Step, cut: Cut | None = None) -> tuple[bytes, bytes]:
    """Give messages that run a step's statements once more and need nothing that is there.

    Named statements outlive a rollback, but their names may mean others by now: all run as the unnamed one.
    A portal that an earlier step has begun to read is there, since that step is repeated first.

    Returns:
        The messages and their types.
    """
    if step.sql is not None:
        sql = step.sql if cut is None else cut(step.sql, step.statements[0])
        return protocol.query_bytes(sql) + step.after, b"Q"
    out = _Messages()
    held: Prepared | None = None
    for op in step.ops:
        if op.kind != _EXECUTE or op.portal is None:
            continue
        portal, prepared = op.portal, op.portal.prepared
        if op.first:
            if held is not prepared:
                text = prepared.sql if cut is None else cut(prepared.sql, prepared.statement)
                out.add(_PARSE, protocol.parse(b"", text, prepared.types), show=False)
                held = prepared
            if portal.name:
                out.add(_CLOSE, protocol.message(b"C", b"P" + portal.name + b"\0"), show=False)
            out.add(_BIND, _bind_unnamed(portal), show=False)
        out.add(_EXECUTE, op.raw, show=True)
    return b"".join(out.data) + protocol.SYNC, bytes(out.kinds)


def _bind_unnamed(portal: Portal) -> bytes:
    return protocol.message(b"B", portal.name + b"\0\0" + portal.rest)


class _Messages:
    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.kinds: list[int] = []
        self.shown: list[bool] = []

    def add(self, kind: int, raw: bytes, *, show: bool) -> None:
        self.data.append(raw)
        self.kinds.append(kind)
        self.shown.append(show)
