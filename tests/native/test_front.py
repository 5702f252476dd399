"""The token in front of the cache (`src/front.rs`), which the system's clock alone is read for."""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import Future
from itertools import count

from dsql_fast._native import Lease, TokenCache
from waiting import eventually

LIFE = 900.0


class Numbered(TokenCache):
    """Makes `1`, `2` ..., each of them signed as long ago as `age` says."""

    age = 0.0
    made = 0

    def __init__(self) -> None:
        self.numbers = count(1)

    def _on_miss(self, _stale: str | None, lease: Lease | None, /) -> str:
        if lease is None:
            waiting: Future[str] = Future()
            joined = self._join(waiting)
            return self.token() if joined is None else str(joined.result(30))  # type: ignore[attr-defined]
        # In one step: the holder of a lease that was disowned may be here at the same time.
        self.made = next(self.numbers)
        token = str(self.made)
        signed_at = time.time() - self.age
        waiters = lease.fulfil(token, signed_at, signed_at + LIFE)
        if isinstance(waiters, Future):
            waiters.set_result(token)
        return token


def test_what_is_forgotten_is_not_served_again() -> None:
    source = Numbered()
    for number in range(1, 50):
        token = source.token()
        assert token == str(number)
        assert source.token() is source.token() is token
        source.invalidate()


def test_what_replaces_it_is_served_at_once() -> None:
    source = Numbered()
    source.token()
    source.token()
    references = sys.getrefcount(source.token())
    source.invalidate()
    lease = source._get()[1]
    assert lease is not None
    made = f"made {references} elsewhere"
    lease.fulfil(made, time.time(), time.time() + LIFE)
    assert source.token() is made
    assert source.token() is made


def test_it_is_served_no_longer_than_it_is_fresh() -> None:
    source = Numbered()
    source.age = 0.8 * LIFE - 2.5  # seconds to go before it is to be renewed
    first = source.token()
    assert source.token() is first
    eventually(lambda: source.token() != first)
    assert source.made == 2


def test_a_stale_one_is_not_kept_in_front() -> None:
    source = Numbered()
    source.age = 0.85 * LIFE
    assert [source.token() for _ in range(5)] == ["1", "2", "3", "4", "5"]


def test_a_fork_reads_it_and_makes_its_own_changes() -> None:
    source = Numbered()
    token = source.token()
    assert source.token() is token
    child = os.fork()
    if child == 0:  # pragma: no cover
        kept = source.token() is token
        source.invalidate()
        os._exit(0 if kept and source.token() == "2" and source.token() == "2" else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert source.token() is token


def test_no_thread_gets_what_was_forgotten_before_it_asked() -> None:
    source = Numbered()
    forgotten = 0
    wrong: list[tuple[int, str]] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            for _ in range(100):
                floor = forgotten
                token = source.token()
                if int(token) <= floor:
                    wrong.append((floor, token))

    readers = [threading.Thread(target=read, daemon=True) for _ in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for reader in readers:
            reader.start()
        for _ in range(3_000):
            known = int(source.token())
            source.invalidate()
            forgotten = known
    finally:
        sys.setswitchinterval(interval)
        over.set()
        for reader in readers:
            reader.join(60)
    assert not wrong
