"""The cache through its native class: what Python sees of it, with threads and forks.

Its transitions are tested one by one, and against a model, in `src/cache/tests.rs`.
"""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from concurrent.futures import Future, wait
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest

from dsql_fast._errors import ConfigError
from dsql_fast._native import Lease, TokenCache

if TYPE_CHECKING:
    from collections.abc import Callable

START = 1_700_000_000.0
LIFE = 900.0


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class Source(TokenCache):
    """Makes tokens `t1`, `t2` ...; whoever meets a lease renews at once, whoever has to wait joins."""

    def __init__(self, host: str, *, clock: Callable[[], float] | None = None) -> None:
        self.host = host
        self.clock = clock or time.time
        self.made = 0
        self.seen: list[tuple[str | None, bool]] = []

    def _on_miss(self, stale: str | None, lease: Lease | None, /) -> str:
        self.seen.append((stale, lease is not None))
        if lease is None:
            future: Future[str] = Future()
            joined = self._join(future)
            if joined is None:
                return self.token()
            assert isinstance(joined, Future)
            return str(joined.result(30))
        self.made += 1
        token = f"t{self.made}"
        waiting = lease.fulfil(token, self.clock(), self.clock() + LIFE)
        if isinstance(waiting, Future):
            waiting.set_result(token)
        return token


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source(clock: Clock) -> Source:
    return Source("host", clock=clock)


def leased(cache: TokenCache) -> Lease:
    _, lease = cache._get()
    assert lease is not None
    return lease


def test_a_hit_returns_the_same_object(source: Source, clock: Clock) -> None:
    first = source.token()
    assert source.seen == [(None, True)]
    clock.now += 700
    assert source.token() is first
    assert source._get() == (first, None)
    assert source.made == 1
    clock.now += 20
    assert source.token() == "t2"
    assert source.seen == [(None, True), ("t1", True)]


def test_without_a_clock_it_goes_by_the_systems() -> None:
    source = Source("host")
    token = source.token()
    assert source.token() is token
    assert source.made == 1
    end = source.stats().expires_at
    assert end is not None
    assert abs(end.timestamp() - time.time() - LIFE) < 60


def test_the_decision_by_itself(source: Source, clock: Clock) -> None:
    token, lease = source._get()
    assert token is None
    assert lease is not None
    assert source._get() == (None, None)
    assert lease.fulfil("t", clock.now, clock.now + LIFE) is None
    assert source._get() == ("t", None)
    clock.now += 0.8 * LIFE
    stale, renewal = source._get()
    assert stale == "t"
    assert renewal is not None
    assert source._get() == ("t", None)
    assert renewal.fail(1.0) is None
    clock.now += 0.9
    assert source._get() == ("t", None)
    clock.now += 0.2
    assert source._get()[1] is not None
    clock.now = START + LIFE - 5
    assert source._get()[0] is None


def test_all_who_wait_share_one_future(source: Source, clock: Clock) -> None:
    assert source._join(Future()) is None
    lease = leased(source)
    first: Future[str] = Future()
    assert source._join(first) is first
    assert source._join(Future()) is first
    assert lease.fulfil("t", clock.now, clock.now + LIFE) is first
    assert lease.fulfil("t", clock.now, clock.now + LIFE) is None
    assert lease.fail(1.0) is None
    assert lease.abandon() is None
    assert source._join(Future()) is None


@pytest.mark.parametrize("settle", ["fail", "abandon"])
def test_giving_up_returns_those_who_wait(source: Source, settle: str) -> None:
    lease = leased(source)
    future: Future[str] = Future()
    source._join(future)
    assert (lease.fail(0.5) if settle == "fail" else lease.abandon()) is future
    assert not future.done()
    leased(source)
    assert source.stats().failures == (settle == "fail")


def test_a_lost_lease_cancels_those_who_wait(source: Source) -> None:
    lease = leased(source)
    future: Future[str] = Future()
    source._join(future)
    del lease
    gc.collect()
    assert future.cancelled()
    leased(source)


def test_a_future_that_cannot_be_cancelled_is_reported_not_raised(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", reported.append)
    lease = leased(source)
    source._join(object())
    del lease
    gc.collect()
    assert [type(report.exc_value) for report in reported] == [AttributeError]


def test_a_hanging_lease_is_taken_over(clock: Clock) -> None:
    cache = TokenCache(clock=clock, lease_timeout=10)
    hanging = leased(cache)
    clock.now += 9
    assert cache._get() == (None, None)
    clock.now += 1
    successor = leased(cache)
    assert hanging.fulfil("late", clock.now, clock.now + LIFE) is None
    assert cache._get() == (None, None)
    successor.fulfil("t", clock.now, clock.now + LIFE)
    assert cache._get() == ("t", None)


def test_invalidate(source: Source, clock: Clock) -> None:
    assert source.token() == "t1"
    clock.now += 0.8 * LIFE
    _, lease = source._get()
    assert lease is not None
    source.invalidate()
    lease.fulfil("old keys", clock.now, clock.now + LIFE)
    assert source.token() == "t2"
    assert source.stats().issued == 2


def test_stats(source: Source, clock: Clock) -> None:
    stats = source.stats()
    assert (stats.issued, stats.renewals, stats.failures, stats.expires_at) == (0, 0, 0, None)
    assert stats == source.stats()
    source.token()
    clock.now += 0.8 * LIFE
    lease = leased(source)
    lease.fail(0.0)
    source.token()
    stats = source.stats()
    assert (stats.issued, stats.renewals, stats.failures) == (2, 1, 1)
    assert stats.expires_at == datetime.fromtimestamp(clock.now + LIFE, timezone.utc)
    assert repr(stats).startswith("Stats(issued=2, renewals=1, failures=1, expires_at=2023-11-14 ")
    assert stats != source


def test_async_only_leaves_every_call_to_on_miss(clock: Clock) -> None:
    class AsyncOnly(TokenCache):
        def _on_miss(self, stale: str | None, lease: Lease | None, /) -> str:
            assert (stale, lease) == (None, None)
            raise ConfigError("await token_async()")

    cache = AsyncOnly(clock=clock, async_only=True)
    leased(cache).fulfil("t", clock.now, clock.now + LIFE)
    assert cache._get() == ("t", None)
    with pytest.raises(ConfigError):
        cache.token()


def test_the_base_class_makes_nothing() -> None:
    with pytest.raises(NotImplementedError):
        TokenCache().token()


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_refuses_bad_timeouts(timeout: float) -> None:
    with pytest.raises(ConfigError):
        TokenCache(lease_timeout=timeout)


@pytest.mark.parametrize("now", [float("nan"), float("inf"), "noon", None])
def test_a_bad_clock_is_an_error_and_takes_no_lease(now: Any) -> None:
    source = Source("host", clock=lambda: now)
    with pytest.raises((ConfigError, TypeError)):
        source.token()
    with pytest.raises(ZeroDivisionError):
        Source("host", clock=lambda: 1 / 0).token()


def test_an_exception_from_on_miss_passes_and_frees_the_lease(clock: Clock) -> None:
    class Broken(TokenCache):
        def _on_miss(self, stale: str | None, lease: Lease | None, /) -> str:
            assert stale is None
            assert lease is not None
            raise LookupError

    cache = Broken(clock=clock)
    for _ in range(3):
        with pytest.raises(LookupError):
            cache.token()
    assert cache.stats().failures == 0


def test_on_miss_may_call_back(clock: Clock) -> None:
    class Curious(TokenCache):
        def _on_miss(self, stale: str | None, lease: Lease | None, /) -> str:
            assert stale is None
            assert lease is not None
            assert self._get() == (None, None)
            assert self._join(Future()) is not None
            assert self.stats().issued == 0
            self.invalidate()
            return "never kept"

    assert Curious(clock=clock).token() == "never kept"


def test_it_goes_with_its_last_reference(clock: Clock) -> None:
    source = Source("host", clock=clock)
    source.token()
    gone = weakref.ref(source)
    lease = weakref.ref(leased(TokenCache()))
    del source
    gc.collect()
    assert gone() is None
    assert lease() is None


def test_a_clock_that_holds_its_cache_is_collected() -> None:
    class Holder:
        cache: TokenCache | None = None

        def now(self) -> float:
            return START

    holder = Holder()
    holder.cache = TokenCache(clock=holder.now)
    gone = weakref.ref(holder.cache)
    del holder
    gc.collect()
    assert gone() is None


def test_a_thousand_threads_make_one_token() -> None:
    class Slow(Source):
        def _on_miss(self, stale: str | None, lease: Lease | None, /) -> str:
            if lease is not None:
                time.sleep(0.2)
            return super()._on_miss(stale, lease)

    source = Slow("host")
    tokens: list[str] = []
    gate = threading.Event()

    def work() -> None:
        gate.wait(30)
        tokens.append(source.token())

    threads = [threading.Thread(target=work, daemon=True) for _ in range(1_000)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(60)
    assert tokens == ["t1"] * 1_000
    assert source.made == source.stats().issued == 1


def in_child(check: Callable[[], None]) -> None:
    """Run a check in a forked child, which must end by itself within ten seconds."""
    child = os.fork()
    if child == 0:  # pragma: no cover
        status = 1
        try:
            check()
            status = 0
        finally:
            os._exit(status)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    pytest.fail("the child hangs")


forks = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
    # Python 3.12 and later warn of what is tested here.
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


class TestFork:
    pytestmark = forks

    def test_a_hit_stays_a_hit(self, source: Source) -> None:
        token = source.token()

        def child() -> None:
            assert source.token() is token
            assert source.stats().issued == 0

        in_child(child)

    def test_a_lease_held_by_a_thread_that_is_not_there(self, source: Source, clock: Clock) -> None:
        """In the child nobody will ever settle it: the child makes a token of its own."""
        taken, done = threading.Event(), threading.Event()
        futures: list[Future[str]] = []

        def hold() -> None:
            lease = leased(source)
            future: Future[str] = Future()
            source._join(future)
            futures.append(future)
            taken.set()
            done.wait(30)
            waiting = lease.fulfil("parent's", clock.now, clock.now + LIFE)
            assert waiting is future
            waiting.set_result("parent's")

        holder = threading.Thread(target=hold)
        holder.start()
        assert taken.wait(10)

        def child() -> None:
            assert source._join(Future()) is None
            assert source.token() == "t1"
            assert source.stats().issued == 1

        in_child(child)
        assert source._get() == (None, None)
        done.set()
        holder.join()
        assert source.token() == "parent's"
        assert wait(futures, 1).not_done == set()

    def test_a_lease_carried_into_the_child_does_nothing_there(self, source: Source, clock: Clock) -> None:
        leases = [leased(source)]
        future: Future[str] = Future()
        source._join(future)

        def child() -> None:
            assert leases[0].fulfil("parent's", clock.now, clock.now + LIFE) is None
            own = leased(source)
            assert leases[0].fail(1.0) is None
            leases.clear()
            gc.collect()
            assert not future.cancelled()
            assert source._get() == (None, None)
            own.fulfil("child's", clock.now, clock.now + LIFE)
            assert source._get() == ("child's", None)

        in_child(child)
        assert leases[0].fulfil("parent's", clock.now, clock.now + LIFE) is future
        assert source._get() == ("parent's", None)

    def test_forks_under_load(self) -> None:
        """Children of a busy process find no lock held and no lease out, in whatever moment it forks."""
        source = Source("host")
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                source.invalidate()
                source.token()

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()

        def child() -> None:
            for _ in range(10):
                source.invalidate()
                source.token()
            assert source.stats().issued == 10

        try:
            for _ in range(50):
                in_child(child)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
