"""The lexer that cuts a text into statements, held to PostgreSQL's own scanner."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsql_fast.local._statements import Reader
from dsql_fast.migrations import split
from dsql_fast.migrations._split import index_if_not_exists, makes_job

READER = Reader(frozenset())


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("", []),
        (" ; ;; -- nothing\n /* ; */ ", []),
        ("select 1", ["select 1"]),
        ("select 1; select 2 ;", ["select 1", "select 2"]),
        ("-- first\nselect 1; -- second\nselect 2", ["select 1", "select 2"]),
        ("select 'a;''b;'; select 2", ["select 'a;''b;'", "select 2"]),
        ('select ";"";"; select 2', ['select ";"";"', "select 2"]),
        (r"select E'\';'; select 2", [r"select E'\';'", "select 2"]),
        (r"select '\'; select 2", [r"select '\'", "select 2"]),
        ("select $$;$$, $a$;$$;$a$; select 2", ["select $$;$$, $a$;$$;$a$", "select 2"]),
        ("select $1; select a$b$; select 2", ["select $1", "select a$b$", "select 2"]),
        ("select /* ; /* ; */ ; */ 1; select 2", ["select /* ; /* ; */ ; */ 1", "select 2"]),
        ("create rule r as on insert to t do also (select 1; select 2); select 3",
         ["create rule r as on insert to t do also (select 1; select 2)", "select 3"]),
        ("create function f() returns int language sql begin atomic select case when true then 1 end; select 2; end; x",
         ["create function f() returns int language sql begin atomic select case when true then 1 end; select 2; end",
          "x"]),
        ("select 'open; select 2", ["select 'open; select 2"]),
        ("select é; select 2", ["select é", "select 2"]),
    ],
)  # fmt: skip
def test_statements(text: str, statements: list[str]) -> None:
    assert split(text) == statements


PIECES = st.sampled_from(
    [
        *(";", "'", '"', "''", "$$", "$a$", "$", "--", "/*", "*/", "\n", " ", "(", ")", "E'", "e", "\\"),
        *("begin", "atomic", "end", "case", "select", "a", "é", "1", "1.5", "/", "*", "-", "+", "_", "."),
    ]
)


@settings(max_examples=1_000)
@given(st.lists(PIECES, max_size=14))
def test_as_postgresql_scans(pieces: list[str]) -> None:
    _as_postgresql(pieces)


@pytest.mark.full
@settings(max_examples=50_000)
@given(st.lists(PIECES, max_size=24))
def test_as_postgresql_scans_in_full(pieces: list[str]) -> None:
    _as_postgresql(pieces)


def _as_postgresql(pieces: list[str]) -> None:
    text = "".join(pieces)
    raw = text.encode()
    read = READER.read(raw)
    if read[0].command == "" and read[0].end == len(raw):
        return  # empty, or PostgreSQL's scanner refuses it: then the server will
    assert split(text) == [raw[each.start : each.end].decode() for each in read]


@pytest.mark.parametrize(
    ("statement", "yes"),
    [
        ("create index async on t (a)", True),
        ("CREATE /* c */ UNIQUE\nINDEX Async i on t (a)", True),
        ("alter table async t validate constraint c", True),
        ("create index i on t (a)", False),
        ('create index "async" on t (a)', False),
        ("create table async (id int)", False),
        ("insert into t values ('create index async')", False),
        ("create", False),
    ],
)
def test_what_makes_a_job(statement: str, yes: bool) -> None:
    assert makes_job(statement) is yes


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        ("create index async if not exists I on T (a)", ("i", "t")),
        ('create unique index async if not exists "I""x" on only s."T" (a)', ('I"x', "T")),
        ("create index async if not exists i on a.b.c (a)", ("i", "c")),
        ("create index async i on t (a)", None),
        ("create index async if not exists i on", None),
        ("alter table async if not exists t", None),
        ("select 1", None),
    ],
)
def test_names_of_an_index_that_may_be_there(statement: str, names: tuple[str, str] | None) -> None:
    assert index_if_not_exists(statement) == names
