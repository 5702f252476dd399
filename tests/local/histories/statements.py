"""The statements of a history: each knows its SQL and, independently of it, what it does to a `View`.

The semantics are written down once more in Python on purpose: they are the oracle. That they are
PostgreSQL's is tested by histories of one client, in which nothing but SQL can go wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from local.histories.rows import Refused, Row, View, by_key

if TYPE_CHECKING:
    from collections.abc import Iterator

# Text with `{t}` for the table and %s for the parameters.
Sql: TypeAlias = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Answer:
    """What a statement said: its rows, in the order of their keys, and the count in its tag."""

    rows: tuple[tuple[Any, ...], ...] | None
    count: int


@dataclass(frozen=True)
class Where:
    """A condition on a row."""

    column: Literal["k", "u", "v"]
    low: int
    high: int

    @property
    def sql(self) -> Sql:
        if self.low == self.high:
            return f"{self.column} = %s", (self.low,)
        return f"{self.column} between %s and %s", (self.low, self.high)

    def of(self, view: View) -> list[Row]:
        at = "kuv".index(self.column)
        found = []
        for row in view.rows.values():
            value = row[at]
            if value is not None and self.low <= value <= self.high:
                found.append(row)
        return sorted(found)


@dataclass(frozen=True)
class Read:
    """Rows, by key, by unique value, or by what is in them; `lock` is FOR UPDATE."""

    where: Where
    lock: bool = False

    @property
    def can_touch(self) -> bool:
        return self.lock

    @property
    def sql(self) -> Sql:
        condition, values = self.where.sql
        return f"select k, u, v from {{t}} where {condition} order by k{' for update' * self.lock}", values

    def apply(self, view: View) -> Answer:
        rows = self.where.of(view)
        if self.lock:
            for row in rows:
                view.lock(row)
        return Answer(by_key(rows), len(rows))


@dataclass(frozen=True)
class Total:
    """An aggregate over the whole table."""

    can_touch: ClassVar[bool] = False

    @property
    def sql(self) -> Sql:
        return "select count(*), coalesce(sum(v), 0)::int from {t}", ()

    def apply(self, view: View) -> Answer:
        return Answer(((len(view.rows), sum(row[2] for row in view.rows.values())),), 1)


@dataclass(frozen=True)
class Change:
    """UPDATE of the value: to a number, or by a number."""

    can_touch: ClassVar[bool] = True
    where: Where
    number: int
    relative: bool = True
    returning: bool = False

    @property
    def sql(self) -> Sql:
        condition, values = self.where.sql
        to = "v + %s" if self.relative else "%s"
        text = f"update {{t}} set v = {to} where {condition}{' returning k, u, v' * self.returning}"
        return text, (self.number, *values)

    def apply(self, view: View) -> Answer:
        rows = []
        for old in self.where.of(view):
            new = (old[0], old[1], self.number + (old[2] if self.relative else 0))
            view.update(old, new)
            rows.append(new)
        return Answer(by_key(rows) if self.returning else None, len(rows))


@dataclass(frozen=True)
class Transfer:
    """Take from one row and give to another in one statement."""

    can_touch: ClassVar[bool] = True
    source: int
    target: int
    number: int

    @property
    def sql(self) -> Sql:
        text = "update {t} set v = v + case k when %s then -%s else %s end where k in (%s, %s)"
        return text, (self.source, self.number, self.number, self.source, self.target)

    def apply(self, view: View) -> Answer:
        count = 0
        for k in sorted({self.source, self.target}):
            if (old := view.rows.get(k)) is not None:
                view.update(old, (k, old[1], old[2] + (-self.number if k == self.source else self.number)))
                count += 1
        return Answer(None, count)


@dataclass(frozen=True)
class Rename:
    """UPDATE of the unique value or of the key itself, of one row."""

    can_touch: ClassVar[bool] = True
    k: int
    column: Literal["k", "u"]
    to: int | None

    @property
    def sql(self) -> Sql:
        return f"update {{t}} set {self.column} = %s where k = %s", (self.to, self.k)

    def apply(self, view: View) -> Answer:
        old = view.rows.get(self.k)
        if old is None:
            return Answer(None, 0)
        if self.column == "u":
            new = (old[0], self.to, old[2])
        else:
            assert self.to is not None
            new = (self.to, old[1], old[2])
        view.update(old, new)
        return Answer(None, 1)


@dataclass(frozen=True)
class Insert:
    """INSERT of rows with distinct keys and values; `conflict` is what ON CONFLICT does, and on what."""

    can_touch: ClassVar[bool] = True
    rows: tuple[Row, ...]
    conflict: Literal["", "nothing", "nothing k", "update k", "update u"] = ""
    returning: bool = False

    @property
    def sql(self) -> Sql:
        rows = ", ".join(["(%s, %s, %s)"] * len(self.rows))
        action, _, target = self.conflict.partition(" ")
        clause = f" on conflict ({target})" if target else " on conflict" if action else ""
        clause += {"": "", "nothing": " do nothing", "update": " do update set v = {t}.v + excluded.v"}[action]
        text = f"insert into {{t}} (k, u, v) values {rows}{clause}{' returning k, u, v' * self.returning}"
        return text, tuple(value for row in self.rows for value in row)

    def apply(self, view: View) -> Answer:
        shown = [row for given in self.rows for row in self._one(view, given)]
        return Answer(by_key(shown) if self.returning else None, len(shown))

    def _one(self, view: View, row: Row) -> Iterator[Row]:
        action, _, target = self.conflict.partition(" ")
        same_key, same_value = view.rows.get(row[0]), view.holder(row[1])
        met = same_key if target == "k" else same_value if target == "u" else same_key or same_value
        if action and met is not None:
            if action == "update":
                new = (met[0], met[1], met[2] + row[2])
                view.update(met, new)
                yield new
            return
        view.insert(row)
        yield row


@dataclass(frozen=True)
class Copy:
    """COPY FROM STDIN: an INSERT by another way. Never sent together with other statements."""

    can_touch: ClassVar[bool] = True
    rows: tuple[Row, ...]

    @property
    def sql(self) -> Sql:
        return "copy {t} (k, u, v) from stdin", ()

    def apply(self, view: View) -> Answer:
        return Insert(self.rows).apply(view)


@dataclass(frozen=True)
class Delete:
    """DELETE of all rows that meet a condition."""

    can_touch: ClassVar[bool] = True
    where: Where
    returning: bool = False

    @property
    def sql(self) -> Sql:
        condition, values = self.where.sql
        return f"delete from {{t}} where {condition}{' returning k, u, v' * self.returning}", values

    def apply(self, view: View) -> Answer:
        rows = self.where.of(view)
        for row in rows:
            view.delete(row)
        return Answer(by_key(rows) if self.returning else None, len(rows))


@dataclass(frozen=True)
class Replace:
    """A row deleted and another put in its place by one statement, in a WITH that changes data."""

    can_touch: ClassVar[bool] = True
    k: int
    new: int

    @property
    def sql(self) -> Sql:
        text = (
            "with gone as (delete from {t} where k = %s returning v) "
            "insert into {t} (k, u, v) select %s, null, v from gone returning k, u, v"
        )
        return text, (self.k, self.new)

    def apply(self, view: View) -> Answer:
        old = view.rows.get(self.k)
        if old is None:
            return Answer((), 0)
        if self.new in view.rows:
            raise Refused("23505")
        view.delete(old)
        row: Row = (self.new, None, old[2])
        view.insert(row)
        return Answer((row,), 1)


@dataclass(frozen=True)
class Purge:
    """A row deleted in a WITH, another updated by the statement proper, whose tag tells of that one alone."""

    can_touch: ClassVar[bool] = True
    k: int
    other: int

    @property
    def sql(self) -> Sql:
        return "with gone as (delete from {t} where k = %s) update {t} set v = v + 1 where k = %s", (
            self.k,
            self.other,
        )

    def apply(self, view: View) -> Answer:
        if (old := view.rows.get(self.k)) is not None:
            view.delete(old)
        return Change(Where("k", self.other, self.other), 1).apply(view)


@dataclass(frozen=True)
class Control:
    """BEGIN, COMMIT or ROLLBACK."""

    word: Literal["begin", "commit", "rollback"]

    @property
    def sql(self) -> Sql:
        return self.word, ()


BEGIN, COMMIT, ROLLBACK = Control("begin"), Control("commit"), Control("rollback")
ALL = Read(Where("k", -1000, 1000))

Data: TypeAlias = Read | Total | Change | Transfer | Rename | Insert | Copy | Delete | Replace | Purge
Statement: TypeAlias = Data | Control
