"""Transactions of one kind that keep colliding take turns, within this process.

Aurora DSQL has no locks, so of those that want one row at the same time one is committed, and the work of all the
others was for nothing. Who waits before trying again spreads them, but does not know how many they are: the one
that was committed begins its next at once, and wins again, while the others use up their attempts. Within one
process that can be known. So transactions of one kind, which is one function on one pool, have a *width*: how many
may be under way at once. It is without bound until two collide; each collision makes it smaller, each transaction
that did not collide makes it larger, by so much that it comes to rest where two attempts in five are in vain.
Those that find no room wait, first come, first served.

For a row that all write that is a width of 1 or 2. Where rows are many, collisions are few, and nobody waits. It
is a courtesy, not a lock: nobody waits for longer than his policy's `max_delay`, and then goes on all the same, so
that a transaction inside of another one of its kind, or behind one that takes long, is late and not stuck.
"""

from __future__ import annotations

import asyncio
import functools
import math
import threading
from collections import deque
from contextlib import asynccontextmanager, contextmanager
from types import CodeType
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

IN_VAIN = 0.4
"""The share of attempts in vain at which the width comes to rest. More keeps more rows busy where a few are hot;
less saves work. Decision 0008 has what was tried."""


class Waiter(Protocol):
    """One who waits for room."""

    def wake(self) -> None:
        """Let him go on; called once, by whom leaves."""


class Turns:
    """How many of one kind are under way, and who waits. Pure but for a lock: nobody waits in here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._width = math.inf
        self._under_way = 0
        self._waiting: deque[Waiter] = deque()

    @property
    def width(self) -> float:
        """How many may be under way, as far as is known; its whole part counts."""
        return self._width

    def enters(self, waiter: Waiter) -> bool:
        """Let one in if there is room, else have him wait until he is woken."""
        with self._lock:
            if not self._waiting and self._has_room:
                self._under_way += 1
                return True
            self._waiting.append(waiter)
            return False

    def goes_on(self, waiter: Waiter) -> None:
        """One has waited long enough, and goes on without room."""
        with self._lock:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                self._under_way += 1

    def gives_up(self, waiter: Waiter) -> None:
        """One does not want to go on (he was interrupted)."""
        with self._lock:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                return
            self._under_way -= 1  # he was let in meanwhile
            woken = self._let_in()
        for each in woken:
            each.wake()

    def leaves(self, *, collided: bool) -> None:
        """One is over, and the next come in."""
        with self._lock:
            self._learn(collided=collided)
            self._under_way -= 1
            woken = self._let_in()
        for each in woken:
            each.wake()

    def _learn(self, *, collided: bool) -> None:
        if collided:
            known = self._under_way if math.isinf(self._width) else self._width
            self._width = max(1.0, known - (1 - IN_VAIN))
        elif self._waiting or self._under_way * 2 >= self._width:
            # Else nothing was learnt: it was not near its bound.
            self._width += IN_VAIN

    def _let_in(self) -> list[Waiter]:
        woken = []
        while self._waiting and self._has_room:
            woken.append(self._waiting.popleft())
            self._under_way += 1
        return woken

    @property
    def _has_room(self) -> bool:
        return self._under_way + 1 <= self._width


class Turn:
    """The turns that one transaction takes, one for each of its attempts.

    Args:
        turns: of its kind; None waits for nobody.
        longest: seconds that it waits at most.
    """

    def __init__(self, turns: Turns | None, longest: float) -> None:
        self._turns = turns
        self._longest = longest
        self._collided = False

    def collided(self) -> None:
        """Take note that this attempt lost against another transaction."""
        self._collided = True

    @contextmanager
    def taken(self, time_left: float | None) -> Iterator[None]:
        """Wait for room, no longer than until the deadline, and give it back."""
        turns = self._turns
        if turns is None:
            yield
            return
        waiter = _Thread()
        if not turns.enters(waiter):
            try:
                woken = waiter.event.wait(self._limit(time_left))
            except BaseException:
                turns.gives_up(waiter)
                raise
            if not woken:
                turns.goes_on(waiter)
        self._collided = False
        try:
            yield
        finally:
            turns.leaves(collided=self._collided)

    @asynccontextmanager
    async def taken_async(self, time_left: float | None) -> AsyncIterator[None]:
        """As `taken`."""
        turns = self._turns
        if turns is None:
            yield
            return
        waiter = _Task()
        if not turns.enters(waiter):
            try:
                done, _ = await asyncio.wait([waiter.future], timeout=self._limit(time_left))
            except BaseException:
                turns.gives_up(waiter)
                raise
            if not done:
                turns.goes_on(waiter)
        self._collided = False
        try:
            yield
        finally:
            turns.leaves(collided=self._collided)

    def _limit(self, time_left: float | None) -> float:
        # Half of what is left until the deadline: no attempt begins after it, and this one is to.
        return self._longest if time_left is None else min(self._longest, time_left / 2)


class _Thread:
    def __init__(self) -> None:
        self.event = threading.Event()

    def wake(self) -> None:
        self.event.set()


class _Task:
    def __init__(self) -> None:
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(self) -> None:
        # All who share a pool share its loop.
        if not self.future.done():
            self.future.set_result(None)


_kinds: WeakKeyDictionary[Any, WeakKeyDictionary[Any, Turns]] = WeakKeyDictionary()


def turns_of(pool: Any, fn: Any) -> Turns | None:
    """Return the turns of a function's transactions on a pool.

    A function is known by its code, so that a lambda or a method is the same at each call; a block by the code
    that it stands in.

    Returns:
        None for a pool that cannot be told from another (asyncpg's own).
    """
    kind = _code(fn)
    # No lock: one that is held at a fork stays held. Each of these is one operation of a dict.
    try:
        kinds = _kinds.get(pool)
    except TypeError:
        return None
    if kinds is None:
        kinds = _kinds.setdefault(pool, WeakKeyDictionary())
    turns = kinds.get(kind)
    return kinds.setdefault(kind, Turns()) if turns is None else turns


def _code(fn: Any) -> Any:
    while isinstance(fn, functools.partial):
        fn = fn.func
    if isinstance(fn, CodeType):
        return fn
    fn = getattr(fn, "__func__", fn)
    return getattr(fn, "__code__", None) or type(fn)
