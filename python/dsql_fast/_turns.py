"""Transactions of one kind that keep colliding take turns, within this process.

Aurora DSQL has no locks, so of those that want one row at the same time one is committed, and the work of all the
others was for nothing. Who waits before trying again spreads them, but does not know how many they are: the one
that was committed begins its next at once, and wins again, while the others use up their attempts. Within one
process that can be known. So transactions of one kind, which is one function on one pool, have a *width*: how many
may be under way at once. It is without bound until two collide; each collision makes it smaller, each transaction
that did not collide makes it larger, by so much that it comes to rest where two attempts in five are in vain.
Those that find no room wait, first come, first served.

For a row that all write that would be a width of 1 and 2 by turns, and two at a time commit no more than one does.
So each time that two at a time came to nothing, it takes twice as long until two are let in again. Where rows are
many, collisions are few, and nobody waits.

It is a courtesy, not a lock: who has seen nobody get on for as long as his policy's `max_delay` goes on all the
same. So a transaction inside of another one of its kind, or behind one that takes long, is late and not stuck.
"""

from __future__ import annotations

import asyncio
import functools
import math
import threading
import time
from collections import deque
from types import CodeType
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable

IN_VAIN = 0.4
"""The share of attempts in vain at which the width comes to rest. More keeps more rows busy where a few are hot;
less saves work. Decision 0008 has what was tried."""

# Widths at which more than one is under way, and at which that has been seen to be worth it.
_TWO, _THREE = 2, 3
MOST_DOUBT = 16.0
"""How many times as long it takes at most until two are let in again, where that came to nothing before."""


class Waiter(Protocol):
    """One who waits for room."""

    def wake(self) -> None:
        """Let him go on; called once, by whom leaves."""


class Turns:
    """How many of one kind are under way, and who waits. Pure but for a lock: nobody waits in here.

    Attributes:
        over: how many are, of all that had room.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._width = math.inf
        self._doubt = 1.0
        self._under_way = 0
        self.over = 0
        self._waiting: deque[Waiter] = deque()

    @property
    def width(self) -> float:
        """How many may be under way, as far as is known; its whole part counts."""
        return self._width

    def enters_now(self, *, again: bool = False) -> bool:
        """Let one in if there is room; else he may wait (`enters`)."""
        with self._lock:
            return self._enters_now(again=again)

    def _enters_now(self, *, again: bool) -> bool:
        if self._has_room and (again or not self._waiting):
            self._under_way += 1
            return True
        return False

    def enters(self, waiter: Waiter, *, again: bool = False) -> bool:
        """Let one in if there is room, else have him wait until he is woken.

        Args:
            waiter: he.
            again: he collided before, so he came before those who wait, and goes before them.
        """
        with self._lock:
            if self._enters_now(again=again):
                return True
            if again:
                self._waiting.appendleft(waiter)
            else:
                self._waiting.append(waiter)
            return False

    def goes_on(self, waiter: Waiter) -> bool:
        """One has waited long enough, and goes on without room.

        Returns:
            Whether he has got room meanwhile. If not, he is not among those under way: else, where many wait for
            too long, each of them would keep the next from beginning while he does what is in vain.
        """
        with self._lock:
            if waiter not in self._waiting:
                return True
            self._waiting.remove(waiter)
            return False

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
        """One who had room is over, and the next come in."""
        with self._lock:
            self.over += 1
            self._learn(collided=collided)
            self._under_way -= 1
            woken = self._let_in()
        for each in woken:
            each.wake()

    def _learn(self, *, collided: bool) -> None:
        if collided:
            known = self._under_way if math.isinf(self._width) else self._width
            self._width = max(1.0, known - (1 - IN_VAIN))
            if self._width < _TWO <= known:
                self._doubt = min(self._doubt * 2, MOST_DOUBT)
        elif self._waiting or self._under_way * 2 >= self._width:
            # Else nothing was learnt: it was not near its bound.
            self._width += IN_VAIN / self._doubt if self._width < _TWO else IN_VAIN
            if self._width >= _THREE:
                self._doubt = 1.0

    def _let_in(self) -> list[Waiter]:
        woken = []
        while self._waiting and self._has_room:
            woken.append(self._waiting.popleft())
            self._under_way += 1
        return woken

    @property
    def _has_room(self) -> bool:
        return self._under_way + 1 <= self._width


class Patience:
    """How long one waits for room: until nobody has got on for so long, or the end.

    Args:
        turns: where he waits.
        longest: seconds in which nobody gets on.
        most: seconds for the whole; None for any time.
        clock: monotonic seconds.
    """

    def __init__(
        self, turns: Turns, longest: float, most: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._turns = turns
        self._longest = longest
        self._clock = clock
        self._end = math.inf if most is None else clock() + most
        self._over: int | None = None

    def seconds(self) -> float | None:
        """Return how long to wait now; None if it is over."""
        over, rest = self._turns.over, self._end - self._clock()
        if over == self._over or rest <= 0:
            return None
        self._over = over
        return min(self._longest, rest)


class Turn:
    """The turns that one transaction takes, one for each of its attempts.

    Args:
        turns: of its kind; None waits for nobody.
        longest: seconds that it waits at most while nobody gets on.
    """

    def __init__(self, turns: Turns | None, longest: float) -> None:
        self._turns = turns
        self._longest = longest
        self._collided = False
        self._has_room = False

    def collided(self) -> None:
        """Take note that this attempt lost against another transaction."""
        self._collided = True

    def take(self, time_left: float | None) -> None:
        """Wait for room; no longer than half of what is left until the deadline. To be given back."""
        turns = self._turns
        if turns is None:
            return
        again, self._collided = self._collided, False
        self._has_room = turns.enters_now(again=again)
        if self._has_room:
            return
        waiter = _Thread()
        has_room = turns.enters(waiter, again=again)
        patience = self._patience(turns, time_left)
        try:
            while not has_room and (seconds := patience.seconds()) is not None:
                has_room = waiter.wait(seconds)
        except BaseException:
            turns.gives_up(waiter)
            raise
        self._has_room = has_room or turns.goes_on(waiter)

    async def take_async(self, time_left: float | None) -> None:
        """As `take`."""
        turns = self._turns
        if turns is None:
            return
        again, self._collided = self._collided, False
        self._has_room = turns.enters_now(again=again)
        if self._has_room:
            return
        waiter = _Task()
        has_room = turns.enters(waiter, again=again)
        patience = self._patience(turns, time_left)
        try:
            while not has_room and (seconds := patience.seconds()) is not None:
                done, _ = await asyncio.wait([waiter.future], timeout=seconds)
                has_room = bool(done)
        except BaseException:
            turns.gives_up(waiter)
            raise
        self._has_room = has_room or turns.goes_on(waiter)

    def give(self) -> None:
        """The attempt is over: the next come in."""
        if self._turns is not None and self._has_room:
            self._turns.leaves(collided=self._collided)

    def _patience(self, turns: Turns, time_left: float | None) -> Patience:
        # Half of what is left until the deadline: no attempt begins after it, and this one is to.
        return Patience(turns, self._longest, None if time_left is None else time_left / 2)


class _Thread:
    def __init__(self) -> None:
        self._asleep = threading.Lock()
        self._asleep.acquire()

    def wait(self, seconds: float) -> bool:
        """Wait until he is woken; tells whether he was."""
        return self._asleep.acquire(timeout=seconds)

    def wake(self) -> None:
        self._asleep.release()


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
