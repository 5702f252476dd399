"""Tells from a query's tokens whether every function in it is known to change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dsql_fast.local._scanner import Form, Token, name

if TYPE_CHECKING:
    from collections.abc import Sequence

# Words that open a parenthesis without being a function, although their class would let them.
# Of the other keywords that may stand before one, reserved ones are never functions, and those
# that may only name columns are the grammar's own: coalesce, extract, xmlelement ...
_GRAMMAR = frozenset(
    {
        "OVER",
        "FILTER",
        "BY",
        "SETS",
        "CUBE",
        "ROLLUP",
        "MATERIALIZED",
        "GROUP",
        "WITHIN",
        "COLUMNS",
        "ORDINALITY",
        "CONFLICT",
        "PASSING",
        "JOIN",
        "LIKE",
        "ILIKE",
        "TO",
        "IS",
        "ISNULL",
        "NOTNULL",
        "OVERLAPS",
        "CROSS",
        "INNER",
        "OUTER",
        "FULL",
        "NATURAL",
        "SIMILAR",
        "ROWS",
        "RANGE",
    }
)
# Behind these stands a type or an alias: `x::numeric(3)`, `CAST(x AS bit(3))`, `AS t(a, b)`.
_NO_CALL_BEHIND = frozenset({"::", "AS", "RECURSIVE", ")"})
_BUILTIN_SCHEMA = "pg_catalog"


def reads_only(sql: bytes, tokens: Sequence[Token], builtins: frozenset[str]) -> bool:
    """Whether each function that is called is one of `builtins`.

    What it cannot see, and takes for harmless: functions behind a view, an operator, a cast or a
    domain of the user's own, and a user's overload of a built-in name.

    Args:
        sql: The text.
        tokens: A query's tokens.
        builtins: Names of PostgreSQL's functions that neither write nor are volatile.
    """
    return all(
        _harmless(sql, tokens, at, builtins) for at, token in enumerate(tokens) if token.word == "(" and at > 0
    )


def _harmless(sql: bytes, tokens: Sequence[Token], at: int, builtins: frozenset[str]) -> bool:
    """Whether the parenthesis at `at` calls nothing, or something known."""
    called = tokens[at - 1]
    before = tokens[at - 2] if at > 1 else None
    if before is not None and before.word == ".":
        schema = name(sql, tokens[at - 3]) if at > 2 else ""  # noqa: PLR2004
        return schema == _BUILTIN_SCHEMA and name(sql, called) in builtins
    if called.form not in (Form.NAME, Form.UNRESERVED, Form.FUNCTION_NAME) or called.word in _GRAMMAR:
        return True
    if called.word == "OPERATOR":
        return at + 1 < len(tokens) and name(sql, tokens[at + 1]) == _BUILTIN_SCHEMA
    if called.form is Form.NAME and before is not None:
        # An identifier straight behind another, or behind a parenthesis, is an alias with columns:
        # `FROM (VALUES ...) v(a, b)`, `FROM t x(a, b)`, `WITH w(a) AS`.
        alias = before.form is Form.NAME or before.word in _NO_CALL_BEHIND or before.word == "WITH"
        if alias:
            return True
    return name(sql, called) in builtins
