"""What the local cluster has of Aurora DSQL's behaviour, row by row, and the tests that show it.

The rows are those of the table in docs/local.md. Where a fact has a file of its own, its tests are named
here; the rest is tested here, through a driver.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import inspect
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

import dsql_fast.local
from dsql_fast.local import ClockControl, Event, FaultControl, Limits, LocalCluster, OpenSession, PendingFault
from dsql_fast.local._cluster import CERTIFICATES
from dsql_fast.local._settings import ACCEPTED
from local.doors import authenticated, connect, fields, message, read_message, startup, tls
from local.speakers import WAYS, Speaker, new_name

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(60)

HERE = Path(__file__).parent
DOCUMENTATION = HERE.parent.parent / "docs" / "local.md"

# The first column of the table, to the tests that show the row: `file::test`, or a test of this file.
SHOWN_BY: dict[str, list[str]] = {
    # --- connecting
    "TLS required; `SSL is mandatory` (08P01) otherwise": [
        "test_refusals::test_plaintext_startup",
        "test_refusals::test_plaintext_startup_by_libpq",
    ],
    "classic and direct TLS on one port; ALPN `postgresql` for direct": [
        "test_negotiation::test_both_negotiations_on_one_port",
        "test_negotiation::test_direct_tls_without_alpn_is_closed",
    ],
    "TLS 1.2 or newer, certificate for the cluster's host": [
        "test_negotiation::test_old_tls_is_refused",
        "test_negotiation::test_strict_verification_accepts_the_certificate",
    ],
    "SNI missing or wrong is refused after the handshake": [
        "test_refusals::test_no_sni",
        "test_refusals::test_sni_is_not_a_cluster",
    ],
    "`options=-c amzn-cluster-id=...` in place of SNI": [
        "test_refusals::test_cluster_id_in_options_stands_for_the_name"
    ],
    "a PrivateLink host name, `<id>.dsql-fnh4.<region>.on.aws`": ["test_a_private_link_name"],
    "start-up parameters outside the list (0A000)": [
        "test_refusals::test_startup_parameter_outside_the_list",
        "test_refusals::test_startup_parameters_on_the_list",
        "test_every_parameter_on_the_list",
    ],
    "settings outside the list by `SET` in a session": [
        "test_settings_outside_the_list",
        "test_settings_on_the_list",
    ],
    "`role` by `SET LOCAL` only": ["test_the_role_is_set_locally"],
    "database `postgres` only": ["test_refusals::test_only_the_database_postgres"],
    "token: signature, host, region, service, action, lifetime, dates, key, session token": [
        "test_tokens::test_known_answers",
        "test_tokens::test_whatever_botocore_signs_is_accepted",
        "test_tokens::test_each_fault_has_its_reason",
    ],
    "tokens of all signers: any order of the query, `host/?` or `host?`, `+` for a blank, `%7E`, an empty session token": [
        "test_tokens::test_odd_forms_are_accepted",
        "test_tokens::test_odd_encodings_are_accepted",
        "test_tokens::test_an_empty_session_token_means_none",
        "test_tokens::test_boto3_gets_in",
    ],
    "`admin` by DbConnectAdmin, every other user by DbConnect": [
        "test_refusals::test_wrong_action_for_the_user",
        "test_tokens::test_boto3_gets_in",
    ],
    "a token is judged only while connecting, and serves any number of connections": [
        "test_tokens::test_one_token_serves_many_connections"
    ],
    "`access denied` and its hints": [
        "test_refusals::test_token_expired",
        "test_refusals::test_client_clock_ahead",
        "test_refusals::test_wrong_action_for_the_user",
        "test_refusals::test_wrong_region_bad_signature_cut_token",
        "test_refusals::test_the_hint_reaches_the_text_of_a_driver",
    ],
    "`X-Amz-Expires` over a week": ["test_refusals::test_lifetime_over_a_week"],
    "SQLSTATE of `access denied`": [
        "test_refusals::test_token_expired",
        "test_refusals::test_role_that_does_not_exist",
    ],
    "a role that does not exist or may not log in": [
        "test_refusals::test_role_that_does_not_exist",
        "test_refusals::test_role_that_may_not_log_in",
    ],
    "role without `AWS IAM GRANT`": ["test_identity::test_role_without_aws_iam_grant"],
    "IAM permission missing": [
        "test_identity::test_iam_permission_missing",
        "test_identity::test_iam_permission_missing_for_an_assumed_role",
    ],
    "keys of another account": ["test_identity::test_other_account"],
    "expired or revoked keys": [
        "test_tokens::test_revoked_keys_are_denied_and_sessions_stay",
        "test_tokens::test_expired_credentials_are_denied_though_the_token_still_runs",
    ],
    "clock of the client ahead": ["test_tokens::test_a_clock_a_little_ahead_is_forgiven"],
    "rate: burst of 1,000, then 100 a second (53400)": ["test_refusals::test_over_the_rate"],
    "10,000 connections (53300)": ["test_refusals::test_over_the_connections"],
    "`waking up cluster`": ["test_faults::test_refused_connections"],
    "handshake within 10 seconds, password up to 64 KiB": [
        "test_sessions::test_silent_clients_are_sent_away",
        "test_hostile::test_a_password_of_64_kib_is_read",
    ],
    # --- the session
    "session end after 60 minutes by a bare close": [
        "test_limits::test_a_session_ends_after_an_hour_by_a_bare_close",
        "test_sessions::test_the_end_is_a_bare_close",
    ],
    "server-side cancel": ["test_negotiation::test_a_cancel_request_has_no_effect"],
    "XX000 `server unavailable`": [
        "test_faults::test_commits_that_fail",
        "test_faults::test_a_commit_that_took_effect_and_says_unavailable",
        "test_faults::test_statements_that_fail",
    ],
    "a message over 10 MiB closes the connection without an error": ["test_limits::test_a_message_over_ten_mib"],
    # --- transactions
    "REPEATABLE READ, other levels 0A000": [
        "test_isolation::test_other_levels",
        "test_conflicts::test_the_snapshot_is_taken_by_the_first_statement",
    ],
    "write skew commits": ["test_conflicts::test_write_skew_commits"],
    "no statement waits for another transaction": [
        "test_conflicts::test_ping_pong",
        "test_conflicts::test_ddl_waits_for_nobody",
        "test_conflicts_protocol::test_copy_with_another_writer_in_the_middle",
        "test_histories::test_clients_in_one_thread",
    ],
    "OC000 at COMMIT: the first committer wins": [
        "test_conflicts::test_the_first_commits_first",
        "test_conflicts::test_the_second_commits_first",
        "test_conflicts::test_a_write_after_the_others_commit",
        "test_conflicts::test_two_inserts_of_one_key",
        "test_conflicts::test_unique_values",
        "test_histories::test_long_histories_in_one_thread",
        "test_histories::test_clients_in_threads",
    ],
    "a transaction that has lost goes on with its own snapshot, true counts and RETURNING": [
        "test_conflicts::test_the_loser_reads_its_own_writes",
        "test_conflicts::test_the_loser_goes_on_with_true_counts",
    ],
    "no conflict where writes are apart, nor for who only reads": [
        "test_conflicts::test_writes_apart_do_not_conflict",
        "test_conflicts::test_a_transaction_that_only_reads_never_conflicts",
        "test_conflicts::test_a_winner_that_rolls_back_harms_nobody",
    ],
    "SELECT FOR UPDATE against a write that commits first": [
        "test_conflicts::test_for_update_against_a_write",
        "test_conflicts::test_for_update_alone_joins_the_conflict_check",
        "test_conflicts::test_for_update_prevents_write_skew",
    ],
    "a write after a SELECT FOR UPDATE that committed": ["test_for_update_that_committed_dooms_nobody"],
    "a key that others inserted and deleted since the snapshot": ["test_a_key_that_came_and_went"],
    "a transaction that has lost, over copies that cannot be made": ["test_a_loser_over_a_large_table"],
    "values drawn once more after another made it let go": [
        "test_conflicts::test_values_that_were_shown_stay",
        "test_conflicts::test_a_value_that_cannot_come_again",
    ],
    "autocommit conflicts only with what commits meanwhile": [
        "test_conflicts::test_autocommit_against_an_open_writer",
        "test_conflicts::test_autocommit_many_times_against_an_open_writer",
    ],
    "OC001 after DDL, GRANT or REVOKE of another session": [
        "test_schema_conflicts::test_the_next_read_is_hit_once",
        "test_schema_conflicts::test_at_commit",
        "test_schema_conflicts::test_a_change_before_the_transaction_began",
    ],
    "OC001 for what looks at no table": ["test_schema_conflicts::test_what_looks_at_no_table_is_not_hit"],
    "3,000 rows a transaction (54000)": [
        "test_limits::test_rows_in_one_statement",
        "test_limits::test_rows_in_many_statements",
        "test_limits::test_rows_in_autocommit",
        "test_limits::test_rows_by_copy",
    ],
    "10 MiB a transaction, at COMMIT (54000)": ["test_limits::test_size_at_commit"],
    "300 seconds a transaction (54000)": [
        "test_limits::test_age_at_the_next_statement",
        "test_limits::test_age_at_commit",
    ],
    "a row over 2 MiB": ["test_limits::test_a_row_over_two_mib"],
    "one DDL statement a transaction; GRANT is DDL": [
        "test_limits::test_one_ddl_a_transaction",
        "test_limits::test_grant_is_ddl",
    ],
    "DDL and DML not in one transaction": ["test_limits::test_ddl_and_dml"],
    "25P02 after the first error until ROLLBACK": ["test_limits::test_the_first_error_is_followed_by_25p02"],
    # --- statements
    "SAVEPOINT": ["test_savepoint"],
    "locking clauses other than FOR UPDATE/FOR KEY SHARE": ["test_statements_that_are_not_there"],
    "SKIP LOCKED": ["test_statements_that_are_not_there"],
    "TRUNCATE, temporary tables, plpgsql, triggers, extensions, databases": ["test_statements_that_are_not_there"],
    "CREATE INDEX without ASYNC, or CONCURRENTLY": ["test_statements_that_are_not_there"],
    "ALTER TABLE ADD COLUMN with constraint": ["test_statements_that_are_not_there"],
    (
        "CREATE INDEX with USING, WHERE, a sort order, an operator class or over 8 columns; procedures; "
        "ALTER TABLE to validate, retype, or add a constraint that is checked"
    ): ["test_rules::test_refused", "test_rules::test_not_refused"],
    (
        "CREATE TABLE AS, materialized views, types, partitions, inheritance, VACUUM, LOCK, LISTEN, NOTIFY, DO, "
        "two-phase commit"
    ): ["test_rules::test_refused", "test_refused_with_words_of_our_own"],
    "array columns; `serial` (42704)": ["test_statements_that_are_not_there"],
    "advisory locks (0A000)": ["test_advisory_locks", "test_hidden_advisory_locks"],
    "identity and sequences only with CACHE 1 or from 65536": ["test_caches_of_sequences"],
    "jsonb, uuid, ON CONFLICT, RETURNING": ["test_what_works"],
    "foreign keys at CREATE (23503), ON DELETE CASCADE": [
        "test_conflicts::test_foreign_keys",
        "test_conflicts::test_on_delete_cascade",
    ],
    "`CREATE INDEX ASYNC` returns a `job_id`; `sys.jobs`; `CALL sys.wait_for_job`": [
        "test_an_index_is_built_by_a_job",
        "test_jobs::test_a_job_is_done_behind_its_statement",
    ],
    "a job that fails leaves an invalid index; DROP INDEX cancels a job": [
        "test_jobs::test_duplicates_fail_the_job_and_leave_an_invalid_index",
        "test_jobs::test_drop_index_cancels_the_job",
    ],
    "OC001 when a job has changed the schema": ["test_jobs::test_the_end_of_a_job_is_a_change_of_the_schema"],
    "`CREATE ROLE ... WITH LOGIN`, `AWS IAM GRANT`/`REVOKE`, `sys.iam_pg_role_mappings`": [
        "test_roles_and_their_mappings"
    ],
    "`admin`": ["test_roles::test_admin_is_no_superuser", "test_roles::test_admin_makes_schemas_tables_and_roles"],
    "`version()`": ["test_version"],
    "collation C, UTF-8": ["test_collation"],
    "injected faults, latency": [
        "test_faults::test_commits_that_fail",
        "test_faults::test_connections_cut_at_commit",
        "test_faults::test_connect_latency",
        "test_faults::test_commit_latency_is_for_those_that_wrote",
    ],
}


@cache
def defined_in(file: str) -> frozenset[str]:
    tree = ast.parse((HERE / f"{file}.py").read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("behaviour", SHOWN_BY)
def test_each_row_is_shown_by_tests_that_exist(behaviour: str) -> None:
    assert SHOWN_BY[behaviour]
    for named in SHOWN_BY[behaviour]:
        file, _, test = named.rpartition("::")
        assert test in defined_in(file or "test_conformance"), named


def test_the_documentation_names_all_there_is(cluster: LocalCluster) -> None:
    """Every public name, in a code span of the page."""
    spans = " ".join(re.findall(r"`([^`\n]+)`", DOCUMENTATION.read_text()))
    words = set(re.findall(r"[\w-]+", spans))
    faces = [LocalCluster, ClockControl, FaultControl]
    members = {name for face in faces for name in vars(face) if not name.startswith("_")}
    values = [Limits, OpenSession, Event, PendingFault]
    fields = {field.name for value in values for field in dataclasses.fields(value)}
    arguments = set(inspect.signature(LocalCluster).parameters) - {"changes"}
    wanted = {*members, *fields, *arguments, *cluster.stats(), *CERTIFICATES, "clock", "faults"}
    errors = {
        name
        for name in vars(dsql_fast.local)
        if isinstance(getattr(dsql_fast.local, name), type) and "Cluster" not in name
    }
    assert wanted | (errors - {"ClockControl", "FaultControl"}) <= words


def test_the_documentation_has_the_same_rows() -> None:
    section = DOCUMENTATION.read_text().split("## What is like DSQL")[1].split("\n## ")[0]
    rows = [re.split(r" \| ", line.strip("| ")) for line in section.splitlines() if line.startswith("|")][2:]
    assert [row[0] for row in rows] == list(SHOWN_BY)
    for row in rows:
        assert len(row) == 3, row
        assert re.search(r"\b[DOA]\b", row[2]), row


# --- statements that DSQL does not have --------------------------------------------------------------


@pytest.fixture
def t(cluster: LocalCluster) -> Iterator[str]:
    name = new_name("conforming")
    with connect(cluster) as conn:
        conn.execute(f"create table {name} (id int primary key, v int)")
        conn.execute(f"insert into {name} values (1, 10), (2, 10)")
    yield name
    with connect(cluster) as conn:
        conn.execute(f"drop table if exists {name}")


@contextlib.contextmanager
def refused(sqlstate: str, text: str) -> Iterator[None]:
    with pytest.raises(psycopg.Error) as caught:
        yield
    diag = caught.value.diag
    assert (diag.sqlstate, diag.message_primary, diag.severity) == (sqlstate, text, "ERROR")


NOT_THERE = {
    "select * from {t} for share": "locking clauses other than FOR UPDATE/FOR KEY SHARE are not supported",
    "select * from {t} for no key update": "locking clauses other than FOR UPDATE/FOR KEY SHARE are not supported",
    "select * from {t} for update skip locked": "SKIP LOCKED is not supported",
    "truncate {t}": "unsupported statement: Truncate",
    "create temp table {t}_2 (id int)": "TEMPORARY or TEMP table not supported for CREATE TABLE",
    "create temporary table {t}_2 as select 1": "TEMPORARY or TEMP table not supported for CREATE TABLE",
    "create function {t}_f() returns int language plpgsql as 'begin return 1; end'": (
        "CREATE FUNCTION with language plpgsql not supported"
    ),
    "create trigger g before insert on {t} for each row execute function f()": "CREATE TRIGGER not supported",
    "create extension pgcrypto": "unsupported statement: CreateExtension",
    "create database other": "unsupported statement: Createdb",
    "create index {t}_i on {t} (v)": "unsupported mode. please use CREATE INDEX ASYNC.",
    "create index concurrently {t}_i on {t} (v)": "CONCURRENTLY not supported for CREATE INDEX",
    "alter table {t} add column w int not null": "ALTER TABLE ADD COLUMN with constraint not supported",
    "alter table {t} add column w int default 1": "ALTER TABLE ADD COLUMN with constraint not supported",
    "create table {t}_2 (id int primary key, w text[])": "datatype text[] not supported",
    "create table {t}_2 (id serial primary key)": 'type "serial" does not exist',
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sql", NOT_THERE)
def test_statements_that_are_not_there(cluster: LocalCluster, t: str, sql: str, way: str) -> None:
    text = NOT_THERE[sql]
    sqlstate = "42704" if "serial" in text else "0A000"
    with Speaker(cluster, way) as one:
        with refused(sqlstate, text):
            one(sql.format(t=t))
        assert one.state == "IDLE"
        one("begin")
        with refused(sqlstate, text):
            one(sql.format(t=t))
        assert one.state == "INERROR"
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            one("select 1")
        one("rollback")
        assert one(f"select id, v from {t} order by id") == [(1, 10), (2, 10)]


@pytest.mark.parametrize(
    "sql",
    [
        "create table {t}_2 as select 1",
        "create materialized view {t}_2 as select 1",
        "create type {t}_2 as enum ('a')",
        "create table {t}_2 (id int) partition by list (id)",
        "create table {t}_2 () inherits ({t})",
        *("vacuum {t}", "lock table {t}", "listen a", "notify a", "do $$begin end$$", "prepare transaction 'a'"),
    ],
)
def test_refused_with_words_of_our_own(cluster: LocalCluster, t: str, sql: str) -> None:
    # Documented by AWS as not there; the words are assumed.
    with Speaker(cluster) as one:
        with pytest.raises(psycopg.errors.FeatureNotSupported, match=r"not supported|unsupported"):
            one(sql.format(t=t))
        assert one.state == "IDLE"


def test_locking_clauses_that_are_there(cluster: LocalCluster, t: str) -> None:
    with Speaker(cluster) as one:
        for clause in ("for update", "for key share"):
            one("begin")
            assert one(f"select v from {t} where id = 1 {clause}") == [(10,)]
            one("commit")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "name", ["pg_advisory_lock", "pg_try_advisory_lock", "pg_advisory_xact_lock", "pg_advisory_unlock"]
)
def test_advisory_locks(cluster: LocalCluster, t: str, name: str, way: str) -> None:
    with Speaker(cluster, way) as one, refused("42501", f"permission denied for function {name}"):
        one(f"select {name}(1)")


def test_hidden_advisory_locks(cluster: LocalCluster, t: str) -> None:
    # Where the text does not show it, it must still not make one session wait for another.
    function = new_name("locker")
    with Speaker(cluster) as one, Speaker(cluster) as two:
        with contextlib.suppress(psycopg.Error):
            one(
                f"create function {function}() returns void language sql as 'select pg_catalog.pg_advisory_lock(1)'"
            )
        for speaker in (one, two, one, two):
            with pytest.raises(psycopg.Error):
                speaker(f"select {function}()")
        assert two(f"update {t} set v = 0 where id = 1") == 1
        one(f"drop function if exists {function}()")


@pytest.mark.parametrize("sql", ["savepoint s", "release savepoint s", "rollback to savepoint s"])
def test_savepoint(cluster: LocalCluster, t: str, sql: str) -> None:
    # That it is refused with 0A000 is observed; the text is assumed.
    with Speaker(cluster) as one:
        one("begin")
        assert one(f"update {t} set v = 0") == 2
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            one(sql)
        assert one.state == "INERROR"
        one("rollback")
        assert one(f"select v from {t} where id = 1") == [(10,)]


def test_psycopgs_nested_transactions_need_savepoints(cluster: LocalCluster, t: str) -> None:
    with (
        connect(cluster) as conn,
        pytest.raises(psycopg.errors.FeatureNotSupported),
        conn.transaction(),
        conn.transaction(),
    ):
        conn.execute("select 1")


@pytest.mark.parametrize(
    ("cache_size", "there"), [(1, True), (65536, True), (100_000, True), (2, False), (65535, False), (None, False)]
)
def test_caches_of_sequences(cluster: LocalCluster, cache_size: int | None, there: bool) -> None:
    name = new_name("sequence")
    clause = "" if cache_size is None else f"cache {cache_size}"
    makers = [
        (f"create sequence {name} {clause}", "sequence"),
        (f"create table {name} (id bigint generated always as identity ({clause}) primary key)", "table"),
    ]
    if cache_size is None:
        makers[1] = (f"create table {name} (id bigint generated always as identity primary key)", "table")
    with Speaker(cluster) as one:
        for sql, kind in makers:
            if there:
                one(sql)
                one(f"drop {kind} {name}")
            else:
                with pytest.raises(psycopg.errors.FeatureNotSupported):
                    one(sql)


# --- settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "name",
    [
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
        "client_min_messages",
        "default_transaction_read_only",
    ],
)
def test_settings_outside_the_list(cluster: LocalCluster, name: str, way: str) -> None:
    text = f'setting configuration parameter "{name}" not supported'
    with Speaker(cluster, way) as one:
        for sql in (f"set {name} to 0", f"select set_config('{name}', '0', false)"):
            with refused("0A000", text):
                one(sql)
        assert one(f"show {name}")


@pytest.mark.parametrize("way", WAYS)
def test_settings_on_the_list(cluster: LocalCluster, way: str) -> None:
    with Speaker(cluster, way) as one:
        for name, value in [
            ("application_name", "somebody"),
            ("timezone", "Asia/Tokyo"),
            ("extra_float_digits", "2"),
            ("enable_seqscan", "off"),
            ("search_path", "public"),
        ]:
            one(f"set {name} to '{value}'")
            assert one(f"show {name}") == [(value,)]


# What each may be set to, where that is not a switch.
VALUES = {
    "application_name": "somebody",
    "client_encoding": "LATIN1",
    "datestyle": "German",
    "extra_float_digits": "2",
    "intervalstyle": "iso_8601",
    "timezone": "Asia/Tokyo",
    "search_path": "other",
}


@pytest.mark.parametrize("name", sorted(ACCEPTED))
def test_every_parameter_on_the_list(cluster: LocalCluster, name: str) -> None:
    value = VALUES.get(name, "off")
    with Speaker(cluster, options=f"-c {name}={value}") as one:
        one(f"set {name} to '{value}'")
        if "dsql" not in name and "sync" not in name:  # DSQL's own, which are taken and mean nothing here
            assert one.one(f"show {name}").startswith(value)


@pytest.mark.parametrize("way", WAYS)
def test_the_role_is_set_locally(cluster: LocalCluster, fresh_role: str, way: str) -> None:
    with Speaker(cluster, way) as one:
        one(f"grant {fresh_role} to admin")
        with refused("0A000", 'setting configuration parameter "role" not supported'):
            one(f"set role {fresh_role}")
        one("begin")
        one(f"set local role {fresh_role}")
        assert one("select current_user::text") == [(fresh_role,)]
        one("commit")
        assert one("select current_user::text") == [("admin",)]


def test_a_private_link_name(cluster: LocalCluster) -> None:
    # Not there: in DSQL such a name is one more of the cluster's, which tokens are signed for.
    name = cluster.host.replace(".dsql.", ".dsql-fnh4.")
    sock = tls(cluster, name=name)
    sock.sendall(startup())
    kind, body = read_message(sock)
    assert kind == b"E"
    assert fields(body)["M"] == "unable to accept connection, invalid sni"
    sock.close()


# --- what remains different --------------------------------------------------------------------------


def test_for_update_that_committed_dooms_nobody(cluster: LocalCluster, t: str) -> None:
    # Approximated: in DSQL the row is part of the conflict check of both.
    with Speaker(cluster) as one, Speaker(cluster) as two:
        one("begin")
        assert one(f"select v from {t} where id = 1 for update") == [(10,)]
        two("begin")
        assert two(f"update {t} set v = 0 where id = 1") == 1
        one("commit")
        two("commit")
        assert one(f"select v from {t} where id = 1") == [(0,)]


def test_a_key_that_came_and_went(cluster: LocalCluster, t: str) -> None:
    # Approximated: no row is left that PostgreSQL could see a conflict with. DSQL presumably refuses it.
    with Speaker(cluster) as one, Speaker(cluster) as two:
        one("begin")
        assert one(f"select count(*)::int from {t}") == [(2,)]
        assert two(f"insert into {t} values (9, 1)") == 1
        assert two(f"delete from {t} where id = 9") == 1
        assert one(f"insert into {t} values (9, 2)") == 1
        one("commit")
        assert one(f"select v from {t} where id = 9") == [(2,)]


def test_a_loser_over_a_large_table(cluster: LocalCluster) -> None:
    # Approximated: more than 32 MiB are not copied; the conflict is true, but comes at the statement.
    name = new_name("large")
    with connect(cluster) as conn:
        conn.execute(f"create table {name} (id int primary key, v text)")
        for start in range(0, 40, 4):
            # Not compressible, so that it takes the room it has.
            conn.execute(
                f"insert into {name} select id, (select string_agg(md5(random()::text), '') "
                f"from generate_series(1, 32000 + 0 * id)) from generate_series({start}, {start + 3}) id"
            )
    with Speaker(cluster) as one, Speaker(cluster) as two:
        one("begin")
        assert one(f"select count(*)::int from {name}") == [(40,)]
        assert two(f"update {name} set v = '' where id = 1") == 1
        with pytest.raises(psycopg.errors.SerializationFailure) as caught:
            one(f"update {name} set v = 'x' where id = 1")
        assert caught.value.diag.message_primary == "change conflicts with another transaction (OC000)"
        assert one.state == "INERROR"
        one("rollback")
    with connect(cluster) as conn:
        conn.execute(f"drop table {name}")


# --- what is there -----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_what_works(cluster: LocalCluster, way: str) -> None:
    name = new_name("works")
    with Speaker(cluster, way) as one:
        one(f"create table {name} (id uuid primary key default gen_random_uuid(), n int unique, body jsonb)")
        key = one.one(f"""insert into {name} (n, body) values (1, '{{"a": [1, 2]}}') returning id""")
        assert one(f"select body -> 'a' ->> 1 from {name} where id = %s", key) == [("2",)]
        upsert = f"insert into {name} (n, body) values (1, '{{}}') on conflict (n) do update set n = 2 returning n"
        assert one(upsert) == [(2,)]
        assert one(f"insert into {name} (n) values (2) on conflict do nothing") == 0
        assert one(f"delete from {name} returning id") == [(key,)]
        one(f"drop table {name}")


def test_an_index_is_built_by_a_job(cluster: LocalCluster, t: str) -> None:
    with Speaker(cluster) as one:
        cursor = one.conn.execute(f"create index async {t}_i on {t} (v)")
        assert cursor.description is not None
        assert [column.name for column in cursor.description] == ["job_id"]
        row = cursor.fetchone()
        assert row is not None
        cursor = one.conn.execute(f"call sys.wait_for_job('{row[0]}')")
        jobs = one.conn.execute("select * from sys.jobs where job_id = %s", row)
        assert jobs.description is not None
        assert [column.name for column in jobs.description] == [
            "job_id",
            "status",
            "details",
            "job_type",
            "class_id",
            "object_id",
            "object_name",
            "start_time",
            "update_time",
        ]
        job = jobs.fetchone()
        assert job is not None
        assert job[1] == "completed"
        assert one("select count(*)::int from pg_indexes where indexname = %s", f"{t}_i") == [(1,)]


def test_roles_and_their_mappings(cluster: LocalCluster) -> None:
    role = new_name("role")
    arn = cluster.credentials.arn
    mapped = f"select arn from sys.iam_pg_role_mappings where pg_role_name = '{role}'"
    with Speaker(cluster) as one:
        one(f"create role {role} with login")
        one(f"aws iam grant {role} to '{arn}'")
        assert one(mapped) == [(arn,)]
        with connect(cluster, user=role) as conn:
            assert conn.execute("select current_user").fetchone() == (role,)
        one(f"aws iam revoke {role} from '{arn}'")
        assert one(mapped) == []
        with pytest.raises(psycopg.OperationalError, match="access denied"):
            connect(cluster, user=role)
        one(f"drop role {role}")


def test_version(cluster: LocalCluster) -> None:
    with Speaker(cluster) as one:
        assert one.one("select version()").startswith("PostgreSQL 16")
        assert one.one("show server_version").startswith("16")


def test_collation(cluster: LocalCluster) -> None:
    with Speaker(cluster) as one:
        assert one("select v from (values ('a'), ('B'), ('ä')) t (v) order by v") == [("B",), ("a",), ("ä",)]
        assert one("show server_encoding") == [("UTF8",)]


def test_a_bare_client_sees_the_whole_error(cluster: LocalCluster, t: str) -> None:
    # What a driver may hide: the fields of the message, and that ReadyForQuery follows with 'I'.
    with Speaker(cluster) as other:
        sock = authenticated(cluster)
        for sql in ("begin", f"update {t} set v = 1 where id = 1"):
            sock.sendall(message(b"Q", sql.encode() + b"\0"))
            while read_message(sock)[0] != b"Z":
                pass
        assert other(f"update {t} set v = 2 where id = 1") == 1
        sock.sendall(message(b"Q", b"commit\0"))
        kind, body = read_message(sock)
        assert kind == b"E"
        assert b"SERROR\0" in body
        assert b"VERROR\0" in body
        assert b"C40001\0" in body
        assert b"Mchange conflicts with another transaction (OC000)\0" in body
        assert read_message(sock) == (b"Z", b"I")
        sock.close()
