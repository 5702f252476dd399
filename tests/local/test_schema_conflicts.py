"""OC001: a session whose picture of the schema is old is told so once, then goes on.

Observed on Aurora DSQL: at the next statement, reads too, or at COMMIT; also for GRANT and REVOKE; also when
the change was committed before the transaction began but after the session's last look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from local.doors import connect
from local.speakers import SCHEMA_CONFLICT, WAYS, Speaker, new_name, told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dsql_fast.local import LocalCluster

pytestmark = pytest.mark.timeout(60)

# Each is a change of schema; {t} is the table, {n} a new name, {r} a role.
CHANGES = {
    "add a column": "alter table {t} add column note text",
    "rename a table": "alter table {t} rename to {n}",
    "create a table": "create table {n} (id int primary key)",
    "create a view": "create view {n} as select 1 as one",
    "create a schema": "create schema {n}",
    "create an index": "create index async {n} on {t} (v)",
    "grant": "grant select on {t} to {r}",
    "revoke": "revoke select on {t} from {r}",
    "create a role": "create role {n} with login",
}


@pytest.fixture
def r(cluster: LocalCluster) -> Iterator[str]:
    name = new_name("role")
    with connect(cluster) as conn:
        conn.execute(f"create role {name} with login")
    yield name
    with connect(cluster) as conn:
        conn.execute(f"drop role {name}")


@pytest.fixture
def t(cluster: LocalCluster, r: str) -> Iterator[str]:
    """A table of one row, on which a role has a privilege."""
    name = new_name("schema")
    with connect(cluster) as conn:
        conn.execute(f"create table {name} (id int primary key, v int)")
    with connect(cluster) as conn:
        conn.execute(f"grant insert on {name} to {r}")
    with connect(cluster) as conn:
        conn.execute(f"insert into {name} values (1, 10)")
    yield name
    with connect(cluster) as conn:
        conn.execute(f"drop table if exists {name}")


@pytest.fixture
def untouched(cluster: LocalCluster) -> Iterator[str]:
    """A table that no change is about."""
    name = new_name("untouched")
    with connect(cluster) as conn:
        conn.execute(f"create table {name} (id int primary key)")
    yield name
    with connect(cluster) as conn:
        conn.execute(f"drop table {name}")


@pytest.fixture
def changed(request: pytest.FixtureRequest, cluster: LocalCluster, t: str, r: str) -> Iterator[str]:
    """The text of one change; what it made is dropped."""
    name = new_name("new")
    yield CHANGES[request.param].format(t=t, n=name, r=r)
    with connect(cluster) as conn:
        kinds = {"create a view": "view", "create a schema": "schema", "create a role": "role"}
        kind = kinds.get(request.param, "table")
        if request.param != "create an index":
            conn.execute(f"drop {kind} if exists {name}")


def hit(speaker: Speaker, sql: str) -> None:
    """A statement that is refused because the schema was changed."""
    with pytest.raises(psycopg.errors.SerializationFailure) as caught:
        speaker(sql)
    told(caught.value, SCHEMA_CONFLICT)


@pytest.mark.parametrize("changed", CHANGES, indirect=True)
def test_the_next_read_is_hit_once(cluster: LocalCluster, untouched: str, changed: str) -> None:
    # It is the whole schema that has a version: a read of a table that did not change is hit too.
    look = f"select * from {untouched}"
    with Speaker(cluster) as one, Speaker(cluster) as two:
        for speaker in (one, two):
            assert speaker(look) == []
        made = two(changed)
        if isinstance(made, list):
            # A job, and its end is a change of its own, whoever asked for it (assumed).
            two("call sys.wait_for_job(%s)", made[0][0])
            hit(two, look)
        hit(one, look)
        assert one.state == "IDLE"
        # One retry clears it.
        for _ in range(3):
            assert one(look) == []
        # Who made the change is not hit.
        assert two(look) == []


def test_what_looks_at_no_table_is_not_hit(cluster: LocalCluster, t: str) -> None:
    # Assumed: a pool's `select 1` tells nothing about tables.
    with Speaker(cluster) as one, Speaker(cluster) as two:
        assert one(f"select v from {t}") == [(10,)]
        two(f"alter table {t} add column note text")
        assert one("select 1") == [(1,)]
        one("set datestyle to iso")
        hit(one, f"select v from {t}")


@pytest.mark.parametrize("way", WAYS)
def test_in_autocommit(cluster: LocalCluster, t: str, way: str) -> None:
    with Speaker(cluster, way) as one, Speaker(cluster, way) as two:
        for speaker in (one, two):
            assert speaker(f"select v from {t}") == [(10,)]
        two(f"alter table {t} add column note text")
        hit(one, f"update {t} set v = 11 where id = 1")
        assert one(f"select v from {t}") == [(10,)]
        assert one(f"update {t} set v = 11 where id = 1") == 1
        assert one(f"select * from {t}") == [(1, 11, None)]


@pytest.mark.parametrize("way", WAYS)
def test_inside_a_transaction(cluster: LocalCluster, t: str, way: str) -> None:
    with Speaker(cluster, way) as one, Speaker(cluster, way) as two:
        assert one(f"select v from {t}") == [(10,)]
        one("begin")
        assert one(f"update {t} set v = 11 where id = 1") == 1
        two(f"alter table {t} add column note text")
        # At the next statement or at COMMIT: here at the next statement that looks.
        hit(one, f"select v from {t}")
        assert one.state == "INERROR"
        one("rollback")
        one("begin")
        assert one(f"update {t} set v = 12 where id = 1") == 1
        one("commit")
        assert two(f"select v from {t}") == [(12,)]


@pytest.mark.parametrize("way", WAYS)
def test_at_commit(cluster: LocalCluster, t: str, way: str) -> None:
    with Speaker(cluster, way) as one, Speaker(cluster, way) as two:
        one("begin")
        assert one(f"update {t} set v = 11 where id = 1") == 1
        two(f"alter table {t} add column note text")
        one.loses(text=SCHEMA_CONFLICT)
        assert two(f"select v from {t}") == [(10,)]
        one("begin")
        assert one(f"update {t} set v = 12 where id = 1") == 1
        one("commit")


def test_a_change_before_the_transaction_began(cluster: LocalCluster, t: str) -> None:
    # After the session's last look, before its BEGIN: observed to be a conflict all the same.
    with Speaker(cluster) as one, Speaker(cluster) as two:
        assert one(f"select v from {t}") == [(10,)]
        two(f"alter table {t} add column note text")
        one("begin")
        hit(one, f"select v from {t}")
        assert one.state == "INERROR"
        one("rollback")
        one("begin")
        assert one(f"select v from {t}") == [(10,)]
        one("commit")


def test_a_change_that_is_rolled_back(cluster: LocalCluster, t: str) -> None:
    with Speaker(cluster) as one, Speaker(cluster) as two:
        one("begin")
        assert one(f"select v from {t}") == [(10,)]
        two("begin")
        two(f"alter table {t} add column note text")
        assert one(f"update {t} set v = 11 where id = 1") == 1
        two("rollback")
        one("commit")
        assert two(f"select * from {t}") == [(1, 11)]


def test_a_change_in_a_transaction_counts_from_its_commit(cluster: LocalCluster, t: str) -> None:
    with Speaker(cluster) as one, Speaker(cluster) as two:
        assert one(f"select * from {t}") == [(1, 10)]
        two("begin")
        two(f"alter table {t} add column note text")
        assert one(f"select * from {t}") == [(1, 10)]
        two("commit")
        hit(one, f"select * from {t}")


def test_two_changes_are_one_conflict(cluster: LocalCluster, t: str) -> None:
    with Speaker(cluster) as one, Speaker(cluster) as two:
        assert one(f"select v from {t}") == [(10,)]
        two(f"alter table {t} add column a text")
        two(f"alter table {t} add column b text")
        hit(one, f"select v from {t}")
        assert one(f"select v from {t}") == [(10,)]


def test_every_other_session_is_hit(cluster: LocalCluster, t: str) -> None:
    with Speaker(cluster) as maker:
        others = [Speaker(cluster, way) for way in WAYS]
        for other in others:
            assert other(f"select v from {t}") == [(10,)]
        maker(f"alter table {t} add column note text")
        for other in others:
            hit(other, f"select v from {t}")
            assert other(f"select v from {t}") == [(10,)]
            other.conn.close()
        assert maker(f"select v from {t}") == [(10,)]


def test_a_fresh_connection_is_not_hit(cluster: LocalCluster, t: str) -> None:
    with Speaker(cluster) as maker:
        maker(f"alter table {t} add column note text")
        with Speaker(cluster) as fresh:
            assert fresh(f"select * from {t}") == [(1, 10, None)]


def test_data_alone_is_no_change_of_schema(cluster: LocalCluster, t: str) -> None:
    with Speaker(cluster) as one, Speaker(cluster) as two:
        one("begin")
        assert one(f"select v from {t}") == [(10,)]
        for statement in ("insert into {t} values (2, 2)", "delete from {t} where id = 2", "set datestyle to iso"):
            two(statement.format(t=t))
        assert one(f"select v from {t}") == [(10,)]
        one("commit")


def test_two_changes_of_schema_at_once(cluster: LocalCluster, t: str) -> None:
    with Speaker(cluster) as one, Speaker(cluster) as two:
        for speaker, column in ((one, "a"), (two, "b")):
            speaker("begin")
            speaker(f"alter table {t} add column {column} text")
        one("commit")
        with pytest.raises(psycopg.errors.SerializationFailure) as caught:
            two("commit")
        assert str(caught.value.sqlstate) == "40001"
        assert two.state == "IDLE"
        two(f"alter table {t} add column b text")
        assert two(f"select a, b from {t}") == [(None, None)]


def test_a_change_of_what_another_has_written(cluster: LocalCluster, t: str) -> None:
    with Speaker(cluster) as one, Speaker(cluster) as two:
        one("begin")
        assert one(f"insert into {t} values (2, 20)") == 1
        two(f"drop table {t}")
        one.loses(text=SCHEMA_CONFLICT)
