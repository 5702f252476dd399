"""Conflicts through all that the protocol has: pipelines, cursors, COPY, prepared statements, several at once, async."""

from __future__ import annotations

import asyncio
import concurrent.futures
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
import psycopg
import pytest

from local.doors import connect, parameters, token
from local.speakers import CONFLICT, Speaker, new_name, told
from waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dsql_fast.local import LocalCluster

pytestmark = pytest.mark.timeout(60)

Pair: TypeAlias = "tuple[Speaker, Speaker]"


@pytest.fixture
def t(cluster: LocalCluster) -> Iterator[str]:
    """A table of ten rows."""
    name = new_name("protocol")
    with connect(cluster) as conn:
        conn.execute(f"create table {name} (id int primary key, v int not null)")
        conn.execute(f"insert into {name} select id, 10 from generate_series(1, 10) id")
    yield name
    with connect(cluster) as conn:
        conn.execute(f"drop table {name}")


@pytest.fixture
def couple(cluster: LocalCluster, t: str) -> Iterator[Pair]:
    with Speaker(cluster) as one, Speaker(cluster) as two:
        yield one, two


def loses(conn: psycopg.Connection[Any]) -> None:
    with pytest.raises(psycopg.errors.SerializationFailure) as caught:
        conn.commit()
    told(caught.value)
    assert conn.info.transaction_status.name == "IDLE"


# --- cursors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("wins", [False, True])
def test_a_server_cursor_while_another_writes(couple: Pair, t: str, wins: bool) -> None:
    one, two = couple
    one("begin")
    assert one(f"update {t} set v = 11 where id = 5") == 1
    with one.conn.cursor("rows") as cursor:
        cursor.execute(f"select id, v from {t} order by id")
        assert cursor.fetchmany(3) == [(1, 10), (2, 10), (3, 10)]
        two("begin")
        assert two(f"update {t} set v = 99 where id in (4, 5, 6)") == 3
        if wins:
            two("commit")
        else:
            two("rollback")
        # The next rows, of the same snapshot.
        assert cursor.fetchmany(3) == [(4, 10), (5, 11), (6, 10)]
        assert cursor.fetchall() == [(7, 10), (8, 10), (9, 10), (10, 10)]
    if wins:
        one.loses()
    else:
        one("commit")


def test_two_server_cursors_at_once(couple: Pair, t: str) -> None:
    one, two = couple
    one("begin")
    with one.conn.cursor("up", scrollable=True) as up, one.conn.cursor("down") as down:
        up.execute(f"select id from {t} order by id")
        down.execute(f"select id from {t} order by id desc")
        assert (up.fetchone(), down.fetchone()) == ((1,), (10,))
        two(f"update {t} set v = 0")
        assert (up.fetchone(), down.fetchone()) == ((2,), (9,))
        assert one(f"update {t} set v = v + 1 where id = 1 returning v") == [(11,)]
        assert (up.fetchone(), down.fetchone()) == ((3,), (8,))
        up.scroll(-3)
        assert up.fetchone() == (1,)
    one.loses()


def test_portals_read_in_pieces(couple: Pair, t: str) -> None:
    one, two = couple
    one("begin")
    assert one(f"update {t} set v = 11 where id = 5") == 1
    seen = []
    with one.conn.cursor() as cursor:
        for row in cursor.stream(f"select id, v from {t} order by id"):
            seen.append(row)
            if len(seen) == 3:
                assert two(f"update {t} set v = 99 where id = 5") == 1
    assert seen == [(key, 11 if key == 5 else 10) for key in range(1, 11)]
    one.loses()


# --- COPY --------------------------------------------------------------------------------------------


def test_copy_with_another_writer_in_the_middle(couple: Pair, t: str) -> None:
    one, two = couple
    one("begin")
    with one.conn.cursor().copy(f"copy {t} from stdin") as copy:
        copy.write_row((101, 1))
        # It is in the middle of its COPY, and blocks nobody.
        assert two(f"update {t} set v = v + 1") == 10
        assert two(f"insert into {t} values (200, 0)") == 1
        copy.write_row((102, 1))
    assert one(f"select count(*)::int from {t} where id > 100") == [(2,)]
    one("commit")
    assert two(f"select count(*)::int from {t}") == [(13,)]


@pytest.mark.parametrize("committed", [False, True])
def test_copy_of_a_key_that_another_inserts(couple: Pair, t: str, committed: bool) -> None:
    one, two = couple
    one("begin")
    assert one("select 1") == [(1,)]
    two("begin")
    assert two(f"insert into {t} values (101, 2)") == 1
    if committed:
        two("commit")
    with one.conn.cursor() as cursor:
        with cursor.copy(f"copy {t} from stdin") as copy:
            copy.write_row((101, 1))
            copy.write_row((102, 1))
        assert cursor.rowcount == 2
    assert one(f"select v from {t} where id = 101") == [(1,)]
    if committed:
        one.loses()
    else:
        one("commit")
        two.loses()


def test_copy_that_is_made_to_let_go(couple: Pair, t: str) -> None:
    one, two = couple
    one("begin")
    with one.conn.cursor().copy(f"copy {t} from stdin") as copy:
        for key in range(101, 601):
            copy.write_row((key, key))
    two("begin")
    assert two(f"insert into {t} values (300, 0)") == 1
    two("rollback")
    assert one(f"select count(*)::int, sum(v)::int from {t} where id > 100") == [(500, sum(range(101, 601)))]
    one("commit")
    assert two(f"select count(*)::int from {t}") == [(510,)]


def test_copy_out_of_a_loser(couple: Pair, t: str) -> None:
    one, two = couple
    one("begin")
    assert one(f"update {t} set v = 11 where id = 1") == 1
    two(f"update {t} set v = 0")
    assert one(f"update {t} set v = 12 where id = 2") == 1
    with one.conn.cursor().copy(f"copy (select v from {t} order by id) to stdout") as copy:
        rows = [row[0] for row in copy.rows()]
    assert rows == ["11", "12"] + ["10"] * 8
    one.loses()


def test_copy_outside_a_transaction_that_conflicts(couple: Pair, t: str) -> None:
    one, two = couple
    with (  # noqa: PT012 - the error comes at the end of the block
        pytest.raises((psycopg.errors.SerializationFailure, psycopg.errors.UniqueViolation)),
        one.conn.cursor().copy(f"copy {t} from stdin") as copy,
    ):
        copy.write_row((101, 1))
        assert two(f"insert into {t} values (101, 2)") == 1
    assert one.state == "IDLE"
    assert one(f"select v from {t} where id = 101") == [(2,)]


def test_a_cursor_for_update(couple: Pair, t: str) -> None:
    one, two = couple
    one("begin")
    with one.conn.cursor("locked") as cursor:
        cursor.execute(f"select id, v from {t} where id = 1 for update")
        assert cursor.fetchall() == [(1, 10)]
    assert two(f"update {t} set v = 0 where id = 1") == 1
    one.loses()


def test_a_genuine_duplicate_in_copy(couple: Pair, t: str) -> None:
    one, _ = couple
    one("begin")
    with (
        pytest.raises(psycopg.errors.UniqueViolation),
        one.conn.cursor().copy(f"copy {t} from stdin") as copy,
    ):
        copy.write_row((1, 1))
    assert one.state == "INERROR"
    one("rollback")


# --- pipelines ---------------------------------------------------------------------------------------


def test_a_whole_transaction_in_a_pipeline(couple: Pair, t: str) -> None:
    one, _ = couple
    with one.conn.pipeline():
        one.conn.execute("begin")
        changed = one.conn.execute(f"update {t} set v = v + 1 where id = 1 returning v")
        read = one.conn.execute(f"select sum(v)::int from {t}")
        one.conn.execute("commit")
    assert changed.fetchall() == [(11,)]
    assert read.fetchall() == [(101,)]
    assert one.state == "IDLE"


def test_commit_inside_a_pipeline_loses(couple: Pair, t: str) -> None:
    one, two = couple
    one("begin")
    assert one(f"update {t} set v = 1 where id = 1") == 1
    two(f"update {t} set v = 2 where id = 1")
    with pytest.raises(psycopg.errors.SerializationFailure) as caught, one.conn.pipeline():  # noqa: PT012
        changed = one.conn.execute(f"update {t} set v = v + 5 where id = 1 returning v")
        one.conn.execute("commit")
    told(caught.value)
    assert changed.fetchall() == [(6,)]
    assert one.state == "IDLE"
    assert one(f"select v from {t} where id = 1") == [(2,)]


def test_what_follows_a_lost_commit_in_a_pipeline_is_skipped(couple: Pair, t: str) -> None:
    one, two = couple
    one("begin")
    assert one(f"update {t} set v = 1 where id = 1") == 1
    two(f"update {t} set v = 2 where id = 1")
    with pytest.raises(psycopg.errors.SerializationFailure) as caught, one.conn.pipeline():  # noqa: PT012
        one.conn.execute("commit")
        after = one.conn.execute(f"update {t} set v = 3 where id = 2")
    told(caught.value)
    assert after.pgresult is None or after.pgresult.status == psycopg.pq.ExecStatus.PIPELINE_ABORTED
    assert one.state == "IDLE"
    assert one(f"select v from {t} where id in (1, 2) order by id") == [(2,), (10,)]


def test_two_transactions_in_one_pipeline(couple: Pair, t: str) -> None:
    one, two = couple
    two("begin")
    assert two(f"update {t} set v = 0 where id = 1") == 1
    with one.conn.pipeline() as pipeline:
        for _ in range(2):
            one.conn.execute("begin")
            last = one.conn.execute(f"update {t} set v = v + 1 where id = 1 returning v")
            one.conn.execute("commit")
            pipeline.sync()
        assert last.fetchall() == [(12,)]
    two.loses()


def test_a_pipeline_that_pauses_inside_a_transaction(couple: Pair, t: str) -> None:
    one, two = couple
    with one.conn.pipeline():
        one.conn.execute("begin")
        first = one.conn.execute(f"update {t} set v = 1 where id = 1 returning v")
        assert first.fetchall() == [(1,)]
        assert two(f"update {t} set v = v + 1 where id = 1 returning v") == [(11,)]
        second = one.conn.execute(f"update {t} set v = v + 1 where id = 1 returning v")
        assert second.fetchall() == [(2,)]
        one.conn.execute("rollback")
    assert one.state == "IDLE"


# --- prepared statements -----------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0, 1, 5, None])
def test_prepared_statements_while_another_writes(couple: Pair, t: str, threshold: int | None) -> None:
    one, two = couple
    one.conn.prepare_threshold = threshold
    update = f"update {t} set v = v + %s where id = %s returning v"
    for _ in range(6):
        one("begin")
        for turn in range(6):
            ((value,),) = one.conn.execute(update, [1, 2]).fetchall()
            assert value == 11 + turn
            two("begin")
            assert two(f"update {t} set v = 0 where id = 2") == 1
            two("rollback")
        one("rollback")


@pytest.mark.parametrize("threshold", [0, 1, 5, None])
def test_prepared_statements_of_a_loser(couple: Pair, t: str, threshold: int | None) -> None:
    one, two = couple
    one.conn.prepare_threshold = threshold
    update = f"update {t} set v = v + %s where id = %s returning v"
    for _ in range(3):
        one("begin")
        before = one.one(f"select v from {t} where id = 3")
        assert one.conn.execute(update, [1, 3]).fetchall() == [(before + 1,)]
        two(f"update {t} set v = v + 100 where id = 3")
        for turn in range(6):
            assert one.conn.execute(update, [1, 3]).fetchall() == [(before + 2 + turn,)]
        one.loses()
    # And after all that they work on the real table.
    assert one.conn.execute(update, [1, 3]).fetchall() == [(311,)]


def test_prepare_and_execute_in_sql(couple: Pair, t: str) -> None:
    one, two = couple
    one("begin")
    one(f"prepare change (int) as update {t} set v = v + $1 where id = 1 returning v")
    assert one("execute change(1)") == [(11,)]
    two(f"update {t} set v = 50 where id = 1")
    assert one("execute change(1)") == [(12,)]
    one.loses()
    assert one("execute change(1)") == [(51,)]
    one("deallocate change")


# --- several statements in one simple query -----------------------------------------------------------


def test_several_statements_in_one_query(cluster: LocalCluster, t: str) -> None:
    with Speaker(cluster, "simple") as one, Speaker(cluster, "simple") as two:
        one("begin")
        assert one(f"update {t} set v = 1 where id = 1") == 1
        assert two(f"update {t} set v = 2 where id = 1; update {t} set v = 3 where id = 2") == 1
        one.loses(f"update {t} set v = 4 where id = 1; update {t} set v = 4 where id = 2; commit")
        assert one(f"select v from {t} where id in (1, 2) order by id") == [(2,), (3,)]


def test_a_whole_transaction_in_one_query(cluster: LocalCluster, t: str) -> None:
    with Speaker(cluster, "simple") as one, Speaker(cluster, "simple") as two:
        one("begin")
        assert one(f"update {t} set v = 1 where id = 1") == 1
        two(f"begin; update {t} set v = v + 1 where id = 1; update {t} set v = v + 1 where id = 2; commit")
        one.loses()
        with pytest.raises(psycopg.errors.SyntaxError):
            two(f"update {t} set v = 99; selec 1")
        # The statements of one query are one transaction.
        with pytest.raises(psycopg.errors.UniqueViolation):
            two(f"update {t} set v = 99; insert into {t} values (1, 1)")
        assert two(f"select sum(v)::int from {t}") == [(102,)]


# --- async, and at once ------------------------------------------------------------------------------


def test_async_in_one_task(cluster: LocalCluster, t: str) -> None:
    async def main() -> None:
        given = parameters(cluster, autocommit=True)
        async with (
            await psycopg.AsyncConnection.connect(**given) as one,
            await psycopg.AsyncConnection.connect(**given) as two,
        ):
            for conn in (one, two):
                await conn.execute("begin")
                await conn.execute(f"update {t} set v = v + 1 where id = 1")
            await two.execute("commit")
            cursor = await one.execute(f"update {t} set v = v + 1 where id = 1 returning v")
            assert await cursor.fetchall() == [(12,)]
            with pytest.raises(psycopg.errors.SerializationFailure) as caught:
                await one.execute("commit")
            told(caught.value)
            assert one.info.transaction_status.name == "IDLE"

    asyncio.run(main())


def test_asyncpg(cluster: LocalCluster, t: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A driver that shares no code with libpq: named statements, portals, several in one transaction.
    look_up = socket.getaddrinfo

    def hosts(host: object, *arguments: Any, **options: Any) -> Any:
        found = cluster.hostaddr if host == cluster.host else host
        return look_up(found, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", hosts)
    context = ssl.create_default_context(cafile=str(cluster.ca_file))

    async def enter() -> Any:
        return await asyncpg.connect(
            host=cluster.host,
            port=cluster.port,
            user="admin",
            database="postgres",
            password=token(cluster),
            ssl=context,
        )

    async def main() -> None:
        one, two = await enter(), await enter()
        update = f"update {t} set v = v + $1 where id = $2 returning v"
        transaction = one.transaction(isolation="repeatable_read")
        await transaction.start()
        assert await one.fetchval(update, 1, 1) == 11
        cursor = await one.cursor(f"select id from {t} order by id")
        assert [row["id"] for row in await cursor.fetch(3)] == [1, 2, 3]
        assert await two.fetchval(update, 5, 1) == 15
        assert await one.fetchval(update, 1, 1) == 12
        assert [row["id"] for row in await cursor.fetch(3)] == [4, 5, 6]
        await one.executemany(update, [(1, 2), (1, 3)])
        assert await one.fetchval(f"select sum(v) from {t}") == 104
        await one.copy_records_to_table(t, records=[(101, 0), (102, 0)])
        with pytest.raises(asyncpg.SerializationError) as caught:
            await transaction.commit()
        assert str(caught.value) == CONFLICT
        async with one.transaction():
            assert await one.fetchval(update, 1, 1) == 16
        for conn in (one, two):
            await conn.close()

    asyncio.run(main())


def test_psycopgs_own_transactions(cluster: LocalCluster, t: str) -> None:
    with connect(cluster) as one, connect(cluster) as two:
        with pytest.raises(psycopg.errors.SerializationFailure) as caught, one.transaction():  # noqa: PT012
            one.execute(f"update {t} set v = 1 where id = 1")
            with two.transaction():
                two.execute(f"update {t} set v = 2 where id = 1")
        told(caught.value)
        with one.transaction():
            one.execute(f"update {t} set v = v + 1 where id = 1")
    with psycopg.connect(**parameters(cluster)) as one, psycopg.connect(**parameters(cluster)) as two:
        for conn in (one, two):
            conn.execute(f"update {t} set v = v + 1 where id = 1")
        one.commit()
        loses(two)
        assert two.execute(f"select v from {t} where id = 1").fetchone() == (4,)


def test_two_threads_against_each_other(cluster: LocalCluster, t: str) -> None:
    def work(name: int) -> int:
        committed = 0
        order = (1, 2) if name else (2, 1)
        with Speaker(cluster) as speaker:
            while committed < 25:
                speaker("begin")
                for row in order:
                    assert speaker(f"update {t} set v = v + 1 where id = {row}") == 1
                try:
                    speaker("commit")
                except psycopg.errors.SerializationFailure as error:
                    assert error.diag.message_primary == CONFLICT
                else:
                    committed += 1
        return committed

    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        assert sum(threads.map(work, range(2))) == 50
    with connect(cluster) as conn:
        assert conn.execute(f"select v from {t} where id in (1, 2)").fetchall() == [(60,), (60,)]


def test_statements_in_flight_in_opposite_orders(cluster: LocalCluster, t: str) -> None:
    # One statement each, over all rows, from both ends: PostgreSQL alone would report deadlocks.
    def work(name: int) -> int:
        direction = "asc" if name % 2 else "desc"
        changed = 0
        with Speaker(cluster) as speaker:
            for _ in range(30):
                update = (
                    f"update {t} set v = v + 1 from (select id from {t} order by id {direction}) given "
                    f"where given.id = {t}.id"
                )
                try:
                    changed += speaker(update) == 10
                except psycopg.errors.SerializationFailure as error:
                    assert error.diag.message_primary == CONFLICT
        return changed

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        changed = sum(threads.map(work, range(4)))
    assert changed > 0
    with connect(cluster) as conn:
        assert conn.execute(f"select sum(v)::int from {t}").fetchone() == (100 + 10 * changed,)


# --- prepared in the same breath, kept from their effects, or run from elsewhere ------------------------


def test_a_statement_that_is_prepared_and_loses_in_one_go(couple: Pair, t: str) -> None:
    # Parse with a name, Bind and Execute before one Sync: the name is taken when it is run once more.
    one, two = couple
    one("begin")
    one(f"select * from {t}")
    two(f"update {t} set v = 50 where id = 1")
    with one.conn.pipeline():
        cursor = one.conn.execute(f"update {t} set v = v + %s where id = 1 returning v", [1], prepare=True)
    assert cursor.fetchall() == [(11,)]
    one.loses()
    assert one.conn.execute(f"update {t} set v = v + %s where id = 1 returning v", [1]).fetchall() == [(51,)]


@pytest.mark.parametrize("delete", ["delete from {} where id = 1", "update {} set id = 100 where id = 1"])
def test_a_key_that_an_execute_takes_away(couple: Pair, t: str, delete: str) -> None:
    one, two = couple
    two(f"prepare gone as {delete.format(t)}")
    one("begin")
    one(f"select * from {t}")
    two("execute gone")
    with pytest.raises(psycopg.errors.UniqueViolation):
        one(f"insert into {t} values (1, 5)")
    one("rollback")
    two("deallocate gone")


def test_a_key_that_a_function_takes_away(couple: Pair, t: str) -> None:
    one, two = couple
    two(f"create function {t}_gone() returns void language sql as 'delete from {t} where id = 1'")
    one("begin")
    one(f"select * from {t}")
    two(f"select {t}_gone()")
    with pytest.raises(psycopg.errors.UniqueViolation):
        one(f"insert into {t} values (1, 5)")
    one("rollback")
    two(f"drop function {t}_gone()")


@pytest.mark.parametrize("way", ["simple", "extended", "prepared", "pipeline"])
@pytest.mark.parametrize("wins", [False, True])
def test_a_long_query_over_writes_keeps_nobody_waiting(
    cluster: LocalCluster, t: str, way: str, wins: bool
) -> None:
    finished = threading.Event()
    with Speaker(cluster, way) as one, Speaker(cluster) as two, Speaker(cluster) as watcher:
        one("begin")
        assert one(f"update {t} set v = 11 where id = 5") == 1

        def read() -> Any:
            rows = one(f"select v, pg_sleep(1.5)::text from {t} where id = 5")
            finished.set()
            return rows

        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            reading = thread.submit(read)
            active = (
                "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and pid <> pg_backend_pid()"
            )
            eventually(lambda: watcher.one(active) == 1)
            two("begin")
            assert two(f"update {t} set v = 99 where id = 5") == 1
            if wins:
                two("commit")
            else:
                two("rollback")
            assert not finished.is_set()
            assert reading.result() == [(11, "")]
        assert one(f"select v from {t} where id in (5, 6) order by id") == [(11,), (10,)]
        if wins:
            one.loses()
        else:
            one("commit")


def test_a_long_query_that_fails_over_writes(couple: Pair, t: str) -> None:
    one, two = couple
    one("begin")
    assert one(f"update {t} set v = 0 where id = 5") == 1
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        reading = thread.submit(
            one, f"select 1 / v, pg_sleep(1) from {t}, (select pg_sleep(0.5)) s order by id desc"
        )
        while not reading.done():
            two(f"update {t} set v = v + 1 where id = 5")
        with pytest.raises(psycopg.errors.DivisionByZero):
            reading.result()
    assert one.state == "INERROR"
    one("rollback")
