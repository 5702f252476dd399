"""What DSQL refuses in CREATE INDEX: told by tokens, since ASYNC is not PostgreSQL's grammar.

All texts observed, and the order in which they win over each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dsql_fast.local._definitions import not_supported
from dsql_fast.local._refusals import Refusal
from dsql_fast.local._scanner import Form, Token, name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CONCURRENTLY = not_supported("CONCURRENTLY not supported for CREATE INDEX")
METHOD = not_supported("USING not supported for CREATE INDEX")
PARTIAL = not_supported("WHERE not supported for CREATE INDEX")
MODE = not_supported("unsupported mode. please use CREATE INDEX ASYNC.")
SORT_ORDER = not_supported("specifying sort order not supported for index keys")
OPERATOR_CLASS = not_supported("opclass not supported for index keys")
MOST_KEYS = 8
TOO_MANY_KEYS = Refusal("unsupported", "more than 8 column keys in an index are not supported", "54011")

OWN_METHOD = "btree_index"  # DSQL's own; the only one that may be named
_NAMES = frozenset({Form.NAME, Form.UNRESERVED, Form.FUNCTION_NAME, Form.COLUMN_NAME})


def refusal(sql: bytes, tokens: Sequence[Token], at: int) -> Refusal | None:
    """Judge a CREATE INDEX whose word INDEX stands before `at`."""
    words = dict(_outside_parentheses(tokens))
    if "ON" not in words:
        return None  # a syntax error
    asynchronous = at < len(tokens) and sql[tokens[at].start : tokens[at].end].lower() == b"async"
    if "CONCURRENTLY" in words:
        return CONCURRENTLY
    if "USING" in words and not _is_own_method(sql, tokens[words["USING"] + 1 :]):
        return METHOD
    if "WHERE" in words:
        return PARTIAL
    return _in_keys(list(_keys(tokens, at))) if asynchronous else MODE


def _is_own_method(sql: bytes, behind_using: Sequence[Token]) -> bool:
    return bool(behind_using) and name(sql, behind_using[0]) == OWN_METHOD


def _in_keys(keys: Sequence[Sequence[Token]]) -> Refusal | None:
    for key in keys:
        verdict = _in_key(key)
        if verdict is not None:
            return verdict
    return TOO_MANY_KEYS if len(keys) > MOST_KEYS else None


def _outside_parentheses(tokens: Sequence[Token]) -> Iterator[tuple[str, int]]:
    depth = 0
    for at, token in enumerate(tokens):
        depth += (token.word == "(") - (token.word == ")")
        if depth == 0 and token.word:
            yield token.word, at


def _keys(tokens: Sequence[Token], at: int) -> Iterator[Sequence[Token]]:
    """The tokens of each key: between the commas of the first parentheses behind ON."""
    while at < len(tokens) and tokens[at].word != "ON":
        at += 1
    while at < len(tokens) and tokens[at].word != "(":
        at += 1
    depth = 0
    start = at + 1
    for i in range(at, len(tokens)):
        word = tokens[i].word
        if word == "(":
            depth += 1
        elif word == ")":
            depth -= 1
        if (word == "," and depth == 1) or depth == 0:
            yield tokens[start:i]
            start = i + 1
        if depth == 0:
            return


def _in_key(key: Sequence[Token]) -> Refusal | None:
    """`column` or `call(...)` or `(expression)`, then COLLATE, an operator class, an order."""
    words = [word for word, _ in _outside_parentheses(key)]
    if "ASC" in words or "DESC" in words:
        return SORT_ORDER
    at = _behind_expression(key)
    if at < len(key) and key[at].word == "COLLATE":
        at = _behind_name(key, at + 1)
    # NULLS FIRST and LAST are documented as supported.
    if at < len(key) and key[at].form in _NAMES and key[at].word != "NULLS":
        return OPERATOR_CLASS
    return None


def _behind_expression(key: Sequence[Token]) -> int:
    at = _behind_name(key, 0) if key and key[0].word != "(" else 0
    if at < len(key) and key[at].word == "(":
        depth = 0
        for i in range(at, len(key)):
            depth += (key[i].word == "(") - (key[i].word == ")")
            if depth == 0:
                return i + 1
    return at


def _behind_name(key: Sequence[Token], at: int) -> int:
    at += 1
    while at + 1 < len(key) and key[at].word == ".":
        at += 2
    return at
