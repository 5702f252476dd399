"""What became of each statement: plain values, which can be kept (pickled) and passed to a later run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from .._errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

StatementStatus: TypeAlias = Literal["pending", "unknown", "building", "failed", "done"]

_UNDER_WAY = frozenset({"submitted", "processing"})
_COMPLETED = "completed"
# Documented: completed and failed. Seen in earlier documentation: the other one.
_OVER_AND_BAD = frozenset({"failed", "cancelled"})


@dataclass(frozen=True)
class Job:
    """A job of Aurora DSQL's, as ``sys.jobs`` tells of it.

    Attributes:
        job_id: its id.
        status: ``"submitted"``, ``"processing"``, ``"completed"`` or ``"failed"`` (documented; others may come),
            and ``"unlisted"`` where ``sys.jobs`` does not have it any more: it keeps jobs for about half an hour
            (observed).
        details: why it failed, in the server's words.
        object_name: what it works on, with its schema; empty before that is known.
        job_type: ``"INDEX_BUILD"``, ``"VALIDATE_CONSTRAINT"`` (both observed) or other; empty as above.
    """

    __module__ = "dsql_fast"

    job_id: str
    status: str = "submitted"
    details: str | None = None
    object_name: str = ""
    job_type: str = ""

    @property
    def completed(self) -> bool:
        """It is done, and well."""
        return self.status == _COMPLETED

    @property
    def failed(self) -> bool:
        """It is done, and not well."""
        return self.status in _OVER_AND_BAD


@dataclass(frozen=True)
class DDLStatement:
    """One statement, and what became of it.

    Attributes:
        index: its place; the first is 0.
        sql: its text.
        status: ``"pending"``: not applied (not tried, or refused). ``"unknown"``: sent, and nothing tells whether
            it is applied. ``"building"``: applied, and its job is not done, or was not waited for. ``"failed"``:
            applied, and its job failed. ``"done"``.
        job: the job that it left, if it left one.
    """

    __module__ = "dsql_fast"

    index: int
    sql: str
    status: StatementStatus = "pending"
    job: Job | None = None


@dataclass(frozen=True)
class DDLReport:
    """What `execute_ddl` has done.

    Attributes:
        statements: all of them, in their order.
    """

    __module__ = "dsql_fast"

    statements: tuple[DDLStatement, ...]

    @property
    def complete(self) -> bool:
        """Every statement is done, its job too."""
        return all(each.status == "done" for each in self.statements)

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs that are not done, or were not waited for."""
        return tuple(each.job for each in self.statements if each.job is not None and each.status == "building")

    def settled(self, index: int, *, applied: bool) -> DDLReport:
        """Return this report with a statement's unknown outcome settled: you have looked.

        Args:
            index: which statement.
            applied: whether it took effect. If not, a run that resumes runs it again.

        Raises:
            ConfigError: the outcome of that statement is not unknown.
        """
        if not 0 <= index < len(self.statements) or self.statements[index].status != "unknown":
            raise ConfigError(f"there is no statement {index} whose outcome is unknown")
        statement = replace(self.statements[index], status="done" if applied else "pending")
        return self.changed(statement)

    def changed(self, statement: DDLStatement) -> DDLReport:
        """Return this report with another entry for one statement."""
        at = statement.index
        return DDLReport((*self.statements[:at], statement, *self.statements[at + 1 :]))


def begun(texts: Sequence[str], resume: DDLReport | None, *, idempotent: bool) -> DDLReport:
    """Return the report to begin with.

    Raises:
        ConfigError: that run was of other statements, or cannot be resumed.
    """
    fresh = DDLReport(tuple(DDLStatement(index, text) for index, text in enumerate(texts)))
    if resume is None:
        return fresh
    if not isinstance(resume, DDLReport):
        raise ConfigError(f"resume must be a DDLReport or None, not {type(resume).__name__}")
    if len(resume.statements) > len(texts):
        raise ConfigError(f"resume tells of {len(resume.statements)} statements, and only {len(texts)} are given")
    for old, new in zip(resume.statements, fresh.statements, strict=False):
        if old.sql != new.sql and old.status != "pending":
            raise ConfigError(f"statement {old.index} is another than that of the run that is resumed")
        if old.status == "unknown" and not idempotent:
            raise ConfigError(
                f"whether statement {old.index} is applied is unknown: look in the database, and resume with "
                f"report.settled({old.index}, applied=...)"
            )
        if old.status != "pending":
            # What is unknown may be run again here, and what failed must be.
            status = "pending" if old.status in {"unknown", "failed"} else old.status
            fresh = fresh.changed(replace(old, status=status, job=None if status == "pending" else old.job))
    return fresh
