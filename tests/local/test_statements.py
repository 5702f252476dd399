"""Reading SQL by its tokens."""

from __future__ import annotations

import string as letters

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsql_fast.local._scanner import Form, scan, string
from dsql_fast.local._statements import Kind, Qualifier, Reader, Statement

BUILTINS = frozenset(
    {"count", "lower", "now", "pg_sleep", "generate_series", "row_number", "left", "json_agg", "sum"}
)
READER = Reader(BUILTINS)


def read(sql: str) -> tuple[Statement, ...]:
    return READER.read(sql.encode())


def one(sql: str) -> Statement:
    (statement,) = read(sql)
    return statement


def parts(sql: str) -> list[str]:
    data = sql.encode()
    return [data[statement.start : statement.end].decode() for statement in READER.read(data)]


KINDS = {
    Kind.EMPTY: ["", "  \n", ";", " ; ;; ", "-- nothing", "/* nothing; /* at */ all */ ;"],
    Kind.BEGIN: ["begin", "BEGIN WORK", "begin transaction read only", "start transaction", "/* c */ begin -- x"],
    Kind.COMMIT: ["commit", "end", "commit work", "commit and no chain", "end transaction", "commit and chain"],
    Kind.ROLLBACK: ["rollback", "abort", "rollback transaction", "rollback and chain", "abort work"],
    Kind.SAVEPOINT: [
        "savepoint a",
        "release a",
        "release savepoint a",
        "rollback to a",
        "rollback transaction to savepoint a",
        "rollback work to a",
    ],
    Kind.READ: [
        "select 1",
        "(select 1) union (select 2)",
        "values (1), (2)",
        "table t",
        "show timezone",
        "with a as (select 1) select * from a",
        "with recursive w(a) as (values (1) union all select a + 1 from w where a in (1, 2)) select * from w",
        "select count(*), coalesce(a, 'x'), nullif(a, b), greatest(1, 2), cast(a as numeric(3)), a::bit(3) from t",
        "select row_number() over (partition by a order by b rows between 1 preceding and current row) from t",
        "select sum(a) filter (where b) over w from t window w as (partition by (c))",
        "select substring(a from 1 for 2), overlay(a placing b from 1 for 2), position('a' in b), trim(both from a)",
        "select a from t where exists (select 1) and a = any (array[1]) and not (b) or c like ('x')",
        "select * from (values (1, 2)) as v(a, b) join lateral (select 1) x(c) on (true)",
        "select * from generate_series(1, 2) g(n) cross join (select 1) y",
        "select left(a, 1), json_agg(b) from t group by grouping sets ((a), (b)), cube (a), rollup (b)",
        "select 'insert into t; delete from t', $$update t$$, $a$ for update $a$, E'\\'; delete from t'",
        'select "insert", "for update" from "nextval(1)"',
        'select U&"d\\0061t" from t -- ; delete from t',
        "select a.update, b.delete from a, b where a.insert = $1",
        "select pg_sleep(0), pg_catalog.now()",
        "select xmlelement(name a), json_object('a': 1)",
        "explain select nextval('s')",
        "explain (costs off) insert into t values (1)",
        "explain verbose delete from t",
        "explain analyze select 1",
        "explain (analyze, verbose) with a as (select 1) select lower('A')",
        "copy t to stdout",
        "copy (select lower(a) from t) to stdout with (format csv)",
        "call sys.wait_for_job('x')",
    ],
    Kind.WRITE: [
        "insert into t values (1)",
        "update t set a = 1",
        "delete from t",
        "merge into t using s on (a = b) when matched then delete",
        "with x as (delete from t returning *) select * from x",
        "with x as (insert into t values (1) returning *) select * from x",
        "with x as (update t set a = 1 returning *) select * from x",
        "with x as (select 1) insert into t select * from x",
        "select * from t for update",
        "select * from t for no key update",
        "select * from t for share",
        "select * from (select * from t for key share) x",
        "select nextval('s')",
        'select "lower"(a), "Lower"(a) from t',
        "select my_schema.lower(a)",
        "select f(1)",
        "select f (1)",
        "select f/* c */(1)",
        "select f -- c\n (1)",
        'select U&"f"(1)',
        "select name(1)",
        "select * from generate_series(1, f(2))",
        "select a operator(mine.+) b",
        "explain analyze insert into t values (1)",
        "explain (analyze) select f(1)",
        "explain analyze execute p",
        "explain analyze create table u as select 1",
        "copy (select f(1)) to stdout",
        "copy t to '/tmp/x'",
        "copy t from '/tmp/x'",
        "call p()",
        "call sys.other('x')",
        "analyze t",
        "set constraints all immediate",
        "lock table t",
        "do $$begin end$$",
        "nonsense",
        "selec 1",
        "$1",
    ],
    Kind.DDL: [
        "create table t (a int)",
        "alter table t add column a int",
        "drop table t",
        "create or replace view v as select f(1)",
        "grant select on t to r",
        "revoke update on t from r",
        "comment on table t is 'x'",
        "truncate t",
        "create role r with login",
        "alter default privileges grant select on tables to r",
        "reassign owned by a to b",
        "aws iam grant r to 'arn:aws:iam::1:role/x'",
        "AWS IAM REVOKE r FROM 'arn:aws:iam::1:role/x'",
        "create unique index async i on t (a)",
        "alter table async t validate constraint c",
        "select * into u from t",
    ],
    Kind.SETTING: [
        "set timezone to 'UTC'",
        "set local role r",
        "set transaction read only",
        "set session characteristics as transaction read only",
        "reset all",
        "discard all",
        "set disable_sync_create_index = on",
    ],
    Kind.COPY_IN: [
        "copy t from stdin",
        "copy t (a, b) from stdin with (format binary)",
        "COPY public.t FROM STDIN",
    ],
    Kind.PREPARE: ["prepare p as select f(1)", "prepare p (int) as insert into t values ($1)", "deallocate all"],
    Kind.CURSOR: ["declare c cursor for select 1", "fetch 1 from c", "move all in c", "close c"],
    Kind.EXECUTE: ["execute p(1)"],
}


@pytest.mark.parametrize(("kind", "sql"), [(kind, sql) for kind, texts in KINDS.items() for sql in texts])
def test_kinds(kind: Kind, sql: str) -> None:
    assert one(sql).kind is kind
    assert one(sql.upper() if "'" not in sql and '"' not in sql and "$" not in sql else sql).kind is kind


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select 1; select 2", ["select 1", "select 2"]),
        (" /* a */ select 1 -- b\n;; ; select 2;", ["select 1", "select 2"]),
        (
            "select ';', \";\", $$;$$, $a$;$$;$a$, E'\\';', U&';' ; b",
            ["select ';', \";\", $$;$$, $a$;$$;$a$, E'\\';', U&';'", "b"],
        ),
        ("select 'begin; commit'; commit", ["select 'begin; commit'", "commit"]),
        ("select 1 /* ; /* ; */ ; */ + 2", ["select 1 /* ; /* ; */ ; */ + 2"]),
        (
            "create rule r as on insert to t do also (a; b); c",
            ["create rule r as on insert to t do also (a; b)", "c"],
        ),
        (
            "create function f() returns int begin atomic select case when true then 1 end; select 2; end; select 3",
            [
                "create function f() returns int begin atomic select case when true then 1 end; select 2; end",
                "select 3",
            ],
        ),
        ("begin; select 1; end; select 2", ["begin", "select 1", "end", "select 2"]),
        ("select 'ä☃' ; select \"ö\" ; select é", ["select 'ä☃'", 'select "ö"', "select é"]),
        ("select 'it''s;' ';'\n';'; x", ["select 'it''s;' ';'\n';'", "x"]),
    ],
)
def test_splitting(sql: str, expected: list[str]) -> None:
    assert parts(sql) == expected


def test_what_the_scanner_refuses_is_for_postgresql() -> None:
    for sql in ["select 'x", 'begin; select "x', "/* x", "select $a$ x $b$", "select 1a; commit", 'select ""']:
        statement = one(sql)
        assert statement.kind is Kind.WRITE
        assert (statement.start, statement.end) == (0, len(sql))
        assert statement.refusal is None


def test_bytes_of_any_encoding() -> None:
    for encoding in ("latin-1", "shift_jis", "gb18030"):
        data = "select '表ソ'; select 'x;' as 表".encode(encoding, errors="replace")
        first, second = READER.read(data)
        assert data[first.start : first.end] + b"; " + data[second.start : second.end] == data


def test_names_are_folded_as_postgresql_does() -> None:
    sql = 'select Foo, "Bar", U&"d\\0061t\\+000061", "a""b", ÄÖ, "Ä", name, x.SELECT from "T" as value where count(*) > 1'
    expected = {"foo", "Bar", "data", 'a"b', "ÄÖ", "Ä", "name", "x", "select", "T", "value", "count"}
    assert one(sql).names == expected
    assert one('select "' + "n" * 70 + '", ' + "é" * 40).names == {"n" * 63, "é" * 31}
    assert one("deallocate all").names == frozenset()
    assert one("discard plans").names == {"plans"}


def test_qualifiers() -> None:
    sql = 'select a.b.c, "X" . /* d */ y from public.t, public."T"'
    statement = one(sql)
    assert [sql[q.start : q.end] for q in statement.qualifiers] == [
        "a.",
        "b.",
        '"X" . /* d */ ',
        "public.",
        "public.",
    ]
    assert [(q.schema, q.name) for q in statement.qualifiers] == [
        ("a", "b"),
        ("b", "c"),
        ("X", "y"),
        ("public", "t"),
        ("public", "T"),
    ]
    assert one("update public.user set a = 1").qualifiers == (Qualifier(7, 14, "public", "user"),)
    # Cut, the statement means the same while `public` is searched.
    cut = sql.encode()
    for q in reversed(statement.qualifiers):
        if q.schema == "public":
            cut = cut[: q.start] + cut[q.end :]
    assert cut.decode() == 'select a.b.c, "X" . /* d */ y from t, "T"'


@pytest.mark.parametrize(
    ("sql", "changes"),
    [
        ("insert into t values (1)", "i"),
        ("insert into t values (1) on conflict do nothing", "i"),
        ("insert into t values (1) on conflict (a) do update set a = 2", "iu"),
        ("update t set a = 1", "u"),
        ("delete from t using u", "d"),
        ("with a as (delete from t returning *), b as (update t set a = 1) insert into t select 1", "iud"),
        (
            "merge into t using s on (a = b) when matched then update set a = 1 when not matched then insert values (1)",
            "iu",
        ),
        ("merge into t using s on (a = b) when matched then delete", "d"),
        ("select * from t for update", "l"),
        ("select * from t for no key update of t", "l"),
        ("copy t from stdin", "i"),
        ("prepare p as delete from t", "d"),
        ("explain analyze update t set a = 1", "u"),
        ("create table t (a int references b on delete cascade on update restrict)", ""),
        ("grant insert, update, delete on t to r", ""),
        ("select t.update, substring(a for 2) from t", ""),
        ("select 'insert into t' as \"delete from\"", ""),
    ],
)
def test_changes(sql: str, changes: str) -> None:
    statement = one(sql)
    found = {"i": statement.inserts, "u": statement.updates, "d": statement.deletes, "l": statement.locks}
    assert {key for key, value in found.items() if value} == set(changes)


@pytest.mark.parametrize(
    ("sql", "command"),
    [
        ("insert into t values (1)", "INSERT"),
        ("with a as (insert into t values (1) returning *) select * from a", "SELECT"),
        ("with a as (select 1) update t set a = 1", "UPDATE"),
        ("create or replace temp view v as select 1", "CREATE VIEW"),
        ("create unique index i on t (a)", "CREATE INDEX"),
        ("create materialized view v as select 1", "CREATE MATERIALIZED VIEW"),
        ("drop table t", "DROP TABLE"),
        ("aws iam grant a to 'b'", "AWS IAM GRANT"),
        ("secret_word 'x'", ""),
        ("(select 1)", "SELECT"),
        ("", ""),
    ],
)
def test_commands(sql: str, command: str) -> None:
    assert one(sql).command == command


def test_chains() -> None:
    assert [s.chain for s in read("commit and chain; rollback and chain; commit; commit and no chain")] == [
        *(True, True, False, False)
    ]


@pytest.mark.parametrize(
    ("sql", "replacement"),
    [
        ("aws iam grant Foo to 'x'", b"CALL sys.iam_grant($dsql$foo$dsql$, 'x')"),
        ("AWS /* c */ IAM REVOKE \"F'oo\" FROM E'\\x41' ;", b"CALL sys.iam_revoke($dsql$F'oo$dsql$, E'\\x41')"),
        (
            "create index async on only public . t (a) -- c",
            (
                b"SELECT job_id FROM sys.run_job($dsql$INDEX_BUILD$dsql$, "
                b"$dsql$create index on only public . t ( a )$dsql$, $dsql$public.t$dsql$)"
            ),
        ),
        (
            "CREATE UNIQUE INDEX ASYNC IF NOT EXISTS i ON t USING btree_index (a) INCLUDE (b)",
            (
                b"SELECT job_id FROM sys.run_job($dsql$INDEX_BUILD$dsql$, "
                b"$dsql$CREATE UNIQUE INDEX IF NOT EXISTS i ON t ( a ) INCLUDE ( b )$dsql$, $dsql$t$dsql$)"
            ),
        ),
        (
            "alter table async if exists t validate constraint c",
            (
                b"SELECT job_id FROM sys.run_job($dsql$VALIDATE_CONSTRAINT$dsql$, "
                b"$dsql$alter table if exists t validate constraint c$dsql$, $dsql$t$dsql$)"
            ),
        ),
        ("set local disable_sync_create_index to on", b"set local dsql.disable_sync_create_index to on"),
        ("show disable_sync_create_index", b"show dsql.disable_sync_create_index"),
        # Not well formed: for PostgreSQL.
        ("aws iam grant a to b", None),
        ("aws iam grant a from 'b'", None),
        ("aws iam grant a to 'b' with admin option", None),
        ("aws iam", None),
        ("create index async", None),
        ("create index a on t (a)", None),
        ("select 1", None),
    ],
)
def test_replacements(sql: str, replacement: bytes | None) -> None:
    statement = one(sql)
    assert statement.replacement == replacement
    assert (statement.tag is None) is (replacement is None)


@pytest.mark.parametrize(
    "sql",
    [
        "insert into t values ($1, 'x', -1, +.5, null, default, true, false)",
        'insert into s.t (a, "B") values ($2, $1), ($3, $4)',
        "insert into t values ($1) on conflict (a) do nothing",
        "insert into t values ($1) returning repeat(v, 9)",
        "copy t (a) from stdin",
    ],
)
def test_what_inserts_only_what_was_sent(sql: str) -> None:
    assert one(sql).verbatim


@pytest.mark.parametrize(
    "sql",
    [
        "insert into t values ($1, $1)",
        "insert into t values (repeat($1, 9))",
        "insert into t values ($1 || $2)",
        "insert into t values ($1::char(999))",
        "insert into t values (char(999) 'x')",
        "insert into t values ((select v from u))",
        "insert into t select v from u",
        "insert into t (v) table u",
        "insert into t default values",
        "with w as (values ($1)) insert into t table w",
        "insert into t as x values ($1) on conflict (a) do update set v = x.v || x.v",
        "insert into t values ($1) on conflict (a) do update set v = t.v",
        "update t set v = $1",
        "select 1",
        "merge into t using u on t.a = u.a when not matched then insert values (u.a)",
    ],
)
def test_what_may_write_more_than_was_sent(sql: str) -> None:
    assert not one(sql).verbatim


def test_only_short_texts_are_remembered() -> None:
    reader = Reader(BUILTINS)
    short, long = b"select 1", b"select '" + b"x" * 5_000 + b"'"
    assert reader.read(short) is reader.read(short)
    assert reader.read(long) is not reader.read(long)


@pytest.mark.parametrize(
    "sql",
    [
        "select " + "+".join(["1"] * 100_000),
        "select " + "(" * 10_000 + "1" + ")" * 10_000,
        "select * from " + "(select * from " * 5_000 + "t" + ") x" * 5_000,
        "select " + "not " * 50_000 + "true",
        "select " + "case when " * 10_000 + "true" + " then 1 end" * 10_000,
    ],
)
def test_size_and_depth_do_no_harm(sql: str) -> None:
    assert one(sql).kind is Kind.READ
    assert one("create view v as " + sql).kind is Kind.DDL
    # Definitions are what a parser sees.
    assert one("create table t (a int check (" + sql.removeprefix("select ") + "))").kind is Kind.DDL
    assert one("alter table t add constraint c check (" + sql.removeprefix("select ") + ")").kind is Kind.DDL


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("'it''s'", "it's"),
        ("E'a\\n\\x41\\u0042\\U00000043\\104\\''", "a\nABCD'"),
        ("U&'d\\0061t\\+000061\\\\'", "data\\"),
        ("$$a'b$$", "a'b"),
        ("$x$a$$b$x$", "a$$b"),
        ("'ä'", "ä"),
        ("E'\\xzz\\u\\", None),
        ("E'\\xzz\\q'", "\ufffdzzq"),
    ],
)
def test_string_constants(written: str, value: str | None) -> None:
    sql = f"select {written}".encode()
    if value is None:
        assert READER.read(sql)[0].kind is Kind.WRITE
        return
    (_, token) = scan(sql)
    assert token.form is Form.STRING
    assert string(sql, token) == value


IDENTIFIERS = st.one_of(
    st.text(alphabet=letters.ascii_letters + "_äß", min_size=1, max_size=8),
    st.text(min_size=1, max_size=8).map(lambda text: '"' + text.replace("\0", "").replace('"', '""') + 'x"'),
)
STRINGS = st.text(max_size=12).map(lambda text: text.replace("\0", ""))
CONSTANTS = st.one_of(
    st.integers(0, 1_000).map(str),
    STRINGS.map(lambda text: "'" + text.replace("'", "''") + "'"),
    STRINGS.map(lambda text: "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"),
    STRINGS.map(lambda text: "$q$" + text.replace("$", "") + "$q$"),
    st.sampled_from(["null", "$1", "U&'\\0061;'", "X'1f'", "B'01'"]),
)
COMMENTS = st.sampled_from([" ", "\n", " -- ; it's\n", " /* ; ' /* \" */ $$ */ ", "\t"])


@st.composite
def statements(draw: st.DrawFn) -> str:
    gap = draw(COMMENTS)
    table, column = draw(IDENTIFIERS), draw(IDENTIFIERS)
    values = draw(st.lists(CONSTANTS, min_size=1, max_size=4))
    return draw(
        st.sampled_from(
            [
                f"select{gap}{', '.join(values)}{gap}from {table}.{column}",
                f"insert{gap}into {table} values ({gap.join(values)})",
                f"update {table} set {column}{gap}={gap}({values[0]})",
                f"delete{gap}from {table} where ({column} = {values[0]})",
                f"create function {table}() begin atomic select{gap}case {values[0]} end; select 1; end",
            ]
        )
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(statements(), min_size=1, max_size=6), COMMENTS)
def test_statements_put_together_come_apart(written: list[str], gap: str) -> None:
    assert parts(gap + f"{gap};{gap}".join(written) + gap) == written
    assert [statement.kind for statement in read(";".join(written))] == [one(text).kind for text in written]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80).filter(lambda data: b"\0" not in data))
def test_any_bytes_can_be_read(data: bytes) -> None:
    found = READER.read(data)
    assert found
    at = 0
    for statement in found:
        assert at <= statement.start <= statement.end <= len(data)
        at = statement.end


WORDS = """
select insert into update delete from for set share create table index async alter add constraint drop column
t a b ( ) , . ; 'x' 1 = begin commit rollback to isolation level serializable set_config ( 'timezone' using where
on cache identity aws iam grant explain analyze execute prepare as language with copy stdin ATOMIC end case
public schema [] serial temp sequence local role "q" U&"q" :: operator
"""


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(WORDS.split()), max_size=25))
def test_any_order_of_words_can_be_read(words: list[str]) -> None:
    sql = " ".join(words)
    for statement in read(sql):
        assert statement.end <= len(sql)
