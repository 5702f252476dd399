"""What the words of a statement say about it: its command, and which changes it makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dsql_fast.local._scanner import Form, Token, name

if TYPE_CHECKING:
    from collections.abc import Sequence

_WORDS_OF_CHANGE = frozenset({"INSERT", "UPDATE", "DELETE", "FOR", "INTO"})
_OBJECTS_OF_TWO_WORDS = frozenset({"MATERIALIZED", "FOREIGN", "EVENT", "TEXT", "USER", "ACCESS", "DEFAULT"})
_ENDS_SET = frozenset({"WHERE", "FROM", "RETURNING", "WHEN"})
# What may be a name.
NAMES = frozenset({Form.NAME, Form.UNRESERVED, Form.COLUMN_NAME, Form.FUNCTION_NAME})
_CONSTANTS = frozenset({Form.STRING, Form.NUMBER})
_IN_TARGET = frozenset({".", "(", ",", ")"})
_AMONG_CONSTANTS = frozenset({"(", ",", ")", "-", "+", "NULL", "DEFAULT", "TRUE", "FALSE"})
_BEHIND_VALUES = frozenset({"ON", "RETURNING"})
_BETWEEN = frozenset({"OR", "REPLACE", "TEMP", "TEMPORARY", "UNLOGGED", "UNIQUE", "GLOBAL", "LOCAL", "RECURSIVE"})


def command_of(tokens: Sequence[Token]) -> str:
    """The first keyword or keywords; nothing that a client chose."""
    first = tokens[0]
    if first.form in (Form.NAME, Form.STRING, Form.NUMBER, Form.OTHER, Form.PARAMETER):
        return "SELECT" if first.word == "(" else ""
    if first.word in ("CREATE", "ALTER", "DROP"):
        objects = [token.word for token in tokens[1:6] if token.word not in _BETWEEN]
        count = 2 if objects[:1] and objects[0] in _OBJECTS_OF_TWO_WORDS else 1
        return " ".join([first.word, *objects[:count]]).rstrip()
    if first.word == "WITH":
        return _main_verb(tokens)
    return first.word


def _main_verb(tokens: Sequence[Token]) -> str:
    """What a WITH leads to: the first command outside parentheses."""
    depth = 0
    for token in tokens:
        if token.word == "(":
            depth += 1
        elif token.word == ")":
            depth -= 1
        elif depth == 0 and token.word in ("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "VALUES", "TABLE"):
            return token.word
    return "WITH"


class Changes(NamedTuple):
    """Which words of change occur as commands or clauses."""

    inserts: bool = False
    updates: bool = False
    deletes: bool = False
    locks: bool = False
    makes_table: bool = False


def changes_in(tokens: Sequence[Token]) -> Changes:
    """Find them, inside WITH too."""
    inserts = updates = deletes = locks = makes_table = False
    for at, token in enumerate(tokens):
        word = token.word
        if word not in _WORDS_OF_CHANGE:
            continue
        before, behind = word_at(tokens, at - 1), word_at(tokens, at + 1)
        if before == ".":
            continue  # a column's name
        if word == "INSERT":
            inserts |= behind == "INTO" or before == "THEN"
        elif word == "DELETE":
            deletes |= behind == "FROM" or before == "THEN"
        elif word == "UPDATE":
            # More than the grammar has: a column of that name counts too, and does no harm.
            updates |= before not in ("FOR", "KEY", "ON")
        elif word == "FOR":
            locks |= behind in ("UPDATE", "SHARE", "NO", "KEY")
        else:
            makes_table |= before not in ("INSERT", "MERGE")
    return Changes(inserts, updates, deletes, locks, makes_table)


def assigned_in(sql: bytes, tokens: Sequence[Token]) -> frozenset[str]:
    """The columns that an UPDATE, ON CONFLICT or MERGE may give values to.

    More than these: every identifier from SET to the end of its clause counts, also on the right of a `=`.
    """
    found: set[str] = set()
    depth = 0
    inside: int | None = None  # the depth of the SET
    for at, token in enumerate(tokens):
        word = token.word
        if word == "(":
            depth += 1
        elif word == ")":
            depth -= 1
            if inside is not None and depth < inside:
                inside = None
        elif word == "SET" and word_at(tokens, at - 1) != ".":
            inside = depth
        elif inside == depth and word in _ENDS_SET:
            inside = None
        elif inside is not None and token.form in NAMES:
            found.add(name(sql, token))
    return frozenset(found)


def is_chained(tokens: Sequence[Token]) -> bool:
    """Whether AND CHAIN begins the next transaction."""
    words = [token.word for token in tokens]
    return "CHAIN" in words and words[words.index("CHAIN") - 1] != "NO"


def copies_in(tokens: Sequence[Token]) -> bool:
    """Whether a COPY takes its data from the client."""
    depth = 0
    for at, token in enumerate(tokens):
        if token.word == "(":
            depth += 1
        elif token.word == ")":
            depth -= 1
        elif depth == 0 and token.word == "FROM":
            return word_at(tokens, at + 1) == "STDIN"
    return False


def inserts_what_was_sent(sql: bytes, tokens: Sequence[Token]) -> bool:
    """Whether an INSERT writes nothing but constants, and parameters, each of them once.

    Then no row is much longer than what the client sent for it, but for its defaults.
    """
    words = [token.word for token in tokens]
    if words[:2] != ["INSERT", "INTO"] or "VALUES" not in words:
        return False
    at = words.index("VALUES")
    if any(token.form not in NAMES and token.word not in _IN_TARGET for token in tokens[2:at]):
        return False
    parameters: set[bytes] = set()
    for token in tokens[at + 1 :]:
        if token.word in _BEHIND_VALUES:
            break
        if token.form is Form.PARAMETER:
            parameter = sql[token.start : token.end]
            if parameter in parameters:
                return False
            parameters.add(parameter)
        elif token.form not in _CONSTANTS and token.word not in _AMONG_CONSTANTS:
            return False
    return True


def explained_by(tokens: Sequence[Token]) -> tuple[Sequence[Token], bool]:
    """The statement behind EXPLAIN, and whether it is run."""
    at = 1
    runs = False
    if word_at(tokens, 1) == "(":
        while at < len(tokens) and tokens[at].word != ")":
            runs |= tokens[at].word in ("ANALYZE", "ANALYSE")
            at += 1
        at += 1
    else:
        while word_at(tokens, at) in ("ANALYZE", "ANALYSE", "VERBOSE"):
            runs |= tokens[at].word != "VERBOSE"
            at += 1
    return tokens[at:], runs


def word_at(tokens: Sequence[Token], at: int) -> str:
    """The word of a token, empty where there is none."""
    return tokens[at].word if 0 <= at < len(tokens) else ""
