"""DDL as Aurora DSQL wants it: one statement a transaction, run again after OC001, and index jobs waited for."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from .._drivers import async_driver_of, driver_of
from .._errors import ConfigError
from .._retry import RetryPolicy
from .._statements import AsyncSession, Session, carry_out, carry_out_async
from .._transactions import checked
from ._report import DDLReport, DDLStatement, Job, begun
from ._split import split
from ._work import Execution, Waiting, await_jobs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from .._statements import Described

__all__ = [
    "DDLReport",
    "DDLStatement",
    "Job",
    "execute_ddl",
    "execute_ddl_async",
    "split",
    "wait_for_jobs",
    "wait_for_jobs_async",
]

POLICY = RetryPolicy(max_attempts=10, base_delay=0.01, max_delay=1.0)
"""More patient than for other transactions: while one migrates, schema conflicts are the rule."""


def execute_ddl(
    connection_or_pool: Any,
    statements: Any,
    *,
    wait_for_indexes: bool = True,
    timeout: float | None = 3600.0,
    poll_interval: float = 1.0,
    idempotent: bool = False,
    policy: RetryPolicy | None = None,
    on_progress: Callable[[DDLStatement], object] | None = None,
    resume: DDLReport | None = None,
) -> DDLReport:
    """Run statements one after the other, each in a transaction of its own, and wait for the jobs that they leave.

    Conflicts (OC001, OC000) are run again as the policy has it. Where an index is built (``CREATE INDEX ASYNC``)
    or a constraint validated (``ALTER TABLE ASYNC``), the job is waited for before the next statement that makes
    none, and at the end: indexes that stand one after the other are built at the same time.

    Args:
        connection_or_pool: an idle connection of psycopg's or psycopg2's, or a pool of psycopg_pool's or
            psycopg2's (ours, or any). With a pool a lost connection is replaced.
        statements: a str, a psycopg ``sql.Composable``, or a sequence of them. A str may hold several statements
            with semicolons between, as a migration file has them.
        wait_for_indexes: False leaves the jobs to `wait_for_jobs`, or to a run that resumes.
        timeout: seconds that each wait for jobs may take; None for as long as it takes.
        poll_interval: the most seconds between two looks at ``sys.jobs``; the first come sooner.
        idempotent: running a statement twice is as good as once (``IF NOT EXISTS``): each is also run again where
            the outcome of its COMMIT is unknown.
        policy: how often a statement is run, and how long between; default 10 attempts, 0.01 to 1 s.
        on_progress: called with a `DDLStatement` whenever its status, or that of its job, has changed.
        resume: the report of an earlier run of the same statements (more may follow at the end): what is done in
            it is left out, jobs that were under way are waited for.

    Returns:
        A report in which every statement is ``"done"`` (``"building"`` without `wait_for_indexes`).

    Raises:
        ConfigError: an argument cannot be used. Nothing was sent.
        DDLError: a statement failed, or the run was ended otherwise. ``report`` tells what is done, ``__cause__``
            is the driver's error.
        DDLOutcomeUnknown: nothing tells whether a statement is applied.
        JobFailed: a job failed; an index that it leaves is invalid, and has to be dropped.
        JobTimeout: a job was not done in time.
    """
    driver = driver_of(connection_or_pool)
    session = Session(driver, connection_or_pool, POLICY if policy is None else checked(policy))
    given, texts = _given(statements, driver)
    execution = Execution(
        given,
        begun(texts, resume, idempotent=idempotent),
        wait=wait_for_indexes,
        waiting=_waiting(timeout, poll_interval),
        idempotent=idempotent,
        on_progress=_hook(on_progress),
    )
    return carry_out(execution.work(), session)


async def execute_ddl_async(
    connection_or_pool: Any,
    statements: Any,
    *,
    wait_for_indexes: bool = True,
    timeout: float | None = 3600.0,
    poll_interval: float = 1.0,
    idempotent: bool = False,
    policy: RetryPolicy | None = None,
    on_progress: Callable[[DDLStatement], Awaitable[None] | object] | None = None,
    resume: DDLReport | None = None,
) -> DDLReport:
    """As `execute_ddl`, on asynchronous connections and pools, asyncpg's too.

    `on_progress` may be ``async def``.
    """
    driver = async_driver_of(connection_or_pool)
    session = AsyncSession(driver, connection_or_pool, POLICY if policy is None else checked(policy))
    given, texts = _given(statements, driver)
    execution = Execution(
        given,
        begun(texts, resume, idempotent=idempotent),
        wait=wait_for_indexes,
        waiting=_waiting(timeout, poll_interval),
        idempotent=idempotent,
        on_progress=_hook(on_progress),
    )
    return await carry_out_async(execution.work(), session)


def wait_for_jobs(
    connection_or_pool: Any,
    jobs: DDLReport | Sequence[str],
    *,
    timeout: float | None = 3600.0,
    poll_interval: float = 1.0,
    policy: RetryPolicy | None = None,
    on_progress: Callable[[Job], object] | None = None,
) -> tuple[Job, ...]:
    """Wait until jobs are done.

    Args:
        connection_or_pool: as for `execute_ddl`. A connection is used for each look only.
        jobs: their ids, or a report whose jobs are meant.
        timeout: seconds; None for as long as it takes.
        poll_interval: the most seconds between two looks.
        policy: as for `execute_ddl`.
        on_progress: called with a `Job` whenever it has changed.

    Returns:
        The jobs, all of them completed.

    Raises:
        ConfigError: an argument cannot be used. Nothing was sent.
        JobFailed: one failed, or is listed no more.
        JobTimeout: not all were done in time.
    """
    driver = driver_of(connection_or_pool)
    session = Session(driver, connection_or_pool, POLICY if policy is None else checked(policy))
    waiting = _waiting(timeout, poll_interval)()
    return carry_out(await_jobs(_ids(jobs), waiting, _hook(on_progress)), session)


async def wait_for_jobs_async(
    connection_or_pool: Any,
    jobs: DDLReport | Sequence[str],
    *,
    timeout: float | None = 3600.0,
    poll_interval: float = 1.0,
    policy: RetryPolicy | None = None,
    on_progress: Callable[[Job], Awaitable[None] | object] | None = None,
) -> tuple[Job, ...]:
    """As `wait_for_jobs`, on asynchronous connections and pools; `on_progress` may be ``async def``."""
    driver = async_driver_of(connection_or_pool)
    session = AsyncSession(driver, connection_or_pool, POLICY if policy is None else checked(policy))
    waiting = _waiting(timeout, poll_interval)()
    return await carry_out_async(await_jobs(_ids(jobs), waiting, _hook(on_progress)), session)


def _given(statements: Any, driver: Described) -> tuple[list[Any], list[str]]:
    """Return the statements as the driver takes them, and as text."""
    is_one = isinstance(statements, str) or not isinstance(statements, (list, tuple))
    given: list[Any] = []
    texts: list[str] = []
    for each in [statements] if is_one else statements:
        text = driver.text(each)
        parts = split(text)
        if isinstance(each, str):
            given += parts
            texts += parts
        elif len(parts) > 1:
            raise ConfigError("several statements in one of psycopg.sql's: give them apart")
        elif parts:
            given.append(each)
            texts.append(text)
    return given, texts


def _ids(jobs: DDLReport | Sequence[str]) -> list[str]:
    if isinstance(jobs, DDLReport):
        return [job.job_id for job in jobs.jobs]
    if isinstance(jobs, str) or not all(isinstance(each, str) for each in jobs):
        raise ConfigError("jobs must be a DDLReport or a sequence of job ids")
    return list(jobs)


def _waiting(timeout: float | None, interval: float) -> Callable[[], Waiting]:
    for name, value in (("timeout", timeout), ("poll_interval", interval)):
        if name == "timeout" and value is None:
            continue
        if (
            not isinstance(value, (int, float))
            or isinstance(value, bool)
            or not math.isfinite(value)
            or value <= 0
        ):
            raise ConfigError(f"{name} must be a number of seconds above 0, not {value!r}")
    return lambda: Waiting(timeout, interval, time.monotonic)


def _hook(on_progress: Any) -> Any:
    if on_progress is not None and not callable(on_progress):
        raise ConfigError("on_progress must be callable, or None")
    return on_progress
