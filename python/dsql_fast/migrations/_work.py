"""What `execute_ddl` does, as a generator of requests: no driver, no sleeping."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .._conflict import sqlstate
from .._errors import (
    CommitOutcomeUnknown,
    DDLError,
    DDLOutcomeUnknown,
    JobFailed,
    JobTimeout,
    PartlyDone,
)
from .._statements import Answer, Pause, Statement, Tell, Transact
from ._report import DDLReport, DDLStatement, Job
from ._split import index_if_not_exists, makes_job

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from .._statements import Body, Request, Work
    from ._report import StatementStatus

# The first look at a job comes soon; then seldom, up to the interval.
_FIRST_PAUSE = 0.02
_GROWTH = 2.0

_JOBS = "SELECT job_id, status, details, job_type, object_name FROM sys.jobs WHERE job_id IN ({})"
# No casts to regclass: a name that is not there would be an error.
_INDEXES = (
    "SELECT n.nspname || '.' || c.relname, i.indisvalid FROM pg_catalog.pg_index i "
    "JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid "
    "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
    "JOIN pg_catalog.pg_class t ON t.oid = i.indrelid "
)
_INDEX_BY_NAME = _INDEXES + "WHERE c.relname = $1 AND t.relname = $2"
_INDEX_BY_FULL_NAME = _INDEXES + "WHERE n.nspname || '.' || c.relname = $1"
_BUILDING = (
    "SELECT job_id, status, details, job_type, object_name FROM sys.jobs "
    "WHERE object_name = $1 AND job_type = 'INDEX_BUILD' ORDER BY start_time DESC LIMIT 1"
)


class Waiting:
    """How long and how often jobs are looked at.

    Args:
        timeout: seconds; None for as long as it takes.
        interval: the most seconds between two looks.
        clock: monotonic seconds.
    """

    def __init__(self, timeout: float | None, interval: float, clock: Callable[[], float]) -> None:
        self.timeout = timeout
        self._interval = interval
        self._clock = clock
        self._end = None if timeout is None else clock() + timeout
        self._next = min(_FIRST_PAUSE, interval)

    def pause(self) -> Pause | None:
        """Return the next pause, or None if the time is over."""
        seconds, self._next = self._next, min(self._next * _GROWTH, self._interval)
        if self._end is None:
            return Pause(seconds)
        left = self._end - self._clock()
        return Pause(min(seconds, left)) if left > 0 else None


class Execution:
    """One run over a list of statements.

    Args:
        statements: as the driver takes them.
        report: what is done of them already.
        wait: whether jobs are waited for.
        waiting: makes a `Waiting` for each wait.
        idempotent: running a statement twice is as good as once.
        on_progress: called with a `DDLStatement` whenever one changes; or None.
    """

    def __init__(
        self,
        statements: Sequence[Any],
        report: DDLReport,
        *,
        wait: bool,
        waiting: Callable[[], Waiting],
        idempotent: bool,
        on_progress: Callable[[DDLStatement], Any] | None,
    ) -> None:
        self._statements = statements
        self._report = report
        self._wait = wait
        self._waiting = waiting
        self._idempotent = idempotent
        self._on_progress = on_progress

    def work(self) -> Work[DDLReport]:
        """Run what is not done.

        Raises:
            PartlyDone: something failed, or is unknown; or as the ``__cause__`` of an interruption.
        """
        try:
            for statement in self._report.statements:
                if statement.status == "pending":
                    if not makes_job(statement.sql):
                        # It may build upon an index. Those that build indexes one after the other are not kept
                        # waiting.
                        yield from self._await_jobs()
                    yield from self._run(statement)
            yield from self._await_jobs()
        except PartlyDone:
            raise
        except Exception as error:
            raise DDLError(f"{_named(error)} ended it: {self._tally()}", self._report) from error
        except BaseException as interruption:
            if not isinstance(interruption, GeneratorExit):
                unknown = isinstance(interruption.__cause__, CommitOutcomeUnknown)
                kind = DDLOutcomeUnknown if unknown else DDLError
                interruption.__cause__ = kind(f"interrupted: {self._tally()}", self._report)
            raise
        return self._report

    def _run(self, statement: DDLStatement) -> Generator[Request, Any, None]:
        given = Statement(self._statements[statement.index])
        try:
            answer = yield Transact(lambda: _one(given), self._idempotent)
        except CommitOutcomeUnknown as error:
            self._note(replace(statement, status="unknown"))
            raise DDLOutcomeUnknown(
                f"statement {statement.index} was sent, and nothing tells whether it is applied. Look in "
                "pg_class, or, where it builds an index, in sys.jobs; then resume with "
                f"report.settled({statement.index}, applied=...). If running it twice is as good as once "
                "(IF NOT EXISTS), pass idempotent=True",
                self._report,
            ) from error
        except Exception as error:
            raise DDLError(
                f"statement {statement.index} failed ({_named(error)}), and is not applied: {self._tally()}",
                self._report,
            ) from error
        except BaseException as interruption:
            if isinstance(interruption.__cause__, CommitOutcomeUnknown):
                self._note(replace(statement, status="unknown"))
            raise
        job = _job_in(answer)
        if job is None and (names := index_if_not_exists(statement.sql)) is not None:
            yield from self._look_at(statement, names.name, names.table)
        else:
            yield from self._tell(replace(statement, status="done" if job is None else "building", job=job))

    def _look_at(self, statement: DDLStatement, index: str, table: str) -> Generator[Request, Any, None]:
        """Find out about an index that was there already: it may be invalid, or being built."""
        answer = yield from _asked(_INDEX_BY_NAME, index, table)
        for name, valid in answer.rows:
            if valid:
                continue
            building = yield from _asked(_BUILDING, name)
            job = _listed(building.rows[0]) if building.rows else Job("", "failed", object_name=name)
            if job.job_id and not job.failed:
                yield from self._tell(replace(statement, status="building", job=job))
                return
            yield from self._tell(replace(statement, status="failed", job=job))
            raise self._failure(statement.index, job)
        yield from self._tell(replace(statement, status="done"))

    def _await_jobs(self) -> Generator[Request, Any, None]:
        if not self._wait:
            return
        waiting = self._waiting()
        while under_way := [each for each in self._report.statements if each.status == "building"]:
            jobs = yield from look(each.job for each in under_way if each.job is not None)
            for statement, job in zip(under_way, jobs, strict=True):
                if job == statement.job and not (job.completed or job.failed):
                    continue
                yield from self._tell(replace(statement, status=_status(job), job=job))
            for statement in self._report.statements:
                if statement.status == "failed" and statement.job is not None:
                    raise self._failure(statement.index, statement.job)
            if not self._report.jobs:
                return
            pause = waiting.pause()
            if pause is None:
                raise JobTimeout(
                    f"{_listing(self._report.jobs)} not done within {waiting.timeout:g} s; the cluster goes on "
                    f"with it. Resume to wait further: {self._tally()}",
                    self._report,
                )
            yield pause

    def _failure(self, index: int, job: Job) -> JobFailed:
        return JobFailed(f"statement {index}: {failure(job)}; {self._tally()}", self._report, job)

    def _tell(self, statement: DDLStatement) -> Generator[Request, Any, None]:
        self._note(statement)
        if self._on_progress is not None:
            yield Tell(self._on_progress, statement)

    def _note(self, statement: DDLStatement) -> None:
        self._report = self._report.changed(statement)

    def _tally(self) -> str:
        done = sum(each.status == "done" for each in self._report.statements)
        return f"{done} of {len(self._report.statements)} statements are done"


def await_jobs(
    ids: Sequence[str], waiting: Waiting, on_progress: Callable[[Job], Any] | None
) -> Work[tuple[Job, ...]]:
    """Wait for jobs until all are done.

    Raises:
        JobFailed: one failed; with a report of none.
        JobTimeout: the time is over.
    """
    known = [Job(each) for each in ids]
    while True:
        jobs = yield from look(known)
        for old, job in zip(known, jobs, strict=True):
            if on_progress is not None and job != old:
                yield Tell(on_progress, job)
        known = jobs
        for job in jobs:
            if job.failed or _is_lost(job):
                raise JobFailed(failure(job), None, job)
        if all(job.completed for job in jobs):
            return tuple(jobs)
        pause = waiting.pause()
        if pause is None:
            under_way = [job for job in jobs if not job.completed]
            raise JobTimeout(
                f"{_listing(under_way)} not done within {waiting.timeout:g} s; the cluster goes on with it", None
            )
        yield pause


def look(known: Iterable[Job]) -> Generator[Request, Any, list[Job]]:
    """Look at jobs; each as ``sys.jobs`` has it now."""
    jobs = list(known)
    if not jobs:
        return []
    places = ", ".join(f"${at}" for at in range(1, len(jobs) + 1))
    answer = yield from _asked(_JOBS.format(places), *(job.job_id for job in jobs))
    listed = {job.job_id: job for job in map(_listed, answer.rows)}
    found = []
    for job in jobs:
        now = listed.get(job.job_id)
        if now is None:
            now = replace(job, status="unlisted")
            if job.object_name and job.job_type == "INDEX_BUILD":
                # It was done, and forgotten; what it left tells.
                index = yield from _asked(_INDEX_BY_FULL_NAME, job.object_name)
                if index.rows:
                    now = replace(job, status="completed" if index.rows[0][1] else "failed")
        found.append(now)
    return found


def failure(job: Job) -> str:
    """Say what failed, and what to do."""
    what = f"job {job.job_id}" if job.job_id else "an earlier job"
    on = f" on {job.object_name}" if job.object_name else ""
    if _is_lost(job):
        return (
            f"{what}{on} is not in sys.jobs, which keeps what is done for about half an hour: look in pg_index "
            "whether the index is valid; where it is not, DROP INDEX and run the statement again"
        )
    details = f": {job.details}" if job.details else ""
    if job.job_type in {"INDEX_BUILD", ""} and job.object_name:
        return f"{what}{on} failed{details}. It left an invalid index: DROP INDEX {job.object_name}, then resume"
    return f"{what}{on} failed{details}"


def _status(job: Job) -> StatementStatus:
    if job.completed:
        return "done"
    return "failed" if job.failed or _is_lost(job) else "building"


def _is_lost(job: Job) -> bool:
    return job.status == "unlisted"


def _one(statement: Statement) -> Body[Answer]:
    answer: Answer = yield statement
    return answer


def _asked(sql: str, *parameters: Any) -> Generator[Request, Any, Answer]:
    """Read something. Reading twice is as good as once."""
    answer: Answer = yield Transact(lambda: _one(Statement(sql, parameters)), idempotent=True)
    return answer


def _job_in(answer: Answer) -> Job | None:
    if answer.columns != ("job_id",) or not answer.rows:
        return None
    return Job(str(answer.rows[0][0]))


def _listed(row: tuple[Any, ...]) -> Job:
    job_id, status, details, job_type, object_name = row
    return Job(job_id, status, details, object_name or "", job_type or "")


def _listing(jobs: Sequence[Job]) -> str:
    named = ", ".join(f"{job.job_id} ({job.status})" for job in jobs)
    return f"job{'s' if len(jobs) > 1 else ''} {named}"


def _named(error: BaseException) -> str:
    state = sqlstate(error)
    return type(error).__name__ + (f", SQLSTATE {state}" if state else "")
