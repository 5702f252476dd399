"""Statements that only DSQL has, put into calls that PostgreSQL understands.

`AWS IAM GRANT role TO 'arn'`, `AWS IAM REVOKE role FROM 'arn'` and `CREATE [UNIQUE] INDEX ASYNC` (all
documented by AWS) call the routines of `_catalog.SCRIPT`. Each call runs as the client's own user, so a
text that escaped its quotes would win nothing; it cannot escape them either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dsql_fast.local._scanner import Form, Token, name
from dsql_fast.local._settings import UNDOTTED

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAMES = frozenset({Form.NAME, Form.UNRESERVED, Form.COLUMN_NAME, Form.FUNCTION_NAME})
_ROUTINES = {("GRANT", "TO"): b"iam_grant", ("REVOKE", "FROM"): b"iam_revoke"}
_LONGEST_HEAD = 3  # tokens before ASYNC (CREATE UNIQUE INDEX), or to a parameter (SET LOCAL name)
_ON_SETTINGS = frozenset({"SET", "RESET", "SHOW"})


class Translation(NamedTuple):
    """What to run in place of a statement.

    Attributes:
        sql: The text.
        tag: The CommandComplete tag to show. Assumed: nobody recorded DSQL's.
        command: The statement's keywords.
        defines: Whether it is DDL.
    """

    sql: bytes
    tag: bytes
    command: str
    defines: bool = True


def translate(sql: bytes, tokens: Sequence[Token]) -> Translation | None:
    """Translate a statement, if it is one of these and well formed.

    What is not well formed goes to PostgreSQL as it is, which calls it a syntax error.
    """
    if tokens[0].form is Form.NAME and name(sql, tokens[0]) == "aws":
        return _iam(sql, tokens)
    if tokens[0].word in _ON_SETTINGS:
        return _setting(sql, tokens)
    asynchronous = async_keyword(sql, tokens)
    if asynchronous is not None and tokens[0].word == "CREATE":
        return _index(sql, tokens, asynchronous)
    if asynchronous is not None:
        return _validation(sql, tokens, asynchronous)
    return None


def async_keyword(sql: bytes, tokens: Sequence[Token]) -> int | None:
    """Where ASYNC stands in CREATE [UNIQUE] INDEX ASYNC or ALTER TABLE ASYNC, or None.

    ASYNC is no keyword of PostgreSQL, so an index may be named so: `CREATE INDEX async ON t (a)`.
    DSQL reads it as its keyword there (a name is optional); so does this.
    """
    words = [token.word for token in tokens[:_LONGEST_HEAD]]
    if words[:2] in (["CREATE", "INDEX"], ["ALTER", "TABLE"]):
        at = 2
    elif words == ["CREATE", "UNIQUE", "INDEX"]:
        at = 3
    else:
        return None
    if at >= len(tokens) or sql[tokens[at].start : tokens[at].end].lower() != b"async":
        return None
    return at


def _iam(sql: bytes, tokens: Sequence[Token]) -> Translation | None:
    if len(tokens) != 6 or name(sql, tokens[1]) != "iam":  # noqa: PLR2004 - AWS IAM verb role TO 'arn'
        return None
    verb, role, preposition, arn = tokens[2:]
    routine = _ROUTINES.get((verb.word, preposition.word))
    if routine is None or arn.form is not Form.STRING or role.form not in _NAMES:
        return None
    # The constant goes over as it was written: it is one token, so nothing can follow it.
    given = sql[arn.start : arn.end]
    grantee = quoted(name(sql, role).encode(errors="surrogateescape"))
    command = f"AWS IAM {verb.word}"
    return Translation(b"CALL sys.%b(%b, %b)" % (routine, grantee, given), command.encode(), command)


def _setting(sql: bytes, tokens: Sequence[Token]) -> Translation | None:
    """DSQL's own parameters: PostgreSQL keeps for anybody what has a dot in its name."""
    command = tokens[0].word
    for token in tokens[1:_LONGEST_HEAD]:
        if token.form is Form.NAME and name(sql, token) in UNDOTTED:
            renamed = sql[tokens[0].start : token.start] + b"dsql." + sql[token.start : tokens[-1].end]
            return Translation(renamed, command.encode(), command, defines=False)
    return None


def _index(sql: bytes, tokens: Sequence[Token], asynchronous: int) -> Translation | None:
    """CREATE INDEX is run at once, and answered with the row that tells the job."""
    on = next((at for at, token in enumerate(tokens) if token.word == "ON"), len(tokens))
    table = _table(sql, tokens, on + 1)
    if table is None:
        return None
    left_out = {asynchronous}
    using = next((at for at in range(on, len(tokens)) if tokens[at].word in ("USING", "(")), on)
    if tokens[using].word == "USING":
        # DSQL's own access method, the only one that it takes, is called btree by PostgreSQL.
        left_out |= {using, using + 1}
    return _job(b"INDEX_BUILD", _without(sql, tokens, left_out), table, "CREATE INDEX")


def _validation(sql: bytes, tokens: Sequence[Token], asynchronous: int) -> Translation | None:
    """`ALTER TABLE ASYNC t VALIDATE CONSTRAINT c` (documented) answers with a job, too."""
    at = asynchronous + 1
    words = [token.word for token in tokens[at:]]
    if words[:2] == ["IF", "EXISTS"]:
        at += 2
    table = _table(sql, tokens, at)
    if table is None or "VALIDATE" not in words:
        return None
    # The name of this kind of job is assumed.
    return _job(b"VALIDATE_CONSTRAINT", _without(sql, tokens, {asynchronous}), table, "ALTER TABLE")


def _job(kind: bytes, statement: bytes, table: bytes, command: str) -> Translation:
    arguments = b", ".join((quoted(kind), quoted(statement), quoted(table)))
    return Translation(b"SELECT job_id FROM sys.run_job(" + arguments + b")", command.encode(), command)


def _table(sql: bytes, tokens: Sequence[Token], at: int) -> bytes | None:
    """The table's name as it is written, with its schema."""
    if at < len(tokens) and tokens[at].word == "ONLY":
        at += 1
    if at >= len(tokens) or tokens[at].form not in _NAMES:
        return None
    end = at
    while end + 2 < len(tokens) and tokens[end + 1].word == ".":
        end += 2
    return b".".join(sql[token.start : token.end] for token in tokens[at : end + 1 : 2])


def _without(sql: bytes, tokens: Sequence[Token], left_out: set[int]) -> bytes:
    """The statement without some of its tokens, and without its comments."""
    return b" ".join(sql[token.start : token.end] for at, token in enumerate(tokens) if at not in left_out)


def quoted(text: bytes) -> bytes:
    """A string constant of any bytes.

    Between dollars: it holds with every standard_conforming_strings, and in the client encodings
    whose characters may contain the byte of a backslash.
    """
    tag = b"$dsql$"
    while (text + tag).find(tag) != len(text):
        tag = tag[:-1] + b"_$"
    return tag + text + tag
