"""Random histories on the local cluster, each statement's answer and each COMMIT's held to the oracle.

What it takes to be right stands in `local.histories.search`. That the oracle itself is right is shown by
`test_history_checker.py` and, for what single statements do, by the histories of one client here.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import random
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.doors import connect
from local.histories.connections import Connection, Patience, Way, fill
from local.histories.programs import Step, act, interleave, programs, random_program
from local.histories.reference import rows
from local.histories.search import Verdict, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dsql_fast.local import LocalCluster
    from local.histories.rows import State

WAYS = list(Way)
# Few keys that are there, so that keys are inserted, and more, so that they are changed.
STATES: list[State] = [rows(1, 2, 3), rows(1), rows(), rows(1, 2, 3, 4, 5)]


@dataclass
class Room:
    """Eight connections to one table."""

    cluster: LocalCluster
    table: str
    clients: list[Connection]

    def begin(self, state: State) -> None:
        with connect(self.cluster) as conn:
            fill(conn, self.table, state)

    def tidy(self) -> None:
        """Leave no transaction open: after a history that was broken off."""
        for client in self.clients:
            if not client.conn.closed:
                client.conn.execute("rollback")


@pytest.fixture(scope="module")
def room(cluster: LocalCluster) -> Iterator[Room]:
    table = "history_" + secrets.token_hex(4)
    ticks = itertools.count()
    with connect(cluster) as conn:
        conn.execute(f"create table {table} (k int primary key, u int unique, v int not null)")
    with contextlib.ExitStack() as stack:
        patience = stack.enter_context(contextlib.closing(Patience()))
        clients = [Connection(connect(cluster), table, WAYS[at % len(WAYS)], ticks, patience) for at in range(8)]
        for client in clients:
            stack.callback(client.close)
        yield Room(cluster, table, clients)
    with connect(cluster) as conn:
        conn.execute(f"drop table {table}")


def play(room: Room, state: State, program: list[Step], clients: int) -> Verdict:
    """Several connections in turn, in this one thread: whoever had to wait here would wait for ever."""
    room.begin(state)
    try:
        return check(state, interleave(room.clients[:clients], program))
    finally:
        room.tidy()


def play_threads(room: Room, state: State, seed: int, clients: int, transactions: int) -> Verdict:
    """As many threads as connections, all at once."""
    room.begin(state)
    try:
        with concurrent.futures.ThreadPoolExecutor(clients) as threads:
            running = [
                threads.submit(act, room.clients[number], number, random.Random(f"{seed}-{number}"), transactions)
                for number in range(clients)
            ]
            seen = [transaction for each in running for transaction in each.result()]
        return check(state, seen)
    finally:
        room.tidy()


@pytest.mark.parametrize("way", Way)
def test_one_client_alone(room: Room, way: Way) -> None:
    # Nothing but SQL can go wrong here: it is the oracle that is tested.
    client = room.clients[WAYS.index(way)]
    for seed in range(4):
        state = STATES[seed]
        room.begin(state)
        verdict = check(state, interleave([client], random_program(random.Random(seed), 1, 60)))
        assert verdict.committed > 10
        assert not verdict.conflicts


@settings(max_examples=40, derandomize=True)
@given(st.integers(2, 8).flatmap(lambda n: st.tuples(st.just(n), programs(n))), st.sampled_from(STATES))
def test_clients_in_one_thread(room: Room, plan: tuple[int, list[Step]], state: State) -> None:
    clients, program = plan
    play(room, state, program, clients)


@pytest.mark.parametrize("clients", [2, 4, 8])
def test_long_histories_in_one_thread(room: Room, clients: int) -> None:
    total = Verdict()
    for seed in range(4):
        state = STATES[seed]
        total += play(room, state, random_program(random.Random(f"{clients}-{seed}"), clients, 120), clients)
    assert total.conflicts
    assert total.committed > total.conflicts


@pytest.mark.parametrize("clients", [2, 8])
def test_clients_in_threads(room: Room, clients: int) -> None:
    total = Verdict()
    for seed in range(2):
        total += play_threads(room, STATES[seed], seed, clients, 15)
    assert total.committed


@pytest.mark.full
@pytest.mark.timeout(600)
@settings(max_examples=1500)
@given(st.integers(2, 8).flatmap(lambda n: st.tuples(st.just(n), programs(n, most=60))), st.sampled_from(STATES))
def test_clients_in_one_thread_in_full(room: Room, plan: tuple[int, list[Step]], state: State) -> None:
    clients, program = plan
    play(room, state, program, clients)


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("clients", [2, 3, 5, 8])
def test_long_histories_in_one_thread_in_full(room: Room, clients: int) -> None:
    for seed in range(100, 130):
        play(room, STATES[seed % 4], random_program(random.Random(f"{clients}-{seed}"), clients, 400), clients)


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("clients", [2, 3, 5, 8])
def test_clients_in_threads_in_full(room: Room, clients: int) -> None:
    for seed in range(100, 115):
        play_threads(room, STATES[seed % 4], seed, clients, 60)
