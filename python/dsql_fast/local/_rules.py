"""What DSQL refuses by a statement's text alone.

Each text is marked with where it is known from: observed (on real clusters, by others), or assumed
(that DSQL refuses is documented by AWS or follows from what was observed; the words are made after
those of its other refusals, which name PostgreSQL's node: `unsupported statement: Truncate`).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from dsql_fast.local import _index_rules, _setting_rules
from dsql_fast.local._definitions import cache_refusal, definition_refusal, not_supported
from dsql_fast.local._scanner import Form, Token, name, string

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dsql_fast.local._refusals import Refusal


def unsupported(node: str) -> Refusal:
    """A statement DSQL does not have, by PostgreSQL's name for its node."""
    return not_supported(f"unsupported statement: {node}")


# Observed.
LOCKING = not_supported("locking clauses other than FOR UPDATE/FOR KEY SHARE are not supported")
TEMPORARY = not_supported("TEMPORARY or TEMP table not supported for CREATE TABLE")
TRIGGER = not_supported("CREATE TRIGGER not supported")
PROCEDURE = not_supported("PROCEDURE is not supported")
SYSTEM_ENTITY = not_supported("feature not supported on system entity")
# Assumed.
SKIP_LOCKED = not_supported("SKIP LOCKED is not supported")
SAVEPOINT = unsupported("Savepoint")
TWO_PHASE = unsupported("PrepareTransaction")
TABLE_AS = unsupported("CreateTableAs")

_BY_FIRST_WORD = {
    "TRUNCATE": unsupported("Truncate"),  # observed
    # Assumed: SAVEPOINT, VACUUM are documented as unsupported, the others follow from there being
    # no locks to take, no notifications, no language but SQL.
    "SAVEPOINT": SAVEPOINT,
    "RELEASE": SAVEPOINT,
    "VACUUM": unsupported("Vacuum"),
    "LOCK": unsupported("Lock"),
    "LISTEN": unsupported("Listen"),
    "NOTIFY": unsupported("Notify"),
    "UNLISTEN": unsupported("Unlisten"),
    "DO": unsupported("Do"),
    "CLUSTER": unsupported("Cluster"),
    "REINDEX": unsupported("Reindex"),
    "REFRESH": unsupported("RefreshMatView"),
}
_BY_OBJECT = {
    # Observed.
    ("CREATE", "DATABASE"): unsupported("Createdb"),
    ("CREATE", "EXTENSION"): unsupported("CreateExtension"),
    ("CREATE", "TRIGGER"): TRIGGER,
    ("CREATE", "CONSTRAINT"): TRIGGER,
    ("CREATE", "PROCEDURE"): PROCEDURE,
    # Assumed: documented as unsupported, or as impossible.
    ("ALTER", "DATABASE"): unsupported("AlterDatabase"),
    ("DROP", "DATABASE"): unsupported("Dropdb"),
    ("ALTER", "SYSTEM"): unsupported("AlterSystem"),
    ("CREATE", "EVENT"): unsupported("CreateEventTrig"),
    ("CREATE", "MATERIALIZED"): TABLE_AS,
    ("CREATE", "TABLESPACE"): unsupported("CreateTableSpace"),
}
_MODIFIERS = frozenset(
    {"OR", "REPLACE", "GLOBAL", "LOCAL", "TEMP", "TEMPORARY", "UNLOGGED", "UNIQUE", "RECURSIVE"}
)
_TEMPORARY = frozenset({"TEMP", "TEMPORARY"})
_LONGEST_HEAD = 6  # tokens: CREATE OR REPLACE GLOBAL TEMPORARY VIEW


def refusal(sql: bytes, tokens: Sequence[Token]) -> Refusal | None:
    """What DSQL says to a statement, or None if its text has nothing against it."""
    first = tokens[0].word
    fixed = _BY_FIRST_WORD.get(first)
    if fixed is not None:
        return fixed
    special = _SPECIAL.get(first)
    if special is not None:
        return special(sql, tokens)
    return _in_query(sql, tokens)


def _in_query(sql: bytes, tokens: Sequence[Token]) -> Refusal | None:
    """Queries and everything that may hold one: clauses and calls anywhere in them."""
    for at, token in enumerate(tokens):
        word = token.word
        if word == "FOR":
            following = [later.word for later in tokens[at + 1 : at + 3]]
            if following[:1] == ["SHARE"] or following == ["NO", "KEY"]:
                return LOCKING
        elif word == "SKIP" and _word(tokens, at + 1) == "LOCKED":
            # Assumed. Nothing is ever locked there, so nothing could be skipped; PostgreSQL would skip rows.
            return SKIP_LOCKED
        elif word == "INTO" and at > 0 and tokens[at - 1].word not in ("INSERT", "MERGE"):
            # SELECT INTO makes a table: observed for CREATE TEMP TABLE, here assumed.
            return TEMPORARY if _word(tokens, at + 1) in (*_TEMPORARY, "LOCAL", "GLOBAL") else TABLE_AS
        elif word == "(" and at > 0 and tokens[at - 1].form is Form.NAME:
            sets = name(sql, tokens[at - 1]) == "set_config"
            verdict = _setting_rules.in_call(sql, tokens, at) if sets else None
            if verdict is not None:
                return verdict
    return None


def _in_explain(sql: bytes, tokens: Sequence[Token]) -> Refusal | None:
    # Observed: EXPLAIN does not take EXECUTE (which EXECUTE alone is not known to be refused).
    depth = 0
    for token in tokens[1:]:
        depth += (token.word == "(") - (token.word == ")")
        if depth == 0 and token.word == "EXECUTE":
            return unsupported("Execute")
        if depth == 0 and token.form is Form.RESERVED and token.word not in ("ANALYZE", "ANALYSE"):
            break
    return _in_query(sql, tokens)


def _in_rollback(_sql: bytes, tokens: Sequence[Token]) -> Refusal | None:
    words = [token.word for token in tokens[1:3]]
    if "TO" in words:
        return SAVEPOINT
    return TWO_PHASE if words[:1] == ["PREPARED"] else None


def _in_commit(_sql: bytes, tokens: Sequence[Token]) -> Refusal | None:
    return TWO_PHASE if _word(tokens, 1) == "PREPARED" else None


def _in_prepare(sql: bytes, tokens: Sequence[Token]) -> Refusal | None:
    if _word(tokens, 1) == "TRANSACTION":
        return TWO_PHASE
    behind_as = next((at for at, token in enumerate(tokens) if token.word == "AS"), len(tokens)) + 1
    return refusal(sql, tokens[behind_as:]) if behind_as < len(tokens) else None


def _in_grant(sql: bytes, tokens: Sequence[Token]) -> Refusal | None:
    """`GRANT ... ON SCHEMA public` (observed); for REVOKE assumed."""
    for at, token in enumerate(tokens):
        if token.word == "SCHEMA" and _word(tokens, at - 1) == "ON":
            listed = tokens[at + 1 :]
            until = next((i for i, later in enumerate(listed) if later.word in ("TO", "FROM")), len(listed))
            if any(name(sql, later) == "public" for later in listed[:until]):
                return SYSTEM_ENTITY
    return None


def _in_definition(sql: bytes, tokens: Sequence[Token]) -> Refusal | None:
    """CREATE, ALTER, DROP."""
    verb = tokens[0].word
    at = 1
    while at < min(len(tokens), _LONGEST_HEAD) and tokens[at].word in _MODIFIERS:
        at += 1
    modifiers = {token.word for token in tokens[1:at]}
    kind = _word(tokens, at)
    fixed = _BY_OBJECT.get((verb, kind))
    if fixed is not None:
        return fixed
    if verb == "CREATE" and modifiers & (_TEMPORARY | {"UNLOGGED"}) and kind in ("TABLE", "VIEW", "SEQUENCE"):
        return _not_lasting(modifiers, kind)
    judge = _BY_KIND.get((verb, kind))
    return judge(sql, tokens, at) if judge is not None else None


def _not_lasting(modifiers: set[str], kind: str) -> Refusal:
    if not modifiers & _TEMPORARY:  # assumed: not among the documented clauses
        return not_supported(f"UNLOGGED not supported for CREATE {kind}")
    if kind == "TABLE":
        return TEMPORARY
    return not_supported(f"TEMPORARY or TEMP {kind.lower()} not supported for CREATE {kind}")  # assumed


def _in_create_table(sql: bytes, tokens: Sequence[Token], _at: int) -> Refusal | None:
    depth = 0
    for token in tokens:
        depth += (token.word == "(") - (token.word == ")")
        if depth == 0 and token.word == "AS":  # documented as unsupported; text assumed
            return TABLE_AS
    return definition_refusal(sql, tokens)


def _in_alter_table(sql: bytes, tokens: Sequence[Token], at: int) -> Refusal | None:
    # With ASYNC it is no SQL to PostgreSQL's grammar; what it may do is judged by _dialect.
    if tokens[at + 1 :] and _is_async(sql, tokens[at + 1]):
        return None
    return definition_refusal(sql, tokens)


def _in_create_index(sql: bytes, tokens: Sequence[Token], at: int) -> Refusal | None:
    return _index_rules.refusal(sql, tokens, at + 1)


def _in_create_function(sql: bytes, tokens: Sequence[Token], at: int) -> Refusal | None:
    """Observed for plpgsql. Without a LANGUAGE it is standard SQL, or PostgreSQL complains."""
    depth = 0
    for i, token in enumerate(tokens[at:-1], at):
        depth += (token.word == "(") - (token.word == ")")
        if depth == 0 and token.word == "LANGUAGE":
            given = tokens[i + 1]
            language = (string if given.form is Form.STRING else name)(sql, given).lower()
            if language != "sql":
                return not_supported(f"CREATE FUNCTION with language {language[:63]} not supported")
    return None


def _in_sequence(sql: bytes, tokens: Sequence[Token], _at: int) -> Refusal | None:
    verb = tokens[0].word
    cache = _cache(sql, tokens)
    if cache is None and verb == "ALTER":
        return None
    return cache_refusal(f"{verb} SEQUENCE", cache)


def _cache(sql: bytes, tokens: Sequence[Token]) -> int | None:
    for token, following in pairwise(tokens):
        if token.word == "CACHE" and following.form is Form.NUMBER:
            try:
                return int(sql[following.start : following.end].replace(b"_", b""))
            except ValueError:
                return 0  # no decimal number
    return None


def _in_create_type(_sql: bytes, tokens: Sequence[Token], _at: int) -> Refusal | None:
    """Documented as unsupported (domains are there); PostgreSQL has a node for each form."""
    words = [token.word for token in tokens]
    behind_as = words[words.index("AS") + 1 :] if "AS" in words else [""]
    nodes = {"ENUM": "CreateEnum", "RANGE": "CreateRange", "(": "CompositeType"}
    return unsupported(nodes.get(behind_as[0] if behind_as else "", "Define"))


def _is_async(sql: bytes, token: Token) -> bool:
    return sql[token.start : token.end].lower() == b"async"


def _word(tokens: Sequence[Token], at: int) -> str:
    return tokens[at].word if 0 <= at < len(tokens) else ""


_BY_KIND: dict[tuple[str, str], Callable[[bytes, Sequence[Token], int], Refusal | None]] = {
    ("CREATE", "TABLE"): _in_create_table,
    ("ALTER", "TABLE"): _in_alter_table,
    ("CREATE", "INDEX"): _in_create_index,
    ("CREATE", "FUNCTION"): _in_create_function,
    ("CREATE", "SEQUENCE"): _in_sequence,
    ("ALTER", "SEQUENCE"): _in_sequence,
    ("CREATE", "TYPE"): _in_create_type,
}
_SPECIAL: dict[str, Callable[[bytes, Sequence[Token]], Refusal | None]] = {
    "CREATE": _in_definition,
    "ALTER": _in_definition,
    "DROP": _in_definition,
    "GRANT": _in_grant,
    "REVOKE": _in_grant,
    "ROLLBACK": _in_rollback,
    "COMMIT": _in_commit,
    "PREPARE": _in_prepare,
    "EXPLAIN": _in_explain,
    "BEGIN": _setting_rules.in_transaction_modes,
    "START": _setting_rules.in_transaction_modes,
    "SET": _setting_rules.in_set,
}
