"""What admin may do, and what nobody may."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from local.doors import connect, refused, token

if TYPE_CHECKING:
    from dsql_fast.local import LocalCluster

DENIED = "unable to accept connection, access denied"
# DSQL has no such statement, or this role may not.
PRIVILEGE = (psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported)


def superuser(cluster: LocalCluster) -> str:
    with connect(cluster) as conn:
        row = conn.execute("select rolname from pg_roles where rolsuper").fetchall()
    assert len(row) == 1
    return str(row[0][0])


def test_admin_is_no_superuser(cluster: LocalCluster) -> None:
    with connect(cluster) as conn:
        row = conn.execute("select rolsuper, rolcreaterole from pg_roles where rolname = 'admin'")
        assert row.fetchone() == (False, True)


@pytest.mark.parametrize(
    "sql",
    [
        "alter role admin superuser",
        "create role other superuser",
        "grant {superuser} to admin",
        "set role {superuser}",
        "set session authorization {superuser}",
        "alter role {superuser} rename to mine",
        "alter system set fsync = on",
        "copy (select 1) to program 'true'",
        "copy (select 1) to '/tmp/never'",
        "select pg_read_file('postgresql.conf')",
        "grant pg_execute_server_program to admin",
        "create function f() returns int language c as 'x', 'y'",
    ],
)
def test_admin_cannot_become_more(cluster: LocalCluster, sql: str) -> None:
    with connect(cluster) as conn, pytest.raises(PRIVILEGE):
        conn.execute(sql.format(superuser=superuser(cluster)))


def test_nobody_logs_in_as_the_superuser(cluster: LocalCluster) -> None:
    name = superuser(cluster)
    text = token(cluster, action="DbConnect")
    assert DENIED in refused(cluster, user=name, password=text)
    assert DENIED in refused(cluster, user=name.upper(), password=text)


def test_admin_makes_schemas_tables_and_roles(cluster: LocalCluster, fresh_role: str) -> None:
    with connect(cluster) as conn:
        conn.execute("create schema own")
        conn.execute("create table own.things (id uuid primary key default gen_random_uuid())")
        conn.execute("create table public_things (id int)")
        conn.execute(f"grant usage on schema own to {fresh_role}")
        conn.execute(f"grant insert on own.things to {fresh_role}")
    with connect(cluster, user=fresh_role) as conn:
        conn.execute("insert into own.things default values")
        with pytest.raises(PRIVILEGE):
            conn.execute("select * from own.things")
        with pytest.raises(PRIVILEGE):
            conn.execute("create table mine (id int)")
    with connect(cluster) as conn:
        conn.execute("drop schema own cascade")
        conn.execute("drop table public_things")


def test_a_name_is_taken_as_it_is(cluster: LocalCluster) -> None:
    # Names are not folded in the protocol: "Admin" is somebody else, who does not exist.
    assert DENIED in refused(cluster, user="Admin", password=token(cluster, action="DbConnect"))
    assert "Wrong user to action mapping" in refused(cluster, user="Admin", password=token(cluster))
