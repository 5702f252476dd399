"""Event loops that end, callers that are cancelled, and the loop's own thread."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from dsql_fast import ConfigError, Credentials, CredentialsTimeout, TokenSource
from tokens.sources import HOST, Clock, Gate, Source, keys
from waiting import eventually, eventually_async


def test_a_cancelled_caller_takes_nobody_along() -> None:
    gate = Gate()
    source = TokenSource(HOST, credentials=gate)

    async def main() -> list[str | BaseException]:
        tasks = [asyncio.ensure_future(source.token_async()) for _ in range(10)]
        await asyncio.to_thread(gate.wait_entered)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.sleep(0)
        gate.opened.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    found = asyncio.run(main())
    assert all(isinstance(each, asyncio.CancelledError) for each in found[::2])
    assert len({str(each) for each in found[1::2]}) == 1
    assert source.stats().issued == gate.calls == 1


@pytest.mark.parametrize("which", [0, 1])
def test_a_cancelled_caller_of_an_asynchronous_source(which: int) -> None:
    """The caller that began the fetch does not end it with itself."""
    calls = 0

    async def slow() -> Credentials:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.02)
        return keys()

    source = TokenSource(HOST, credentials=slow)

    async def main() -> str:
        tasks = [asyncio.ensure_future(source.token_async()) for _ in range(2)]
        await eventually_async(lambda: calls == 1)
        tasks[which].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[which]
        return await tasks[1 - which]

    assert asyncio.run(main()).startswith(HOST)
    assert calls == 1


@pytest.mark.parametrize("how", ["run", "closed"])
@pytest.mark.parametrize("begun", [False, True])
def test_the_loop_of_a_renewal_ends(how: str, begun: bool) -> None:
    """Whoever comes next, on another loop, takes over at once: nobody will finish that renewal."""
    calls = 0

    async def load() -> Credentials:
        nonlocal calls
        calls += 1
        if calls == 1 and begun:
            await asyncio.sleep(600)
        return keys()

    source = TokenSource(HOST, credentials=load, credentials_timeout=600)

    async def first() -> asyncio.Task[str]:
        task = asyncio.ensure_future(source.token_async())
        await asyncio.sleep(0)
        if begun:
            await eventually_async(lambda: calls == 1)
        return task

    if how == "run":
        task = asyncio.run(first())
        assert task.cancelled()
    else:
        loop = asyncio.new_event_loop()
        # That its tasks are destroyed in the middle is what this is about; asyncio would log it.
        loop.set_exception_handler(lambda *_: None)
        task = loop.run_until_complete(first())
        loop.close()
    del task
    gc.collect()
    assert asyncio.run(source.token_async()).startswith(HOST)


def test_who_waits_on_another_loop_goes_on_when_the_renewals_loop_ends() -> None:
    calls = 0
    waiting = threading.Event()
    found: list[str] = []

    async def load() -> Credentials:
        nonlocal calls
        calls += 1
        if calls == 1:
            await asyncio.sleep(600)
        return keys()

    source = TokenSource(HOST, credentials=load, credentials_timeout=600)

    def other_loop() -> None:
        async def main() -> None:
            task = asyncio.ensure_future(source.token_async())
            await asyncio.sleep(0)
            waiting.set()
            found.append(await task)

        asyncio.run(main())

    thread = threading.Thread(target=other_loop)

    async def first() -> None:
        task = asyncio.ensure_future(source.token_async())
        await eventually_async(lambda: calls == 1)
        thread.start()
        await asyncio.to_thread(waiting.wait)
        assert not task.done()

    asyncio.run(first())
    thread.join(60)
    assert found
    assert calls == 2


def test_a_lease_that_is_lost_wakes_those_who_wait() -> None:
    """They look again; to an asynchronous one it does not look as if it had been cancelled itself."""
    source = TokenSource(HOST, credentials=Source())
    token, lease = source._get()
    assert token is None
    assert lease is not None

    async def main() -> str:
        task = asyncio.ensure_future(source.token_async())
        await asyncio.sleep(0)
        nonlocal lease
        lease = None
        return await task

    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(source.token()))
    thread.start()
    eventually(lambda: bool(_inside()))
    assert asyncio.run(main()).startswith(HOST)
    thread.join(60)
    assert found[0].startswith(HOST)


def _inside() -> object:
    from dsql_fast import _waiting

    return _waiting.crowd().pending


def test_token_from_within_a_running_loop() -> None:
    """It blocks the loop for as long as the source does, and works."""

    async def main(source: TokenSource) -> str:
        return source.token()

    assert asyncio.run(main(TokenSource(HOST, credentials=Source()))).startswith(HOST)


def test_an_asynchronous_source_is_for_asynchronous_callers() -> None:
    async def load() -> Credentials:
        return keys()

    class Callable:
        async def __call__(self) -> Credentials:
            return keys()

    for given in (load, Callable()):
        source = TokenSource(HOST, credentials=given)
        for _ in range(2):
            with pytest.raises(ConfigError, match="asynchronous entry point"):
                source.token()
            # Also when there is a token: the same call must not work by chance.
            assert asyncio.run(source.token_async()).startswith(HOST)
    with pytest.raises(ConfigError, match="async def"):
        TokenSource(HOST, credentials=lambda: load()).token()  # noqa: PLW0108 (no `async def`)


def test_a_hanging_asynchronous_source() -> None:
    async def hang() -> Credentials:
        await asyncio.sleep(600)
        return keys()

    source = TokenSource(HOST, credentials=hang, credentials_timeout=0.05)
    with pytest.raises(CredentialsTimeout):
        asyncio.run(source.token_async())


def test_a_renewal_on_a_loop_with_the_old_token_meanwhile() -> None:
    clock = Clock()

    async def load() -> Credentials:
        await asyncio.sleep(0)
        return keys()

    async def main() -> None:
        old = await source.token_async()
        clock.move(800)
        assert await source.token_async() is old
        await eventually_async(lambda: source.stats().renewals == 1)
        assert await source.token_async() != old

    source = TokenSource(HOST, credentials=load, clock=clock)
    asyncio.run(main())
