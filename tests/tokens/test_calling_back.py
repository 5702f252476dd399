"""A source of credentials that asks for the token which is to be signed with them."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING

import pytest

from dsql_fast import Credentials, CredentialsError, CredentialsTimeout, Error, TokenSource
from tokens.sources import HOST, Clock, keys
from waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable


def recursive(ask: Callable[[TokenSource], object]) -> TokenSource:
    def load() -> Credentials:
        ask(source)
        return keys()

    source = TokenSource(HOST, credentials=load, credentials_timeout=30)
    return source


def test_on_a_cold_cache_it_is_refused() -> None:
    asked = (lambda source: source.token(), lambda source: asyncio.run(source.token_async()))
    for ask in asked:
        with pytest.raises(CredentialsError, match="credentials of its own"):
            recursive(ask).token()
        with pytest.raises(CredentialsError, match="credentials of its own"):
            asyncio.run(recursive(ask).token_async())


def test_an_asynchronous_one_is_refused_too() -> None:
    async def load() -> Credentials:
        await source.token_async()
        return keys()

    source = TokenSource(HOST, credentials=load, credentials_timeout=30)
    with pytest.raises(CredentialsError, match="credentials of its own"):
        asyncio.run(source.token_async())

    async def load_in_a_task() -> Credentials:
        await asyncio.ensure_future(source.token_async())
        return keys()

    source = TokenSource(HOST, credentials=load_in_a_task, credentials_timeout=30)
    with pytest.raises(CredentialsError, match="credentials of its own"):
        asyncio.run(source.token_async())


def test_from_another_thread_it_ends_with_the_timeout() -> None:
    """Who asks is not known there; both wait, and neither for ever."""
    inner: list[BaseException] = []
    outer_ended = threading.Event()

    def load() -> Credentials:
        def ask() -> None:
            try:
                source.token()
            except CredentialsError as error:
                inner.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join(30)
        outer_ended.wait(30)  # or the outer, woken late by a busy machine, would find these keys
        return keys()

    source = TokenSource(HOST, credentials=load, credentials_timeout=0.2)
    with pytest.raises(CredentialsTimeout):
        source.token()
    outer_ended.set()
    eventually(lambda: not source._renewals())
    assert {type(error) for error in inner} == {CredentialsTimeout}


def test_with_an_old_token_it_gets_that() -> None:
    clock = Clock()
    got: list[str] = []

    def load() -> Credentials:
        if clock.now > 1_800_000_000:
            got.append(source.token())
        return keys()

    source = TokenSource(HOST, credentials=load, clock=clock)
    old = source.token()
    clock.move(800)
    assert source.token() is old
    eventually(lambda: source.stats().renewals == 1)
    assert got == [old]


def test_another_sources_token_may_be_asked_for() -> None:
    first = TokenSource(HOST, credentials=keys())

    def load() -> Credentials:
        assert first.token().startswith(HOST)
        return keys()

    assert TokenSource(HOST, credentials=load).token().startswith(HOST)


def test_two_that_ask_for_each_others() -> None:
    def load_from(other: int) -> Callable[[], Credentials]:
        def load() -> Credentials:
            sources[other].token()
            return keys()

        return load

    sources = [TokenSource(HOST, credentials=load_from(other), credentials_timeout=30) for other in (1, 0)]
    with pytest.raises(CredentialsError, match="credentials of its own"):
        sources[0].token()


@pytest.mark.parametrize("blocking", [False, True])
def test_a_log_handler_that_asks(blocking: bool) -> None:
    """One that stores records in the database connects while a failed renewal is being logged."""
    answers: list[object] = []

    class Storing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002
            if len(answers) > 5:
                return
            try:
                answers.append(source.token())
            except CredentialsError as error:
                answers.append(error)

    def fail() -> Credentials:
        raise LookupError("down")

    clock = Clock(-1.0)  # before 1970 nothing can be signed
    source = TokenSource(HOST, credentials=fail if blocking else keys(), clock=clock, credentials_timeout=30)
    handler = Storing()
    logging.getLogger("dsql_fast").addHandler(handler)
    try:
        with pytest.raises(Error, match="down" if blocking else "1970"):
            source.token()
    finally:
        logging.getLogger("dsql_fast").removeHandler(handler)
    assert [type(answer) for answer in answers] == [CredentialsError]
