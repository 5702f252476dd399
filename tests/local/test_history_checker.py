"""The checker of histories, checked: it accepts what is right, and notices every way to be wrong."""

from __future__ import annotations

import contextlib
import itertools
import random
from typing import TYPE_CHECKING

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsql_fast.local._binaries import find_binaries
from dsql_fast.local._postgres import Postgres
from local.histories.connections import Connection, Hang, Patience, Way, fill
from local.histories.programs import Step, interleave, programs, random_program
from local.histories.reference import Flaw, Reference, rows
from local.histories.search import Violation, check
from local.histories.statements import BEGIN, COMMIT, Change, Read, Where
from local.histories.transactions import Transaction, widened

if TYPE_CHECKING:
    from collections.abc import Iterator

INITIAL = rows(1, 2, 3)


def history(program: list[Step], flaw: Flaw | None = None, *, strict: bool = False) -> list[Transaction]:
    server = Reference(INITIAL, flaw, strict)
    return interleave([server.connect() for _ in range(4)], program)


@settings(max_examples=200)
@given(programs(4, most=40), st.booleans())
def test_a_right_history_is_accepted(program: list[Step], strict: bool) -> None:
    check(INITIAL, history(program, strict=strict))


@settings(max_examples=100)
@given(programs(4, most=40), st.booleans(), st.integers(0, 1000))
def test_a_right_history_is_accepted_when_it_is_timed_less_sharply(
    program: list[Step], strict: bool, seed: int
) -> None:
    check(INITIAL, widened(history(program, strict=strict), random.Random(seed)))


def noticed(flaw: Flaw, *, blurred: bool) -> int:
    """In how many of 100 histories a flaw is noticed."""
    found = 0
    for seed in range(100):
        chance = random.Random(seed)
        seen = history(random_program(chance, 4, 40), flaw)
        try:
            check(INITIAL, widened(seen, chance) if blurred else seen)
        except Violation:
            found += 1
    return found


@pytest.mark.parametrize("blurred", [False, True])
@pytest.mark.parametrize("flaw", Flaw)
def test_every_flaw_is_noticed(flaw: Flaw, blurred: bool) -> None:
    assert noticed(flaw, blurred=blurred) > 0


# --- PostgreSQL alone, which is something else --------------------------------------------------------


@pytest.fixture
def alone() -> Iterator[list[Connection]]:
    """Two connections to a PostgreSQL without the gateway, and little patience: it does make them wait."""
    server = Postgres(find_binaries(None))
    with contextlib.ExitStack() as stack:
        stack.callback(server.stop)
        server.finish()
        patience = stack.enter_context(contextlib.closing(Patience(1.0)))
        directory, name = server.socket_path.parent, server.socket_path.name
        ticks: itertools.count[int] = itertools.count()
        clients = []
        for _ in range(2):
            conn = psycopg.connect(
                host=str(directory),
                port=int(name.rpartition(".")[2]),
                user=server.superuser,
                dbname="postgres",
                options="-c default_transaction_isolation=repeatable\\ read",
                autocommit=True,
            )
            stack.callback(conn.close)
            clients.append(Connection(conn, "alone", Way.EXTENDED, ticks, patience))
        clients[0].conn.execute("create table alone (k int primary key, u int unique, v int not null)")
        fill(clients[0].conn, "alone", INITIAL)
        yield clients


FIRST = Where("k", 1, 1)


def test_postgresql_alone_makes_clients_wait(alone: list[Connection]) -> None:
    with pytest.raises(Hang), contextlib.suppress(psycopg.Error):
        interleave(alone, [Step(0, (BEGIN, Change(FIRST, 1))), Step(1, (BEGIN, Change(FIRST, 2)))])


def test_postgresql_alone_conflicts_at_the_statement(alone: list[Connection]) -> None:
    seen = interleave(
        alone,
        [
            Step(0, (BEGIN, Read(FIRST))),
            Step(1, (Change(FIRST, 1),)),
            Step(0, (Change(FIRST, 2),)),
            Step(0, (COMMIT,)),
        ],
    )
    with pytest.raises(Violation, match="expected no error, got 40001 could not serialize"):
        check(INITIAL, seen)
