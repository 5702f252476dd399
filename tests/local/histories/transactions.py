"""What clients saw: transactions as lists of exchanges, each with the time it was under way."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from local.histories.statements import BEGIN, Answer, Control, Statement

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

CONFLICT = "40001"
CONFLICT_TEXT = "change conflicts with another transaction (OC000)"


@dataclass(frozen=True)
class Failure:
    """An error, as the client got it."""

    sqlstate: str | None
    text: str = ""


@dataclass(frozen=True)
class Exchange:
    """Statements sent together, what came back, and between which two ticks.

    Args:
        statements: What was sent at once.
        answers: Of the first of them, up to an error; None where the driver does not show them
            (an error in a simple query of several statements hides the answers before it).
        failure: The first error; what follows in the same exchange was not run.
        idle: Whether the session was outside of a transaction after it.
        began: Ticks order everything that happened; this one is just before the sending.
        ended: Just after the last answer.
    """

    statements: tuple[Statement, ...]
    answers: tuple[Answer | str, ...] | None
    failure: Failure | None
    idle: bool
    began: int
    ended: int


Outcome = Literal["committed", "conflict", "rolled back"]


@dataclass
class Transaction:
    """One transaction, the client's `number`-th; `implicit` if it was one exchange without BEGIN."""

    number: int
    client: int
    implicit: bool
    exchanges: list[Exchange] = field(default_factory=list)
    outcome: Outcome = "rolled back"

    @property
    def looked(self) -> Exchange | None:
        """When the snapshot was taken: at the first statement after BEGIN, as PostgreSQL documents."""
        for exchange in self.exchanges:
            if any(not isinstance(statement, Control) for statement in exchange.statements):
                return exchange
        return None

    def __str__(self) -> str:
        lines = [
            f"client {self.client}, its {self.number}: {'autocommit' if self.implicit else 'transaction'}, {self.outcome}"
        ]
        for exchange in self.exchanges:
            lines.append(f"  [{exchange.began}..{exchange.ended}]")
            answers = list(exchange.answers or ())
            for at, statement in enumerate(exchange.statements):
                said = str(answers[at]) if at < len(answers) else "-"
                lines.append(f"    {shown(statement)}  ->  {said}")
            if exchange.failure is not None:
                lines.append(f"    !! {exchange.failure.sqlstate} {exchange.failure.text}")
        return "\n".join(lines)


class Recorder:
    """Cuts what one client does into transactions."""

    def __init__(self, client: int) -> None:
        self.client = client
        self.done: list[Transaction] = []
        self._open: Transaction | None = None

    @property
    def in_transaction(self) -> bool:
        return self._open is not None

    def add(self, exchange: Exchange) -> None:
        current = self._open
        if current is None:
            implicit = BEGIN not in exchange.statements
            current = Transaction(len(self.done), self.client, implicit)
        current.exchanges.append(exchange)
        self._open = None if exchange.idle else current
        if self._open is None:
            current.outcome = _outcome(current, exchange)
            self.done.append(current)


def _outcome(transaction: Transaction, last: Exchange) -> Outcome:
    if last.failure is not None:
        return "conflict" if last.failure.sqlstate == CONFLICT else "rolled back"
    if transaction.implicit:
        return "committed"
    assert last.answers, "a transaction ended, and nobody had asked for it"
    return "committed" if last.answers[-1] == "COMMIT" else "rolled back"


def shown(statement: Statement) -> str:
    """The statement as one would type it."""
    text, values = statement.sql
    body = text.replace("{t}", "t") % tuple("null" if value is None else value for value in values)
    rows = getattr(statement, "rows", None) if body.startswith("copy") else None
    return f"{body} {rows}" if rows else body


def widened(transactions: Sequence[Transaction], chance: random.Random) -> list[Transaction]:
    """The same history, less sharply timed, as clients at work in parallel would have seen it.

    Each exchange may have been under way from any time after the client's previous one to any time
    before its next one. What was true of the sharp history stays possible in the blurred one.
    """
    by_client: dict[int, list[tuple[int, int]]] = {}
    for at, transaction in enumerate(transactions):
        for nth, _ in enumerate(transaction.exchanges):
            by_client.setdefault(transaction.client, []).append((at, nth))
    result = [replace(transaction, exchanges=list(transaction.exchanges)) for transaction in transactions]
    horizon = max((exchange.ended for each in transactions for exchange in each.exchanges), default=0)
    # Ticks are spread out so that there is room between any two.
    scale = 1000
    for places in by_client.values():
        places.sort(key=lambda place: transactions[place[0]].exchanges[place[1]].began)
        previous = -1
        for order, (at, nth) in enumerate(places):
            exchange = transactions[at].exchanges[nth]
            following = horizon + 1
            if order + 1 < len(places):
                next_at, next_nth = places[order + 1]
                following = transactions[next_at].exchanges[next_nth].began
            began = chance.randint(max(previous + 1, exchange.began * scale - 3 * scale), exchange.began * scale)
            latest = min(following * scale - 1, exchange.ended * scale + 3 * scale)
            ended = chance.randint(exchange.ended * scale, max(latest, exchange.ended * scale))
            previous = ended
            result[at].exchanges[nth] = replace(exchange, began=began, ended=ended)
    return result
