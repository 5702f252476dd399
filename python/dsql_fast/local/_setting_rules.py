"""What DSQL refuses of settings: parameters outside its list, and every other isolation level.

Not seen: a name or value that is computed (`set_config` with an expression), or spelled with UESCAPE.
RESET and DISCARD are let through (assumed: the official connector for asyncpg resets with RESET ALL).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dsql_fast.local._definitions import not_supported
from dsql_fast.local._refusals import Refusal, parameter_not_supported
from dsql_fast.local._scanner import Form, Token, name, string
from dsql_fast.local._settings import ACCEPTED, ISOLATION

if TYPE_CHECKING:
    from collections.abc import Sequence

_ONLY_LEVEL = ("repeatable read", "default")
_LEVELS = (["SERIALIZABLE"], ["READ", "COMMITTED"], ["READ", "UNCOMMITTED"])
_TRUE = frozenset({"true", "t", "on", "yes", "y", "1"})
# Ways to write a parameter without its name.
_SPELLED = {
    "TIME": "timezone",
    "NAMES": "client_encoding",
    "SCHEMA": "search_path",
    "SEED": "seed",
    "XML": "xmloption",
    # SET [SESSION] SESSION AUTHORIZATION; that it is refused is assumed.
    "SESSION": "session_authorization",
    "AUTHORIZATION": "session_authorization",
}
_ASSIGN = frozenset({"TO", "="})
_NAMES = frozenset({Form.NAME, Form.UNRESERVED, Form.COLUMN_NAME, Form.FUNCTION_NAME})
_ARGUMENTS = 3  # of set_config: name, value, is_local


def other_level(level: str) -> Refusal:
    """Another isolation level (observed)."""
    # It comes from a client and is put into an error: cut, and letters only.
    shown = "".join(letter for letter in level[:32].upper() if letter.isalpha() or letter == " ")
    return not_supported(f"Unsupported isolation level: {shown}")


def in_transaction_modes(_sql: bytes, tokens: Sequence[Token]) -> Refusal | None:
    """BEGIN, START TRANSACTION, SET TRANSACTION, SET SESSION CHARACTERISTICS."""
    words = [token.word for token in tokens]
    for at in range(len(words) - 2):
        if words[at : at + 2] == ["ISOLATION", "LEVEL"]:
            for level in _LEVELS:
                if words[at + 2 : at + 2 + len(level)] == level:
                    return other_level(" ".join(level))
    return None


def in_set(sql: bytes, tokens: Sequence[Token]) -> Refusal | None:
    """SET in all its forms."""
    words = [token.word for token in tokens[:4]] + [""] * 4
    if words[1] in ("TRANSACTION", "CONSTRAINTS") or words[1:3] == ["SESSION", "CHARACTERISTICS"]:
        return in_transaction_modes(sql, tokens)
    local = words[1] == "LOCAL"
    scoped = words[1] in ("LOCAL", "SESSION") and words[2] not in _ASSIGN
    at = 2 if scoped else 1
    spelled = _SPELLED.get(words[at])
    if spelled is not None and words[at + 1] not in _ASSIGN:
        return _parameter(spelled, None, local=local)
    return _in_assignment(sql, tokens[at:], local=local)


def _in_assignment(sql: bytes, tokens: Sequence[Token], *, local: bool) -> Refusal | None:
    """`name TO value`, `name = value`, `ROLE value`."""
    if not tokens or tokens[0].form not in _NAMES:
        return None  # a syntax error
    parameter = name(sql, tokens[0])
    at = 0
    while at + 2 < len(tokens) and tokens[at + 1].word == ".":
        at += 2
        parameter += "." + name(sql, tokens[at])
    value = None
    if at + 2 < len(tokens) and tokens[at + 1].word in _ASSIGN:
        given = tokens[at + 2]
        value = string(sql, given) if given.form is Form.STRING else name(sql, given)
    return _parameter(parameter.lower(), value, local=local)


def in_call(sql: bytes, tokens: Sequence[Token], at: int) -> Refusal | None:
    """`set_config('name', 'value', is_local)`, as drivers write it.

    Args:
        sql: The text.
        tokens: The statement's.
        at: Where the opening parenthesis is among them.
    """
    arguments: list[Token] = []
    depth = 0
    first = True
    for token in tokens[at:]:
        if token.word == "(":
            depth += 1
        elif token.word == ")":
            depth -= 1
            if depth == 0:
                break
        elif token.word == "," and depth == 1:
            first = True
        elif first:
            arguments.append(token)
            first = False
    if not arguments or arguments[0].form is not Form.STRING:
        return None
    constants = [string(sql, token) if token.form is Form.STRING else None for token in arguments]
    local = False
    if len(arguments) == _ARGUMENTS:
        given = constants[2] if constants[2] is not None else arguments[2].word
        local = given.strip().lower() in _TRUE
    value = constants[1] if len(constants) > 1 else None
    return _parameter((constants[0] or "").lower(), value, local=local)


def _parameter(parameter: str, value: str | None, *, local: bool) -> Refusal | None:
    if parameter in ISOLATION:
        return None if value is None or value.strip().lower() in _ONLY_LEVEL else other_level(value)
    # Documented: `role` only by SET LOCAL.
    if parameter in ACCEPTED or (parameter == "role" and local):
        return None
    return parameter_not_supported(parameter)
