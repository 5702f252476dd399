"""Which callers share a token, and when new credentials count."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

import dsql_fast
from dsql_fast import Credentials, TokenSource, _tokens
from dsql_fast.psycopg._attempt import begin
from tokens.sources import HOST


def in_environment(patch: pytest.MonkeyPatch, access_key: str = "AKIDENV", **further: str) -> None:
    patch.setenv("AWS_ACCESS_KEY_ID", access_key)
    patch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-" + access_key)
    for name, value in further.items():
        patch.setenv(name, value)


# When new keys count.


def test_new_keys_in_the_environment_count_at_once_for_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    in_environment(monkeypatch, "AKIDONE")
    first = begin(HOST, {}).source
    assert begin(HOST, {}).source is first
    assert "AKIDONE" in first.token()
    in_environment(monkeypatch, "AKIDTWO")
    assert "AKIDTWO" in begin(HOST, {}).source.token()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another secret")  # of the same access key
    second = begin(HOST, {}).source
    assert "AKIDTWO" in second.token()
    assert len(_tokens._shared) == 3
    in_environment(monkeypatch, "AKIDONE")
    assert begin(HOST, {}).source is first


def test_new_keys_in_the_environment_count_at_the_renewal_of_a_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1_800_000_000.0
    in_environment(monkeypatch, "AKIDONE")
    source = TokenSource(HOST, clock=lambda: now)
    old = source.token()
    in_environment(monkeypatch, "AKIDTWO")
    assert source.token() is old
    now += 720
    assert "AKIDTWO" in source.token()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    source.invalidate()
    with pytest.raises(dsql_fast.CredentialsNotFound, match="no longer set"):
        source.token()


# Identity.


def test_equal_sources_share_a_token() -> None:
    def load() -> Credentials:
        return Credentials("AKID", "s")

    assert begin(HOST, {"credentials": load}).source is begin(HOST, {"credentials": load}).source
    by_value = [begin(HOST, {"credentials": Credentials("AKID", secret)}).source for secret in ("s", "s", "z")]
    assert by_value[0] is by_value[1]
    assert by_value[0] is not by_value[2]
    others: list[dict[str, Any]] = [
        {"user": "reader"},
        {"user": "admin"},
        {"token_duration_secs": 60},
        {"user": "writer"},
    ]
    sources = [begin(HOST, {"credentials": load, **other}).source for other in others]
    assert len({id(source) for source in sources}) == 3, "a token is for an action, not for a user"
    assert sources[0] is sources[3]


def test_an_unhashable_source() -> None:
    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            return self is other

        def __call__(self) -> Credentials:
            return Credentials("AKID", "s")

    one, two = Unhashable(), Unhashable()
    assert begin(HOST, {"credentials": one}).source is begin(HOST, {"credentials": one}).source
    assert begin(HOST, {"credentials": one}).source is not begin(HOST, {"credentials": two}).source


def test_the_shared_tokens_are_bounded_and_the_last_used_stay() -> None:
    def source(number: int) -> TokenSource:
        return begin(HOST, {"credentials": Credentials(f"AKID{number}", "s")}).source

    first = source(0)
    for number in range(1, 256):
        source(number)
    assert source(0) is first
    second = source(1)
    for number in range(256, 256 + 254):
        source(number)
    assert len(_tokens._shared) == 256
    assert source(0) is first
    assert source(1) is second
    assert len(_tokens._shared) == 256


def test_the_first_threads_after_a_fork_share_one_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that find the parent's lock at the same moment: with a lock each, both would make a source."""
    together = threading.Barrier(2)
    process = os.getpid()
    locks: list[object] = []

    def met() -> int:
        if threading.current_thread() in threads:
            together.wait(60)
        return process

    threads = [threading.Thread(target=lambda: locks.append(_tokens._shared_lock())) for _ in range(2)]
    monkeypatch.setattr(_tokens, "_shared_locks", {})
    monkeypatch.setattr(os, "getpid", met)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(locks) == 2
    assert locks[0] is locks[1]
