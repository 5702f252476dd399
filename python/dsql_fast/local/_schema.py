"""What relations there are, as the sessions need to know it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dsql_fast.local._administrator import Administrator
    from dsql_fast.local._statements import Statement
    from dsql_fast.local._steps import Step

# Defaults of which is known that they are short.
_SHORT = (
    r"'^(now\(\)|CURRENT_(DATE|TIME|TIMESTAMP)|LOCAL(TIME|TIMESTAMP)|gen_random_uuid\(\)|nextval\(.*::regclass\)"
    r"|true|false|\(?-?[0-9.]{1,40}\)?|''[^'']{0,40}'')(::[a-z ]{1,40})?$'"
)

# One text: read at once, parsed by json. What a definition names is qualified, since the search path holds
# PostgreSQL's catalog only.
_QUERY = """
SELECT json_build_object(
  'functions', (SELECT coalesce(json_agg(DISTINCT p.proname), '[]') FROM pg_proc p
     WHERE p.pronamespace IN (SELECT oid FROM spaces)),
  'relations', (SELECT coalesce(json_agg(json_build_object(
     'oid', c.oid::int8, 'schema', s.nspname, 'name', c.relname, 'kind', c.relkind,
     'columns', (SELECT coalesce(json_agg(a.attname ORDER BY a.attnum), '[]') FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''),
     'lengthens', c.relkind <> 'r' OR EXISTS (SELECT FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        AND (a.attgenerated <> '' OR t.typtype <> 'b' OR (t.typname = 'bpchar' AND a.atttypmod > 64)
           OR pg_get_expr(d.adbin, d.adrelid) !~ @SHORT@)),
     'unique', (SELECT coalesce(json_agg((SELECT json_agg(a.attname ORDER BY k.at)
           FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(num, at)
           JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.num WHERE k.at <= i.indnkeyatts)), '[]')
        FROM pg_index i
        WHERE i.indrelid = c.oid AND i.indisunique AND i.indexprs IS NULL AND i.indpred IS NULL),
     'foreign_keys', (SELECT coalesce(json_agg(json_build_object(
           'parent', k.confrelid::int8, 'on_delete', k.confdeltype, 'on_update', k.confupdtype,
           'match', k.confmatchtype, 'deferrable', k.condeferrable, 'deferred', k.condeferred,
           'columns', (SELECT json_agg(a.attname ORDER BY n.at) FROM unnest(k.conkey) WITH ORDINALITY n(num, at)
              JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = n.num),
           'parent_columns', (SELECT json_agg(a.attname ORDER BY n.at)
              FROM unnest(k.confkey) WITH ORDINALITY n(num, at)
              JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = n.num))), '[]')
        FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'f'),
     'definition', CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) END)), '[]')
   FROM pg_class c JOIN spaces s ON s.oid = c.relnamespace WHERE c.relkind IN ('r', 'v', 'S', 'm', 'p')))
""".replace("@SHORT@", _SHORT)
_SPACES = """
WITH spaces AS (SELECT oid, nspname FROM pg_namespace
  WHERE nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'sys') AND nspname NOT LIKE 'pg\\_t%')
"""


# CASCADE, SET NULL, SET DEFAULT.
_ACTING = frozenset("cnd")


def quoted(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class ForeignKey:
    """One foreign key of a relation.

    Attributes:
        parent: The referenced relation's oid.
        on_delete: PostgreSQL's letter: a, r, c, n, d.
        on_update: The same.
        match: f, s or p.
        deferrable: Whether it may be checked at COMMIT.
        deferred: Whether it is, unless told otherwise.
        columns: The referencing columns.
        parent_columns: The referenced columns, in the same order.
    """

    parent: int
    on_delete: str
    on_update: str
    match: str
    deferrable: bool
    deferred: bool
    columns: list[str]
    parent_columns: list[str]


@dataclass(frozen=True)
class Relation:
    """A table, view or sequence.

    Attributes:
        oid: PostgreSQL's number of it.
        schema: Where it is.
        name: Its name.
        kind: PostgreSQL's letter: r, v, S, ...
        columns: Those that can be written: none that is generated.
        lengthens: Whether a row may be much longer than what was given for it: by a default, by what is generated,
            by blanks.
        unique: The columns of each unique index, without partial ones and those over expressions.
        foreign_keys: Those it has.
        definition: The query of a view, with all names qualified; None for others.
    """

    oid: int
    schema: str
    name: str
    kind: str
    columns: list[str]
    lengthens: bool
    unique: list[list[str]]
    foreign_keys: list[ForeignKey]
    definition: str | None

    @property
    def qualified(self) -> str:
        """Its name with the schema, as SQL has it."""
        return f"{quoted(self.schema)}.{quoted(self.name)}"


@dataclass(frozen=True)
class Relations:
    """All relations of the users', at one version of the schema.

    Attributes:
        version: That version.
        by_name: Those of each name, in whatever schema.
        by_oid: Each by its number.
        functions: The names of the users' functions.
    """

    version: int = -1
    by_name: dict[str, list[Relation]] = field(default_factory=dict)
    by_oid: dict[int, Relation] = field(default_factory=dict)
    functions: frozenset[str] = frozenset()

    def cascades(self, statement: Statement) -> bool:
        """Whether what a statement deletes or updates may change rows of other tables."""
        if not statement.deletes and not statement.updates:
            return False
        meant = {relation.oid for relation in self.named(statement.names)}
        return any(
            key.parent in meant
            and (
                (statement.deletes and key.on_delete in _ACTING)
                or (statement.updates and key.on_update in _ACTING)
            )
            for relation in self.by_oid.values()
            for key in relation.foreign_keys
        )

    def named(self, names: Iterable[str]) -> list[Relation]:
        """The relations that may be meant by these names."""
        return [relation for name in names for relation in self.by_name.get(name, ())]

    def rekeys(self, statement: Statement) -> bool:
        """Whether it may give a row another key."""
        return statement.updates and any(
            not statement.assigned.isdisjoint(key)
            for relation in self.named(statement.names)
            for key in relation.unique
        )

    def loses_keys(self, step: Step) -> set[str]:
        """The names of the relations in which it may take keys away."""
        if not self.functions.isdisjoint(step.names):
            return set(self.by_name)  # nobody knows what the user's functions do
        touched: set[int] = set()
        for statement in step.run:
            if statement.deletes or self.rekeys(statement):
                touched |= {relation.oid for relation in self.named(statement.names)}
        # A cascade takes keys away in the tables below.
        ahead = set(touched)
        while ahead:
            ahead = {
                relation.oid
                for relation in self.by_oid.values()
                if any(key.parent in ahead for key in relation.foreign_keys)
            } - touched
            touched |= ahead
        return {self.by_oid[oid].name for oid in touched}


class Schema:
    """Counts the changes of the schema, and reads it when it has changed.

    Attributes:
        version: One more with each committed transaction that held DDL.
    """

    def __init__(self, administrator: Administrator) -> None:
        self.version = 0
        self._administrator = administrator
        self._relations = Relations()

    def changed(self) -> None:
        """DDL was committed."""
        self.version += 1

    @property
    def known(self) -> Relations:
        """The relations as they were last read."""
        return self._relations

    async def relations(self) -> Relations:
        """The relations as they are committed now."""
        while self._relations.version != self.version:
            version = self.version
            text = await self._administrator.value(_SPACES + _QUERY)
            if text is None:
                # A definition was locked by DDL that is under way; what is known will do for the moment.
                break
            self._relations = _parsed(version, json.loads(text))
        return self._relations


def _parsed(version: int, read: dict[str, Any]) -> Relations:
    by_name: dict[str, list[Relation]] = {}
    by_oid: dict[int, Relation] = {}
    for each in read["relations"]:
        keys = [ForeignKey(**key) for key in each.pop("foreign_keys")]
        relation = Relation(**each, foreign_keys=keys)
        by_name.setdefault(relation.name, []).append(relation)
        by_oid[relation.oid] = relation
    return Relations(version, by_name, by_oid, frozenset(read["functions"]))
