"""`bulk_insert` against a cluster that conflicts, cuts connections and holds to DSQL's limits: every row, once."""

from __future__ import annotations

import pickle
import threading
import uuid
from typing import TYPE_CHECKING, Any

import psycopg
import psycopg2.errors
import psycopg2.extras
import psycopg2.pool
import psycopg_pool
import pytest
from psycopg.types.json import Jsonb

import dsql_fast
import dsql_fast.psycopg2
from dsql_fast import (
    BulkError,
    BulkOutcomeUnknown,
    BulkResult,
    CommitOutcomeUnknown,
    ConfigError,
    RetryPolicy,
    bulk_insert,
)
from dsql_fast.bulk import RowRange, ledger_ddl
from dsql_fast.bulk._batches import measured
from dsql_fast.bulk._run import Run, checked
from dsql_fast.psycopg2._execute import Driver

from .conftest import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dsql_fast.local import LocalCluster

    Pool = dsql_fast.ConnectionPool[Any]

ONCE: list[dict[str, Any]] = [{"ledger": "bulk_ledger"}, {"key": ("id",)}]
ONCE_IDS = ["ledger", "key"]


def items(count: int, start: int = 0) -> Iterator[tuple[int, str]]:
    return ((at, f"body {at}") for at in range(start, count))


def into(once: dict[str, Any]) -> str:
    """The table for a way of writing once: with a key there has to be one."""
    return "items" if "key" in once else "loose"


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 100])
@pytest.mark.parametrize("once", [{}, *ONCE], ids=["neither", *ONCE_IDS])
def test_rows_are_written(each_pool: Any, table: Table, count: int, once: dict[str, Any]) -> None:
    result = bulk_insert(each_pool, into(once), items(count), batch_rows=10, **once)
    assert table.ids(into(once)) == list(range(count))
    assert (result.rows, result.drawn, result.inserted, result.complete) == (count, count, count, True)
    assert result.committed == ((RowRange(0, count, 0),) if count else ())
    assert result.unknown == ()
    assert result.resumable
    assert pickle.loads(pickle.dumps(result)) == result  # noqa: S301 - our own


@pytest.mark.parametrize("once", [{}, {"ledger": "bulk_ledger"}], ids=["neither", "ledger"])
def test_a_transaction_is_as_full_as_it_may_be(pool: Pool, table: Table, once: dict[str, Any]) -> None:
    most = 3000 - len(once)
    bulk_insert(pool, "loose", items(2 * most), batch_rows=most, batch_bytes=9 * 2**20, **once)
    assert len(table.ids()) == 2 * most
    with pytest.raises(ConfigError, match=f"batch_rows must be a whole number from 1 to {most}"):
        bulk_insert(pool, "loose", items(1), batch_rows=most + 1, **once)


def test_wide_rows(each_pool: Any, table: Table) -> None:
    mib = "x" * (2**20 - 100)
    # 9 in a transaction: DSQL takes 10 MiB. The message that brings them must be smaller than that, too.
    result = bulk_insert(each_pool, "loose", ((at, mib) for at in range(20)), batch_bytes=9 * 2**20, connections=2)
    assert result.complete
    assert table("SELECT count(*), sum(length(body)) FROM loose") == [(20, 20 * len(mib))]


def test_a_row_that_is_too_large_is_named(each_pool: Any, table: Table) -> None:
    rows = [(at, "x" * (3 * 2**20 if at == 7 else 10)) for at in range(12)]
    with pytest.raises(BulkError, match=r"row 7 was refused \(\w+, SQLSTATE 54000\)") as caught:
        bulk_insert(each_pool, "loose", rows, batch_rows=5, connections=1)
    assert caught.value.row == 7
    assert table.ids() == list(range(7))


def test_a_limit_at_commit_is_about_no_row(faulty: LocalCluster, pool: Pool, table: Table) -> None:
    faulty.set_limits(transaction_bytes=2000)
    try:
        with pytest.raises(BulkError, match=r"rows 0 to 99 were refused \(\w+, SQLSTATE 54000\)") as caught:
            bulk_insert(pool, "loose", items(300), batch_rows=100, connections=1)
        assert caught.value.row is None
        assert table.ids() == []
        result = bulk_insert(pool, "loose", items(300), batch_bytes=1000, resume=caught.value.result)
    finally:
        faulty.set_limits(transaction_bytes=10 * 2**20)
    assert result.complete
    assert table.ids() == list(range(300))


def test_rows_of_all_kinds(pool: Pool, table: Table) -> None:
    table("CREATE TABLE kinds (a int, b text, c numeric, d jsonb, e bytea, f uuid, g timestamptz, h bool)")
    values = (1, "b", 1.5, Jsonb({"x": 1}), b"\0\1", uuid.UUID(int=5), None, True)
    wide = (2**31 - 1, None, 2**40, Jsonb([]), None, None, "2026-01-01 00:00:00+00", None)
    try:
        assert bulk_insert(pool, "public.kinds", [values, list(wide), values]).inserted == 3
        assert table("SELECT a, c::text, d::text, e FROM kinds ORDER BY a DESC") == [
            (2**31 - 1, str(2**40), "[]", None), *[(1, "1.5", '{"x": 1}', b"\0\1")] * 2,
        ]  # fmt: skip
    finally:
        table("DROP TABLE kinds")


def test_mappings_and_columns(each_pool: Any, table: Table) -> None:
    bulk_insert(each_pool, "loose", [{"body": "a", "id": 1}, {"id": 2, "body": "b"}])
    bulk_insert(each_pool, "loose", [("c", 3)], columns=["body", "id"])
    bulk_insert(each_pool, "loose", [{"id": 4}], columns=("id",))
    assert table("SELECT id, body FROM loose ORDER BY id") == [(1, "a"), (2, "b"), (3, "c"), (4, None)]


def test_names_that_look_like_parameters(each_pool: Any, table: Table) -> None:
    table('CREATE TABLE "odd" ("50%%s" int PRIMARY KEY, "it\'s $1" text, "a""$2""b" text)')
    try:
        rows = [{"50%s": at, "it's $1": "100% $1 %s", 'a"$2"b': "'"} for at in range(3)]
        assert bulk_insert(each_pool, "odd", rows, key=("50%s",)).inserted == 3
        assert table("SELECT * FROM odd ORDER BY 1") == [(at, "100% $1 %s", "'") for at in range(3)]
    finally:
        table("DROP TABLE odd")


def test_on_one_connection_of_psycopg2(faulty: LocalCluster, table: Table) -> None:
    settings: dict[str, Any] = {"cursor_factory": psycopg2.extras.RealDictCursor}
    conn = dsql_fast.psycopg2.connect(**faulty.connect_kwargs(), **settings)
    try:
        faulty.faults.fail_commits(2)
        assert bulk_insert(conn, "loose", items(50), batch_rows=10, ledger="bulk_ledger").complete
    finally:
        conn.close()
    assert table.ids() == list(range(50))


def test_pools_of_psycopg2s_own(faulty: LocalCluster, table: Table) -> None:
    def opened(*_: Any, **__: Any) -> Any:
        return dsql_fast.psycopg2.connect(**faulty.connect_kwargs())

    for kind, most in ((psycopg2.pool.SimpleConnectionPool, 1), (psycopg2.pool.ThreadedConnectionPool, 2)):
        pool = kind(1, 2, "", connection_factory=opened)
        try:
            assert Driver().most(pool) == most  # one of them is not for threads
            assert bulk_insert(pool, "items", items(50), batch_rows=10, key=("id",)).complete
        finally:
            pool.closeall()
    assert table.ids("items") == list(range(50))


def test_a_key_leaves_out_what_is_there(each_pool: Any, table: Table) -> None:
    table("INSERT INTO items VALUES (3, 'mine'), (5, 'mine')")
    result = bulk_insert(each_pool, "items", [*items(10), (1, "again")], batch_rows=4, key=("id",))
    assert (result.rows, result.inserted) == (11, 8)
    assert table("SELECT id, body FROM items WHERE body = 'mine' ORDER BY id") == [(3, "mine"), (5, "mine")]


def test_on_one_connection(faulty: LocalCluster, table: Table) -> None:
    settings: dict[str, Any] = {"row_factory": psycopg.rows.dict_row}
    with dsql_fast.connect(**faulty.connect_kwargs(), **settings) as conn:
        faulty.faults.fail_commits(2)
        assert bulk_insert(conn, "loose", items(50), batch_rows=10, ledger="bulk_ledger").complete
    assert table.ids() == list(range(50))


def test_pools_that_are_not_ours(faulty: LocalCluster, table: Table) -> None:
    settings = dsql_fast.pool_kwargs(**faulty.connect_kwargs())
    for at, kind in enumerate((psycopg_pool.ConnectionPool, psycopg_pool.NullConnectionPool)):
        with kind(**settings, min_size=0, max_size=2) as pool:
            bulk_insert(pool, "loose", items(50 * at + 50, 50 * at), batch_rows=10)
    assert table.ids() == list(range(100))


# --- memory, and who is called where -----------------------------------------------------------------


@pytest.mark.parametrize("connections", [1, 3])
def test_few_batches_are_held(each_pool: Any, table: Table, connections: int) -> None:
    committed = 0

    def watched() -> Iterator[tuple[int, str]]:
        for row in items(400):
            # What was drawn and is not in the books is held: one batch a connection, and the one that is being cut.
            assert row[0] - committed < (connections + 1) * 10
            yield row

    def note(result: BulkResult) -> None:
        nonlocal committed
        assert threading.current_thread() is threading.main_thread()
        assert result.rows == committed + 10
        committed = result.rows

    bulk_insert(each_pool, "loose", watched(), batch_rows=10, connections=connections, on_progress=note)
    assert committed == 400


def test_several_connections_write_at_once(faulty: LocalCluster, pool: Pool, table: Table) -> None:
    # Each batch has to wait in its transaction for the others: with fewer connections none would ever commit.
    together = threading.Barrier(3, timeout=30)
    seen = threading.local()

    def meet(*_: Any) -> None:
        if not hasattr(seen, "met"):
            seen.met = True
            together.wait()

    faulty.faults.fail_commits(3)
    bulk_insert(pool, "loose", items(30), batch_rows=10, connections=3,
                policy=RetryPolicy(before_retry=meet))  # fmt: skip
    assert table.ids() == list(range(30))


# --- what goes wrong --------------------------------------------------------------------------------

FAULTS: dict[str, Callable[[Any], None]] = {
    "conflicts": lambda faults: faults.fail_commits(5),
    "schema conflicts": lambda faults: faults.fail_commits(3, "OC001"),
    "unavailable": lambda faults: faults.fail_statements(3),
    "lost before COMMIT": lambda faults: faults.cut_transactions(3),
    "cut, not applied": lambda faults: faults.cut_commits(3, when="before"),
    "cut, applied": lambda faults: faults.cut_commits(3, when="after"),
    "unavailable at COMMIT, not applied": lambda faults: faults.fail_commits(3, "XX000"),
    "unavailable at COMMIT, applied": lambda faults: faults.fail_commits(3, "XX000", when="after"),
}
KNOWN = list(FAULTS)[:4]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("once", ONCE, ids=ONCE_IDS)
def test_every_row_is_written_once(
    faulty: LocalCluster, each_pool: Any, table: Table, fault: str, once: dict[str, Any]
) -> None:
    FAULTS[fault](faulty.faults)
    result = bulk_insert(each_pool, into(once), items(100), batch_rows=10, **once)
    assert table.ids(into(once)) == list(range(100))
    assert result.complete
    assert faulty.faults.pending() == []


@pytest.mark.parametrize("fault", KNOWN)
def test_what_is_known_needs_neither(faulty: LocalCluster, each_pool: Any, table: Table, fault: str) -> None:
    FAULTS[fault](faulty.faults)
    assert bulk_insert(each_pool, "loose", items(100), batch_rows=10).complete
    assert table.ids() == list(range(100))


@pytest.mark.parametrize("when", ["before", "after"])
def test_without_either_an_unknown_outcome_ends_it(
    faulty: LocalCluster, each_pool: Any, table: Table, when: str
) -> None:
    faulty.faults.cut_commits(1, when=when)
    with pytest.raises(
        BulkOutcomeUnknown, match=r"without a ledger or a key they could be written twice"
    ) as caught:
        bulk_insert(each_pool, "loose", items(100), batch_rows=10)
    error = caught.value
    result = error.result
    assert isinstance(error, CommitOutcomeUnknown)
    assert isinstance(error.__cause__, CommitOutcomeUnknown)
    assert not dsql_fast.is_conflict(error)
    (unknown,) = result.unknown
    assert len(unknown) == 10
    assert not result.resumable
    there = set(table.ids())
    certain = {at for each in result.committed for at in range(each.start, each.stop)}
    assert there - certain == (set(range(unknown.start, unknown.stop)) if when == "after" else set())
    with pytest.raises(ConfigError, match="cannot be resumed as it is"):
        bulk_insert(each_pool, "loose", items(100), resume=result)
    assert set(table.ids()) == there
    settled = result.settled(unknown.start, committed=unknown.start in there)
    assert bulk_insert(each_pool, "loose", items(100), batch_rows=7, resume=settled).complete
    assert table.ids() == list(range(100))
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(again), again.result, again.row) == (BulkOutcomeUnknown, result, None)


@pytest.mark.parametrize("once", ONCE, ids=ONCE_IDS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_with_either_what_stays_unknown_is_resumed(
    faulty: LocalCluster, each_pool: Any, table: Table, once: dict[str, Any], when: str
) -> None:
    faulty.faults.cut_commits(2, when=when)
    with pytest.raises(BulkOutcomeUnknown) as caught:
        bulk_insert(each_pool, into(once), items(100), batch_rows=10, connections=1,
                    policy=RetryPolicy(max_attempts=1), **once)  # fmt: skip
    result = caught.value.result
    assert result.unknown == (RowRange(0, 10, 0),)
    assert result.resumable
    faulty.faults.clear()
    resumed = bulk_insert(each_pool, into(once), items(100), batch_rows=10, resume=result, **once)
    assert resumed.complete
    assert resumed.unknown == ()
    assert resumed.run_id == result.run_id
    assert table.ids(into(once)) == list(range(100))


def test_a_ledger_tells_by_the_runs_id_alone(faulty: LocalCluster, each_pool: Any, table: Table) -> None:
    # As after a crash: nothing is left of the run but its id.
    faulty.faults.cut_commits(1, when="after")

    def crash(result: BulkResult) -> None:
        if result.rows >= 50:
            raise LookupError

    with pytest.raises(BulkError) as caught:
        bulk_insert(each_pool, "loose", items(100), batch_rows=10, ledger="bulk_ledger", on_progress=crash)
    run_id = caught.value.result.run_id
    resumed = bulk_insert(each_pool, "loose", items(100), batch_rows=8, ledger="bulk_ledger", resume=run_id)
    assert resumed.committed == (RowRange(0, 100, 0),)
    assert table.ids() == list(range(100))
    written = table("SELECT sum(rows), count(DISTINCT run_id) FROM bulk_ledger")
    assert written == [(100, 1)]
    with pytest.raises(ConfigError, match="by its id where it has a ledger"):
        bulk_insert(each_pool, "loose", items(100), resume=run_id)


def test_sessions_that_are_killed_at_rest(fresh_cluster: Callable[..., LocalCluster]) -> None:
    cluster = fresh_cluster(rate=None)
    table = Table(cluster)

    def kill(result: BulkResult) -> None:
        cluster.kill_sessions(state="idle")

    # The one that is at rest may be one whose COMMIT was just answered, or one in the pool.
    with dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=1, max_size=4) as pool:
        result = bulk_insert(
            pool, "loose", items(60), batch_rows=10, connections=2, on_progress=kill, ledger="bulk_ledger"
        )
    assert result.complete
    assert table.ids() == list(range(60))
    table.close()


def test_a_ledger_that_cannot_be_read(faulty: LocalCluster, pool: Pool, table: Table) -> None:
    with pytest.raises(BulkError) as caught:
        bulk_insert(pool, "loose", [*items(30), ()], batch_rows=10, ledger="bulk_ledger")
    first = caught.value.result
    faulty.faults.fail_statements(2)
    with pytest.raises(BulkError, match="the ledger could not be read") as caught:
        bulk_insert(
            pool, "loose", items(40), ledger="bulk_ledger", resume=first, policy=RetryPolicy(max_attempts=2)
        )
    again = caught.value.result
    assert (again.committed, again.run_id) == (first.committed, first.run_id)
    assert bulk_insert(pool, "loose", items(40), ledger="bulk_ledger", resume=again).complete
    assert table.ids() == list(range(40))


def test_attempts_that_are_used_up(faulty: LocalCluster, each_pool: Any, table: Table) -> None:
    faulty.faults.fail_commits(2)
    with pytest.raises(
        BulkError, match=r"rows 0 to 9 were refused \(ConflictRetriesExhausted, SQLSTATE 40001\)"
    ) as caught:
        bulk_insert(
            each_pool, "loose", items(30), batch_rows=10, connections=1, policy=RetryPolicy(max_attempts=2)
        )
    assert not isinstance(caught.value, CommitOutcomeUnknown)
    assert isinstance(
        caught.value.__cause__, (psycopg.errors.SerializationFailure, psycopg2.errors.SerializationFailure)
    )
    # Not to be run again as a whole.
    assert not dsql_fast.is_conflict(caught.value)
    assert bulk_insert(each_pool, "loose", items(30), batch_rows=10, resume=caught.value.result).complete
    assert table.ids() == list(range(30))


@pytest.mark.parametrize("bad", [0, 1, 13, 24])
def test_the_row_that_is_refused_is_named(each_pool: Any, table: Table, bad: int) -> None:
    rows = [(None if at == bad else at, "secret body") for at in range(25)]
    with pytest.raises(BulkError, match=rf"row {bad} was refused \(NotNullViolation, SQLSTATE 23502\)") as caught:
        bulk_insert(each_pool, "loose", rows, connections=1)
    assert caught.value.row == bad
    assert "secret" not in str(caught.value)
    assert caught.value.result.rows == 0
    assert table.ids() == []


def test_the_second_of_a_pair_is_the_one_that_is_refused(each_pool: Any, table: Table) -> None:
    table("INSERT INTO items VALUES (1000, 'there')")
    for rows, bad in (([*items(20), (4, "again")], 20), ([*items(5), (1000, "x"), (0, "again")], 5)):
        with pytest.raises(BulkError, match="UniqueViolation") as caught:
            bulk_insert(each_pool, "items", rows)
        assert caught.value.row == bad


def test_a_value_that_the_driver_cannot_send(each_pool: Any, table: Table) -> None:
    rows: list[tuple[Any, ...]] = [*items(10), (10, object()), *items(12, 11)]
    with pytest.raises(BulkError, match=r"row 10 was refused \(ProgrammingError\)") as caught:
        bulk_insert(each_pool, "loose", rows)
    assert caught.value.row == 10
    assert table.ids() == []


def test_a_row_of_another_form(pool: Pool, table: Table) -> None:
    with pytest.raises(BulkError, match="row 25 has 1 values, not 2") as caught:
        bulk_insert(pool, "loose", [*items(25), (25,)], batch_rows=10)
    assert caught.value.row == 25
    assert table.ids() == list(range(20))
    assert caught.value.result.committed == (RowRange(0, 20, 0),)


def test_tables_that_are_not_there(each_pool: Any, table: Table) -> None:
    with pytest.raises(BulkError, match=r"rows 0 to 4 were refused \(UndefinedTable") as caught:
        bulk_insert(each_pool, "nowhere", items(5))
    assert caught.value.row is None
    with pytest.raises(BulkError, match=r"a ledger is made by create_ledger\(pool, 'nowhere'\)"):
        bulk_insert(each_pool, "loose", items(5), ledger="nowhere")
    assert table.ids() == []


@pytest.mark.parametrize("once", [{}, *ONCE], ids=["neither", *ONCE_IDS])
def test_rows_that_end_in_an_error_are_resumed(pool: Pool, table: Table, once: dict[str, Any]) -> None:
    def broken() -> Iterator[tuple[int, str]]:
        yield from items(35)
        raise LookupError("no more")

    with pytest.raises(BulkError, match="LookupError ended it after 35 rows were drawn: 30 of 35") as caught:
        bulk_insert(pool, into(once), broken(), batch_rows=10, **once)
    assert isinstance(caught.value.__cause__, LookupError)
    result = caught.value.result
    assert result.committed == (RowRange(0, 30, 0),)
    resumed = bulk_insert(pool, into(once), items(50), batch_rows=8, resume=result, **once)
    assert (resumed.rows, resumed.drawn, resumed.inserted) == (50, 50, 20)
    assert table.ids(into(once)) == list(range(50))


def test_other_rows_are_not_taken_for_the_rest(pool: Pool, table: Table) -> None:
    with pytest.raises(BulkError) as caught:
        bulk_insert(pool, "loose", [*items(30), ()], batch_rows=10)
    result = caught.value.result
    others = [(at, "other") for at in range(40)]
    with pytest.raises(BulkError, match="rows 0 to 29 are not those") as caught:
        bulk_insert(pool, "loose", others, batch_rows=10, resume=result)
    with pytest.raises(BulkError, match="there are 20 rows"):
        bulk_insert(pool, "loose", items(20), batch_rows=10, resume=result)
    assert caught.value.result.committed == result.committed
    assert table.ids() == list(range(30))


def test_another_ledger_is_refused(pool: Pool, table: Table) -> None:
    with pytest.raises(BulkError) as caught:
        bulk_insert(pool, "loose", [*items(30), ()], batch_rows=10, ledger="bulk_ledger")
    table("DELETE FROM bulk_ledger WHERE first_row = 10")
    with pytest.raises(ConfigError, match="does not have what the run"):
        bulk_insert(pool, "loose", items(40), ledger="bulk_ledger", resume=caught.value.result)
    for other in ({}, {"key": ("id",)}):
        with pytest.raises(ConfigError, match="wrote into loose with ledger"):
            bulk_insert(pool, "loose", items(40), resume=caught.value.result, **other)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="wrote into loose"):
        bulk_insert(pool, "items", items(40), ledger="bulk_ledger", resume=caught.value.result)


@pytest.mark.parametrize("where", ["rows", "on_progress"])
def test_an_interruption_carries_the_result(pool: Pool, table: Table, where: str) -> None:
    def rows() -> Iterator[tuple[int, str]]:
        yield from items(35)
        if where == "rows":
            raise KeyboardInterrupt
        yield from items(200, 35)

    def note(result: BulkResult) -> None:
        if where == "on_progress" and result.rows >= 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        bulk_insert(pool, "loose", rows(), batch_rows=10, on_progress=note)
    assert isinstance(caught.value.__cause__, BulkError)
    result = caught.value.__cause__.result
    # What was under way was waited for: the books are what the table has.
    assert table.ids() == [at for each in result.committed for at in range(each.start, each.stop)]
    assert result.unknown == ()
    assert bulk_insert(pool, "loose", items(200), resume=result).complete
    assert table.ids() == list(range(200))


@pytest.mark.parametrize("changes", [
    {"batch_rows": 0}, {"batch_rows": True}, {"batch_rows": 2.5}, {"batch_bytes": 0}, {"batch_bytes": 10 * 2**20},
    {"connections": 0}, {"connections": "4"}, {"columns": "id"}, {"columns": []}, {"columns": ["a", "a"]},
    {"key": ()}, {"key": "id"}, {"key": ["id"], "ledger": "bulk_ledger"}, {"ledger": ""}, {"policy": 3},
    {"on_progress": 3}, {"resume": 3}, {"table": "a.b.c"},
])  # fmt: skip
def test_arguments_that_cannot_be_used(pool: Pool, changes: dict[str, Any]) -> None:
    def rows() -> Iterator[tuple[int, str]]:
        raise AssertionError("nothing is drawn")
        yield

    with pytest.raises(ConfigError):
        bulk_insert(pool, changes.pop("table", "loose"), rows(), **changes)


def test_what_is_no_pool() -> None:
    with pytest.raises(ConfigError, match="not int"):
        bulk_insert(7, "loose", [])


def test_an_async_callback_needs_the_asynchronous_function(pool: Pool, table: Table) -> None:
    async def note(result: BulkResult) -> None: ...

    with pytest.raises(BulkError) as caught:
        bulk_insert(pool, "loose", items(5), on_progress=note)
    assert isinstance(caught.value.__cause__, ConfigError)


def test_somebody_else_in_the_ledger(pool: Pool, table: Table) -> None:
    run_id = uuid.uuid4()

    def rows(digest: int) -> Iterator[tuple[int, str]]:
        # Behind the look into the ledger: as an attempt of another process would that is committed only now.
        table("INSERT INTO bulk_ledger (run_id, first_row, rows, digest) VALUES (%s, 0, 10, %s)", run_id, digest)
        yield from items(10)

    with pytest.raises(BulkError, match="the ledger has other rows of this run from row 0 on"):
        bulk_insert(pool, "loose", rows(1), ledger="bulk_ledger", resume=run_id)
    assert table.ids() == []
    table("DELETE FROM bulk_ledger")
    whole = sum(measured(row, at)[1] for at, row in enumerate(items(10)))
    result = bulk_insert(pool, "loose", rows(whole), ledger="bulk_ledger", resume=run_id)
    assert (result.complete, result.inserted) == (True, 0)
    assert table.ids() == []


def test_a_batch_that_is_unknown_is_cut_again_as_it_was() -> None:
    # Its COMMIT may still be on the way: only under the same key can one of the two win.
    order = checked("t", columns=None, batch_rows=7, batch_bytes=10**6, key=None, ledger="l")
    result = BulkResult(uuid.uuid4(), "t", "ledger", unknown=(RowRange(10, 20, 0),))
    cutter = Run(order, result).begin()
    batches = [batch for row in items(25) for batch in cutter.add(row)] + cutter.end()
    starts = [batch.start for batch in batches]
    assert {0, 10, 20} <= set(starts)


def test_the_ledger(each_pool: Any, table: Table) -> None:
    dsql_fast.create_ledger(each_pool, "bulk_ledger")  # there already
    assert ledger_ddl("s.l").startswith('CREATE TABLE IF NOT EXISTS "s"."l" (run_id uuid')
    result = bulk_insert(each_pool, "loose", items(25), batch_rows=10, ledger="bulk_ledger")
    assert table("SELECT run_id, first_row, rows FROM bulk_ledger ORDER BY first_row") == [
        (result.run_id, 0, 10), (result.run_id, 10, 10), (result.run_id, 20, 5),
    ]  # fmt: skip
