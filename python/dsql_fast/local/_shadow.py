"""Private copies of tables for a transaction that has already lost.

PostgreSQL fails a statement that writes a row which another transaction has changed since the snapshot. DSQL lets
it go on, on its snapshot, and tells it at COMMIT. So the rest of such a transaction works on temporary tables of
the same names, filled from its snapshot, which PostgreSQL finds first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dsql_fast.local._schema import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dsql_fast.local._schema import ForeignKey, Relation, Relations
    from dsql_fast.local._statements import Reader, Statement

LARGEST_COPY = 32 * 1024 * 1024  # bytes
_ACTIONS = {"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}
_ENCODING = "utf-8"


class Uncopyable(Exception):  # noqa: N818 - a verdict
    """There is something in it that a private copy would not do for."""


class Shadow:
    """What has been copied for one transaction, and the SQL to copy more.

    Args:
        relations: As they are committed. The snapshot may be older; a change in between ends the transaction with
            a schema conflict anyway.
        reader: Reads the definitions of views.
    """

    def __init__(self, relations: Relations, reader: Reader) -> None:
        self._relations = relations
        self._reader = reader
        self._copied: dict[str, Relation] = {}

    def needed(self, names: Iterable[str]) -> list[Relation]:
        """What has to be copied before statements with these names may run, in the order of copying.

        Raises:
            Uncopyable: If a function of the user's is among them (nobody knows what it touches), or two relations
                of one name.
        """
        names = set(names)
        if names & self._relations.functions:
            raise Uncopyable
        found: dict[int, Relation] = {}
        ahead = self._relations.named(names)
        while ahead:
            relation = ahead.pop()
            if relation.oid in found or relation.kind not in "rv":
                continue
            found[relation.oid] = relation
            ahead += self._neighbours(relation)
        wanted: dict[str, Relation] = {}
        for relation in sorted(found.values(), key=lambda each: (each.kind == "v", each.oid)):
            if wanted.setdefault(relation.name, relation) is not relation:
                raise Uncopyable
            known = self._copied.get(relation.name)
            if known is not None and known.oid != relation.oid:
                raise Uncopyable
        return [relation for name, relation in wanted.items() if name not in self._copied]

    def _neighbours(self, relation: Relation) -> list[Relation]:
        """What a write to it may touch, or it reads."""
        known = self._relations.by_oid
        near = [known[key.parent] for key in relation.foreign_keys if key.parent in known]
        near += [
            other for other in known.values() if any(key.parent == relation.oid for key in other.foreign_keys)
        ]
        if relation.definition is not None:
            for statement in self._reader.read(relation.definition.encode(_ENCODING)):
                near += self._relations.named(statement.names - {relation.name})
        return near

    def script(self, relations: list[Relation]) -> str:
        """The statements that copy these relations; from then on they count as copied."""
        self._copied.update({relation.name: relation for relation in relations})
        tables = [relation for relation in relations if relation.kind == "r"]
        statements = []
        for table in tables:
            name, origin = quoted(table.name), table.qualified
            statements.append(f"CREATE TEMP TABLE {name} (LIKE {origin} INCLUDING ALL) ON COMMIT DROP")
            if table.columns:
                columns = ", ".join(map(quoted, table.columns))
                statements.append(
                    f"INSERT INTO pg_temp.{name} ({columns}) OVERRIDING SYSTEM VALUE "  # noqa: S608 - quoted
                    f"SELECT {columns} FROM {origin}"
                )
        for table in tables:
            statements += [self._foreign_key(table, key) for key in table.foreign_keys]
        for view in relations:
            if view.definition is not None:
                statements.append(f"CREATE TEMP VIEW {quoted(view.name)} AS {self._cut_text(view.definition)}")
        # Prepared statements look their tables up anew.
        statements.append("DISCARD PLANS")
        return ";\n".join(statement.rstrip("; \n") for statement in statements)

    def _foreign_key(self, table: Relation, key: ForeignKey) -> str:
        parent = self._relations.by_oid[key.parent]
        deferral = "DEFERRABLE" if key.deferrable else "NOT DEFERRABLE"
        if key.deferred:
            deferral += " INITIALLY DEFERRED"
        return (
            f"ALTER TABLE pg_temp.{quoted(table.name)} ADD FOREIGN KEY ({', '.join(map(quoted, key.columns))}) "
            f"REFERENCES pg_temp.{quoted(parent.name)} ({', '.join(map(quoted, key.parent_columns))}) "
            f"{'MATCH FULL ' if key.match == 'f' else ''}"
            f"ON DELETE {_ACTIONS[key.on_delete]} ON UPDATE {_ACTIONS[key.on_update]} {deferral}"
        )

    def _cut_text(self, sql: str) -> str:
        text = sql.encode(_ENCODING)
        (statement, *_) = self._reader.read(text)
        return self.cut(text, statement).decode(_ENCODING)

    def cut(self, sql: bytes, statement: Statement) -> bytes:
        """Take the schema off the names of what is copied, so that the copy is found.

        Args:
            sql: The text of one statement, with nothing before it that `statement` does not know.
            statement: What was read in it.
        """
        pieces: list[bytes] = []
        at = 0
        for qualifier in statement.qualifiers:
            relation = self._copied.get(qualifier.name)
            if relation is not None and relation.schema == qualifier.schema:
                pieces.append(sql[at : qualifier.start])
                at = qualifier.end
        return b"".join([*pieces, sql[at:]])
