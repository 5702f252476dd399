"""One transaction of a client's: where it stands, and what of it would have to be done again."""

from __future__ import annotations

import enum
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dsql_fast.local._conversation import Part, Reply
    from dsql_fast.local._shadow import Shadow
    from dsql_fast.local._steps import Step


class Status(enum.Enum):
    """Where a transaction stands."""

    NEW = enum.auto()  # no snapshot yet
    READING = enum.auto()  # a snapshot, and nothing to repeat
    LIVE = enum.auto()  # its effects and locks are in PostgreSQL
    TAKEN_BACK = enum.auto()  # they were, and are not now
    SHADOW = enum.auto()  # works on private copies
    SHADOW_TAKEN_BACK = enum.auto()  # did so, and its copies are gone
    FAILED = enum.auto()  # waits for ROLLBACK


@dataclass(slots=True)
class Entry:
    """A step that was run, and what came of it."""

    step: Step
    tags: list[bytes]
    rows: int

    def same(self, reply: Reply) -> bool:
        """Whether doing it again came to the same."""
        return reply.error is None and reply.tags == self.tags and reply.rows == self.rows


@dataclass(slots=True)
class Transaction:
    """One transaction.

    Attributes:
        implicit: Whether it ends with the unit it began in.
        began: On the session clock, in seconds.
        commits: The number of commits before its snapshot.
        seed: Makes random values the same when it is repeated.
        status: Where it stands.
        log: What has to be repeated.
        lost: Whether it can only end in a conflict.
        writes: Whether it wrote or locked.
        definitions: How many DDL statements it ran.
        rows: How many rows it wrote.
        size: Bytes of the statements and values it wrote by.
        commit_delay: Seconds that its COMMIT is to take longer, if that was drawn already.
        unsent: What goes to PostgreSQL before its next step.
        shadow: The private copies.
    """

    implicit: bool
    began: float
    commits: int
    seed: str = field(default_factory=lambda: secrets.token_hex(8))
    status: Status = Status.NEW
    log: list[Entry] = field(default_factory=list)
    lost: bool = False
    writes: bool = False
    definitions: int = 0
    rows: int = 0
    size: int = 0
    commit_delay: float | None = None
    unsent: list[Part] = field(default_factory=list)
    shadow: Shadow | None = None

    @property
    def names(self) -> frozenset[str]:
        """Every identifier in what has to be repeated."""
        return frozenset().union(*(entry.step.names for entry in self.log))

    def take_unsent(self) -> list[Part]:
        """What goes to PostgreSQL before its next step; from then on it counts as sent."""
        unsent, self.unsent = self.unsent, []
        return unsent

    def keep(self, step: Step, reply: Reply) -> None:
        """Note a step that has had effects."""
        self.log.append(Entry(step, reply.tags, reply.rows))
        if self.status is not Status.SHADOW:
            self.status = Status.LIVE
