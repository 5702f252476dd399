"""How transfers went, as the client saw it: counted by the library's hook and around each call."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Literal, TypeAlias

from psycopg.errors import SerializationFailure

from ._accounts import Overdrawn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..._retry import FailureKind, RetryState
    from ._accounts import Transfer

Outcome: TypeAlias = Literal["committed", "refused", "conflict"]


class Tally:
    """Counts, from any thread.

    Attributes:
        runs: how often each transfer's transaction was run, by its number.
        retried: how many runs failed and were followed by another one, by why.
        outcomes: how each transfer ended, by its number; ``"conflict"`` is what must not be.
    """

    def __init__(self) -> None:
        self.runs: Counter[int] = Counter()
        self.retried: Counter[FailureKind] = Counter()
        self.outcomes: dict[int, Outcome] = {}
        self._lock = Lock()

    def run(self, order: Transfer) -> None:
        """A transaction is run: the first time, or again."""
        with self._lock:
            self.runs[order.number] += 1

    def retry(self, state: RetryState) -> None:
        """It failed, and will be run again: the policy's hook."""
        with self._lock:
            self.retried[state.kind] += 1

    @contextmanager
    def outcome_of(self, order: Transfer) -> Iterator[None]:
        """Note how a transfer ends."""
        outcome: Outcome = "committed"
        try:
            yield
        except Overdrawn:
            outcome = "refused"
        except SerializationFailure:
            outcome = "conflict"
        with self._lock:
            self.outcomes[order.number] = outcome

    def ended(self, outcome: Outcome) -> list[int]:
        """Return the numbers of the transfers that ended so."""
        return [number for number, each in self.outcomes.items() if each == outcome]
