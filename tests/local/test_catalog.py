"""The schema `sys` and what runs in place of DSQL's own statements, in a PostgreSQL without the gateway."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import psycopg
import pytest

from dsql_fast.local._backend import first_value, run_script
from dsql_fast.local._binaries import find_binaries
from dsql_fast.local._catalog import BUILTINS_QUERY, SCRIPT
from dsql_fast.local._postgres import Postgres
from dsql_fast.local._statements import Kind, Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ARN = "arn:aws:iam::012345678912:role/example"


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = Postgres(find_binaries(None))
    try:
        server.finish()
        asyncio.run(run_script(server.socket_path, server.superuser, SCRIPT))
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def reader(postgres: Postgres) -> Reader:
    names = asyncio.run(first_value(postgres.socket_path, postgres.superuser, BUILTINS_QUERY))
    return Reader(frozenset(json.loads(names)))


@pytest.fixture
def connect(postgres: Postgres) -> Iterator[Callable[[str], psycopg.Connection]]:
    opened: list[psycopg.Connection] = []

    def open_as(user: str) -> psycopg.Connection:
        directory, name = postgres.socket_path.parent, postgres.socket_path.name
        port = int(name.rpartition(".")[2])
        opened.append(
            psycopg.connect(host=str(directory), port=port, user=user, dbname="postgres", autocommit=True)
        )
        return opened[-1]

    yield open_as
    for connection in opened:
        connection.close()


@pytest.fixture
def admin(connect: Callable[[str], psycopg.Connection]) -> psycopg.Connection:
    return connect("admin")


def run(connection: psycopg.Connection, reader: Reader, sql: str) -> psycopg.Cursor:
    """What the gateway does: the replacement where there is one."""
    (statement,) = reader.read(sql.encode())
    assert statement.refusal is None
    return connection.execute(statement.replacement or sql.encode())


def test_iam_mappings(admin: psycopg.Connection, reader: Reader) -> None:
    run(admin, reader, 'create role "Ex\'ample" with login')
    run(admin, reader, f"AWS IAM GRANT \"Ex'ample\" TO '{ARN}'")
    cursor = admin.execute("select * from sys.iam_pg_role_mappings")
    assert cursor.description is not None
    assert [column.name for column in cursor.description] == [
        "iam_oid",
        "arn",
        "pg_role_oid",
        "pg_role_name",
        "grantor_pg_role_oid",
        "grantor_pg_role_name",
    ]
    ((_, arn, _, role, _, grantor),) = cursor.fetchall()
    assert (arn, role, grantor) == (ARN, "Ex'ample", "admin")
    with pytest.raises(psycopg.errors.DuplicateObject):
        run(admin, reader, f"aws iam grant \"Ex'ample\" to '{ARN}'")
    run(admin, reader, f"aws iam revoke \"Ex'ample\" from '{ARN}'")
    assert admin.execute("select count(*) from sys.iam_pg_role_mappings").fetchone() == (0,)
    with pytest.raises(psycopg.errors.UndefinedObject, match="is not mapped"):
        run(admin, reader, f"aws iam revoke \"Ex'ample\" from '{ARN}'")
    # A mapping is gone with its role.
    run(admin, reader, f"aws iam grant \"Ex'ample\" to '{ARN}'")
    run(admin, reader, 'drop role "Ex\'ample"')
    assert admin.execute("select count(*) from sys.iam_pg_role_mappings").fetchone() == (0,)


def test_iam_mappings_refused(
    admin: psycopg.Connection, connect: Callable[[str], psycopg.Connection], reader: Reader, postgres: Postgres
) -> None:
    run(admin, reader, "create role powerless with login")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        run(connect("powerless"), reader, f"aws iam grant powerless to '{ARN}'")
    for role, arn, error in [
        ("nobody_here", ARN, psycopg.errors.UndefinedObject),
        ("admin", ARN, psycopg.errors.FeatureNotSupported),
        ("powerless", "arn", psycopg.errors.InvalidParameterValue),
        ("pg_monitor", ARN, psycopg.errors.UndefinedObject),
        (postgres.superuser, ARN, psycopg.errors.UndefinedObject),
    ]:
        for form in (f"aws iam grant {role} to '{arn}'", f"aws iam revoke {role} from '{arn}'"):
            with pytest.raises(error):
                run(admin, reader, form)
    run(admin, reader, "drop role powerless")


def test_iam_grant_is_undone_with_its_transaction(admin: psycopg.Connection, reader: Reader) -> None:
    run(admin, reader, "create role undone with login")
    with admin.transaction(force_rollback=True):
        run(admin, reader, f"aws iam grant undone to '{ARN}'")
        assert admin.execute("select count(*) from sys.iam_pg_role_mappings").fetchone() == (1,)
    assert admin.execute("select count(*) from sys.iam_pg_role_mappings").fetchone() == (0,)
    run(admin, reader, "drop role undone")


@pytest.fixture
def work(connect: Callable[[str], psycopg.Connection], postgres: Postgres) -> Callable[[str], None]:
    """Does a job, as the gateway does in the background."""

    def do(job: str) -> None:
        superuser = connect(postgres.superuser)
        superuser.execute("select sys.start_job(%s)", [job])
        superuser.execute("select sys.do_job(%s, null)", [job])
        superuser.execute("select sys.end_job(%s)", [job])

    return do


def test_an_index_is_a_job(admin: psycopg.Connection, reader: Reader, work: Callable[[str], None]) -> None:
    run(admin, reader, "create table indexed (id int primary key, word text)")
    cursor = run(
        admin, reader, "create index async if not exists by_word on public.indexed using btree_index (lower(word))"
    )
    assert cursor.description is not None
    assert [column.name for column in cursor.description] == ["job_id"]
    row = cursor.fetchone()
    assert row is not None
    (job,) = row
    assert len(job) == 26
    assert set(job) <= set("abcdefghijklmnopqrstuvwxyz234567")
    look = (
        "select status, details, job_type, class_id::regclass::text, object_id::regclass::text, object_name "
        "from sys.jobs where job_id = %s"
    )
    known = (None, "INDEX_BUILD", "pg_class", "by_word", "public.by_word")
    assert admin.execute(look, [job]).fetchone() == ("submitted", *known)
    valid = "select indisvalid, indpred is null from pg_index where indexrelid = 'by_word'::regclass"
    assert admin.execute(valid).fetchone() == (False, False)
    work(job)
    assert admin.execute(look, [job]).fetchone() == ("completed", *known)
    assert admin.execute(valid).fetchone() == (True, True)
    waited = run(admin, reader, f"call sys.wait_for_job('{job}')")
    assert waited.description is not None
    assert [column.name for column in waited.description] == ["succeeded"]
    assert waited.fetchone() == (True,)
    with pytest.raises(psycopg.errors.WrongObjectType):
        admin.execute("select sys.wait_for_job(%s)", [job])
    # There already: no job.
    again = "create index async if not exists by_word on indexed (word)"
    assert run(admin, reader, again).fetchall() == []
    with pytest.raises(psycopg.errors.UndefinedObject):
        run(admin, reader, "call sys.wait_for_job('none')")
    run(admin, reader, "drop table indexed")


def test_what_the_data_speaks_against_ends_the_job(
    admin: psycopg.Connection, reader: Reader, work: Callable[[str], None]
) -> None:
    run(admin, reader, "create table doubled (id int)")
    admin.execute("insert into doubled values (1), (1)")
    row = run(admin, reader, "create unique index async on doubled (id)").fetchone()
    assert row is not None
    work(row[0])
    status = admin.execute("select status, details from sys.jobs where job_id = %s", row).fetchone()
    assert status == ("failed", "found duplicate key(s) while validating index uniqueness")
    # As in DSQL (observed): the definition stays behind, invalid, and DROP INDEX removes it.
    assert admin.execute("select indisvalid from pg_index where indrelid = 'doubled'::regclass").fetchall() == [
        (False,)
    ]
    run(admin, reader, "drop index doubled_id_idx")
    assert run(admin, reader, f"call sys.wait_for_job('{row[0]}')").fetchone() == (False,)
    run(admin, reader, "alter table doubled add constraint positive check (id > 1) not valid")
    row = run(admin, reader, "alter table async doubled validate constraint positive").fetchone()
    assert row is not None
    work(row[0])
    assert run(admin, reader, f"call sys.wait_for_job('{row[0]}')").fetchone() == (False,)
    with pytest.raises(psycopg.errors.UndefinedColumn):
        run(admin, reader, "create index async on doubled (nothing)")
    with pytest.raises(psycopg.errors.UndefinedTable):
        run(admin, reader, "create index async on nowhere (id)")
    run(admin, reader, "drop table doubled")


def test_an_index_is_made_by_who_asks(
    admin: psycopg.Connection, connect: Callable[[str], psycopg.Connection], reader: Reader
) -> None:
    run(admin, reader, "create role asker with login")
    run(admin, reader, "create table private (id int)")
    other = connect("asker")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        run(other, reader, "create index async on private (id)")
    for table in ("sys.job_log", "sys.iam_grants"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            other.execute(f"table {table}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            admin.execute(f"drop table {table}")
    other.close()
    run(admin, reader, "drop table private")
    run(admin, reader, "drop role asker")


def test_a_quote_in_an_index_ends_nothing(admin: psycopg.Connection, reader: Reader) -> None:
    run(admin, reader, 'create table "a$dsql$b" ("it\'s$dsql" text)')
    sql = 'create index async "x$dsql$" on "a$dsql$b" ((\'\'\'\' || $dsql$; select 1$dsql$ || "it\'s$dsql"))'
    assert len(run(admin, reader, sql).fetchall()) == 1
    run(admin, reader, 'drop table "a$dsql$b"')


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("select now(), version(), pg_sleep(0), count(*), lower('A')", Kind.READ),
        ("select pg_catalog.lower('A'), public.lower('A')", Kind.WRITE),
        ("select pg_catalog.lower('A')", Kind.READ),
        ("select row_number() over (partition by a order by b) from t", Kind.READ),
        ("select json_agg(x) filter (where true) from generate_series(1, 2) as g(x)", Kind.READ),
        ("select relname from pg_class where relname operator(pg_catalog.~) '^a'", Kind.READ),
        *(
            (f"select {call}", Kind.WRITE)
            for call in (
                "nextval('s')",
                "setval('s', 1)",
                "currval('s')",
                "set_config('timezone', 'UTC', false)",
                "setseed(0)",
                "random()",
                "gen_random_uuid()",
                "clock_timestamp()",
                "pg_notify('a', 'b')",
                "lo_create(0)",
                "lo_import('x')",
                "pg_advisory_lock(1)",
                "pg_try_advisory_xact_lock(1)",
                "txid_current()",
                "pg_current_xact_id()",
                "query_to_xml('delete from t', true, true, '')",
                "my_function()",
            )
        ),
    ],
)
def test_postgres_own_functions(reader: Reader, sql: str, kind: Kind) -> None:
    (statement,) = reader.read(sql.encode())
    assert statement.kind is kind
