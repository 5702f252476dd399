"""What clients do: random statements, and the loop that has them done by several clients in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hypothesis import strategies as st

from local.histories.statements import (
    ALL,
    BEGIN,
    COMMIT,
    ROLLBACK,
    Change,
    Control,
    Copy,
    Data,
    Delete,
    Insert,
    Purge,
    Read,
    Rename,
    Replace,
    Statement,
    Total,
    Transfer,
    Where,
)
from local.histories.transactions import Exchange, Recorder, Transaction

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from local.histories.rows import Row

KEYS = 5
VALUES = 6  # of the unique column


class Client(Protocol):
    """One connection, whatever is behind it."""

    def exchange(self, statements: tuple[Statement, ...]) -> Exchange:
        """Send statements at once, return what came back."""

    def together(self, statements: Sequence[Statement]) -> bool:
        """Whether it sends these at once: as one transaction then, if there is no BEGIN."""


@dataclass(frozen=True)
class Step:
    """Statements that one client sends at once."""

    client: int
    statements: tuple[Statement, ...]


def interleave(clients: Sequence[Client], program: Sequence[Step]) -> list[Transaction]:
    """Have the steps done one after the other, in one thread; every client ends its transaction.

    Whoever waited for another here would wait for ever.
    """
    recorders = [Recorder(number) for number in range(len(clients))]
    for step in program:
        number = step.client % len(clients)
        perform(clients[number], recorders[number], step.statements)
    for client, recorder in zip(clients, recorders, strict=True):
        if recorder.in_transaction:
            perform(client, recorder, (COMMIT,))
        if recorder.in_transaction:
            perform(client, recorder, (ROLLBACK,))
    # What is there in the end belongs to the history.
    perform(clients[0], recorders[0], (ALL,))
    return [transaction for recorder in recorders for transaction in recorder.done]


def perform(client: Client, recorder: Recorder, statements: tuple[Statement, ...]) -> None:
    """Do what makes sense of it in the state the client is in, in as few exchanges as possible."""
    group: list[Statement] = []
    inside = recorder.in_transaction

    def flush() -> None:
        nonlocal inside
        alone = not recorder.in_transaction and BEGIN not in group
        parts = (
            [[statement] for statement in group] if alone and not client.together(group) else [group] * bool(group)
        )
        for part in parts:
            recorder.add(client.exchange(tuple(part)))
        group.clear()
        inside = recorder.in_transaction

    for statement in statements:
        if isinstance(statement, Control):
            if (statement == BEGIN) == inside:
                continue
            if statement == BEGIN:
                # What comes before BEGIN is a transaction of its own.
                flush()
            group.append(statement)
            inside = statement == BEGIN
            if statement != BEGIN:
                flush()
        elif isinstance(statement, Copy):
            flush()
            group.append(statement)
            flush()
        else:
            group.append(statement)
    flush()


# --- random statements -------------------------------------------------------------------------------

_keys = st.integers(1, KEYS)
_uniques = st.none() | st.integers(1, VALUES)
_numbers = st.integers(1, 9)


def _wheres() -> st.SearchStrategy[Where]:
    one = _keys.map(lambda k: Where("k", k, k))
    some = st.tuples(_keys, _keys).map(lambda pair: Where("k", min(pair), max(pair)))
    by_unique = st.integers(1, VALUES).map(lambda u: Where("u", u, u))
    by_value = st.integers(-5, 15).map(lambda v: Where("v", v, 1000))
    return st.one_of(one, one, one, some, by_unique, by_value)


_one_row = st.tuples(_keys, _uniques, _numbers)


def _distinct(rows: list[Row]) -> tuple[Row, ...]:
    """No key and no unique value twice: what then happens depends on the order of the rows."""
    kept: list[Row] = []
    for row in rows:
        if all(row[0] != other[0] and (row[1] is None or row[1] != other[1]) for other in kept):
            kept.append(row)
    return tuple(kept)


_rows = st.one_of(st.tuples(_one_row), st.lists(_one_row, min_size=1, max_size=3).map(_distinct))


@st.composite
def _inserts(draw: st.DrawFn) -> Insert:
    conflict = draw(st.sampled_from(["", "", "nothing", "nothing k", "update k", "update u"]))
    # Two rows of one INSERT may meet the same row there is, which PostgreSQL refuses (21000).
    rows = draw(st.tuples(_one_row)) if conflict.startswith("update") else draw(_rows)
    return Insert(rows, conflict, draw(st.booleans()))  # type: ignore[arg-type]


def statements() -> st.SearchStrategy[Data]:
    """One statement that reads or writes."""
    reads = st.one_of(st.just(ALL), _wheres().map(Read), st.just(Total()))
    changes = st.builds(Change, _wheres(), _numbers, st.booleans(), st.booleans())
    renames = st.one_of(
        st.builds(Rename, _keys, st.just("u"), _uniques), st.builds(Rename, _keys, st.just("k"), _keys)
    )
    pairs = st.tuples(_keys, _keys).filter(lambda pair: pair[0] != pair[1])
    rare = st.one_of(
        _rows.map(Copy),
        pairs.map(lambda pair: Replace(*pair)),
        pairs.map(lambda pair: Purge(*pair)),
        renames,
        st.builds(Delete, _wheres(), st.booleans()),
    )
    locks = _wheres().map(lambda where: Read(where, lock=True))
    transfers = st.builds(lambda pair, number: Transfer(pair[0], pair[1], number), pairs, _numbers)
    deletes = st.builds(Delete, _keys.map(lambda k: Where("k", k, k)), st.booleans())
    return st.one_of(reads, changes, changes, transfers, _inserts(), _inserts(), deletes, locks, rare)


def programs(clients: int, *, least: int = 1, most: int = 30) -> st.SearchStrategy[list[Step]]:
    """Steps of several clients, mostly single statements."""
    data = statements()
    one = data.map(lambda statement: (statement,))
    ends = st.sampled_from([(COMMIT,), (COMMIT,), (ROLLBACK,)])
    burst = st.tuples(
        st.sampled_from([(), (BEGIN,)]),
        st.lists(data, min_size=1, max_size=3).map(tuple),
        st.sampled_from([(), (COMMIT,), (ROLLBACK,)]),
    ).map(lambda parts: (*parts[0], *parts[1], *parts[2]))
    begin_and = data.map(lambda statement: (BEGIN, statement))
    sent = st.one_of(one, one, one, begin_and, begin_and, ends, ends, st.just((BEGIN,)), burst)
    step = st.builds(Step, st.integers(0, clients - 1), sent)
    return st.lists(step, min_size=least, max_size=most)


# --- the same for threads, which cannot draw from hypothesis -------------------------------------------


def random_statement(chance: random.Random) -> Data:  # noqa: PLR0911 - a list of kinds
    """One statement."""
    k = chance.randint(1, KEYS)
    where = Where("k", k, k)
    row = (k, chance.choice([None, *range(1, VALUES + 1)]), chance.randint(1, 9))
    kind = chance.randrange(16)
    if kind < 2:
        return ALL
    if kind < 3:
        return Total()
    if kind < 7:
        return Change(where, chance.randint(1, 9), chance.random() < 0.7, chance.random() < 0.5)
    if kind < 9:
        source, target = chance.sample(range(1, KEYS + 1), 2)
        return Transfer(source, target, chance.randint(1, 5))
    if kind < 12:
        conflict = chance.choice(["", "", "nothing", "nothing k", "update k", "update u"])
        return Insert((row,), conflict, chance.random() < 0.5)  # type: ignore[arg-type]
    if kind < 13:
        return Delete(where, chance.random() < 0.5)
    if kind < 14:
        return Read(where, lock=True)
    return chance.choice(
        (
            Copy((row,)),
            Replace(*chance.sample(range(1, KEYS + 1), 2)),
            Purge(*chance.sample(range(1, KEYS + 1), 2)),
            Rename(k, "u", row[1]),
            Rename(k, "k", chance.randint(1, KEYS)),
            Change(Where("v", chance.randint(0, 12), 1000), 1),
            Delete(Where("v", chance.randint(8, 20), 1000)),
        )
    )


def random_transaction(chance: random.Random) -> list[tuple[Statement, ...]]:
    """What one client sends, exchange by exchange."""
    if chance.random() < 0.25:
        return [(random_statement(chance),)]
    body = [random_statement(chance) for _ in range(chance.randint(1, 4))]
    end = ROLLBACK if chance.random() < 0.1 else COMMIT
    if chance.random() < 0.3:
        return [(BEGIN, *body, end)]
    # The snapshot is taken by the first statement, not by BEGIN: what is between them counts.
    start: list[tuple[Statement, ...]] = [(BEGIN,), (body[0],)] if chance.random() < 0.3 else [(BEGIN, body[0])]
    return [*start, *((statement,) for statement in body[1:]), (end,)]


def act(client: Client, number: int, chance: random.Random, transactions: int) -> list[Transaction]:
    """Do transactions one after the other: what each thread runs."""
    recorder = Recorder(number)
    for _ in range(transactions):
        for statements_ in random_transaction(chance):
            perform(client, recorder, statements_)
        if recorder.in_transaction:
            perform(client, recorder, (ROLLBACK,))
    return recorder.done


def random_program(chance: random.Random, clients: int, steps: int) -> list[Step]:
    """Steps of several clients, without hypothesis: for long histories."""
    waiting: list[list[tuple[Statement, ...]]] = [[] for _ in range(clients)]
    program = []
    for _ in range(steps):
        client = chance.randrange(clients)
        if not waiting[client]:
            waiting[client] = random_transaction(chance)
        program.append(Step(client, waiting[client].pop(0)))
    return program
