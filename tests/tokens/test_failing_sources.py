"""A source that fails, hangs or gives what has ended: the old token to its end, then a typed error, and no deadlock."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

import dsql_fast
from dsql_fast import Credentials, CredentialsError, CredentialsExpired, CredentialsTimeout, TokenSource
from safety.leaks import chain
from tokens.sources import HOST, Clock, Gate, Source, keys
from waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    Way = Callable[[TokenSource], str]


def by_token(source: TokenSource) -> str:
    return source.token()


def by_token_async(source: TokenSource) -> str:
    return asyncio.run(source.token_async())


ways = pytest.mark.parametrize("way", [by_token, by_token_async])


class SourceError(Exception):
    pass


@pytest.mark.parametrize(
    ("way", "asynchronous"), [(by_token, False), (by_token_async, False), (by_token_async, True)]
)
def test_a_failure_is_told_with_its_cause(way: Way, asynchronous: bool, caplog: Any) -> None:
    def fail() -> Credentials:
        secret_local = "never shown"
        raise SourceError("the source is down" + secret_local[:0])

    async def fail_async() -> Credentials:
        return fail()

    source = TokenSource(HOST, credentials=fail_async if asynchronous else fail)
    with pytest.raises(CredentialsError, match=r"SourceError: the source is down.*line") as caught:
        way(source)
    cause = caught.value.__cause__
    assert isinstance(cause, SourceError)
    assert all(link.__traceback__ is None for link in chain(cause))
    assert source.stats().failures == 1
    assert dsql_fast.counters() == {"token_renewal_failed": 1}
    assert [record.levelno for record in caplog.records if record.name == "dsql_fast"] == [logging.WARNING]
    with pytest.raises(CredentialsError):
        way(source)


def test_every_link_of_a_cause_loses_its_frames() -> None:
    """Contexts beside causes, members of groups, and rings of causes too."""

    def fail() -> Credentials:
        try:
            try:
                raise KeyError("inner")  # noqa: TRY301
            except KeyError:
                raise LookupError("context")  # noqa: B904
        except LookupError:
            try:
                raise OSError("cause")  # noqa: TRY301
            except OSError as cause:
                beside = SourceError("outer")
                cause.__cause__ = beside
                raise beside from cause

    with pytest.raises(CredentialsError) as caught:
        TokenSource(HOST, credentials=fail).token()
    links = list(chain(caught.value))
    assert {type(link) for link in links} >= {KeyError, LookupError, OSError, SourceError}
    assert all(link.__traceback__ is None for link in links if link is not caught.value)


def test_the_members_of_a_group_lose_their_frames() -> None:
    class Group(Exception):  # noqa: N818 (as ExceptionGroup, which Python 3.10 lacks)
        exceptions: tuple[BaseException, ...] = ()

    def fail() -> Credentials:
        group = Group("two tasks failed")
        for kind in (KeyError, OSError):
            try:
                raise kind("member")  # noqa: TRY301
            except kind as member:
                group.exceptions += (member,)
        raise group

    with pytest.raises(CredentialsError) as caught:
        TokenSource(HOST, credentials=fail).token()
    links = list(chain(caught.value))
    assert {type(link) for link in links} >= {KeyError, OSError, Group}
    assert all(link.__traceback__ is None for link in links if link is not caught.value)


def test_callers_of_one_failure_get_an_error_each() -> None:
    gate = Gate()
    gate.failure = SourceError("down")
    started = threading.Semaphore(0)

    def slow() -> Credentials:
        started.release()
        gate.opened.wait(60)
        raise SourceError("down")

    source = TokenSource(HOST, credentials=slow)

    async def main() -> list[BaseException]:
        tasks = [asyncio.ensure_future(source.token_async()) for _ in range(10)]
        await asyncio.to_thread(started.acquire)
        gate.opened.set()
        return [
            error for error in await asyncio.gather(*tasks, return_exceptions=True) if not isinstance(error, str)
        ]

    errors = asyncio.run(main())
    assert len({id(error) for error in errors}) == 10
    assert {type(error) for error in errors} == {CredentialsError}


def test_the_old_token_to_its_end_then_the_error_then_a_new_one() -> None:
    clock, given = Clock(), Source()
    source = TokenSource(HOST, credentials=given, clock=clock, token_duration_secs=900)
    old = source.token()
    given.failure = SourceError("down")
    clock.move(720)  # 80 %
    assert source.token() is old
    eventually(lambda: source.stats().failures == 1)
    # Backing off: the source is left alone for a part of a second at the most, of the clock's time.
    assert [source.token() for _ in range(50)] == [old] * 50
    clock.move(174.5)  # five seconds before its end, and a half
    assert source.token() is old
    eventually(lambda: source.stats().failures == 2)
    clock.move(1)
    with pytest.raises(CredentialsError, match="down"):
        source.token()
    given.failure = None
    clock.move(60)
    new = source.token()
    assert new != old
    assert source.token() is new
    assert source.stats().renewals == 1


def test_a_source_that_fails_is_not_asked_at_every_call() -> None:
    clock, given = Clock(), Source()
    source = TokenSource(HOST, credentials=given, clock=clock)
    source.token()
    given.failure = SourceError("down")
    clock.move(720)
    for _ in range(100):
        source.token()
        eventually(lambda: not source._renewals())
        clock.move(0.5)
    # 50 seconds, with back-offs that double: 1, 2, 4, ... 30 with full jitter. Without, it would be 101 calls.
    assert 2 <= given.calls < 60


@ways
def test_credentials_that_have_ended(way: Way) -> None:
    now = dt.datetime.now(dt.timezone.utc)
    ended = Credentials("AKID", "secret", None, now - dt.timedelta(seconds=5))
    for given in (ended, lambda: ended):
        with pytest.raises(CredentialsExpired, match="expired"):
            way(TokenSource(HOST, credentials=given))


def test_a_token_ends_with_its_credentials() -> None:
    clock = Clock()
    end = dt.datetime.fromtimestamp(clock.now + 100, dt.timezone.utc)
    given = Source(Credentials("AKID", "secret", None, end))
    source = TokenSource(HOST, credentials=given, clock=clock, token_duration_secs=900)
    first = source.token()
    assert "X-Amz-Expires=100&" in first
    assert source.stats().expires_at == end
    clock.move(94)
    assert source.token() is first
    eventually(lambda: not source._renewals())
    clock.move(6)
    with pytest.raises(CredentialsExpired):
        source.token()
    given.credentials = keys("AKIDNEW")
    assert "AKIDNEW" in source.token()


@ways
def test_a_source_that_hangs(way: Way) -> None:
    gate = Gate()
    source = TokenSource(HOST, credentials=gate, credentials_timeout=0.05)
    with pytest.raises(CredentialsTimeout, match=r"0\.05 s"):
        way(source)
    gate.opened.set()
    eventually(lambda: not source._renewals())
    assert way(source).startswith(HOST)


def test_at_most_four_threads_hang() -> None:
    gate = Gate()
    clock = Clock()
    source = TokenSource(HOST, credentials=gate, credentials_timeout=0.02, clock=clock)
    for _ in range(10):
        with pytest.raises(CredentialsTimeout):
            source.token()
        clock.move(1)  # past the lease: the next caller takes it over
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("dsql-fast-credentials") == gate.calls == 4
    gate.opened.set()
    eventually(lambda: not source._renewals())
    assert source.token().startswith(HOST)


def test_what_comes_after_a_take_over_does_not_count() -> None:
    """A fetch that hung and comes back late does not put its old token over a newer one."""
    clock, late = Clock(), Gate(keys("AKIDLATE"))
    source_of_keys: Any = late
    source = TokenSource(HOST, credentials=lambda: source_of_keys(), credentials_timeout=0.02, clock=clock)  # noqa: PLW0108 (looked up anew)
    with pytest.raises(CredentialsTimeout):
        source.token()
    source_of_keys = Source(keys("AKIDNEW"))
    clock.move(1)
    assert "AKIDNEW" in source.token()
    late.opened.set()
    eventually(lambda: not source._renewals())
    assert "AKIDNEW" in source.token()
    assert source.stats().issued == 1


def test_no_thread_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    source = TokenSource(HOST, credentials=Source())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(CredentialsError, match="can't start new thread"):
            source.token()
    assert source.token().startswith(HOST)


@pytest.mark.parametrize("bad", [0, -1, float("nan"), True, "60", None])
def test_timeouts_that_are_none(bad: Any) -> None:
    with pytest.raises(dsql_fast.ConfigError, match="credentials_timeout"):
        TokenSource(HOST, credentials=keys(), credentials_timeout=bad)


@pytest.mark.parametrize("given", [None, "text", 7, object(), ("AKID", "secret")])
@ways
def test_a_source_that_gives_something_else(way: Way, given: Any) -> None:
    with pytest.raises(CredentialsError, match=f"gave a {type(given).__name__}"):
        way(TokenSource(HOST, credentials=lambda: given))
