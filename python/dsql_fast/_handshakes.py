"""How much of connecting is done between two turns of an event loop.

A TLS handshake is a millisecond or so of work in a few steps; in between it waits for the network. When a hundred
answers are there at once, a hundred steps would run in one turn of the loop, and everything else would wait for
all of them. Here only so many run in a turn; the others get theirs in the next ones, first come first served.

What is bounded is the work, never how many wait for the network: one that waits holds nothing, so a server that
does not answer delays nobody, and a slow network is not made slower.

A driver that looks after each waiting connect ten times a second, as psycopg does, keeps a loop busy that has a
thousand of them. Where it is known which socket is waited for, the connect is left alone until that has something,
or its time is up.
"""

from __future__ import annotations

import asyncio
import select
import time
from collections import deque
from contextvars import ContextVar
from types import coroutine
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from contextvars import Context

T = TypeVar("T")

# Seconds of work in one turn. A single step is not divided, and takes about one or two milliseconds.
_BUDGET = 0.002
# Seconds after which a connect that is woken is not believed to have been woken by its socket. psycopg wakes them
# after a tenth of a second.
_LONG = 0.05

_gates: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Gate]] = WeakKeyDictionary()
current: ContextVar[Handshake | None] = ContextVar("dsql_fast_handshake", default=None)


def gate_of(host: str) -> Gate:
    """Return what bounds the work of connects to a host on the running loop."""
    loop = asyncio.get_running_loop()
    gates = _gates.get(loop)
    if gates is None:
        gates = _gates[loop] = {}
    return gates.get(host) or gates.setdefault(host, Gate())


class Turn(asyncio.Future[None]):
    """What one waits for at a gate. The task that awaits it goes on within `come`, not when the loop comes to it.

    So the gate sees what each step took before it lets the next one in: a step may take 30 us or 1.5 ms, and how
    many of them fit into a turn cannot be told beforehand.
    """

    _waker: Callable[[Any], object] | None = None
    _context: Context | None = None

    def add_done_callback(self, fn: Callable[[Any], object], /, *, context: Context | None = None) -> None:
        """Keep the first one, the task's; asyncio does as always with others."""
        if self._waker is None and not self.done():
            self._waker, self._context = fn, context
        else:
            super().add_done_callback(fn, context=context)

    def remove_done_callback(self, fn: Callable[[Any], object], /) -> int:
        """As asyncio does."""
        if self._waker is None or self._waker != fn:
            return super().remove_done_callback(fn)
        self._waker = None
        return 1 + super().remove_done_callback(fn)

    def cancel(self, msg: Any | None = None) -> bool:
        """As asyncio does: who awaits it goes on in the next turn of the loop."""
        if not super().cancel(msg):
            return False
        if self._waker is not None:
            super().add_done_callback(self._waker, context=self._context)
            self._waker = None
        return True

    def come(self) -> None:
        """Let the task go on, now."""
        self.set_result(None)
        waker, context, self._waker = self._waker, self._context, None
        if waker is None:
            return
        if context is None:
            waker(self)
        else:
            context.run(waker, self)


class Gate:
    """Lets so much work through in each turn of a loop. For one loop, and used on it only.

    It does not keep the loop: what refers to one are only the futures of those who wait.

    Args:
        budget: seconds of work in one turn.
        clock: seconds.
    """

    __slots__ = ("_budget", "_clock", "_spent", "_turning", "_waiting")

    def __init__(self, budget: float = _BUDGET, clock: Callable[[], float] = time.perf_counter) -> None:
        self._budget = budget
        self._clock = clock
        self._spent = 0.0
        self._turning = False
        self._waiting: deque[Turn] = deque()

    @property
    def is_open(self) -> bool:
        """Whether a step may run in this turn: there is time, and nobody was there before."""
        return self._spent < self._budget and not self._waiting

    def wait(self) -> Turn:
        """Join those who wait. The future is done when it is one's turn; cancelled, it leaves nothing behind."""
        turn = Turn(loop=asyncio.get_running_loop())
        self._waiting.append(turn)
        self._turn_soon()
        return turn

    def begin(self) -> float:
        """Begin a step; returns what `end` is to be given."""
        return self._clock()

    def end(self, began: float) -> float:
        """End a step; returns when."""
        now = self._clock()
        self._spent += now - began
        self._turn_soon()
        return now

    def _turn_soon(self) -> None:
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Begin a new turn, and let in those who waited, one after the other, until its time is used up."""
        self._spent = 0.0
        waiting = self._waiting
        try:
            while waiting:
                turn = waiting.popleft()
                if not turn.done():  # cancelled
                    turn.come()
                    if self._spent >= self._budget:
                        break
        finally:
            self._turning = False
            if waiting or self._spent:
                self._turn_soon()


class Handshake:
    """One connect on a loop. While a step of it runs, it is `current`.

    Args:
        gate: which bounds its work.
        patience: seconds after which the driver gives up one address, if it need not be woken before that, or
            before the socket has something.

    Attributes:
        fileno: the socket that it waits for, where known.
        came: set where the socket had something while the driver was left alone, and was not told.
        rest: what the driver's connection string lacks, if something; its adapter's.
    """

    __slots__ = ("_gate", "_is_for_writing", "_patience", "_until", "came", "fileno", "rest")

    def __init__(self, gate: Gate, patience: float | None = None) -> None:
        self._gate = gate
        self._is_for_writing = False
        self._patience = patience
        self._until: float | None = None
        self.came = False
        self.fileno: int | None = None
        self.rest: str | None = None

    def begin(self) -> None:
        """Take note that the driver turns to an address: its time begins."""
        if self._patience is not None:
            self._until = asyncio.get_running_loop().time() + self._patience

    def waits_for(self, fileno: int, *, is_for_writing: bool) -> None:
        """Take note of what the connect waits for from now on."""
        self.fileno = fileno
        self._is_for_writing = is_for_writing
        self.came = False

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
                ended = gate.end(began)
            try:
                yield awaited
                if self._until is not None and gate.begin() - ended > _LONG:
                    yield from self._stay()
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
            loop = asyncio.get_running_loop()
            if self._is_for_writing:
                loop.remove_writer(self.fileno)
            else:
                loop.remove_reader(self.fileno)
        yield from gate.wait()

    def _stay(self) -> Generator[Any, None, None]:
        """Wait on in the driver's place, if it was woken though its socket has nothing for it."""
        if self.fileno is None or self._is_ready(self.fileno):
            return
        loop = asyncio.get_running_loop()
        if self._until is None or loop.time() >= self._until:
            return
        came = loop.create_future()
        # In the place of the driver's own callback. It takes the socket off when it goes on.
        (loop.add_writer if self._is_for_writing else loop.add_reader)(self.fileno, self._come, came)
        timer = loop.call_at(self._until, _end, came)
        try:
            yield from came
        finally:
            timer.cancel()

    def _is_ready(self, fileno: int) -> bool:
        if not hasattr(select, "poll"):
            return True  # Windows: every wake counts
        asking = select.poll()
        asking.register(fileno, select.POLLOUT if self._is_for_writing else select.POLLIN)
        return bool(asking.poll(0))

    def _come(self, came: asyncio.Future[None]) -> None:
        self.came = True
        _end(came)


def _end(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


def _thrown(connecting: Coroutine[Any, Any, Any], error: BaseException) -> Callable[[], Any]:
    return lambda: connecting.throw(error)
