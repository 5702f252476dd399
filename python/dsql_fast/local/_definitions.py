"""What DSQL refuses inside CREATE TABLE and ALTER TABLE, where tokens do not tell and a tree does.

PostgreSQL's parser, outside PostgreSQL, recurses without a limit when it writes its tree out (a sum
of 100,000 terms ends the process, seen with postgast 0.2.0), and its tree cannot be read when
operators are nested about 50 deep. So only a definition is parsed in which nothing can be nested
deeply: not too long, and between two commas not more than 300 tokens (thousands did no harm in any
form tried). A longer one, or one whose tree cannot be read, is not looked at: it reaches PostgreSQL,
which accepts more than DSQL does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dsql_fast.local._refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dsql_fast.local._scanner import Token

_postgast: Any = importlib.import_module("postgast")
_tree: Any = importlib.import_module("postgast.pg_query_pb2")
_DecodeError: Any = importlib.import_module("google.protobuf.message").DecodeError

_LONGEST_TEXT = 64 * 1024  # bytes
_LONGEST_PIECE = 300  # tokens between two commas
_ASCII = bytes(range(128)) + b"_" * 128

SMALLEST_LARGE_CACHE = 65_536  # documented: CACHE is 1 or at least this
# PostgreSQL's names of types as its grammar writes them, and as its messages do.
_SHOWN = {
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "float4": "real",
    "float8": "double precision",
    "bool": "boolean",
    "bpchar": "character",
    "varchar": "character varying",
    "varbit": "bit varying",
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
    "time": "time without time zone",
    "timetz": "time with time zone",
}
_SERIAL = frozenset({"serial", "bigserial", "smallserial", "serial2", "serial4", "serial8"})
# ALTER TABLE's parts. Texts of the first group observed, those of the second made after them
# (assumed): the documentation lists what is supported, and these are not on its list.
_ALTERATIONS = {
    "AT_ValidateConstraint": "VALIDATE CONSTRAINT",
    "AT_SetNotNull": "ALTER COLUMN ... SET NOT NULL",
    "AT_AlterColumnType": "ALTER COLUMN ... SET DATA TYPE",
    "AT_SetStatistics": "ALTER COLUMN ... SET STATISTICS",
    # The second group.
    "AT_SetCompression": "ALTER COLUMN ... SET COMPRESSION",
    "AT_SetOptions": "ALTER COLUMN ... SET",
    "AT_ResetOptions": "ALTER COLUMN ... RESET",
    "AT_SetRelOptions": "SET",
    "AT_ResetRelOptions": "RESET",
    "AT_SetLogged": "SET LOGGED",
    "AT_SetUnLogged": "SET UNLOGGED",
    "AT_SetTableSpace": "SET TABLESPACE",
    "AT_SetAccessMethod": "SET ACCESS METHOD",
    "AT_ClusterOn": "CLUSTER ON",
    "AT_DropCluster": "SET WITHOUT CLUSTER",
    "AT_AddInherit": "INHERIT",
    "AT_DropInherit": "NO INHERIT",
    "AT_AddOf": "OF",
    "AT_DropOf": "NOT OF",
    "AT_ReplicaIdentity": "REPLICA IDENTITY",
    "AT_AttachPartition": "ATTACH PARTITION",
    "AT_DetachPartition": "DETACH PARTITION",
    "AT_EnableRowSecurity": "ENABLE ROW LEVEL SECURITY",
    "AT_DisableRowSecurity": "DISABLE ROW LEVEL SECURITY",
    "AT_ForceRowSecurity": "FORCE ROW LEVEL SECURITY",
    "AT_NoForceRowSecurity": "NO FORCE ROW LEVEL SECURITY",
    "AT_EnableTrig": "ENABLE TRIGGER",
    "AT_EnableTrigAll": "ENABLE TRIGGER",
    "AT_EnableTrigUser": "ENABLE TRIGGER",
    "AT_DisableTrig": "DISABLE TRIGGER",
    "AT_DisableTrigAll": "DISABLE TRIGGER",
    "AT_DisableTrigUser": "DISABLE TRIGGER",
    "AT_EnableRule": "ENABLE RULE",
    "AT_DisableRule": "DISABLE RULE",
}
_ALTERED = {_tree.AlterTableType.Value(name): text for name, text in _ALTERATIONS.items()}


def not_supported(message: str) -> Refusal:
    """A feature DSQL does not have."""
    return Refusal("unsupported", message, "0A000")


def cache_refusal(what: str, cache: int | None) -> Refusal | None:
    """Judge the CACHE of a sequence; None stands for a CACHE that was not given.

    Documented: it has to be given, and be 1 or at least 65536. The text for a missing one in
    CREATE SEQUENCE is observed, all else in it assumed.
    """
    if cache is not None and (cache == 1 or cache >= SMALLEST_LARGE_CACHE):
        return None
    given = "without an explicit cache size" if cache is None else f"with cache size {cache}"
    return not_supported(
        f"{what} is not supported {given}. please define CACHE greater than or equal to 65536 or equal to 1"
    )


def definition_refusal(sql: bytes, tokens: Sequence[Token]) -> Refusal | None:
    """What DSQL says to a CREATE TABLE or ALTER TABLE, of those things that its tree shows."""
    statement = _parsed(sql, tokens)
    if statement is None:
        return None
    kind = statement.WhichOneof("node")
    if kind == "create_stmt":
        verdicts = _in_table(statement.create_stmt)
    elif kind == "alter_table_stmt" and statement.alter_table_stmt.objtype == _tree.OBJECT_TABLE:
        verdicts = _in_alterations(statement.alter_table_stmt.cmds)
    else:
        return None
    return next(verdicts, None)


def _parsed(sql: bytes, tokens: Sequence[Token]) -> Any | None:
    start, end = tokens[0].start, tokens[-1].end
    if end - start > _LONGEST_TEXT or _longest_piece(tokens) > _LONGEST_PIECE:
        return None
    try:
        tree = _postgast.parse(sql[start:end].translate(_ASCII).decode("ascii"))
    except (_postgast.PgQueryError, _DecodeError):
        return None  # not SQL, which PostgreSQL says; or nested too deeply to be read
    return tree.stmts[0].stmt if len(tree.stmts) == 1 else None


def _longest_piece(tokens: Iterable[Token]) -> int:
    """The most tokens between two commas that are not inside an expression's parentheses."""
    longest = length = depth = 0
    for token in tokens:
        length += 1
        if token.word == "(":
            depth += 1
        elif token.word == ")":
            depth -= 1
        elif token.word == "," and depth <= 1:
            length = 0
        longest = max(longest, length)
    return longest


def _in_table(table: Any) -> Iterator[Refusal]:
    # Documented as clauses that CREATE TABLE does not have; texts assumed.
    if table.HasField("partspec") or table.HasField("partbound"):
        yield not_supported("PARTITION not supported for CREATE TABLE")
    elif table.inh_relations:
        yield not_supported("INHERITS not supported for CREATE TABLE")
    if table.tablespacename:
        yield not_supported("TABLESPACE not supported for CREATE TABLE")
    for element in table.table_elts:
        node = element.WhichOneof("node")
        if node == "column_def":
            yield from _in_column(element.column_def)
            if element.column_def.HasField("coll_clause"):
                yield not_supported("COLLATE not supported for CREATE TABLE")
            for constraint in element.column_def.constraints:
                yield from _in_constraint(constraint.constraint)
        elif node == "constraint":
            yield from _in_constraint(element.constraint)


def _in_column(column: Any) -> Iterator[Refusal]:
    names = [part.string.sval for part in column.type_name.names]
    if len(names) == 1 and names[0] in _SERIAL:
        # Observed: the type is not there, which PostgreSQL's grammar of tables would make up.
        yield Refusal("unsupported", f'type "{names[0]}" does not exist', "42704")
    if column.type_name.array_bounds and names:
        # Observed for text[]; that other types are shown as PostgreSQL shows them is assumed.
        shown = _SHOWN.get(names[-1], names[-1])[:63]
        yield not_supported(f"datatype {shown}[] not supported")


def _in_constraint(constraint: Any) -> Iterator[Refusal]:
    if constraint.contype == _tree.CONSTR_EXCLUSION:  # documented; text assumed
        yield not_supported("EXCLUDE constraint not supported")
    elif constraint.contype == _tree.CONSTR_IDENTITY:
        verdict = cache_refusal("IDENTITY", _cache(constraint.options))
        if verdict is not None:
            yield verdict


def _in_alterations(commands: Any) -> Iterator[Refusal]:
    for command in commands:
        alteration = command.alter_table_cmd
        subtype, definition = alteration.subtype, getattr(alteration, "def")
        if subtype in _ALTERED:
            yield not_supported(f"unsupported ALTER TABLE {_ALTERED[subtype]} statement")
        elif subtype == _tree.AT_AddColumn:
            yield from _in_column(definition.column_def)
            if definition.column_def.constraints:  # observed: DEFAULT, NOT NULL, CHECK, GENERATED
                yield not_supported("ALTER TABLE ADD COLUMN with constraint not supported")
        elif subtype == _tree.AT_AddConstraint:
            constraint = definition.constraint
            # Observed: only with NOT VALID. Documented: or on an index that is there.
            if not constraint.skip_validation and not (
                constraint.contype == _tree.CONSTR_UNIQUE and constraint.indexname
            ):
                yield not_supported("unsupported ALTER TABLE ADD CONSTRAINT statement")
        elif subtype == _tree.AT_AddIdentity:
            yield from _in_constraint(definition.constraint)
        elif subtype == _tree.AT_SetIdentity:
            cache = _cache(definition.list.items)
            verdict = None if cache is None else cache_refusal("IDENTITY", cache)
            if verdict is not None:
                yield verdict


def _cache(options: Any) -> int | None:
    """The CACHE among a sequence's options."""
    for option in options:
        if option.def_elem.defname == "cache":
            value = option.def_elem.arg
            # What does not fit 32 bits is a float to the grammar.
            return value.integer.ival if value.HasField("integer") else SMALLEST_LARGE_CACHE
    return None
