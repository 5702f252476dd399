"""`execute_ddl` against a cluster whose index jobs take time, fail, and change the schema behind one's back."""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
import psycopg2.errors
import psycopg_pool
import pytest
from psycopg import sql

import dsql_fast
import dsql_fast.asyncpg
from dsql_fast import (
    CommitOutcomeUnknown,
    ConfigError,
    DDLError,
    DDLOutcomeUnknown,
    DDLReport,
    DDLStatement,
    JobFailed,
    JobTimeout,
    RetryPolicy,
    execute_ddl,
    execute_ddl_async,
    wait_for_jobs,
    wait_for_jobs_async,
)
from waiting import eventually, run_to_the_end

if TYPE_CHECKING:
    from collections.abc import Callable

    from dsql_fast.local import LocalCluster

    from .conftest import Look

    Pool = dsql_fast.ConnectionPool[Any]

TABLE = "CREATE TABLE people (id int PRIMARY KEY, name text, mail text)"
INDEXES = ["CREATE INDEX ASYNC by_name ON people (name)", "CREATE UNIQUE INDEX ASYNC by_mail ON people (mail)"]
FILE = f"""
-- A migration.
{TABLE};
{INDEXES[0]};  /* and ; */
{INDEXES[1]};
"""


def statuses(report: DDLReport) -> list[str]:
    return [each.status for each in report.statements]


def test_a_file_of_statements(each_pool: Any, look: Look) -> None:
    report = execute_ddl(each_pool, FILE, poll_interval=0.01)
    assert report.complete
    assert [each.sql for each in report.statements] == [TABLE, *INDEXES]
    first, second, third = report.statements
    assert (first.job, second.job is None, third.job is None) == (None, False, False)
    assert second.job is not None
    assert (second.job.status, second.job.object_name, second.job.job_type) == (
        "completed", "public.by_name", "INDEX_BUILD",
    )  # fmt: skip
    assert look.indexes() == {"by_name": True, "by_mail": True}
    assert report.jobs == ()
    assert pickle.loads(pickle.dumps(report)) == report  # noqa: S301 - our own


@pytest.mark.parametrize("autocommit", [False, True])
def test_on_one_connection(faulty: LocalCluster, look: Look, autocommit: bool) -> None:
    with dsql_fast.connect(
        **faulty.connect_kwargs(), autocommit=autocommit, row_factory=psycopg.rows.dict_row
    ) as conn:
        assert execute_ddl(conn, [TABLE, *INDEXES], poll_interval=0.01).complete
    assert look.indexes() == {"by_name": True, "by_mail": True}


def test_pools_that_are_not_ours(faulty: LocalCluster, look: Look) -> None:
    settings = dsql_fast.pool_kwargs(**faulty.connect_kwargs())
    with psycopg_pool.NullConnectionPool(**settings, min_size=0, max_size=1) as pool:
        assert execute_ddl(pool, FILE, poll_interval=0.01).complete
    assert look.indexes() == {"by_name": True, "by_mail": True}


def test_psycopgs_own_statements(pool: Pool, look: Look) -> None:
    name = sql.Identifier("Odd;name")
    made = sql.SQL("CREATE TABLE {} (id int PRIMARY KEY)").format(name)
    assert execute_ddl(pool, made).complete
    assert execute_ddl(pool, [sql.SQL(" ; "), sql.Composed([]), "-- nothing"]).statements == ()
    assert look.tables() == {"Odd;name"}
    with pytest.raises(ConfigError, match="several statements"):
        execute_ddl(pool, [sql.SQL("SELECT 1; SELECT 2")])
    for wrong in (7, [b"SELECT 1"], None):
        with pytest.raises(ConfigError, match="a statement must be"):
            execute_ddl(pool, wrong)


def test_nothing_to_do(pool: Pool) -> None:
    assert execute_ddl(pool, "") == execute_ddl(pool, []) == DDLReport(())
    assert DDLReport(()).complete


def test_indexes_that_stand_together_are_built_together(faulty: LocalCluster, pool: Pool) -> None:
    faulty.faults.slow_jobs(600, 2)
    building: list[str] = []

    def watch(statement: DDLStatement) -> None:
        if statement.status == "building" and statement.job is not None and statement.job.status == "processing":
            building.append(statement.sql)
            if set(building) == set(INDEXES):
                faulty.faults.clear()

    report = execute_ddl(pool, [TABLE, *INDEXES, "ALTER TABLE people ADD COLUMN age int"],
                         poll_interval=0.01, on_progress=watch)  # fmt: skip
    assert report.complete


def test_what_builds_upon_an_index_waits_for_it(faulty: LocalCluster, pool: Pool, look: Look) -> None:
    execute_ddl(pool, TABLE)
    faulty.faults.slow_jobs(600)
    seen: list[tuple[int, str]] = []

    def watch(statement: DDLStatement) -> None:
        seen.append((statement.index, statement.status))
        if statement.job is not None and statement.job.status == "processing":
            faulty.faults.clear()

    upon = "ALTER TABLE people ADD CONSTRAINT one_mail UNIQUE USING INDEX by_mail"
    assert execute_ddl(pool, [INDEXES[1], upon], poll_interval=0.01, on_progress=watch).complete
    assert list(dict.fromkeys(seen)) == [(0, "building"), (0, "done"), (1, "done")]


def test_a_conflict_is_run_again(faulty: LocalCluster, each_pool: Any, look: Look) -> None:
    faulty.faults.fail_commits(2, "OC001")
    faulty.faults.fail_commits(1, "OC000")
    assert execute_ddl(each_pool, FILE, poll_interval=0.01).complete
    assert look.tables() == {"people"}
    faulty.faults.fail_commits(2, "OC001")
    with pytest.raises(DDLError) as caught:
        execute_ddl(each_pool, "CREATE TABLE more (id int PRIMARY KEY)", policy=RetryPolicy(max_attempts=2))
    assert isinstance(
        caught.value.__cause__, (psycopg.errors.SerializationFailure, psycopg2.errors.SerializationFailure)
    )
    # Not to be run again as a whole by those that run conflicts again.
    assert not dsql_fast.is_conflict(caught.value)


def test_a_statement_that_fails_ends_it(each_pool: Any, look: Look) -> None:
    statements = [TABLE, "CREATE TABLE people (again int)", *INDEXES]
    with pytest.raises(DDLError, match=r"statement 1 failed \(DuplicateTable, SQLSTATE 42P07\)") as caught:
        execute_ddl(each_pool, statements)
    assert isinstance(caught.value.__cause__, (psycopg.errors.DuplicateTable, psycopg2.errors.DuplicateTable))
    assert statuses(caught.value.report) == ["done", "pending", "pending", "pending"]
    statements[1] = "CREATE TABLE more (id int PRIMARY KEY)"
    report = execute_ddl(each_pool, statements, resume=caught.value.report, poll_interval=0.01)
    assert report.complete
    assert look.tables() == {"people", "more"}


def test_a_job_that_fails_tells_what_to_drop(faulty: LocalCluster, each_pool: Any, look: Look) -> None:
    execute_ddl(each_pool, TABLE)
    look("INSERT INTO people VALUES (1, 'a', 'm'), (2, 'b', 'm')")
    with pytest.raises(JobFailed, match=r"DROP INDEX public\.by_mail") as caught:
        execute_ddl(each_pool, INDEXES, poll_interval=0.01)
    error = caught.value
    assert error.job.failed
    assert error.job.details == "found duplicate key(s) while validating index uniqueness"
    assert statuses(error.report)[1] == "failed"
    assert look.indexes()["by_mail"] is False
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(again), again.report, again.job) == (JobFailed, error.report, error.job)
    look("DELETE FROM people WHERE id = 2")
    with pytest.raises(DDLError, match="42P07"):  # it is still in the way
        execute_ddl(each_pool, INDEXES, poll_interval=0.01, resume=error.report)
    look("DROP INDEX by_mail")
    assert execute_ddl(each_pool, INDEXES, poll_interval=0.01, resume=error.report).complete
    assert look.indexes() == {"by_name": True, "by_mail": True}


def test_an_invalid_index_is_no_index_that_exists(faulty: LocalCluster, each_pool: Any, look: Look) -> None:
    execute_ddl(each_pool, TABLE)
    faulty.faults.fail_jobs(1, "no luck")
    statement = "CREATE INDEX ASYNC IF NOT EXISTS by_name ON people (name)"
    with pytest.raises(JobFailed, match="no luck"):
        execute_ddl(each_pool, statement, poll_interval=0.01)
    # The server makes no job of it, and says nothing.
    for wait in (True, False):
        with pytest.raises(JobFailed, match=r"DROP INDEX public\.by_name"):
            execute_ddl(each_pool, statement, poll_interval=0.01, wait_for_indexes=wait)
    look("DROP INDEX by_name")
    assert execute_ddl(each_pool, statement, poll_interval=0.01).complete
    assert execute_ddl(each_pool, statement, poll_interval=0.01).complete


def test_an_index_that_is_being_built_is_waited_for(faulty: LocalCluster, pool: Pool, look: Look) -> None:
    execute_ddl(pool, TABLE)
    faulty.faults.slow_jobs(600)
    statement = "CREATE INDEX ASYNC IF NOT EXISTS by_name ON people (name)"
    first = execute_ddl(pool, statement, wait_for_indexes=False)

    def watch(told: DDLStatement) -> None:
        assert told.job is not None
        assert told.job.job_id == first.jobs[0].job_id
        faulty.faults.clear()

    assert execute_ddl(pool, statement, poll_interval=0.01, on_progress=watch).complete
    assert look.indexes() == {"by_name": True}


def test_jobs_that_are_not_waited_for(faulty: LocalCluster, each_pool: Any, look: Look) -> None:
    faulty.faults.slow_jobs(600, 2)
    report = execute_ddl(each_pool, FILE, wait_for_indexes=False)
    assert statuses(report) == ["done", "building", "building"]
    assert not report.complete
    with pytest.raises(JobTimeout, match=r"not done within 0\.05 s"):
        wait_for_jobs(each_pool, report, timeout=0.05, poll_interval=0.01)
    with pytest.raises(JobTimeout) as caught:
        execute_ddl(each_pool, FILE, resume=report, timeout=0.05, poll_interval=0.01)
    assert statuses(caught.value.report) == statuses(report)
    faulty.faults.clear()
    seen: list[str] = []
    jobs = wait_for_jobs(each_pool, [job.job_id for job in report.jobs], poll_interval=0.01,
                         on_progress=lambda job: seen.append(job.status))  # fmt: skip
    assert all(job.completed for job in jobs)
    assert seen.count("completed") == 2
    assert execute_ddl(each_pool, FILE, resume=report).complete
    assert look.indexes() == {"by_name": True, "by_mail": True}


def test_a_constraint_is_validated_by_a_job(each_pool: Any, look: Look) -> None:
    execute_ddl(each_pool, [TABLE, "ALTER TABLE people ADD CONSTRAINT named CHECK (name <> '') NOT VALID"])
    statement = "ALTER TABLE ASYNC people VALIDATE CONSTRAINT named"
    report = execute_ddl(each_pool, statement, poll_interval=0.01)
    assert report.complete
    assert report.statements[0].job is not None
    assert report.statements[0].job.job_type == "VALIDATE_CONSTRAINT"
    look("ALTER TABLE people ADD CONSTRAINT mailed CHECK (mail <> '') NOT VALID")
    look("ALTER TABLE people DROP CONSTRAINT mailed")
    look("INSERT INTO people VALUES (1, 'a', '')")
    look("ALTER TABLE people ADD CONSTRAINT mailed CHECK (mail <> '') NOT VALID")
    with pytest.raises(JobFailed) as caught:
        execute_ddl(each_pool, statement.replace("named", "mailed"), poll_interval=0.01)
    assert "DROP INDEX" not in str(caught.value)


@pytest.mark.parametrize("works", [True, False])
def test_a_job_that_is_listed_no_more_is_judged_by_its_index(
    faulty: LocalCluster, pool: Pool, look: Look, works: bool
) -> None:
    if not works:
        faulty.faults.fail_jobs()
    report = execute_ddl(pool, [TABLE, INDEXES[0]], wait_for_indexes=False)
    (job,) = report.jobs
    eventually(
        lambda: look("SELECT status FROM sys.jobs WHERE job_id = %s", job.job_id)[0][0] in {"completed", "failed"}
    )
    # Another id: as if this one had been forgotten.
    known = replace(job, job_id="forgotten", object_name="public.by_name", job_type="INDEX_BUILD")
    old = report.changed(replace(report.statements[1], job=known))
    if works:
        assert execute_ddl(pool, [TABLE, INDEXES[0]], resume=old).complete
    else:
        with pytest.raises(JobFailed, match=r"DROP INDEX public\.by_name"):
            execute_ddl(pool, [TABLE, INDEXES[0]], resume=old)


def test_jobs_that_nobody_knows(each_pool: Any) -> None:
    assert wait_for_jobs(each_pool, []) == ()
    with pytest.raises(JobFailed, match=r"not in sys\.jobs"):
        wait_for_jobs(each_pool, ["nosuchjob"])
    for wrong in ("abc", [7]):
        with pytest.raises(ConfigError):
            wait_for_jobs(each_pool, wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_unknown_outcome_is_settled_by_looking(
    faulty: LocalCluster, each_pool: Any, look: Look, when: str
) -> None:
    faulty.faults.cut_commits(1, when=when)
    with pytest.raises(DDLOutcomeUnknown, match=r"report\.settled\(0") as caught:
        execute_ddl(each_pool, FILE, poll_interval=0.01)
    assert isinstance(caught.value, CommitOutcomeUnknown)
    report = caught.value.report
    assert statuses(report) == ["unknown", "pending", "pending"]
    with pytest.raises(ConfigError, match="is unknown: look"):
        execute_ddl(each_pool, FILE, resume=report)
    applied = "people" in look.tables()
    assert applied is (when == "after")
    with pytest.raises(ConfigError, match="there is no statement 1"):
        report.settled(1, applied=True)
    assert execute_ddl(each_pool, FILE, resume=report.settled(0, applied=applied), poll_interval=0.01).complete
    assert look.indexes() == {"by_name": True, "by_mail": True}


@pytest.mark.parametrize("order", [
    lambda faults: faults.cut_commits(3, when="after"),
    lambda faults: faults.cut_commits(3, when="before"),
    lambda faults: faults.fail_commits(3, "XX000", when="after"),
])  # fmt: skip
def test_what_may_be_run_twice_is(
    faulty: LocalCluster, each_pool: Any, look: Look, order: Callable[[Any], None]
) -> None:
    statements = [TABLE.replace("TABLE", "TABLE IF NOT EXISTS"),
                  INDEXES[0].replace("ASYNC", "ASYNC IF NOT EXISTS")]  # fmt: skip
    order(faulty.faults)
    report = execute_ddl(each_pool, statements, idempotent=True, poll_interval=0.01)
    assert report.complete
    assert look.indexes() == {"by_name": True}


def test_a_lost_connection_is_replaced_by_the_pool(faulty: LocalCluster, pool: Pool, look: Look) -> None:
    faulty.faults.cut_transactions(2)
    assert execute_ddl(pool, FILE, poll_interval=0.01).complete
    with dsql_fast.connect(**faulty.connect_kwargs()) as conn:
        faulty.kill_sessions(conn.info.backend_pid)
        with pytest.raises(DDLError) as caught:
            execute_ddl(conn, "CREATE TABLE more (id int PRIMARY KEY)")
        assert isinstance(caught.value.__cause__, psycopg.OperationalError)


def test_a_report_of_other_statements_is_refused(pool: Pool) -> None:
    report = execute_ddl(pool, TABLE)
    with pytest.raises(ConfigError, match="statement 0 is another"):
        execute_ddl(pool, "CREATE TABLE more (id int PRIMARY KEY)", resume=report)
    with pytest.raises(ConfigError, match="only 0 are given"):
        execute_ddl(pool, "", resume=report)
    with pytest.raises(ConfigError, match="must be a DDLReport"):
        execute_ddl(pool, TABLE, resume="x")  # type: ignore[arg-type]
    assert execute_ddl(pool, [TABLE, "CREATE TABLE more (id int PRIMARY KEY)"], resume=report).complete


@pytest.mark.parametrize("changes", [
    {"timeout": 0}, {"timeout": "1"}, {"poll_interval": -1}, {"poll_interval": None}, {"policy": 3},
    {"on_progress": 3},
])  # fmt: skip
def test_arguments_that_cannot_be_used(pool: Pool, changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        execute_ddl(pool, TABLE, **changes)


def test_what_is_no_pool() -> None:
    with pytest.raises(ConfigError, match="a connection or a pool of psycopg's or psycopg2's is needed, not int"):
        execute_ddl(7, TABLE)
    with pytest.raises(ConfigError, match="not int"):
        asyncio.run(execute_ddl_async(7, TABLE))


def test_a_callback_that_raises_ends_it_with_the_report(pool: Pool) -> None:
    def refuse(statement: DDLStatement) -> None:
        raise LookupError(statement.index)

    with pytest.raises(DDLError, match="LookupError ended it: 1 of 3") as caught:
        execute_ddl(pool, FILE, on_progress=refuse)
    assert isinstance(caught.value.__cause__, LookupError)
    assert statuses(caught.value.report) == ["done", "pending", "pending"]


def test_an_interruption_carries_the_report(faulty: LocalCluster, pool: Pool) -> None:
    def interrupt(statement: DDLStatement) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        execute_ddl(pool, FILE, on_progress=interrupt)
    assert isinstance(caught.value.__cause__, DDLError)
    assert statuses(caught.value.__cause__.report) == ["done", "pending", "pending"]


# --- asyncio ------------------------------------------------------------------------------------


def test_the_same_from_asyncio(faulty: LocalCluster, look: Look) -> None:
    seen: list[str] = []

    async def watch(statement: DDLStatement) -> None:
        await asyncio.sleep(0)
        seen.append(statement.status)

    async def main() -> None:
        async with dsql_fast.AsyncConnectionPool(**faulty.connect_kwargs(), min_size=1) as pool:
            report = await execute_ddl_async(pool, TABLE, on_progress=watch)
            faulty.faults.fail_commits(1, "OC001")
            later = await execute_ddl_async(pool, FILE, resume=report, wait_for_indexes=False)
            jobs = await wait_for_jobs_async(pool, later, poll_interval=0.01)
            assert len(jobs) == 2
        async with await dsql_fast.connect_async(**faulty.connect_kwargs()) as conn:
            assert (await execute_ddl_async(conn, FILE, resume=later, poll_interval=0.01)).complete

    asyncio.run(main())
    assert seen == ["done"]
    assert look.indexes() == {"by_name": True, "by_mail": True}


def test_the_same_by_asyncpg(faulty: LocalCluster, look: Look) -> None:
    seen: list[str] = []

    async def watch(statement: DDLStatement) -> None:
        await asyncio.sleep(0)
        seen.append(statement.status)

    async def main() -> None:
        async with dsql_fast.asyncpg.create_pool(**faulty.connect_kwargs(), min_size=1, max_size=2) as pool:
            report = await execute_ddl_async(pool, TABLE, on_progress=watch)
            faulty.faults.fail_commits(1, "OC001")
            later = await execute_ddl_async(pool, FILE, resume=report, wait_for_indexes=False)
            jobs = await wait_for_jobs_async(pool, later, poll_interval=0.01)
            assert len(jobs) == 2
        conn = await dsql_fast.asyncpg.connect(**faulty.connect_kwargs())
        assert (await execute_ddl_async(conn, FILE, resume=later, poll_interval=0.01)).complete
        await conn.close()

    run_to_the_end(main())
    assert seen == ["done"]
    assert look.indexes() == {"by_name": True, "by_mail": True}


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_unknown_outcome_by_asyncpg(faulty: LocalCluster, look: Look, when: str) -> None:
    async def main() -> None:
        async with dsql_fast.asyncpg.create_pool(**faulty.connect_kwargs(), min_size=1, max_size=2) as pool:
            faulty.faults.cut_commits(1, when=when)
            with pytest.raises(DDLOutcomeUnknown) as caught:
                await execute_ddl_async(pool, FILE, poll_interval=0.01)
            report: DDLReport = caught.value.report.settled(0, applied="people" in look.tables())
            assert (await execute_ddl_async(pool, FILE, resume=report, poll_interval=0.01)).complete
            faulty.faults.fail_jobs(1, "no luck")
            with pytest.raises(JobFailed, match="no luck"):
                await execute_ddl_async(pool, "CREATE INDEX ASYNC by_id ON people (id)", poll_interval=0.01)
            with pytest.raises(DDLError, match=r"\(DuplicateTableError, SQLSTATE 42P07\)"):
                await execute_ddl_async(pool, TABLE)

    run_to_the_end(main())


def test_a_cancelled_wait_carries_the_report(faulty: LocalCluster, look: Look) -> None:
    faulty.faults.slow_jobs(600, 2)

    async def main() -> DDLReport:
        building = asyncio.Event()

        def watch(statement: DDLStatement) -> None:
            if statement.status == "building":
                building.set()

        async with dsql_fast.AsyncConnectionPool(**faulty.connect_kwargs(), min_size=1) as pool:
            task = asyncio.create_task(execute_ddl_async(pool, FILE, poll_interval=0.01, on_progress=watch))
            await building.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            assert isinstance(caught.value.__cause__, DDLError)
            report: DDLReport = caught.value.__cause__.report
            faulty.faults.clear()
            return await execute_ddl_async(pool, FILE, resume=report, poll_interval=0.01)

    assert asyncio.run(main()).complete
    assert look.indexes() == {"by_name": True, "by_mail": True}


def test_an_async_callback_needs_the_asynchronous_function(pool: Pool) -> None:
    async def watch(statement: DDLStatement) -> None: ...

    with pytest.raises(DDLError) as caught:
        execute_ddl(pool, TABLE, on_progress=watch)
    assert isinstance(caught.value.__cause__, ConfigError)
