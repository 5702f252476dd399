"""A thousand callers on a cold cache: one fetch of credentials, one signature, the same string for all."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from dsql_fast import Credentials, TokenSource
from dsql_fast.psycopg._attempt import begin, begin_async
from tokens.sources import HOST, Gate, Source, keys
from waiting import eventually, eventually_async

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Keys

CALLERS = 1000


@pytest.fixture(autouse=True)
def _small_stacks() -> Iterator[None]:
    before = threading.stack_size(256 * 1024)
    yield
    threading.stack_size(before)


def in_threads(call: Callable[[], str], gate: Gate | None = None) -> list[str]:
    """Call from a thousand threads at once; the gate, if any, opens when all have begun."""
    together = threading.Barrier(CALLERS + 1)
    found: list[str] = []

    def caller() -> None:
        together.wait(60)
        found.append(call())

    threads = [threading.Thread(target=caller) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    together.wait(60)
    if gate is not None:
        gate.wait_entered()
        gate.opened.set()
    for thread in threads:
        thread.join(60)
    return found


def assert_one(found: list[str], source: TokenSource) -> None:
    assert len(found) == CALLERS
    assert len({id(token) for token in found}) == 1
    assert source.stats().issued == 1
    assert source.stats().failures == 0


def test_threads_with_a_source_that_blocks() -> None:
    gate = Gate()
    source = TokenSource(HOST, credentials=gate)
    assert_one(in_threads(source.token, gate), source)
    assert gate.calls == 1


def test_threads_with_keys_in_the_environment(aws_keys: Keys) -> None:
    source = TokenSource(HOST)
    assert_one(in_threads(source.token), source)


def test_threads_that_connect_share_one_source() -> None:
    gate = Gate()

    def call() -> str:
        return begin(HOST, {"credentials": gate}).source.token()

    found = in_threads(call, gate)
    assert_one(found, begin(HOST, {"credentials": gate}).source)
    assert gate.calls == 1


def test_tasks_with_a_source_that_blocks() -> None:
    gate = Gate()
    source = TokenSource(HOST, credentials=gate)

    async def main() -> list[str]:
        tasks = [asyncio.ensure_future(source.token_async()) for _ in range(CALLERS)]
        await asyncio.to_thread(gate.wait_entered)
        # The loop is free while the source blocks.
        assert not any(task.done() for task in tasks)
        gate.opened.set()
        return await asyncio.gather(*tasks)

    assert_one(asyncio.run(main()), source)
    assert gate.calls == 1


def test_tasks_with_an_asynchronous_source() -> None:
    calls = 0

    async def slow() -> Credentials:
        nonlocal calls
        calls += 1
        await opened.wait()
        return keys()

    async def main() -> list[str]:
        tasks = [asyncio.ensure_future(source.token_async()) for _ in range(CALLERS)]
        await eventually_async(lambda: calls > 0)
        opened.set()
        return await asyncio.gather(*tasks)

    opened = asyncio.Event()
    source = TokenSource(HOST, credentials=slow)
    assert_one(asyncio.run(main()), source)
    assert calls == 1


def test_tasks_with_keys_in_the_environment(aws_keys: Keys) -> None:
    source = TokenSource(HOST)

    async def main() -> list[str]:
        return await asyncio.gather(*(source.token_async() for _ in range(CALLERS)))

    assert_one(asyncio.run(main()), source)


def test_tasks_that_connect_share_one_source() -> None:
    gate = Gate()

    async def call() -> str:
        return await (await begin_async(HOST, {"credentials": gate})).source.token_async()

    async def main() -> list[str]:
        tasks = [asyncio.ensure_future(call()) for _ in range(CALLERS)]
        await asyncio.to_thread(gate.wait_entered)
        gate.opened.set()
        return await asyncio.gather(*tasks)

    assert_one(asyncio.run(main()), begin(HOST, {"credentials": gate}).source)
    assert gate.calls == 1


@pytest.mark.parametrize("blocking", [True, False])
def test_tasks_on_several_loops_and_threads_without_one(blocking: bool) -> None:
    gate = Gate()

    async def asynchronous() -> Credentials:
        return await asyncio.to_thread(gate)

    source = TokenSource(HOST, credentials=gate if blocking else asynchronous)
    found: list[str] = []

    async def main() -> None:
        found.extend(await asyncio.gather(*(source.token_async() for _ in range(100))))

    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(8)]
    if blocking:
        threads += [threading.Thread(target=lambda: found.append(source.token())) for _ in range(200)]
    for thread in threads:
        thread.start()
    gate.wait_entered()
    gate.opened.set()
    for thread in threads:
        thread.join(60)
    assert len(found) == (1000 if blocking else 800)
    assert len(set(found)) == 1
    assert gate.calls == 1


def test_a_renewal_disturbs_nobody() -> None:
    """While one renews, a thousand threads go on with the old token; then all have the new one."""
    now = 1_800_000_000.0
    source_of_keys: Any = Source()
    source = TokenSource(HOST, credentials=lambda: source_of_keys(), clock=lambda: now)  # noqa: PLW0108 (looked up anew)
    old = source.token()
    source_of_keys = gate = Gate()
    now += 800.0
    found = in_threads(source.token)
    assert {id(token) for token in found} == {id(old)}
    gate.wait_entered()
    gate.opened.set()
    eventually(lambda: source.stats().renewals == 1)
    assert source.token() != old
    assert gate.calls == 1
