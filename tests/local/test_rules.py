"""What DSQL refuses by a statement's text."""

from __future__ import annotations

import pytest

from dsql_fast.local._settings import ACCEPTED
from dsql_fast.local._statements import Kind, Reader

READER = Reader(frozenset({"lower", "count"}))

LOCKING = "locking clauses other than FOR UPDATE/FOR KEY SHARE are not supported"
TEMPORARY = "TEMPORARY or TEMP table not supported for CREATE TABLE"
ASYNC = "unsupported mode. please use CREATE INDEX ASYNC."
CACHE = "please define CACHE greater than or equal to 65536 or equal to 1"
NO_CACHE = f"is not supported without an explicit cache size. {CACHE}"
WITH_CONSTRAINT = "ALTER TABLE ADD COLUMN with constraint not supported"
ADD_CONSTRAINT = "unsupported ALTER TABLE ADD CONSTRAINT statement"
SERIALIZABLE = "Unsupported isolation level: SERIALIZABLE"
SYSTEM_ENTITY = "feature not supported on system entity"
SORT_ORDER = "specifying sort order not supported for index keys"

# Texts that others saw on real clusters.
OBSERVED = {
    LOCKING: [
        "select * from t for share",
        "select * from t for no key update",
        "select * from t where a = 1 FOR /* c */ SHARE of t nowait",
        "with a as (select * from t for share) select * from a",
        "insert into u select * from t for share",
        "declare c cursor for select * from t for share",
        "prepare p as select * from t for share",
    ],
    "unsupported statement: Truncate": ["truncate t", "truncate table only t, u cascade"],
    TEMPORARY: [
        "create temp table t (a int)",
        "create temporary table if not exists t (a int)",
        "create local temp table t (a int)",
        "create temp table t as select 1",
    ],
    "CREATE FUNCTION with language plpgsql not supported": [
        "create function f() returns int language plpgsql as 'begin return 1; end'",
        "create or replace function f() returns int as $$ language sql $$ language 'plpgsql'",
        'create function f(language text) returns int as $$ x $$ stable language "plpgsql"',
    ],
    "CREATE FUNCTION with language plv8 not supported": ["create function f() returns int language plv8 as 'x'"],
    "PROCEDURE is not supported": [
        "create procedure p() language sql as 'select 1'",
        "create or replace procedure p()",
    ],
    "CREATE TRIGGER not supported": [
        "create trigger a before insert on t for each row execute function f()",
        "create or replace trigger a after insert on t execute function f()",
        "create constraint trigger a after insert on t for each row execute function f()",
    ],
    "unsupported statement: CreateExtension": [
        "create extension pgcrypto",
        "create extension if not exists postgis",
    ],
    "unsupported statement: Createdb": ["create database d"],
    "unsupported statement: Execute": ["explain execute p(1)", "explain (verbose, format json) execute p(null)"],
    ASYNC: [
        "create index on t (a)",
        "create unique index if not exists i on t (a)",
        "create index i on t (lower(a))",
    ],
    "CONCURRENTLY not supported for CREATE INDEX": [
        "create index concurrently i on t using btree (a) where a > 1"
    ],
    "USING not supported for CREATE INDEX": [
        "create index i on t using btree (a)",
        "create index async i on t using gin (a)",
        "create index async i on t using btree (a) where a > 1",
    ],
    "WHERE not supported for CREATE INDEX": [
        "create index i on t (a) where b",
        "create index async i on t (a) where b",
    ],
    SORT_ORDER: ["create index async i on t (a desc)", "create index async i on t (a, lower(b) asc nulls last)"],
    "opclass not supported for index keys": [
        "create index async i on t (a text_pattern_ops)",
        'create index async i on t (lower(a) collate "C" public.my_ops)',
        "create index async i on t ((a || b) text_ops)",
    ],
    "more than 8 column keys in an index are not supported": [
        "create index async i on t (a, b, c, d, e, f, g, h, i)"
    ],
    WITH_CONSTRAINT: [
        "alter table t add column a int default 1",
        "alter table t add a int not null",
        "alter table if exists only t add column a int check (a > 1)",
        "alter table t add column a int references u (a)",
        "alter table t add column b int, add column a int generated always as (b + 1) stored",
    ],
    ADD_CONSTRAINT: [
        "alter table t add constraint c check (a > 1)",
        "alter table t add check (a > 1)",
        "alter table t add constraint c foreign key (a) references u (a)",
        "alter table t add constraint c unique (a)",
        "alter table t add primary key (a)",
    ],
    "unsupported ALTER TABLE VALIDATE CONSTRAINT statement": ["alter table t validate constraint c"],
    "unsupported ALTER TABLE ALTER COLUMN ... SET NOT NULL statement": ["alter table t alter a set not null"],
    "unsupported ALTER TABLE ALTER COLUMN ... SET DATA TYPE statement": [
        "alter table t alter column a type text",
        "alter table t alter a set data type int using a::int",
    ],
    "unsupported ALTER TABLE ALTER COLUMN ... SET STATISTICS statement": [
        "alter table t alter a set statistics 5"
    ],
    "datatype text[] not supported": [
        "create table t (a text[])",
        "create table t (b int, a text[3] not null default '{}')",
        "create table t (a text array)",
        "alter table t add column a text[]",
    ],
    'type "serial" does not exist': ["create table t (a serial primary key)", "alter table t add column a serial"],
    f"CREATE SEQUENCE {NO_CACHE}": ["create sequence s", "create sequence if not exists cache start 5"],
    SYSTEM_ENTITY: ["grant usage on schema public to r", 'grant create on schema a, "public" to r'],
    SERIALIZABLE: [
        "begin isolation level serializable",
        "start transaction isolation level serializable, read only",
        "BEGIN /* c */ TRANSACTION\n read only, Isolation Level SERIALIZABLE",
        "set transaction isolation level serializable",
        "set session characteristics as transaction isolation level serializable",
        "set default_transaction_isolation to 'serializable'",
        "set \"default_transaction_isolation\" = 'serializable'",
        "set U&\"default_transaction_\\0069solation\" = 'serializable'",
        "set transaction_isolation = serializable",
        "set local transaction_isolation = E'\\x73erializable'",
        "select set_config('default_transaction_isolation', 'serializable', false)",
        "select 1, pg_catalog.set_config('TRANSACTION_isolation'::text, $$serializable$$, false)",
        "select * from (select set_config('transaction_isolation', 'serializable', false)) x",
    ],
    "Unsupported isolation level: READ COMMITTED": [
        "begin isolation level read committed",
        "set transaction isolation level read committed",
    ],
    "Unsupported isolation level: READ UNCOMMITTED": ["begin isolation level read uncommitted"],
    'setting configuration parameter "statement_timeout" not supported': [
        "set statement_timeout = 0",
        "set local statement_timeout to '5s'",
        "SET SESSION Statement_Timeout TO DEFAULT",
        "select set_config('statement_timeout', '5', true)",
    ],
    'setting configuration parameter "role" not supported': [
        "set role r",
        "set session role r",
        "set role to r",
        "select set_config('role', 'r', false)",
    ],
}

# DSQL refuses these by its documentation or by what follows from it; the words are ours.
ASSUMED = {
    "unsupported statement: Savepoint": [
        "savepoint a",
        "release a",
        "release savepoint a",
        "rollback to a",
        "rollback work to savepoint a",
    ],
    "SKIP LOCKED is not supported": [
        "select * from t for update skip locked",
        "with a as (select * from t for key share of t SKIP /* c */ LOCKED) select * from a",
        "declare c cursor for select * from t for update skip locked",
    ],
    "unsupported statement: PrepareTransaction": [
        "prepare transaction 'a'",
        "commit prepared 'a'",
        "rollback prepared 'a'",
    ],
    "unsupported statement: Vacuum": ["vacuum", "vacuum full t"],
    "unsupported statement: Lock": ["lock table t", "lock t in share mode"],
    "unsupported statement: Listen": ["listen a"],
    "unsupported statement: Notify": ["notify a, 'b'"],
    "unsupported statement: Unlisten": ["unlisten *"],
    "unsupported statement: Do": ["do $$begin end$$"],
    "unsupported statement: Cluster": ["cluster t using i"],
    "unsupported statement: Reindex": ["reindex table t"],
    "unsupported statement: RefreshMatView": ["refresh materialized view v"],
    "unsupported statement: AlterSystem": ["alter system set fsync = on"],
    "unsupported statement: AlterDatabase": ["alter database postgres rename to p"],
    "unsupported statement: Dropdb": ["drop database postgres"],
    "unsupported statement: CreateTableSpace": ["create tablespace x location 'y'"],
    "unsupported statement: CreateEventTrig": ["create event trigger x on ddl_command_end execute function f()"],
    "unsupported statement: CreateTableAs": [
        "create table t as select 1",
        "create table if not exists t (a) as values (1)",
        "create materialized view v as select 1",
        "select a into t from u",
    ],
    TEMPORARY: ["select a into temp t from u", "select a into local temporary table t from u"],
    "TEMPORARY or TEMP view not supported for CREATE VIEW": ["create or replace temp view v as select 1"],
    "TEMPORARY or TEMP sequence not supported for CREATE SEQUENCE": ["create temp sequence s cache 1"],
    "UNLOGGED not supported for CREATE TABLE": ["create unlogged table t (a int)"],
    "unsupported statement: CreateEnum": ["create type e as enum ('a')"],
    "unsupported statement: CompositeType": ["create type e as (a int)"],
    "unsupported statement: CreateRange": ["create type e as range (subtype = int4)"],
    "unsupported statement: Define": ["create type e", "create type e (input = f, output = g)"],
    "PARTITION not supported for CREATE TABLE": [
        "create table t (a int) partition by list (a)",
        "create table t partition of u for values in (1)",
    ],
    "INHERITS not supported for CREATE TABLE": ["create table t (a int) inherits (u)"],
    "TABLESPACE not supported for CREATE TABLE": ["create table t (a int) tablespace x"],
    "COLLATE not supported for CREATE TABLE": ['create table t (a text collate "de_DE")'],
    "EXCLUDE constraint not supported": ["create table t (a int, exclude using gist (a with =))"],
    "unsupported ALTER TABLE ENABLE ROW LEVEL SECURITY statement": ["alter table t enable row level security"],
    "unsupported ALTER TABLE INHERIT statement": ["alter table t inherit u"],
    "unsupported ALTER TABLE SET statement": ["alter table t set (fillfactor = 50)"],
    "datatype integer[] not supported": ["create table t (a int[])", "create table t (a int4[][])"],
    "datatype timestamp with time zone[] not supported": ["create table t (a timestamptz[])"],
    "datatype character varying[] not supported": ["create table t (a varchar(3)[])"],
    'type "bigserial" does not exist': ["create table t (a bigserial)"],
    f"IDENTITY {NO_CACHE}": [
        "create table t (a bigint generated always as identity)",
        "create table t (a bigint generated by default as identity (start 5) primary key)",
        "alter table t alter a add generated always as identity",
    ],
    f"IDENTITY is not supported with cache size 100. {CACHE}": [
        "create table t (a bigint generated always as identity (cache 100))",
        "alter table t alter a set cache 100",
    ],
    f"CREATE SEQUENCE is not supported with cache size 65535. {CACHE}": ["create sequence s start 3 cache 65_535"],
    f"ALTER SEQUENCE is not supported with cache size 2. {CACHE}": ["alter sequence s cache 2"],
    SYSTEM_ENTITY: ["revoke usage on schema public from r"],
    "Unsupported isolation level: FOO": ["set transaction_isolation = 'foo;\"'"],
    'setting configuration parameter "session_authorization" not supported': [
        "set session authorization r",
        "set local session authorization default",
    ],
    'setting configuration parameter "default_transaction_read_only" not supported': [
        "set default_transaction_read_only = on"
    ],
    'setting configuration parameter "my.own" not supported': ["set my.own = 'x'", 'set MY."own" to x'],
    'setting configuration parameter "seed" not supported': ["set seed to 0.5"],
    'setting configuration parameter "xmloption" not supported': ["set xml option document"],
}
CODES = {
    'type "serial" does not exist': "42704",
    'type "bigserial" does not exist': "42704",
    "more than 8 column keys in an index are not supported": "54011",
}

ALLOWED = [
    *("begin", "begin read only", "begin isolation level repeatable read", "begin isolation level of dissent"),
    *("set transaction read only", "set transaction isolation level repeatable read"),
    "set session characteristics as transaction isolation level repeatable read",
    *("set default_transaction_isolation to 'Repeatable Read'", "set transaction_isolation to default"),
    "select set_config('default_transaction_isolation', 'repeatable read', false)",
    "select set_config(a, b, false), set_config($1, $2, true)",
    *(f"set {name} to default" for name in sorted(ACCEPTED)),
    *("set time zone 'UTC'", "set local time zone 'UTC'", "set names 'utf8'", "set schema 'x'"),
    *("set local role r", "select set_config('role', 'r', true)", "reset role", "reset all", "discard all"),
    *("set search_path = a, public", "set session search_path to 'a'", "set constraints all deferred"),
    *("set", "set local", "set =", "set session", "set 'x' = 1"),
    *("commit", "rollback", "abort", "end", "prepare p as select 1", "deallocate p", "execute p", "prepare"),
    *(
        "select * from t for update",
        "select * from t for key share nowait",
        "select substring(a for 3) from t",
    ),
    *(
        "insert into t values (1) on conflict do nothing returning a",
        "merge into t using s on (true) when matched then delete",
    ),
    *("select 'for share', \"into\", $$truncate$$ from t -- for share", "select a -> 'x' from t"),
    *("explain select 1", "explain analyze update t set a = 1", "analyze t", "copy t from stdin", "show all"),
    "explain (analyze) select execute from t",
    "create table t (a uuid primary key default gen_random_uuid(), b jsonb, c text check (c = any (array['a', 'b'])))",
    "create table t (a text default (array['x'])[1], b int references u (a) on delete cascade)",
    "create table t (a bigint generated always as identity (cache 1), b bigint generated by default as identity (cache 65536))",
    "create table t (a bigint generated always as identity (cache 99999999999))",
    "create table t (like u including all)",
    'create table if not exists s.t (a "serial[]", b s.serial)',
    *("create sequence s cache 1", "create sequence s as bigint start 5 cache 65536", "alter sequence s restart"),
    *("create view v as select 1", "create domain d as int", "create schema s", "create role r with login"),
    "create function f() returns int language sql as 'select 1'",
    "create function f() returns int return 1",
    *("alter table t add column a int", "alter table t add a text storage plain", "alter table t drop column a"),
    *("alter table t rename to u", "alter table t rename column a to b", "alter table t set schema s"),
    *(
        "alter table t alter a set default 1",
        "alter table t alter a drop default",
        "alter table t alter a drop not null",
    ),
    *("alter table t add constraint c check (a > 1) not valid", "alter table t drop constraint c"),
    "alter table t add constraint c foreign key (a) references u (a) not valid",
    "alter table t add constraint c unique using index i",
    "alter table async t validate constraint c",
    "alter table t owner to r",
    "alter role r set search_path to x",
    *(
        "create index async on t (a)",
        "create unique index async if not exists i on s.t (a, lower(b), (a + 1)) include (c)",
    ),
    'create index async i on t using btree_index (a collate "C" nulls first, b nulls last) nulls not distinct',
    "create index async on t (a, b, c, d, e, f, g, h)",
    *("drop index i", "drop table t cascade", "drop extension x", "comment on table t is 'for share'"),
    *("grant usage on schema s to r", "grant select on all tables in schema public to r", "grant r to s"),
    "aws iam grant r to 'arn:aws:iam::1:role/r'",
    *("create", "create table", "create index", "create unique", "alter", "alter table", "alter table t", "grant"),
    "create table t (a int",
]


@pytest.mark.parametrize(
    ("sql", "message"),
    [(sql, message) for table in (OBSERVED, ASSUMED) for message, texts in table.items() for sql in texts],
)
def test_refused(sql: str, message: str) -> None:
    *before, statement = READER.read(f"select 1; {sql}".encode())
    assert len(before) == 1
    assert before[0].refusal is None
    assert statement.refusal is not None
    assert statement.refusal.message == message
    assert statement.refusal.sqlstate == CODES.get(message, "0A000")


@pytest.mark.parametrize("sql", ALLOWED)
def test_not_refused(sql: str) -> None:
    (statement,) = READER.read(sql.encode())
    assert statement.refusal is None


def test_what_is_refused_keeps_its_kind() -> None:
    for sql, kind in [
        ("create index on t (a)", Kind.DDL),
        ("savepoint a", Kind.SAVEPOINT),
        ("begin isolation level serializable", Kind.BEGIN),
        ("select * from t for share", Kind.WRITE),
        ("set work_mem = '1MB'", Kind.SETTING),
    ]:
        (statement,) = READER.read(sql.encode())
        assert statement.kind is kind
        assert statement.refusal is not None


def test_what_a_client_wrote_is_cut() -> None:
    for sql in (f"set {'x' * 50}.{'y' * 50} to 1", f"create function f() language {'z' * 90} as 'x'"):
        (statement,) = READER.read(sql.encode())
        assert statement.refusal is not None
        assert len(statement.refusal.message) < 150


def test_a_definition_too_deep_for_a_tree_is_let_through() -> None:
    deep = "+".join(["1"] * 400)
    (statement,) = READER.read(f"create table t (a text[], b int default {deep})".encode())
    assert statement.refusal is None
    # What tokens tell is told all the same, and many columns are not deep.
    (statement,) = READER.read(f"create temp table t (a int default {deep})".encode())
    assert statement.refusal is not None
    columns = ", ".join(
        f"c{number} numeric(10, 2) not null default 0 check (c{number} >= 0)" for number in range(500)
    )
    (statement,) = READER.read(f"create table t ({columns}, a text[])".encode())
    assert statement.refusal is not None
