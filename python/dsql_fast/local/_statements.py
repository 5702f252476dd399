"""Reads the text of a Query or Parse message: which statements, of which kind, naming what.

By tokens, never by a syntax tree: PostgreSQL's parser outside PostgreSQL recurses without a limit,
and a sum of 100,000 terms ends the process. So a statement is known by its keywords, and where they
leave a doubt it is taken for one that writes, which is always the safe side.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from dsql_fast.local import _dialect, _rules
from dsql_fast.local._clauses import (
    NAMES,
    Changes,
    assigned_in,
    changes_in,
    command_of,
    copies_in,
    explained_by,
    inserts_what_was_sent,
    is_chained,
    word_at,
)
from dsql_fast.local._purity import reads_only
from dsql_fast.local._scanner import Form, ScanError, Token, name, scan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dsql_fast.local._refusals import Refusal

_LONGEST_CACHED = 4 * 1024  # bytes; with the number of texts it bounds the cache's memory
_CACHED_TEXTS = 1_024


class Kind(enum.Enum):
    """What a statement does, as far as transactions care."""

    EMPTY = enum.auto()
    BEGIN = enum.auto()
    COMMIT = enum.auto()
    ROLLBACK = enum.auto()
    SAVEPOINT = enum.auto()  # RELEASE and ROLLBACK TO too
    READ = enum.auto()  # changes nothing, and gives the same on the same snapshot
    WRITE = enum.auto()  # everything else
    DDL = enum.auto()  # GRANT and AWS IAM too
    SETTING = enum.auto()  # SET, RESET, DISCARD
    COPY_IN = enum.auto()
    PREPARE = enum.auto()  # DEALLOCATE too
    CURSOR = enum.auto()  # DECLARE, FETCH, MOVE, CLOSE
    EXECUTE = enum.auto()


class Qualifier(NamedTuple):
    """One `schema .` in front of a name.

    Attributes:
        start: Byte offset of the schema's name.
        end: Byte offset of the name behind the dot: without `[start, end)` it stands alone.
        schema: The part before the dot, which may also be a table or an alias.
        name: The part behind it.
    """

    start: int
    end: int
    schema: str
    name: str


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a text.

    Attributes:
        start: Byte offset of its first token; blanks and comments before it are left out.
        end: Byte offset behind its last token, without the semicolon.
        kind: What it does.
        command: Its first keyword or keywords, such as `INSERT` or `CREATE TABLE`; never anything
            that the client chose.
        names: Every identifier in it, folded and cut as PostgreSQL does, and every keyword that
            could be one, but for the first. Undecodable bytes are surrogate escapes.
        qualifiers: Every name with a dot before it, in order.
        inserts: Whether INSERT, COPY FROM or MERGE's INSERT occurs in it, inside WITH too.
        updates: Whether UPDATE does; ON CONFLICT DO UPDATE counts.
        assigned: The columns that it may update, and some more.
        deletes: Whether DELETE does.
        locks: Whether FOR UPDATE or another locking clause does.
        compound: Whether the word WITH is in it, so that it may hold several commands.
        chain: Whether it ends a transaction and begins the next (AND CHAIN).
        verbatim: Whether it inserts rows that are as long as what was sent for them, but for defaults.
        refusal: What DSQL says to it, or None: told by the text alone.
        replacement: The text to run in its place, or None.
        tag: The CommandComplete tag to show in place of PostgreSQL's, or None.
    """

    start: int
    end: int
    kind: Kind
    command: str
    names: frozenset[str] = frozenset()
    qualifiers: tuple[Qualifier, ...] = ()
    inserts: bool = False
    updates: bool = False
    assigned: frozenset[str] = frozenset()
    deletes: bool = False
    locks: bool = False
    compound: bool = False
    chain: bool = False
    verbatim: bool = False
    refusal: Refusal | None = None
    replacement: bytes | None = None
    tag: bytes | None = None


class Reader:
    """Reads statements, and remembers short texts.

    Args:
        builtins: Names of the functions that neither write nor give another value when called
            again (`_catalog.BUILTINS`). What is not among them counts as one that writes.
    """

    def __init__(self, builtins: frozenset[str]) -> None:
        self._builtins = builtins
        self._read_short = lru_cache(maxsize=_CACHED_TEXTS)(self._read)

    def read(self, sql: bytes) -> tuple[Statement, ...]:
        """Split a text into its statements.

        Empty statements are left out, as PostgreSQL does. There is always at least one: a text
        without any is one of kind EMPTY, and a text that PostgreSQL's scanner refuses is one WRITE
        over the whole, for PostgreSQL to say what is wrong.

        Args:
            sql: The text in the client's encoding, without the protocol's closing NUL.
        """
        return self._read_short(sql) if len(sql) < _LONGEST_CACHED else self._read(sql)

    def _read(self, sql: bytes) -> tuple[Statement, ...]:
        try:
            tokens = scan(sql)
        except ScanError:
            return (Statement(0, len(sql), Kind.WRITE, ""),)
        parts = [part for part in _split(tokens) if part]
        if not parts:
            return (Statement(0, len(sql), Kind.EMPTY, ""),)
        return tuple(self._statement(sql, part) for part in parts)

    def _statement(self, sql: bytes, tokens: Sequence[Token]) -> Statement:
        changes = changes_in(tokens)
        own = _dialect.translate(sql, tokens)
        kind = Kind.DDL if own is not None and own.defines else self._kind(sql, tokens, changes)
        if kind in (Kind.DDL, Kind.READ):  # rights and the actions of keys; what is only explained
            changes = Changes()
        names, qualifiers = _names(sql, tokens)
        return Statement(
            tokens[0].start,
            tokens[-1].end,
            kind,
            own.command if own else command_of(tokens),
            names,
            qualifiers,
            inserts=changes.inserts or kind is Kind.COPY_IN,
            updates=changes.updates,
            assigned=assigned_in(sql, tokens) if changes.updates or changes.inserts else frozenset(),
            deletes=changes.deletes,
            locks=changes.locks,
            compound=any(token.word == "WITH" for token in tokens),
            chain=kind in (Kind.COMMIT, Kind.ROLLBACK) and is_chained(tokens),
            verbatim=kind is Kind.COPY_IN
            or (changes.inserts and not changes.updates and inserts_what_was_sent(sql, tokens)),
            refusal=_rules.refusal(sql, tokens),
            replacement=own.sql if own else None,
            tag=own.tag if own else None,
        )

    def _kind(self, sql: bytes, tokens: Sequence[Token], changes: Changes) -> Kind:
        first = tokens[0].word
        known = _BY_FIRST_WORD.get(first) or _by_second_word(first, word_at(tokens, 1), word_at(tokens, 2))
        if known is not None:
            return known
        if first in _QUERIES and changes.makes_table:
            return Kind.DDL
        if first == "COPY" and copies_in(tokens):
            return Kind.COPY_IN
        query = _query(sql, tokens)
        if query is None:
            return Kind.WRITE
        harmless = not query or (not any(changes) and reads_only(sql, query, self._builtins))
        return Kind.READ if harmless else Kind.WRITE


def _by_second_word(first: str, second: str, third: str) -> Kind | None:
    if first == "ROLLBACK":
        return Kind.SAVEPOINT if "TO" in (second, third) else Kind.ROLLBACK
    if first == "PREPARE":
        return Kind.COMMIT if second == "TRANSACTION" else Kind.PREPARE
    if first == "SET":
        # SET CONSTRAINTS checks what was deferred.
        return Kind.WRITE if second == "CONSTRAINTS" else Kind.SETTING
    return None


def _query(sql: bytes, tokens: Sequence[Token]) -> Sequence[Token] | None:
    """The part that may turn out to be a harmless query: empty if it certainly is one."""
    first = tokens[0].word
    if first in _QUERIES:
        return tokens
    if first == "COPY":
        return tokens[1:] if any(token.word == "STDOUT" for token in tokens) else None
    if first == "EXPLAIN":
        explained, runs = explained_by(tokens)
        if not runs:
            return ()
        return explained if explained and explained[0].word in _QUERIES else None
    if first == "CALL":
        called = [name(sql, token) for token in tokens[1:4] if token.word != "."]
        return () if called == ["sys", "wait_for_job"] else None
    return None


_QUERIES = frozenset({"SELECT", "VALUES", "TABLE", "WITH", "("})
_BY_FIRST_WORD = {
    "BEGIN": Kind.BEGIN,
    "START": Kind.BEGIN,
    "COMMIT": Kind.COMMIT,
    "END": Kind.COMMIT,
    "ABORT": Kind.ROLLBACK,
    "SAVEPOINT": Kind.SAVEPOINT,
    "RELEASE": Kind.SAVEPOINT,
    "SHOW": Kind.READ,
    "RESET": Kind.SETTING,
    "DISCARD": Kind.SETTING,
    "DEALLOCATE": Kind.PREPARE,
    "DECLARE": Kind.CURSOR,
    "FETCH": Kind.CURSOR,
    "MOVE": Kind.CURSOR,
    "CLOSE": Kind.CURSOR,
    "EXECUTE": Kind.EXECUTE,
    # DDL is what the documentation of DSQL calls so, GRANT observed; the rest by PostgreSQL's own
    # division, since every one of them writes to the catalog.
    "CREATE": Kind.DDL,
    "ALTER": Kind.DDL,
    "DROP": Kind.DDL,
    "GRANT": Kind.DDL,
    "REVOKE": Kind.DDL,
    "COMMENT": Kind.DDL,
    "SECURITY": Kind.DDL,
    "REASSIGN": Kind.DDL,
    "IMPORT": Kind.DDL,
    "TRUNCATE": Kind.DDL,
    "REFRESH": Kind.DDL,
    "REINDEX": Kind.DDL,
    "CLUSTER": Kind.DDL,
}


def _split(tokens: Sequence[Token]) -> Iterator[Sequence[Token]]:
    """Cut at the semicolons between statements, as psql does.

    Not at those inside parentheses (CREATE RULE) nor in the body of a function written in standard
    SQL (BEGIN ATOMIC ... END).
    """
    start = depth = blocks = 0
    for at, token in enumerate(tokens):
        word = token.word
        if word == "(":
            depth += 1
        elif word == ")":
            depth -= depth > 0
        elif word == "ATOMIC" and at > start and tokens[at - 1].word == "BEGIN":
            blocks = 1
        elif blocks and word == "CASE":
            blocks += 1
        elif blocks and word == "END":
            blocks -= 1
        elif word == ";" and depth == 0 and blocks == 0:
            yield tokens[start:at]
            start = at + 1
    yield tokens[start:]


def _names(sql: bytes, tokens: Sequence[Token]) -> tuple[frozenset[str], tuple[Qualifier, ...]]:
    names: set[str] = set()
    qualifiers: list[Qualifier] = []
    for at, token in enumerate(tokens):
        behind_dot = at > 0 and tokens[at - 1].word == "."
        # Behind a dot every keyword is a name.
        if token.form not in NAMES and not (behind_dot and token.form is Form.RESERVED):
            continue
        if at == 0 and token.form is not Form.NAME:
            continue  # the command
        own = name(sql, token)
        names.add(own)
        if behind_dot and at > 1 and tokens[at - 2].form in NAMES:
            before = tokens[at - 2]
            qualifiers.append(Qualifier(before.start, token.start, name(sql, before), own))
    return frozenset(names), tuple(qualifiers)
