"""Conflicts as Aurora DSQL has them: nobody waits, statements succeed, the second to COMMIT loses.

One thread drives all connections, unless a test says otherwise: a statement that waited for another
connection would wait for ever, and the timeout would tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import psycopg
import pytest

from local.doors import connect
from local.speakers import WAYS, Speaker, new_name, told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dsql_fast.local import LocalCluster

pytestmark = pytest.mark.timeout(60)

Pair: TypeAlias = "tuple[Speaker, Speaker]"


@pytest.fixture
def t(cluster: LocalCluster) -> Iterator[str]:
    """A table of three rows, made before anybody looks."""
    name = new_name("conflict")
    with connect(cluster) as conn:
        conn.execute(f"create table {name} (id int primary key, v int not null)")
        conn.execute(f"insert into {name} select id, 10 from generate_series(1, 3) id")
    yield name
    with connect(cluster) as conn:
        conn.execute(f"drop table {name}")


@pytest.fixture(params=WAYS)
def pair(request: pytest.FixtureRequest, cluster: LocalCluster, t: str) -> Iterator[Pair]:
    """Two connections that speak in one of the ways."""
    with Speaker(cluster, request.param) as one, Speaker(cluster, request.param) as two:
        yield one, two


@pytest.fixture
def couple(cluster: LocalCluster, t: str) -> Iterator[Pair]:
    """Two connections, where the way makes no difference."""
    with Speaker(cluster) as one, Speaker(cluster) as two:
        yield one, two


def content(cluster: LocalCluster, table: str) -> list[tuple[int, int]]:
    with connect(cluster) as conn:
        return conn.execute(f"select id, v from {table} order by id").fetchall()


def same_row(pair: Pair, t: str) -> Pair:
    """Both have read, and both have changed row 1."""
    one, two = pair
    for speaker, change in ((one, 1), (two, 2)):
        speaker("begin")
        assert speaker(f"select v from {t} where id = 1") == [(10,)]
        assert speaker(f"update {t} set v = v + {change} where id = 1") == 1
    return pair


# --- who wins ----------------------------------------------------------------------------------------


def test_the_first_commits_first(cluster: LocalCluster, pair: Pair, t: str) -> None:
    one, two = same_row(pair, t)
    one("commit")
    two.loses()
    assert content(cluster, t) == [(1, 11), (2, 10), (3, 10)]


def test_the_second_commits_first(cluster: LocalCluster, pair: Pair, t: str) -> None:
    one, two = same_row(pair, t)
    two("commit")
    one.loses()
    assert content(cluster, t) == [(1, 12), (2, 10), (3, 10)]


def test_a_write_after_the_others_commit(cluster: LocalCluster, pair: Pair, t: str) -> None:
    # The commonest conflict of all: read, and when the write comes the row is another already.
    one, two = pair
    one("begin")
    assert one(f"select v from {t} where id = 1") == [(10,)]
    assert two(f"update {t} set v = 50 where id = 1") == 1
    assert one(f"update {t} set v = v + 1 where id = 1") == 1
    assert one(f"select v from {t} where id = 1") == [(11,)]
    one.loses()
    assert content(cluster, t)[0] == (1, 50)


def test_the_loser_reads_its_own_writes(pair: Pair, t: str) -> None:
    one, two = same_row(pair, t)
    two("commit")
    assert one(f"select v from {t} where id = 1") == [(11,)]
    assert one(f"select id, v from {t} order by id") == [(1, 11), (2, 10), (3, 10)]
    assert one(f"select sum(v)::int from {t}") == [(31,)]
    one.loses()


def test_the_loser_goes_on_with_true_counts(cluster: LocalCluster, pair: Pair, t: str) -> None:
    one, two = same_row(pair, t)
    two("commit")
    assert one(f"update {t} set v = v + 5 where id <= 2") == 2
    assert one(f"update {t} set v = v * 2 where id = 1 returning id, v") == [(1, 32)]
    assert one(f"insert into {t} values (7, 70) returning id") == [(7,)]
    assert one(f"insert into {t} values (8, 80)") == 1
    assert one(f"delete from {t} where v = 15 returning id") == [(2,)]
    assert one(f"delete from {t} where id = 2") == 0
    assert one(f"select id, v from {t} order by id") == [(1, 32), (3, 10), (7, 70), (8, 80)]
    one.loses()
    assert content(cluster, t) == [(1, 12), (2, 10), (3, 10)]


def test_a_winner_that_rolls_back_harms_nobody(cluster: LocalCluster, pair: Pair, t: str) -> None:
    one, two = same_row(pair, t)
    two("rollback")
    assert one(f"update {t} set v = v + 1 where id = 1") == 1
    one("commit")
    assert content(cluster, t)[0] == (1, 12)


def test_a_loser_that_rolls_back_hears_nothing(pair: Pair, t: str) -> None:
    one, two = same_row(pair, t)
    one("commit")
    two("rollback")
    assert two.state == "IDLE"


def test_a_retry_on_a_fresh_snapshot_succeeds(cluster: LocalCluster, pair: Pair, t: str) -> None:
    one, two = same_row(pair, t)
    one("commit")
    two.loses()
    two("begin")
    assert two(f"select v from {t} where id = 1") == [(11,)]
    assert two(f"update {t} set v = v + 2 where id = 1") == 1
    two("commit")
    assert content(cluster, t)[0] == (1, 13)


def test_a_transaction_that_only_reads_never_conflicts(pair: Pair, t: str) -> None:
    one, two = pair
    one("begin")
    assert one(f"select sum(v)::int from {t}") == [(30,)]
    for _ in range(3):
        two(f"update {t} set v = v + 1")
        assert one(f"select sum(v)::int from {t}") == [(30,)]
    one("commit")
    assert one(f"select sum(v)::int from {t}") == [(39,)]


def test_writes_apart_do_not_conflict(cluster: LocalCluster, pair: Pair, t: str) -> None:
    one, two = pair
    for speaker, row in ((one, 1), (two, 2)):
        speaker("begin")
        assert speaker(f"update {t} set v = v + 1 where id = {row}") == 1
    one("commit")
    two("commit")
    assert content(cluster, t) == [(1, 11), (2, 11), (3, 10)]


def test_an_update_of_nothing_is_no_write(cluster: LocalCluster, pair: Pair, t: str) -> None:
    one, two = pair
    one("begin")
    assert one(f"update {t} set v = 0 where v > 100") == 0
    assert one(f"delete from {t} where v > 100") == 0
    assert two(f"update {t} set v = 200 where id = 1") == 1
    assert one(f"update {t} set v = 0 where v > 100") == 0
    one("commit")
    assert content(cluster, t)[0] == (1, 200)


def test_write_skew_commits(cluster: LocalCluster, pair: Pair, t: str) -> None:
    one, two = pair
    for speaker, row in ((one, 1), (two, 2)):
        speaker("begin")
        assert speaker(f"select sum(v)::int from {t} where id in (1, 2)") == [(20,)]
        assert speaker(f"update {t} set v = v - 20 where id = {row}") == 1
    one("commit")
    two("commit")
    assert content(cluster, t) == [(1, -10), (2, -10), (3, 10)]


def test_ping_pong(cluster: LocalCluster, pair: Pair, t: str) -> None:
    # Six rounds in turn on the same two rows, each taking from the other what it has.
    one, two = pair
    for speaker in pair:
        speaker("begin")
    for turn in range(1, 7):
        for speaker in pair:
            assert speaker(f"update {t} set v = v + 1 where id = 1 returning v") == [(10 + turn,)]
            assert speaker(f"update {t} set v = v - 1 where id = 2 returning v") == [(10 - turn,)]
    two("commit")
    assert one(f"select v from {t} order by id") == [(16,), (4,), (10,)]
    one.loses()
    assert content(cluster, t) == [(1, 16), (2, 4), (3, 10)]


def test_the_snapshot_is_taken_by_the_first_statement(cluster: LocalCluster, pair: Pair, t: str) -> None:
    one, two = pair
    one("begin")
    two(f"update {t} set v = 50 where id = 1")
    assert one(f"select v from {t} where id = 1") == [(50,)]
    assert one(f"update {t} set v = v + 1 where id = 1") == 1
    one("commit")
    assert content(cluster, t)[0] == (1, 51)


# --- autocommit --------------------------------------------------------------------------------------


def test_autocommit_against_an_open_writer(cluster: LocalCluster, pair: Pair, t: str) -> None:
    one, two = pair
    one("begin")
    assert one(f"update {t} set v = v + 1 where id = 1") == 1
    assert two(f"update {t} set v = v + 5 where id = 1 returning v") == [(15,)]
    assert content(cluster, t)[0] == (1, 15)
    assert one(f"select v from {t} where id = 1") == [(11,)]
    one.loses()


def test_autocommit_many_times_against_an_open_writer(cluster: LocalCluster, couple: Pair, t: str) -> None:
    one, two = couple
    one("begin")
    assert one(f"update {t} set v = -1") == 3
    for count in range(20):
        assert two(f"update {t} set v = v + 1 where id = 2 returning v") == [(11 + count,)]
    one.loses()


# --- keys --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("later_first", [False, True])
def test_two_inserts_of_one_key(cluster: LocalCluster, pair: Pair, t: str, later_first: bool) -> None:
    one, two = pair
    for speaker, value in ((one, 1), (two, 2)):
        speaker("begin")
        assert speaker(f"insert into {t} values (9, {value}) returning v") == [(value,)]
    winner, loser = (two, one) if later_first else (one, two)
    winner("commit")
    loser.loses()
    assert content(cluster, t)[-1] == (9, 2 if later_first else 1)


def test_an_insert_of_a_key_that_was_committed_meanwhile(pair: Pair, t: str) -> None:
    # On the snapshot the key is free, so the statement succeeds.
    one, two = pair
    one("begin")
    assert one(f"select count(*)::int from {t}") == [(3,)]
    assert two(f"insert into {t} values (9, 2)") == 1
    assert one(f"insert into {t} values (9, 1)") == 1
    assert one(f"select v from {t} where id = 9") == [(1,)]
    one.loses()


def test_an_insert_of_a_key_whose_inserter_gives_up(cluster: LocalCluster, pair: Pair, t: str) -> None:
    one, two = pair
    one("begin")
    assert one(f"insert into {t} values (9, 1)") == 1
    two("begin")
    assert two(f"insert into {t} values (9, 2)") == 1
    one("rollback")
    two("commit")
    assert content(cluster, t)[-1] == (9, 2)


def test_a_genuine_duplicate_fails_at_the_statement(pair: Pair, t: str) -> None:
    one, two = pair
    one("begin")
    with pytest.raises(psycopg.errors.UniqueViolation) as caught:
        one(f"insert into {t} values (1, 1)")
    assert caught.value.diag.constraint_name == f"{t}_pkey"
    assert one.state == "INERROR"
    one("rollback")
    # Also for one that has lost already.
    same_row((one, two), t)
    two("commit")
    with pytest.raises(psycopg.errors.UniqueViolation) as caught:
        one(f"insert into {t} values (2, 1)")
    assert caught.value.diag.constraint_name == f"{t}_pkey"
    assert one.state == "INERROR"
    one("rollback")


def test_a_duplicate_of_a_row_that_others_deleted_meanwhile(pair: Pair, t: str) -> None:
    # The snapshot has it.
    one, two = pair
    one("begin")
    assert one(f"select count(*)::int from {t}") == [(3,)]
    assert two(f"delete from {t} where id = 1") == 1
    with pytest.raises(psycopg.errors.UniqueViolation):
        one(f"insert into {t} values (1, 1)")
    one("rollback")
    assert one(f"insert into {t} values (1, 1)") == 1


def test_a_duplicate_by_update_of_a_key_that_others_left_meanwhile(pair: Pair, t: str) -> None:
    one, two = pair
    one("begin")
    assert one(f"select count(*)::int from {t}") == [(3,)]
    assert two(f"update {t} set id = 100 where id = 1") == 1
    with pytest.raises(psycopg.errors.UniqueViolation):
        one(f"update {t} set id = 1 where id = 2")
    one("rollback")


@pytest.mark.parametrize("action", ["nothing", "update set v = excluded.v"])
@pytest.mark.parametrize("committed", [False, True])
def test_on_conflict_is_decided_on_the_snapshot(pair: Pair, t: str, action: str, committed: bool) -> None:
    one, two = pair
    one("begin")
    two("begin")
    assert one(f"select count(*)::int from {t}") == [(3,)]
    assert two(f"insert into {t} values (9, 2)") == 1
    if committed:
        two("commit")
    # It is not there for this transaction, so this is an insert.
    assert one(f"insert into {t} values (9, 1) on conflict (id) do {action} returning v") == [(1,)]
    if committed:
        one.loses()
    else:
        one("commit")
        two.loses()


@pytest.mark.parametrize("change", ["update {t} set v = 99 where id = 1", "delete from {t} where id = 1"])
def test_on_conflict_do_nothing_that_does_nothing(pair: Pair, t: str, change: str) -> None:
    # The row is on the snapshot: nothing is written, and so there is nothing to conflict.
    one, two = pair
    one("begin")
    assert one(f"select count(*)::int from {t}") == [(3,)]
    assert two(change.format(t=t)) == 1
    assert one(f"insert into {t} values (1, 5) on conflict (id) do nothing returning v") == []
    assert one(f"update {t} set v = 20 where id = 2") == 1
    one("commit")


def test_on_conflict_do_nothing_after_a_write(pair: Pair, t: str) -> None:
    one, two = pair
    one("begin")
    assert one(f"update {t} set v = 20 where id = 2") == 1
    assert one(f"insert into {t} values (1, 5) on conflict (id) do nothing") == 0
    # Row 1 is another's, and then the first has to let go of what it holds.
    assert two(f"update {t} set v = 99 where id = 1") == 1
    two("begin")
    assert two(f"update {t} set v = 99 where id = 2") == 1
    two("rollback")
    one("commit")


@pytest.mark.parametrize("before", [False, True])
def test_a_with_that_writes_more_than_its_tag_tells(
    cluster: LocalCluster, pair: Pair, t: str, before: bool
) -> None:
    one, two = pair
    one("begin")
    if before:
        assert one(f"update {t} set v = 20 where id = 2") == 1
    gone = f"with gone as (delete from {t} where id = 1) "
    assert one(gone + f"update {t} set v = 0 where id = 77") == 0
    assert one(gone + f"insert into {t} select 77, 0 where false") == 0
    two("begin")
    assert two(f"update {t} set v = 99 where id = 1") == 1
    assert one(f"select id from {t} order by id") == [(2,), (3,)]
    one("commit")
    two.loses()
    assert [key for key, _ in content(cluster, t)] == [2, 3]


def test_upsert_against_delete(cluster: LocalCluster, pair: Pair, t: str) -> None:
    one, two = pair
    for speaker in pair:
        speaker("begin")
    upsert = f"insert into {t} values (1, 5) on conflict (id) do update set v = {t}.v + excluded.v returning v"
    assert one(upsert) == [(15,)]
    assert two(f"delete from {t} where id = 1") == 1
    two("commit")
    assert one(upsert) == [(20,)]
    one.loses()
    assert content(cluster, t) == [(2, 10), (3, 10)]


def test_delete_against_delete(cluster: LocalCluster, pair: Pair, t: str) -> None:
    one, two = pair
    for speaker in pair:
        speaker("begin")
        assert speaker(f"delete from {t} where id = 1 returning v") == [(10,)]
    one("commit")
    assert two(f"select count(*)::int from {t}") == [(2,)]
    two.loses()
    assert len(content(cluster, t)) == 2


@pytest.mark.parametrize("delete_wins", [False, True])
def test_update_against_delete(cluster: LocalCluster, pair: Pair, t: str, delete_wins: bool) -> None:
    one, two = pair
    one("begin")
    two("begin")
    assert one(f"update {t} set v = 99 where id = 1") == 1
    assert two(f"delete from {t} where id = 1") == 1
    winner, loser = (two, one) if delete_wins else (one, two)
    winner("commit")
    loser.loses()
    assert content(cluster, t)[0] == ((2, 10) if delete_wins else (1, 99))


def test_a_key_deleted_and_inserted_again(cluster: LocalCluster, pair: Pair, t: str) -> None:
    one, two = pair
    one("begin")
    assert one(f"update {t} set v = 99 where id = 1") == 1
    two(f"delete from {t} where id = 1")
    two(f"insert into {t} values (1, 50)")
    one.loses()
    assert content(cluster, t)[0] == (1, 50)


def test_unique_values(cluster: LocalCluster) -> None:
    name = new_name("unique")
    with connect(cluster) as conn:
        conn.execute(f"create table {name} (id int primary key, mail text unique)")
    with Speaker(cluster) as three, Speaker(cluster) as four:
        for speaker, key in ((three, 1), (four, 2)):
            speaker("begin")
            assert speaker(f"insert into {name} values ({key}, 'a')") == 1
        four("commit")
        three.loses()
        assert four(f"select id from {name}") == [(2,)]
    with connect(cluster) as conn:
        conn.execute(f"drop table {name}")


# --- SELECT FOR UPDATE -------------------------------------------------------------------------------


def test_for_update_against_a_write(cluster: LocalCluster, pair: Pair, t: str) -> None:
    one, two = pair
    one("begin")
    assert one(f"select v from {t} where id = 1 for update") == [(10,)]
    assert two(f"update {t} set v = 20 where id = 1") == 1
    assert one(f"select v from {t} where id = 1 for update") == [(10,)]
    assert one(f"update {t} set v = 30 where id = 2") == 1
    one.loses()
    assert content(cluster, t) == [(1, 20), (2, 10), (3, 10)]


def test_for_update_alone_joins_the_conflict_check(pair: Pair, t: str) -> None:
    one, two = pair
    one("begin")
    assert one(f"select v from {t} where id = 1 for update") == [(10,)]
    assert two(f"update {t} set v = 20 where id = 1") == 1
    one.loses()


def test_for_update_prevents_write_skew(cluster: LocalCluster, pair: Pair, t: str) -> None:
    one, two = pair
    for speaker, row in ((one, 1), (two, 2)):
        speaker("begin")
        assert speaker(f"select v from {t} where id in (1, 2) order by id for update") == [(10,), (10,)]
        assert speaker(f"update {t} set v = v - 20 where id = {row}") == 1
    one("commit")
    two.loses()
    assert content(cluster, t)[:2] == [(1, -10), (2, 10)]


def test_for_update_of_both_does_not_block(pair: Pair, t: str) -> None:
    one, two = pair
    for speaker in pair:
        speaker("begin")
        assert speaker(f"select id, v from {t} order by id for update") == [(1, 10), (2, 10), (3, 10)]
    for speaker in pair:
        assert speaker(f"select v from {t} where id = 2 for update") == [(10,)]
    one("commit")
    two("rollback")


# --- what else must not block ------------------------------------------------------------------------


@pytest.mark.parametrize("statement", ["select 1 from {t}", "update {t} set v = 0 where id = 1"])
def test_ddl_waits_for_nobody(cluster: LocalCluster, pair: Pair, t: str, statement: str) -> None:
    one, two = pair
    one("begin")
    one(statement.format(t=t))
    two(f"alter table {t} add column note text")
    assert two(f"select note from {t} where id = 1") == [(None,)]
    # What the other now hears is test_schema_conflicts.py's.
    one("rollback")


@pytest.mark.parametrize("statement", ["select 1 from {t}", "insert into {t} values (9, 9)"])
def test_drop_waits_for_nobody(cluster: LocalCluster, couple: Pair, statement: str) -> None:
    name = new_name("dropped")
    with Speaker(cluster) as one, Speaker(cluster) as two:
        one(f"create table {name} (id int primary key, v int)")
    with Speaker(cluster) as one, Speaker(cluster) as two:
        one("begin")
        one(statement.format(t=name))
        two(f"drop table {name}")
        one("rollback")


def test_an_error_frees_everything_at_once(cluster: LocalCluster, pair: Pair, t: str) -> None:
    one, two = pair
    one("begin")
    assert one(f"update {t} set v = 99 where id = 1") == 1
    with pytest.raises(psycopg.errors.SyntaxError):
        one("selec 1")
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        one("select 1")
    two("begin")
    assert two(f"update {t} set v = v + 1 where id = 1 returning v") == [(11,)]
    two("commit")
    one("commit")
    assert one.state == "IDLE"
    assert content(cluster, t)[0] == (1, 11)


def test_a_client_that_is_gone_frees_everything(cluster: LocalCluster, couple: Pair, t: str) -> None:
    one, two = couple
    one("begin")
    assert one(f"update {t} set v = 99") == 3
    two("begin")
    assert two(f"update {t} set v = 11 where id = 1") == 1
    one.conn.close()
    assert two(f"update {t} set v = 12 where id = 2") == 1
    two("commit")
    assert content(cluster, t) == [(1, 11), (2, 12), (3, 10)]


def test_a_loser_that_is_gone(cluster: LocalCluster, couple: Pair, t: str) -> None:
    one, two = same_row(couple, t)
    one("commit")
    assert two(f"update {t} set v = 0") == 3
    two.conn.close()
    assert content(cluster, t) == [(1, 11), (2, 10), (3, 10)]


def test_eight_connections_in_opposite_orders(cluster: LocalCluster, t: str) -> None:
    speakers = [Speaker(cluster, WAYS[number % len(WAYS)]) for number in range(8)]
    committed = 0
    for rounds in range(40):
        for number, speaker in enumerate(speakers):
            speaker("begin")
            first = 1 + (number + rounds) % 3
            assert speaker(f"update {t} set v = v + 1 where id = {first}") == 1
        for number, speaker in enumerate(reversed(speakers)):
            second = 1 + (number + 2 * rounds) % 3
            assert speaker(f"update {t} set v = v + 1 where id = {second}") == 1
        for speaker in speakers:
            try:
                speaker("commit")
            except psycopg.errors.SerializationFailure:
                assert speaker.state == "IDLE"
            else:
                committed += 1
    assert committed >= 40  # the first of each round
    assert sum(value for _, value in content(cluster, t)) == 30 + 2 * committed
    for speaker in speakers:
        speaker.conn.close()


def test_nothing_is_left_behind(cluster: LocalCluster, couple: Pair, t: str) -> None:
    one, two = same_row(couple, t)
    one("commit")
    assert two(f"update {t} set v = 0") == 3
    two.loses()
    hidden = "select count(*)::int from pg_class where relpersistence = 't'"
    assert two(hidden) == [(0,)]
    assert two(f"select id, v from {t} order by id") == [(1, 11), (2, 10), (3, 10)]
    assert two("select count(*)::int from pg_class where relname = %s", t) == [(1,)]


@pytest.mark.parametrize("finish", ["commit", "rollback"])
def test_begin_and_end_of_nothing(pair: Pair, t: str, finish: str) -> None:
    one, two = pair
    one("begin")
    two(f"update {t} set v = 0")
    one(finish)
    assert one(f"select sum(v)::int from {t}") == [(0,)]


@pytest.fixture
def with_table(cluster: LocalCluster) -> Iterator[Callable[[str], str]]:
    """A function that makes tables; they are dropped after the test."""
    made: list[str] = []

    def make(columns: str) -> str:
        name = new_name("made")
        with connect(cluster) as conn:
            conn.execute(f"create table {name} ({columns})")
        made.insert(0, name)
        return name

    yield make
    with connect(cluster) as conn:
        for name in made:
            conn.execute(f"drop table if exists {name} cascade")


# --- what tables can be ------------------------------------------------------------------------------


def test_schema_qualified_names(cluster: LocalCluster, couple: Pair, t: str) -> None:
    one, two = same_row(couple, t)
    two("commit")
    assert one(f"select v from public.{t} where id = 1") == [(11,)]
    assert one(f"update public.{t} set v = v + 1 where id <= 2 returning v") == [(12,), (11,)]
    assert one(f'insert into "public"."{t}" values (9, 9)') == 1
    assert one(f"select public.{t}.v from public.{t} where {t}.id = 1") == [(12,)]
    one.loses()


def test_schema_qualified_names_all_along(cluster: LocalCluster, couple: Pair, t: str) -> None:
    one, two = couple
    for speaker in couple:
        speaker("begin")
        assert speaker(f"update public.{t} set v = v + 1 where id = 1") == 1
    one("commit")
    assert two(f"update public.{t} set v = v + 1 where id = 1 returning v") == [(12,)]
    two.loses()


def test_a_schema_of_ones_own(cluster: LocalCluster) -> None:
    schema = new_name("schema")
    with connect(cluster) as conn:
        conn.execute(f"create schema {schema}")
    with connect(cluster) as conn:
        conn.execute(f"create table {schema}.t (id int primary key, v int)")
        conn.execute(f"insert into {schema}.t values (1, 10)")
    with Speaker(cluster) as one, Speaker(cluster) as two:
        for speaker in (one, two):
            speaker("begin")
            assert speaker(f"update {schema}.t set v = v + 1 where id = 1 returning v") == [(11,)]
        one("commit")
        assert two(f"update {schema}.t set v = v + 1 where id = 1 returning v") == [(12,)]
        two.loses()
    with connect(cluster) as conn:
        conn.execute(f"drop schema {schema} cascade")


def test_reading_through_a_view(cluster: LocalCluster, t: str) -> None:
    with connect(cluster) as conn:
        conn.execute(f"create view {t}_v as select id, v from {t} where v > 0")
    with Speaker(cluster) as one, Speaker(cluster) as two:
        same_row((one, two), t)
        two("commit")
        assert one(f"select v from {t}_v where id = 1") == [(11,)]
        one.loses()
    with connect(cluster) as conn:
        conn.execute(f"drop view {t}_v")


def test_writing_through_a_view(cluster: LocalCluster, t: str) -> None:
    with connect(cluster) as conn:
        conn.execute(f"create view {t}_v as select id, v from {t} where v > 0")
    with Speaker(cluster) as one, Speaker(cluster) as two:
        for speaker in (one, two):
            speaker("begin")
            assert speaker(f"update {t}_v set v = v + 1 where id = 1 returning v") == [(11,)]
        one("commit")
        assert two(f"update {t}_v set v = v + 1 where id = 1 returning v") == [(12,)]
        two.loses()
    with connect(cluster) as conn:
        conn.execute(f"drop view {t}_v")


@pytest.fixture
def family(with_table: Callable[[str], str]) -> tuple[str, str]:
    """A table and one that refers to it."""
    parent = with_table("id int primary key, v int")
    return parent, with_table(f"id int primary key, of int references {parent} on delete cascade, v int")


def test_foreign_keys(cluster: LocalCluster, family: tuple[str, str]) -> None:
    parent, child = family
    with Speaker(cluster) as one, Speaker(cluster) as two:
        one(f"insert into {parent} values (1, 1), (2, 2)")
        one("begin")
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            one(f"insert into {child} values (1, 9, 0)")
        one("rollback")
        # Two children of one parent are no conflict.
        for speaker, key in ((one, 1), (two, 2)):
            speaker("begin")
            assert speaker(f"insert into {child} values ({key}, 1, 0)") == 1
        one("commit")
        two("commit")


def test_on_delete_cascade(cluster: LocalCluster, family: tuple[str, str]) -> None:
    parent, child = family
    with Speaker(cluster) as one, Speaker(cluster) as two:
        one(f"insert into {parent} values (1, 1), (2, 2)")
        one(f"insert into {child} values (1, 1, 0), (2, 2, 0)")
        one("begin")
        assert one(f"delete from {parent} where id = 1") == 1
        assert one(f"select id from {child}") == [(2,)]
        assert two(f"update {child} set v = 5 where id = 2") == 1
        assert two(f"update {child} set v = 5 where id = 1") == 1
        assert one(f"select id, v from {child}") == [(2, 0)]
        # Row 1 of the child was deleted here and changed there.
        one.loses()
        assert two(f"select id, v from {child} order by id") == [(1, 5), (2, 5)]


def test_a_loser_with_foreign_keys(cluster: LocalCluster, family: tuple[str, str]) -> None:
    parent, child = family
    with Speaker(cluster) as one, Speaker(cluster) as two:
        one(f"insert into {parent} values (1, 1)")
        for speaker in (one, two):
            speaker("begin")
            assert speaker(f"update {parent} set v = v + 1 where id = 1") == 1
        one("commit")
        assert two(f"insert into {parent} values (2, 2)") == 1
        assert two(f"insert into {child} values (1, 2, 0)") == 1
        assert two(f"select count(*)::int from {child}") == [(1,)]
        two.loses()


def test_identity_columns(cluster: LocalCluster, with_table: Callable[[str], str]) -> None:
    name = with_table("id bigint generated by default as identity (cache 1) primary key, v int")
    with Speaker(cluster) as one, Speaker(cluster) as two:
        for speaker in (one, two):
            speaker("begin")
        first = one.one(f"insert into {name} (v) values (1) returning id")
        second = two.one(f"insert into {name} (v) values (2) returning id")
        assert first != second
        one("commit")
        two("commit")
        assert one(f"select id, v from {name} order by v") == [(first, 1), (second, 2)]


def test_defaults_that_are_drawn(cluster: LocalCluster, with_table: Callable[[str], str]) -> None:
    name = with_table("id uuid primary key default gen_random_uuid(), at timestamptz default now(), v int")
    hot = with_table("id int primary key, v int")
    with Speaker(cluster) as one, Speaker(cluster) as two:
        one(f"insert into {hot} values (1, 0)")
        drawn = {}
        for speaker in (one, two):
            speaker("begin")
            drawn[speaker] = speaker(f"insert into {name} (v) values (1) returning id, at")
            assert speaker(f"update {hot} set v = v + 1 where id = 1") == 1
        # Each was made to let go by the other: what it was shown is still there, and the first commits.
        assert one(f"select id, at from {name}") == drawn[one]
        assert two(f"select id, at from {name}") == drawn[two]
        one("commit")
        two.loses()
        assert one(f"select id, at from {name}") == drawn[one]


@pytest.mark.parametrize("drawn", ["gen_random_uuid()::text", "random()::text", "now()::text"])
def test_values_that_were_shown_stay(cluster: LocalCluster, with_table: Callable[[str], str], drawn: str) -> None:
    name = with_table("id int primary key, v text")
    with Speaker(cluster) as one, Speaker(cluster) as two:
        one(f"insert into {name} values (1, '')")
        one("begin")
        shown = one.one(f"update {name} set v = {drawn} where id = 1 returning v")
        two("begin")
        assert two(f"update {name} set v = 'other' where id = 1") == 1
        two("rollback")
        assert one.one(f"select v from {name} where id = 1") == shown
        one("commit")
        assert two.one(f"select v from {name} where id = 1") == shown


def test_a_value_that_cannot_come_again(cluster: LocalCluster, with_table: Callable[[str], str]) -> None:
    # clock_timestamp() was shown, and is another now: rather a conflict that DSQL would not have than a lie.
    name = with_table("id int primary key, v text")
    with Speaker(cluster) as one, Speaker(cluster) as two:
        one(f"insert into {name} values (1, '')")
        one("begin")
        shown = one.one(f"update {name} set v = clock_timestamp()::text where id = 1 returning v")
        two("begin")
        assert two(f"update {name} set v = 'other' where id = 1") == 1
        two("rollback")
        with pytest.raises(psycopg.errors.SerializationFailure) as caught:  # noqa: PT012 - at either
            assert one.one(f"select v from {name} where id = 1") == shown
            one("commit")
        told(caught.value)
        one("rollback")
        assert two.one(f"select v from {name} where id = 1") == ""


def test_a_long_transaction_that_is_made_to_let_go(cluster: LocalCluster, couple: Pair, t: str) -> None:
    one, two = couple
    one("begin")
    for key in range(100, 1100):
        assert one(f"insert into {t} values ({key}, 0)") == 1
    assert one(f"update {t} set v = 1 where id = 1") == 1
    two("begin")
    assert two(f"update {t} set v = 2 where id = 1") == 1
    two("rollback")
    assert one(f"select count(*)::int from {t}") == [(1003,)]
    one("commit")
    assert two(f"select count(*)::int from {t}") == [(1003,)]


def test_a_long_transaction_that_loses(cluster: LocalCluster, couple: Pair, t: str) -> None:
    one, two = couple
    one("begin")
    for key in range(100, 1100):
        assert one(f"insert into {t} values ({key}, 0)") == 1
    assert two(f"insert into {t} values (500, 2)") == 1
    assert one(f"select count(*)::int from {t}") == [(1003,)]
    assert one(f"update {t} set v = 7 where id >= 100") == 1000
    one.loses()
    assert two(f"select count(*)::int from {t}") == [(4,)]


def test_merge(cluster: LocalCluster, couple: Pair, t: str) -> None:
    one, two = couple
    merge = (
        f"merge into {t} using (values (1, 7), (9, 9)) s (id, v) on {t}.id = s.id "
        "when matched then update set v = s.v when not matched then insert values (s.id, s.v)"
    )
    for speaker in couple:
        speaker("begin")
        assert speaker(merge) == 2
    one("commit")
    assert two(f"select id, v from {t} order by id") == [(1, 7), (2, 10), (3, 10), (9, 9)]
    two.loses()


@pytest.mark.parametrize("child_first", [False, True])
def test_a_child_against_the_delete_of_its_parent(
    cluster: LocalCluster, family: tuple[str, str], child_first: bool
) -> None:
    parent, child = family
    with Speaker(cluster) as one, Speaker(cluster) as two:
        assert one(f"insert into {parent} values (1, 1)") == 1
        for speaker in (one, two):
            speaker("begin")
        assert one(f"insert into {child} values (1, 1, 0)") == 1
        assert two(f"delete from {parent} where id = 1") == 1
        winner, loser = (one, two) if child_first else (two, one)
        winner("commit")
        loser.loses()
        # Whoever won, no child is without its parent.
        assert one(f"select count(*)::int from {child}") == one(f"select count(*)::int from {parent}")


def test_a_child_of_a_parent_deleted_meanwhile(cluster: LocalCluster, family: tuple[str, str]) -> None:
    parent, child = family
    with Speaker(cluster) as one, Speaker(cluster) as two:
        assert one(f"insert into {parent} values (1, 1)") == 1
        one("begin")
        assert one(f"select count(*)::int from {parent}") == [(1,)]
        assert two(f"delete from {parent} where id = 1") == 1
        assert one(f"insert into {child} values (1, 1, 0)") == 1
        one.loses()


def test_a_child_is_no_conflict_to_a_change_of_its_parent(cluster: LocalCluster, family: tuple[str, str]) -> None:
    parent, child = family
    with Speaker(cluster) as one, Speaker(cluster) as two:
        assert one(f"insert into {parent} values (1, 1)") == 1
        one("begin")
        assert one(f"insert into {child} values (1, 1, 0)") == 1
        assert two(f"update {parent} set v = 2 where id = 1") == 1
        one("commit")


def test_for_update_nowait(couple: Pair, t: str) -> None:
    for speaker in couple:
        speaker("begin")
        assert speaker(f"select id from {t} order by id for update nowait") == [(1,), (2,), (3,)]


def test_a_loser_over_several_tables(cluster: LocalCluster, t: str, with_table: Callable[[str], str]) -> None:
    other = with_table("id int primary key, v int")
    with Speaker(cluster) as one, Speaker(cluster) as two:
        assert two(f"insert into {other} values (1, 100), (2, 200)") == 2
        one("begin")
        assert one(f"update {t} set v = 0 where id = 1") == 1
        assert two(f"update {t} set v = 99") == 3
        assert two(f"update {other} set v = 99") == 2
        # One table it has lost, the other it has not touched yet.
        assert one(f"update {other} o set v = x.v from {t} x where x.id = o.id returning o.v") == [(0,), (10,)]
        assert one(f"insert into {other} select id + 10, v from {t} where id > 1") == 2
        assert one(f"delete from {other} using {t} x where x.id = {other}.id and x.v = 0") == 1
        assert one(f"select o.id, o.v from {other} o order by id") == [(2, 10), (12, 10), (13, 10)]
        one.loses()
        assert two(f"select sum(v)::int from {other}") == [(198,)]


def test_a_loser_over_names_that_need_quotes(cluster: LocalCluster, with_table: Callable[[str], str]) -> None:
    name = '"' + with_table("id int") + ' Quoted"'
    with connect(cluster) as conn:
        conn.execute(f"""create table {name} ("Id" int primary key, "V" int, n text not null default 'x')""")
    with Speaker(cluster) as one, Speaker(cluster) as two:
        assert two(f"insert into {name} values (1, 1)") == 1
        one("begin")
        assert one(f'update {name} w set "V" = w."V" + 1 returning w."V"') == [(2,)]
        assert two(f'update {name} set "V" = 500') == 1
        assert one(f'update {name} set "V" = "V" + 1 where {name}."Id" = 1 returning "V"') == [(3,)]
        assert one(f'insert into public.{name} ("Id") values (2) returning *') == [(2, None, "x")]
        one.loses()
    with connect(cluster) as conn:
        conn.execute(f"drop table {name}")


def test_a_losers_constraints(cluster: LocalCluster, with_table: Callable[[str], str]) -> None:
    name = with_table(
        "id int primary key, v int not null, w int generated always as (v * 2) stored, "
        "a int, b int, constraint positive check (v >= 0), unique (a, b)"
    )
    wrong = {
        f"update {name} set v = -1": psycopg.errors.CheckViolation,
        f"update {name} set v = null": psycopg.errors.NotNullViolation,
        f"insert into {name} values (2, 0, default, 1, 1)": psycopg.errors.UniqueViolation,
    }
    with Speaker(cluster) as one, Speaker(cluster) as two:
        assert two(f"insert into {name} (id, v, a, b) values (1, 0, 1, 1)") == 1
        for sql, error in wrong.items():
            one("begin")
            assert one(f"update {name} set v = 2 returning w") == [(4,)]
            assert two(f"update {name} set v = v + 100") == 1
            assert one(f"update {name} set v = 3 returning w") == [(6,)]
            with pytest.raises(error):
                one(sql)
            assert one.state == "INERROR"
            one("rollback")


def test_a_role_with_few_rights_loses(cluster: LocalCluster, t: str, fresh_role: str) -> None:
    with connect(cluster) as conn:
        conn.execute(f"grant select, update on {t} to {fresh_role}")
    with Speaker(cluster, user=fresh_role) as one, Speaker(cluster) as two:
        one("begin")
        assert one(f"update {t} set v = v + 1 where id = 1 returning v") == [(11,)]
        assert two(f"update {t} set v = 99 where id = 1") == 1
        assert one(f"update {t} set v = v + 1 where id = 1 returning v") == [(12,)]
        one.loses()
    with connect(cluster) as conn:
        conn.execute(f"revoke all on {t} from {fresh_role}")
