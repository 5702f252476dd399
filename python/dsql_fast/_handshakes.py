"""How much of connecting is done between two turns of an event loop.

A TLS handshake is a millisecond or so of work in a few steps; in between it waits for the network. When a hundred
answers are there at once, a hundred steps would run in one turn of the loop, and everything else would wait for
all of them. Here only so many run in a turn; the others get theirs in the next ones, first come first served.

What is bounded is the work, never how many wait for the network: one that waits holds nothing, so a server that
does not answer delays nobody, and a slow network is not made slower.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextvars import ContextVar
from types import coroutine
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

T = TypeVar("T")

# Seconds of work in one turn. A single step is not divided, and takes about one or two milliseconds.
_BUDGET = 0.002
# How much the last step counts in the mean that the next turn's number is taken from.
_WEIGHT = 0.1

_gates: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Gate]] = WeakKeyDictionary()
current: ContextVar[Handshake | None] = ContextVar("dsql_fast_handshake", default=None)


def gate_of(host: str) -> Gate:
    """Return what bounds the work of connects to a host on the running loop."""
    loop = asyncio.get_running_loop()
    gates = _gates.get(loop)
    if gates is None:
        gates = _gates[loop] = {}
    return gates.get(host) or gates.setdefault(host, Gate())


class Gate:
    """Lets so much work through in each turn of a loop. For one loop, and used on it only.

    It does not keep the loop: what refers to one are only the futures of those who wait.

    Args:
        budget: seconds of work in one turn.
        clock: seconds.
    """

    __slots__ = ("_budget", "_clock", "_mean", "_spent", "_turning", "_waiting")

    def __init__(self, budget: float = _BUDGET, clock: Callable[[], float] = time.perf_counter) -> None:
        self._budget = budget
        self._clock = clock
        self._mean = budget / 4
        self._spent = 0.0
        self._turning = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def is_open(self) -> bool:
        """Whether a step may run in this turn: there is time, and nobody was there before."""
        return self._spent < self._budget and not self._waiting

    def wait(self) -> asyncio.Future[None]:
        """Join those who wait. The future is done when it is one's turn; cancelled, it leaves nothing behind."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self._turn_soon()
        return waiting

    def begin(self) -> float:
        """Begin a step; returns what `end` is to be given."""
        return self._clock()

    def end(self, began: float) -> None:
        """End a step."""
        took = self._clock() - began
        self._spent += took
        self._mean += _WEIGHT * (took - self._mean)
        self._turn_soon()

    def _turn_soon(self) -> None:
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Begin a new turn, and let in those who waited longest, as many as the time allows."""
        self._turning = False
        self._spent = 0.0
        left = max(1, int(self._budget / self._mean)) if self._mean > 0 else 1
        while left and self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():  # cancelled
                waiting.set_result(None)
                left -= 1
        if self._waiting:
            self._turn_soon()


class Handshake:
    """One connect on a loop. While a step of it runs, it is `current`.

    Attributes:
        fileno: the socket that it waits for, where known.
    """

    __slots__ = ("_gate", "fileno")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.fileno: int | None = None

    @coroutine
    def run(self, connecting: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
        """Run a connect, each step of it when the gate is open."""
        gate = self._gate
        step: Callable[[], Any] = lambda: connecting.send(None)  # noqa: E731 (the other one closes over an error)
        is_ending = False  # cancelled: it goes at once, and takes no turn
        while True:
            if not is_ending and not gate.is_open:
                try:
                    yield from self._wait(gate)
                except GeneratorExit:
                    connecting.close()
                    raise
                except BaseException as error:  # noqa: BLE001 (cancelled: it is for the connect to clean up)
                    step = _thrown(connecting, error)
            began = gate.begin()
            outer = current.set(self)
            try:
                awaited = step()
            except StopIteration as end:
                result: T = end.value
                return result
            finally:
                current.reset(outer)
                gate.end(began)
            try:
                yield awaited
            except GeneratorExit:
                # Python closes what a loop left behind: nothing is to be waited for, and there may be no loop.
                connecting.close()
                raise
            except BaseException as error:  # noqa: BLE001 (the same)
                step = _thrown(connecting, error)
                is_ending = True
            else:
                step = lambda: connecting.send(None)  # noqa: E731

    def _wait(self, gate: Gate) -> Generator[Any, None, None]:
        if self.fileno is not None:
            # What has come stays there to be read, and would wake the loop in every turn until it is. The connect
            # takes the socket off itself when it goes on: it does not mind that it is off.
            asyncio.get_running_loop().remove_reader(self.fileno)
            asyncio.get_running_loop().remove_writer(self.fileno)
        yield from gate.wait()


def _thrown(connecting: Coroutine[Any, Any, Any], error: BaseException) -> Callable[[], Any]:
    return lambda: connecting.throw(error)
