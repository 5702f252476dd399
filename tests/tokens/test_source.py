"""A `TokenSource` by itself: what it returns, shows and counts."""

from __future__ import annotations

import datetime as dt

import pytest

import dsql_fast
from dsql_fast import TokenSource
from tokens.sources import HOST, Clock, keys


def test_the_same_string_until_it_is_renewed() -> None:
    clock = Clock()
    source = TokenSource(HOST, credentials=keys(), clock=clock)
    first = source.token()
    clock.move(719)
    assert source.token() is first
    clock.move(1)
    second = source.token()
    assert second != first
    assert source.token() is second
    source.invalidate()
    assert source.token() is not second


def test_what_it_counts() -> None:
    clock = Clock()
    source = TokenSource(HOST, credentials=keys(), clock=clock)
    stats = source.stats()
    assert (stats.issued, stats.renewals, stats.failures, stats.expires_at) == (0, 0, 0, None)
    source.token()
    clock.move(800)
    source.token()
    stats = source.stats()
    assert (stats.issued, stats.renewals, stats.failures) == (2, 1, 0)
    assert stats.expires_at == dt.datetime.fromtimestamp(clock.now + 900, dt.timezone.utc)


def test_it_signs_what_generate_token_signs() -> None:
    clock = Clock()
    now = dt.datetime.fromtimestamp(clock.now, dt.timezone.utc)
    for user, action in (("admin", "DbConnectAdmin"), ("reader", "DbConnect"), ("ADMIN", "DbConnect")):
        source = TokenSource(HOST, user=user, credentials=keys(), clock=clock)
        token = dsql_fast.generate_token(HOST, user=user, credentials=keys(), now=now)
        assert source.token() == token
        assert f"/?Action={action}&" in token


def test_what_it_shows() -> None:
    source = TokenSource(HOST, credentials=keys())
    source.token()
    shown = f"{source!r} {source.stats()!r} {source._provider!r} {vars(source)!r}"
    assert HOST in shown
    assert "X-Amz" not in shown
    assert "fake-secret" not in shown
    assert "fake-secret" not in repr(keys())


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(dsql_fast.ConfigError, match="timezone-aware"):
        dsql_fast.generate_token(HOST, credentials=keys(), now=dt.datetime(2030, 1, 1))  # noqa: DTZ001
    with pytest.raises(dsql_fast.ConfigError, match="timezone-aware"):
        dsql_fast.Credentials("AKID", "s", None, dt.datetime(2030, 1, 1))  # noqa: DTZ001


def test_a_clock_that_is_set_back() -> None:
    """A token is not signed for a time that lies ahead by the clock, and not kept once it does."""
    clock = Clock()
    source = TokenSource(HOST, credentials=keys(), clock=clock)
    first = source.token()
    clock.move(-50)
    assert source.token() is first
    clock.move(-3600)
    assert source.token() != first


def test_a_token_that_the_cluster_calls_expired_is_dropped_once_in_30_seconds() -> None:
    source = TokenSource(HOST, credentials=keys(), clock=Clock())
    source.token()
    assert source._drop_expired(100.0)
    assert source.stats().expires_at is None
    source.token()
    assert not source._drop_expired(129.9)
    assert source.stats().expires_at is not None
    assert source._drop_expired(130.0)
