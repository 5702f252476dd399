"""REPEATABLE READ, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from local.doors import connect

if TYPE_CHECKING:
    from dsql_fast.local import LocalCluster

UNSUPPORTED = psycopg.errors.FeatureNotSupported
LEVEL = "select current_setting('transaction_isolation')"

OTHER_LEVELS = [
    "begin isolation level {}",
    "start transaction isolation level {}, read only",
    "BEGIN /* a comment */ TRANSACTION\n Isolation Level {}",
    "set transaction isolation level {}",
    "set session characteristics as transaction isolation level {}",
    "set default_transaction_isolation to '{}'",
    "set \"default_transaction_isolation\" = '{}'",
    "set local transaction_isolation = '{}'",
    "select set_config('default_transaction_isolation', '{}', false)",
    "select pg_catalog.set_config('transaction_isolation'::text, '{}', false)",
]


@pytest.mark.parametrize("level", ["serializable", "READ COMMITTED", "read uncommitted"])
@pytest.mark.parametrize("form", OTHER_LEVELS)
@pytest.mark.parametrize("prepare", [False, True])
def test_other_levels(cluster: LocalCluster, form: str, level: str, prepare: bool) -> None:
    sql = form.format(level)
    with connect(cluster) as conn:
        with pytest.raises(UNSUPPORTED) as caught:
            conn.execute(sql, prepare=prepare)
        assert caught.value.diag.message_primary == f"Unsupported isolation level: {level.upper()}"
        assert conn.info.transaction_status.name == "IDLE"
        assert conn.execute(LEVEL).fetchone() == ("repeatable read",)


@pytest.mark.parametrize("form", OTHER_LEVELS)
def test_the_only_level_may_be_asked_for(cluster: LocalCluster, form: str) -> None:
    with connect(cluster) as conn:
        if "set local" in form or form.startswith(("set transaction", "select pg_catalog")):
            conn.execute("begin")
        conn.execute(form.format("repeatable read"))
        assert conn.execute(LEVEL).fetchone() == ("repeatable read",)


def test_psycopgs_isolation_levels(cluster: LocalCluster) -> None:
    with connect(cluster) as conn:
        conn.autocommit = False
        conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        with pytest.raises(UNSUPPORTED, match="Unsupported isolation level: SERIALIZABLE"):
            conn.execute("select 1")
        conn.rollback()
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        assert conn.execute(LEVEL).fetchone() == ("repeatable read",)


def test_it_fails_the_transaction(cluster: LocalCluster) -> None:
    with connect(cluster) as conn:
        conn.execute("begin")
        with pytest.raises(UNSUPPORTED):
            conn.execute("set transaction isolation level serializable")
        assert conn.info.transaction_status.name == "INERROR"
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            conn.execute("select 1")
        conn.execute("rollback")


def test_inside_several_statements(cluster: LocalCluster) -> None:
    with connect(cluster) as conn:
        conn.execute("create table several (id int)")
        with pytest.raises(UNSUPPORTED):
            conn.execute(
                "insert into several values (1); commit; insert into several values (2); "
                "set transaction isolation level serializable; insert into several values (3)"
            )
        # What was committed before stays; the statements around the bad one are one transaction.
        assert conn.execute("select id from several").fetchall() == [(1,)]
        conn.execute("drop table several")


def test_in_a_pipeline(cluster: LocalCluster) -> None:
    with connect(cluster) as conn:
        with pytest.raises(UNSUPPORTED), conn.pipeline() as pipeline:  # noqa: PT012
            first = conn.execute("select 1")
            conn.execute("set default_transaction_isolation to 'serializable'")
            conn.execute("select 2")
            pipeline.sync()
        assert first.fetchone() == (1,)
        assert conn.execute("select 3").fetchone() == (3,)


def test_words_in_data_are_left_alone(cluster: LocalCluster) -> None:
    texts = ["begin isolation level serializable", "Isolation \u2603 u&"]
    with connect(cluster) as conn:
        for text in texts:
            assert conn.execute("select %s", [text]).fetchone() == (text,)
            literal = f"select '{text}' as \"isolation\""
            assert conn.execute(literal).fetchone() == (text,)
        with pytest.raises(psycopg.errors.SyntaxError):
            conn.execute("begin isolation level of dissent")


def test_a_hidden_name(cluster: LocalCluster) -> None:
    with connect(cluster) as conn, pytest.raises(UNSUPPORTED):
        conn.execute(r"""set U&"default_transaction_\0069solation" = 'serializable'""")


def test_a_role_cannot_bring_its_own(cluster: LocalCluster, fresh_role: str) -> None:
    with connect(cluster) as conn:
        sql = f"alter role {fresh_role} set default_transaction_isolation = 'serializable'"
        conn.execute(sql)
    with connect(cluster, user=fresh_role) as conn:
        assert conn.execute(LEVEL).fetchone() == ("repeatable read",)
        conn.execute("reset default_transaction_isolation")
        assert conn.execute(LEVEL).fetchone() == ("repeatable read",)
        conn.execute("reset all")
        conn.execute("discard all")
        assert conn.execute(LEVEL).fetchone() == ("repeatable read",)


def test_bytes_outside_ascii_keep_their_places(cluster: LocalCluster) -> None:
    with connect(cluster) as conn:
        with pytest.raises(UNSUPPORTED):
            conn.execute("select 'ä☃' ; set transaction isolation level serializable ; select 'ö'")
        cursor = conn.execute("select 'ä☃' ; select 'ö'")
        assert cursor.fetchone() == ("ä☃",)
        assert cursor.nextset()
        assert cursor.fetchone() == ("ö",)


def test_a_comment_that_looks_like_one_is_left_alone(cluster: LocalCluster) -> None:
    text = " begin isolation level serializable"
    with connect(cluster) as conn:
        row = conn.execute(f"/*{text}*/; select 1 /*;{text}*/").fetchone()
        assert row == (1,)
        with pytest.raises(UNSUPPORTED):
            conn.execute(f"/*{text}*/;{text}")


@pytest.mark.parametrize("terms", [100, 900, 9_000, 100_000])
def test_a_deep_expression_does_no_harm(cluster: LocalCluster, terms: int) -> None:
    # libpg_query recurses without a limit; PostgreSQL has one (54001).
    sql = "select " + "+".join(["1"] * terms) + " as isolation"
    with connect(cluster) as conn:
        try:
            assert conn.execute(sql).fetchone() == (terms,)
        except psycopg.errors.StatementTooComplex:
            assert terms > 900
        with pytest.raises(UNSUPPORTED):
            conn.execute("begin isolation level serializable")
