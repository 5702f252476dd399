"""Keeps every transaction at REPEATABLE READ, DSQL's only isolation level.

A statement that asks for another level is replaced, where it stands, by one that raises DSQL's
error. So PostgreSQL itself fails it: the transaction's state, the rest of a multi-statement query
and a pipeline up to its Sync come out as after any other error, in both protocols.

Statements are read by PostgreSQL's own grammar (libpg_query, through postgast). What is not seen:
a level whose name is computed (`set_config` with an expression), or set inside a function, or in a
text of many statements over 64 KiB.
"""

from __future__ import annotations

import importlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dsql_fast.local import _protocol as protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

# Two cheap words: without one of them no statement names an isolation level. The second is the
# mark of identifiers and strings with Unicode escapes, which could hide the first.
_WORDS = (b"isolation", b"u&")
_SETTINGS = frozenset({"transaction_isolation", "default_transaction_isolation"})
_ONLY_LEVEL = "repeatable read"
# What is longer sets no level, and the parser recurses: a sum of 100,000 terms overflows its stack
# and ends the process (seen with postgast 0.2.0). The scanner has no such end.
_LONGEST_STATEMENT = 2_000  # bytes
_LONGEST_TEXT = 64 * 1024  # bytes
_SEMICOLON = ord(";")  # the scanner's number for it
# The grammar needs ASCII, positions count bytes: every other byte becomes a letter, which is what
# it is inside the names and strings where alone it may stand.
_ASCII = bytes(range(128)) + b"x" * 128


def refuse_other_levels(data: bytes) -> bytes:
    """Replace the statements that ask for another isolation level.

    Args:
        data: Complete messages of a client.

    Returns:
        The same bytes, or the messages with such statements replaced.
    """
    lowered = data.lower()
    if not any(word in lowered for word in _WORDS):
        return data
    out = bytearray()
    for kind, body in protocol.messages(data):
        if kind == ord("Q"):
            sql, _, rest = body.partition(b"\0")
            body = _rewritten(sql) + b"\0" + rest  # noqa: PLW2901
        elif kind == ord("P"):
            name, _, after = body.partition(b"\0")
            sql, _, rest = after.partition(b"\0")
            body = name + b"\0" + _rewritten(sql) + b"\0" + rest  # noqa: PLW2901
        out += protocol.message(bytes([kind]), body)
    return bytes(out)


def _rewritten(sql: bytes) -> bytes:
    """Replace statements inside the text of one message."""
    if len(sql) > _LONGEST_TEXT or not _names_a_level(sql):
        return sql
    pieces: list[bytes] = []
    at = 0
    for start, end in _statements(sql):
        statement = sql[start:end]
        if end - start > _LONGEST_STATEMENT or not _names_a_level(statement):
            continue
        level = _other_level(statement)
        if level is not None:
            pieces += [sql[at:start], _raising(level)]
            at = end
    return b"".join([*pieces, sql[at:]])


def _names_a_level(sql: bytes) -> bool:
    lowered = sql.lower()
    return any(word in lowered for word in _WORDS)


def _statements(sql: bytes) -> Iterator[tuple[int, int]]:
    """Where each statement is: split by PostgreSQL's scanner, so not inside strings or comments."""
    postgast = _parser()
    try:
        tokens = postgast.scan(sql.translate(_ASCII).decode("ascii")).tokens
    except postgast.PgQueryError:
        return  # PostgreSQL says what is wrong with it
    start = 0
    for token in tokens:
        if token.token == _SEMICOLON:
            yield start, token.start
            start = token.end
    yield start, len(sql)


@lru_cache(maxsize=256)
def _other_level(statement: bytes) -> str | None:
    """The isolation level a statement asks for, if it is another than DSQL's."""
    postgast = _parser()
    try:
        tree = postgast.parse(statement.translate(_ASCII).decode("ascii"))
    except (postgast.PgQueryError, importlib.import_module("google.protobuf.message").DecodeError):
        return None  # not SQL, which PostgreSQL says; or an expression too deep to be such a one
    for parsed in tree.stmts:
        for level in _levels(parsed.stmt):
            # Cut: it comes from a client and is put into an error.
            if level.strip().lower() not in (_ONLY_LEVEL, "default"):
                return level[:32]
    return None


def _parser() -> Any:
    # Imported when the first such statement comes: a tenth of a second that most never need. By
    # name, because its type stubs cannot be read by type checkers.
    return importlib.import_module("postgast")


def _levels(statement: Any) -> Iterator[str]:
    kind = statement.WhichOneof("node")
    if kind == "transaction_stmt":
        yield from _in_options(statement.transaction_stmt.options)
    elif kind == "variable_set_stmt":
        setting = statement.variable_set_stmt
        if setting.name.lower() in _SETTINGS:
            yield from _constants(setting.args)
        else:  # SET TRANSACTION and SET SESSION CHARACTERISTICS carry options
            yield from _in_options(setting.args)
    elif kind == "select_stmt":
        yield from _in_calls(statement.select_stmt)


def _in_options(nodes: Any) -> Iterator[str]:
    for node in nodes:
        if node.WhichOneof("node") == "def_elem" and node.def_elem.defname in _SETTINGS:
            yield from _constants([node.def_elem.arg])


def _in_calls(select: Any) -> Iterator[str]:
    """`SELECT set_config('transaction_isolation', 'serializable', ...)`, as drivers write it."""
    for target in select.target_list:
        call = target.res_target.val.func_call
        name = [part.string.sval for part in call.funcname]
        if name[-1:] != ["set_config"]:
            continue
        constants = list(_constants(call.args))
        if len(constants) > 1 and constants[0].lower() in _SETTINGS:
            yield constants[1]


def _constants(nodes: Any) -> Iterator[str]:
    for node in nodes:
        inner = node.type_cast.arg if node.WhichOneof("node") == "type_cast" else node
        if inner.WhichOneof("node") == "a_const":
            yield inner.a_const.sval.sval


def _raising(level: str) -> bytes:
    # Text observed. Quotes double; what is not a letter or a blank is dropped with them.
    shown = "".join(letter for letter in level.upper() if letter.isalpha() or letter == " ")
    return (
        f"DO $dsql$BEGIN RAISE EXCEPTION 'Unsupported isolation level: {shown}' USING ERRCODE = '0A000'; END$dsql$"
    ).encode()
