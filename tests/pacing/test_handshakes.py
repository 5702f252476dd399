"""The work of connecting, between two turns of an event loop."""

from __future__ import annotations

import asyncio
import gc
import inspect
import socket
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import dsql_fast
from dsql_fast import _handshakes
from dsql_fast._handshakes import Gate, Handshake, gate_of
from waiting import eventually_async

if TYPE_CHECKING:
    from dsql_fast.local import LocalCluster

BUDGET = 0.004
STEP = 0.001


class Clock:
    """Goes on when somebody works."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> None:
        self.now += seconds


async def connect(clock: Clock, steps: int, seconds: float, name: int, log: list[int]) -> int:
    """Do so many steps of work, each of them when something has come."""
    for _ in range(steps):
        clock.work(seconds)
        log.append(name)
        came = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(came.set_result, None)
        await came
    return name


async def turns(clock: Clock, longest: list[float]) -> None:
    """Somebody else on the loop, who wants every turn."""
    while True:
        began = clock.now
        await asyncio.sleep(0)
        longest.append(clock.now - began)


@pytest.mark.parametrize("step", [STEP / 4, STEP, 3 * STEP, 3 * BUDGET])
def test_so_much_work_in_a_turn_and_everybody_ends(step: float) -> None:
    clock = Clock()
    gate = Gate(BUDGET, clock)

    async def main() -> tuple[list[int], list[float]]:
        longest: list[float] = []
        other = asyncio.create_task(turns(clock, longest))
        log: list[int] = []
        done = await asyncio.gather(
            *(Handshake(gate).run(connect(clock, 3, step, name, log)) for name in range(50))
        )
        other.cancel()
        assert done == list(range(50))
        return log, longest

    log, longest = asyncio.run(main())
    assert len(log) == 150
    # The budget, and the step that goes past it; what a step takes is not known before the first ones.
    settled = longest[len(longest) // 4 :]
    assert max(settled) <= BUDGET + step + 1e-9
    # No one's second step before everybody's first.
    assert log[:50] == list(range(50))


def test_long_and_short_steps_in_a_turn() -> None:
    """What the last steps took says nothing about the next one."""
    clock = Clock()
    gate = Gate(BUDGET, clock)

    async def main() -> list[float]:
        longest: list[float] = []
        other = asyncio.create_task(turns(clock, longest))
        steps = [(BUDGET / 100 if name % 40 < 30 else STEP) for name in range(200)]
        await asyncio.gather(*(Handshake(gate).run(connect(clock, 3, step, 0, [])) for step in steps))
        other.cancel()
        return longest

    longest = asyncio.run(main())
    assert max(longest) <= BUDGET + STEP + 1e-9
    assert len(longest) < 2 * sum(longest) / BUDGET  # and the time of a turn is used


def test_who_is_alone_never_waits() -> None:
    clock = Clock()
    gate = Gate(BUDGET, clock)

    async def main() -> None:
        await Handshake(gate).run(connect(clock, 5, STEP, 0, []))
        assert not gate._waiting

    asyncio.run(main())


def test_results_and_errors_come_through() -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise LookupError("as it was")

    async def main() -> None:
        gate = Gate()
        assert await Handshake(gate).run(asyncio.sleep(0, "result")) == "result"
        with pytest.raises(LookupError, match="as it was"):
            await Handshake(gate).run(fails())

    asyncio.run(main())


async def hold(gate: Gate) -> None:
    """Use up the time of this turn, and have no other come."""
    while gate._turning:  # noqa: ASYNC110 (turns of the loop are what is counted)
        await asyncio.sleep(0)
    gate._turning = True
    gate._spent = BUDGET


def release(gate: Gate) -> None:
    gate._turning = False
    gate._turn_soon()


@pytest.mark.parametrize("begun", [False, True])
def test_a_cancelled_one_that_waits_leaves_nothing_behind(begun: bool) -> None:
    gate = Gate(BUDGET, Clock())
    cleaned: list[str] = []

    async def main() -> None:
        came = asyncio.get_running_loop().create_future()

        async def watched() -> None:
            try:
                await came
                raise AssertionError("not to go on")
            finally:
                cleaned.append("up")

        task = asyncio.create_task(Handshake(gate).run(watched()))
        if not begun:
            await hold(gate)
        await asyncio.sleep(0)
        if begun:
            await hold(gate)
            came.set_result(None)
        await eventually_async(lambda: len(gate._waiting) == 1)
        behind = gate.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        release(gate)
        await behind
        assert not gate._waiting

    asyncio.run(main())
    assert cleaned == (["up"] if begun else [])  # what has not begun has nothing to clean up


def test_who_waits_for_its_turn_is_not_woken_by_its_socket() -> None:
    ours, theirs = socket.socketpair()
    gate = Gate(BUDGET, Clock())

    async def main() -> None:
        loop = asyncio.get_running_loop()
        handshake = Handshake(gate)
        handshake.fileno = ours.fileno()

        async def reads() -> None:
            came = asyncio.Event()
            loop.add_reader(ours, came.set)
            try:
                await came.wait()
            finally:
                assert not loop.remove_reader(ours)  # it was off while it waited

        task = asyncio.create_task(handshake.run(reads()))
        await asyncio.sleep(0)
        await hold(gate)
        theirs.send(b"x")
        await eventually_async(lambda: len(gate._waiting) == 1)
        release(gate)
        await task

    with ours, theirs:
        asyncio.run(main())


def test_a_gate_for_each_loop_and_host() -> None:
    async def main() -> int:
        one = gate_of("one.host")
        assert gate_of("one.host") is one
        assert gate_of("another.host") is not one
        return id(one)

    asyncio.run(main())
    gc.collect()
    assert not len(_handshakes._gates)


def test_a_server_that_does_not_answer_keeps_nobody_waiting(fresh_cluster: Any) -> None:
    cluster: LocalCluster = fresh_cluster(rate=None, handshake_seconds=None)
    cluster.faults.silence_connections(5)

    async def main() -> None:
        connects = [asyncio.create_task(dsql_fast.connect_async(**cluster.connect_kwargs())) for _ in range(45)]
        await eventually_async(lambda: sum(task.done() for task in connects) == 40)
        assert not gate_of(cluster.host)._waiting
        for task in connects:
            if task.done():
                await task.result().close()
            else:
                task.cancel()
        ended = await asyncio.gather(*connects, return_exceptions=True)
        assert sum(isinstance(each, asyncio.CancelledError) for each in ended) == 5

    asyncio.run(main())


class Watched(dsql_fast.AsyncConnection[Any]):
    """Counts how often libpq is asked."""

    asked: list[int]

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> Any:
        steps = super()._connect_gen(conninfo)
        waits = next(steps)
        try:
            while True:
                cls.asked.append((yield waits))
                waits = steps.send(cls.asked[-1])
        except StopIteration as end:
            return end.value


def test_a_connect_whose_server_takes_its_time_is_left_alone(fresh_cluster: Any) -> None:
    cluster: LocalCluster = fresh_cluster(rate=None)
    cluster.faults.latency(connect=2.0)
    Watched.asked = []

    async def main() -> None:
        async with await Watched.connect(**cluster.connect_kwargs()):
            pass

    asyncio.run(main())
    # psycopg alone asks ten times a second; so it does at most once in each of the few waits of a connect.
    assert len(Watched.asked) <= 6


def test_a_connect_that_is_left_alone_ends_in_its_time(fresh_cluster: Any) -> None:
    cluster: LocalCluster = fresh_cluster(rate=None, handshake_seconds=None)
    cluster.faults.silence_connections(1)
    Watched.asked = []

    async def main() -> None:
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            await Watched.connect(**cluster.connect_kwargs(), connect_timeout=2, pacing=False)

    asyncio.run(main())
    assert len(Watched.asked) <= 6


def test_a_connect_that_is_left_alone_can_be_cancelled(fresh_cluster: Any) -> None:
    cluster: LocalCluster = fresh_cluster(rate=None, handshake_seconds=None)
    cluster.faults.silence_connections(1)

    async def main() -> None:
        task = asyncio.create_task(dsql_fast.connect_async(**cluster.connect_kwargs()))
        await asyncio.sleep(0.3)  # psycopg's first wake comes after 0.1 s
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with await dsql_fast.connect_async(**cluster.connect_kwargs()):
            pass

    asyncio.run(main())


def test_psycopgs_part() -> None:
    """What is overridden of psycopg: there, and of the form that it was written for."""
    assert list(inspect.signature(psycopg.AsyncConnection._connect_gen).parameters) == ["conninfo"]
    steps = psycopg.AsyncConnection._connect_gen("host=127.0.0.1 port=9")
    assert inspect.isgenerator(steps)
    steps.close()


@pytest.mark.parametrize("where", ["on the loop", "after it"])
@pytest.mark.parametrize("at", ["the network", "the gate"])
def test_a_connect_that_is_closed_waits_for_no_turn(where: str, at: str) -> None:
    """As Python closes what a loop left behind: a coroutine that goes on waiting then is an error."""
    ended = []

    async def connecting() -> None:
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(3600)
        finally:
            ended.append("here")

    async def main() -> Any:
        steps = Handshake(Gate(budget=0.0)).run(connecting())  # each step in a turn of its own
        for _ in range(4 if at == "the network" else 3):  # a turn, sleep(0), a turn, sleep(3600)
            steps.send(None)
            await asyncio.sleep(0)
        assert not ended
        if where == "on the loop":
            steps.close()
        return steps

    asyncio.run(main()).close()
    assert ended == ["here"]
