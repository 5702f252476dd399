"""Cuts SQL into tokens with PostgreSQL's own scanner (libpg_query, through postgast).

The scanner is flat: it never recurses, so a text of any size and depth is safe, which the parser's
are not. Texts are bytes in the client's encoding and all positions count bytes.
"""

from __future__ import annotations

import enum
import importlib
from typing import Any, NamedTuple

# By name, because its type stubs cannot be read by type checkers.
_postgast: Any = importlib.import_module("postgast")
_numbers: Any = importlib.import_module("postgast.pg_query_pb2").Token

# The scanner needs ASCII: every other byte becomes an underscore, which is a letter to it, as those
# bytes are inside the names and strings where alone they may stand. No keyword has two of them in a
# row or starts with one, no prefix of a string or number is one.
_ASCII = bytes(range(128)) + b"_" * 128
_LONGEST_NAME = 63  # bytes; PostgreSQL cuts what is longer
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_HEX = frozenset("0123456789abcdefABCDEF")


class Form(enum.Enum):
    """What a token is; keywords by PostgreSQL's own classes, which tell where they can be names."""

    OTHER = enum.auto()
    UNRESERVED = enum.auto()
    COLUMN_NAME = enum.auto()  # may be a column's or table's name, never a function's
    FUNCTION_NAME = enum.auto()  # may be a function's or type's name
    RESERVED = enum.auto()
    NAME = enum.auto()
    STRING = enum.auto()
    NUMBER = enum.auto()
    PARAMETER = enum.auto()


class Token(NamedTuple):
    """One token, comments left out.

    Attributes:
        start: Byte offset of its first byte.
        end: Byte offset behind its last byte.
        form: What it is.
        word: A keyword in upper case, or the characters of an operator or a punctuation mark;
            empty for everything else.
    """

    start: int
    end: int
    form: Form
    word: str


class ScanError(Exception):
    """PostgreSQL's scanner does not take the text: PostgreSQL will say why."""


_OF_KEYWORD = (Form.OTHER, Form.UNRESERVED, Form.COLUMN_NAME, Form.FUNCTION_NAME, Form.RESERVED)
_OF_NUMBER = {
    _numbers.Value(name): form
    for name, form in {
        "IDENT": Form.NAME,
        "UIDENT": Form.NAME,
        "SCONST": Form.STRING,
        "USCONST": Form.STRING,
        "ICONST": Form.NUMBER,
        "FCONST": Form.NUMBER,
        "PARAM": Form.PARAMETER,
    }.items()
}
_COMMENTS = frozenset({_numbers.Value("SQL_COMMENT"), _numbers.Value("C_COMMENT")})


def scan(sql: bytes) -> list[Token]:
    """Cut a text into tokens.

    Raises:
        ScanError: If PostgreSQL's scanner refuses it, say for a string without an end.
    """
    text = sql.translate(_ASCII).decode("ascii")
    try:
        scanned = _postgast.scan(text).tokens
    except _postgast.PgQueryError:
        raise ScanError from None
    tokens = []
    for token in scanned:
        number = token.token
        if number in _COMMENTS:
            continue
        start, end = token.start, token.end
        keyword = token.keyword_kind
        if keyword:
            tokens.append(Token(start, end, _OF_KEYWORD[keyword], text[start:end].upper()))
            continue
        form = _OF_NUMBER.get(number, Form.OTHER)
        tokens.append(Token(start, end, form, text[start:end] if form is Form.OTHER else ""))
    return tokens


def name(sql: bytes, token: Token) -> str:
    """An identifier, or a keyword used as one, as PostgreSQL folds it."""
    raw = sql[token.start : token.end]
    if token.form is not Form.NAME or not raw.endswith(b'"'):
        # Only ASCII is folded, whatever the encoding (PostgreSQL's downcase_identifier, UTF-8).
        folded = raw.lower()
    else:
        folded = raw[raw.index(b'"') + 1 : -1].replace(b'""', b'"')
        if raw[:1] in b"uU":
            folded = _unicode(folded.decode(errors="surrogateescape")).encode(errors="surrogateescape")
    if len(folded) > _LONGEST_NAME:
        return folded[:_LONGEST_NAME].decode(errors="ignore")
    return folded.decode(errors="surrogateescape")


def string(sql: bytes, token: Token) -> str:
    """The value of a string constant: plain, escaped, Unicode-escaped, or between dollars.

    Constants continued on another line count as they stand: nobody names a setting like that.
    """
    raw = sql[token.start : token.end].decode(errors="surrogateescape")
    if raw.startswith("$"):
        tag = raw[: raw.index("$", 1) + 1]
        return raw[len(tag) : -len(tag)]
    prefix, _, body = raw.partition("'")
    body = body[:-1].replace("''", "'")
    if prefix in ("e", "E"):
        return _escaped(body)
    if prefix in ("u&", "U&"):
        return _unicode(body)
    return body


def _escaped(body: str) -> str:
    """Undo the escapes of E'...'."""
    out: list[str] = []
    at = 0
    while at < len(body):
        character = body[at]
        at += 1
        if character != "\\" or at == len(body):
            out.append(character)
            continue
        escape = body[at]
        digits, base = {"x": (2, 16), "u": (4, 16), "U": (8, 16)}.get(escape, (0, 0))
        if digits:
            until = at + 1
            while until < len(body) and until <= at + digits and body[until] in _HEX:
                until += 1
            code = int(body[at + 1 : until] or "0", base)
            at = until
        elif escape in "01234567":
            until = at
            while until < len(body) and until < at + 3 and body[until] in "01234567":
                until += 1
            code = int(body[at:until], 8)
            at = until
        else:
            out.append(_ESCAPES.get(escape, escape))
            at += 1
            continue
        out.append(_character(code))
    return "".join(out)


def _unicode(body: str) -> str:
    r"""Undo \XXXX and \+XXXXXX. Another escape character (UESCAPE) is left as it stands."""
    out: list[str] = []
    at = 0
    while at < len(body):
        if body[at] != "\\":
            out.append(body[at])
            at += 1
        elif body[at + 1 : at + 2] == "\\":
            out.append("\\")
            at += 2
        else:
            start = at + 2 if body[at + 1 : at + 2] == "+" else at + 1
            until = start + (6 if start == at + 2 else 4)
            digits = body[start:until]
            if len(digits) == until - start and _HEX.issuperset(digits):
                out.append(_character(int(digits, 16)))
                at = until
            else:  # PostgreSQL refuses it
                out.append("\\")
                at += 1
    return "".join(out)


def _character(code: int) -> str:
    # Surrogates come in pairs that spell one character: no name or setting that matters has any.
    return chr(code) if 0 < code < 0xD800 or 0xE000 <= code < 0x110000 else "\ufffd"  # noqa: PLR2004
