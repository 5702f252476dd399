"""Cuts a text into its statements, and reads the head of one.

A small lexer, of what a semicolon may hide in: strings, names in quotes, dollar quotes, comments, parentheses and
bodies of functions in standard SQL. It does not know SQL, and what it cannot read (a quote that is not closed) is
left to the server to refuse. Tests hold it to PostgreSQL's own scanner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLANKS = " \t\n\r\f\v"


class Token(NamedTuple):
    """One piece of a text that is neither blank nor comment.

    Attributes:
        start: where it begins.
        end: behind its last character.
        word: in upper case, of what is neither a string nor in quotes; else empty.
    """

    start: int
    end: int
    word: str


class IndexName(NamedTuple):
    """What a statement that makes an index unless it is there already calls things.

    Attributes:
        name: of the index.
        table: of its table, without a schema.
    """

    name: str
    table: str


def split(text: str) -> list[str]:
    """Return the statements of a text, without their semicolons; comments before and between them are left out."""
    return [text[tokens[0].start : tokens[-1].end] for tokens in _statements(text)]


def makes_job(statement: str) -> bool:
    """Tell whether a statement is answered with a job: CREATE INDEX ASYNC, ALTER TABLE ASYNC."""
    words = [token.word for token in _head(statement)]
    return words[:3] in (["CREATE", "INDEX", "ASYNC"], ["ALTER", "TABLE", "ASYNC"]) or words[:4] == [
        "CREATE",
        "UNIQUE",
        "INDEX",
        "ASYNC",
    ]


def index_if_not_exists(statement: str) -> IndexName | None:
    """Return the names in a CREATE INDEX ASYNC IF NOT EXISTS, which needs one for the index."""
    tokens = _head(statement)
    words = [token.word for token in tokens]
    if not makes_job(statement) or words[0] != "CREATE":
        return None
    at = words.index("ASYNC") + 1
    if words[at : at + 3] != ["IF", "NOT", "EXISTS"] or "ON" not in words[at + 4 : at + 5]:
        return None
    table = at + 5 + (words[at + 5 : at + 6] == ["ONLY"])
    while words[table + 1 : table + 2] == ["."]:
        table += 2
    if table >= len(tokens):
        return None
    return IndexName(_name(statement, tokens[at + 3]), _name(statement, tokens[table]))


def _head(statement: str) -> list[Token]:
    found = []
    for token in _tokens(statement):
        found.append(token)
        if len(found) == 16:  # noqa: PLR2004 - CREATE UNIQUE INDEX ASYNC IF NOT EXISTS i ON ONLY a.b.t
            break
    return found


def _name(text: str, token: Token) -> str:
    """Return a name as PostgreSQL has it: folded, unless it is in quotes."""
    raw = text[token.start : token.end]
    return raw[1:-1].replace('""', '"') if raw.startswith('"') else raw.lower()


def _statements(text: str) -> Iterator[list[Token]]:
    current: list[Token] = []
    depth = blocks = 0
    for token in _tokens(text):
        word = token.word
        if word == ";" and not depth and not blocks:
            if current:
                yield current
            current = []
            continue
        if word == "(":
            depth += 1
        elif word == ")":
            depth -= depth > 0
        elif word == "ATOMIC" and current and current[-1].word == "BEGIN":
            blocks = 1  # the body of a function in standard SQL, to its END
        elif blocks and word == "CASE":
            blocks += 1
        elif blocks and word == "END":
            blocks -= 1
        current.append(token)
    if current:
        yield current


def _tokens(text: str) -> Iterator[Token]:
    at, size = 0, len(text)
    while at < size:
        char = text[at]
        if char in _BLANKS:
            at += 1
        elif text.startswith("--", at):
            at = _behind_line(text, at)
        elif text.startswith("/*", at):
            at = _behind_comment(text, at)
        else:
            end, is_word = _behind_token(text, at)
            yield Token(at, end, text[at:end].upper() if is_word else "")
            at = end


def _behind_token(text: str, at: int) -> tuple[int, bool]:
    """Return where a token ends, and whether it is a word or a sign."""
    char = text[at]
    if char == "'":
        return _behind_quote(text, at, backslashes=False), False
    if char == '"':
        return _behind_quote(text, at, backslashes=False), False
    if char == "$" and (tag := _dollar_tag(text, at)):
        end = text.find(tag, at + len(tag))
        return (len(text) if end < 0 else end + len(tag)), False
    if not _begins_name(char):
        return at + 1, True
    end = at + 1
    while end < len(text) and _in_name(text[end]):
        end += 1
    if end < len(text) and text[end] == "'" and end == at + 1 and char in "eE":
        return _behind_quote(text, end, backslashes=True), False
    return end, True


def _behind_quote(text: str, at: int, *, backslashes: bool) -> int:
    quote = text[at]
    at += 1
    while at < len(text):
        if backslashes and text[at] == "\\":
            at += 2
        elif text[at] != quote:
            at += 1
        elif text[at + 1 : at + 2] == quote:  # doubled: one of the string's
            at += 2
        else:
            return at + 1
    return len(text)


def _behind_line(text: str, at: int) -> int:
    while at < len(text) and text[at] not in "\n\r":
        at += 1
    return at


def _behind_comment(text: str, at: int) -> int:
    """Comments of this kind nest."""
    depth = 0
    while at < len(text):
        pair = text[at : at + 2]
        if pair == "/*":
            depth, at = depth + 1, at + 2
        elif pair == "*/":
            depth, at = depth - 1, at + 2
            if not depth:
                return at
        else:
            at += 1
    return at


def _dollar_tag(text: str, at: int) -> str:
    """Return the tag that opens a dollar quote here: ``$$`` or ``$name$``; empty if none does."""
    end = at + 1
    while end < len(text) and _in_name(text[end]) and text[end] != "$":
        end += 1
    if text[end : end + 1] != "$" or text[at + 1].isdecimal():
        return ""
    return text[at : end + 1]


def _begins_name(char: str) -> bool:
    return char == "_" or char.isalpha() or ord(char) > 127  # noqa: PLR2004 - as PostgreSQL has it


def _in_name(char: str) -> bool:
    return _begins_name(char) or char.isdecimal() or char == "$"
