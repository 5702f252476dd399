"""What the demo found: facts, tables and checks, by step. Plain values, for people and for ``--json`` alike."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

Value: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True)
class Check:
    """One thing that must hold.

    Attributes:
        name: what must hold, as a sentence that is true when it does.
        held: whether it does.
        detail: what was found; shown when it does not.
    """

    name: str
    held: bool
    detail: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of values under named columns."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Value, ...]]


@dataclass
class StepReport:
    """What one step found."""

    name: str
    title: str
    facts: dict[str, Value] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class Report:
    """What the demo found."""

    machine: dict[str, Value]
    steps: list[StepReport] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def checks(self) -> list[Check]:
        """All checks of all steps."""
        return [check for step in self.steps for check in step.checks]

    @property
    def ok(self) -> bool:
        """Every check held, and there was one in each step: a step that checks nothing shows nothing."""
        return bool(self.steps) and all(
            step.checks and all(check.held for check in step.checks) for step in self.steps
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"ok": self.ok, **asdict(self)}
