"""The interpreter ends at once and in order, whatever a source of credentials is doing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tokens.programs import run

if TYPE_CHECKING:
    from pathlib import Path

PROGRAMS: dict[str, str] = {
    "threads wait for a hanging source": """
source = TokenSource(HOST, credentials=hang, credentials_timeout=600)
threading.excepthook = lambda arguments: None
for _ in range(20):
    threading.Thread(target=source.token, daemon=True).start()
hanging.wait()
time.sleep(0.05)
""",
    "threads that try again and again": """
source = TokenSource(HOST, credentials=hang, credentials_timeout=600)
def persistent():
    while True:
        try:
            source.token()
        except dsql_fast.Error:
            pass
for _ in range(8):
    threading.Thread(target=persistent, daemon=True).start()
hanging.wait()
time.sleep(0.05)
""",
    "threads that sign all the time": """
def busy():
    source = TokenSource(HOST, credentials=KEYS)
    while True:
        try:
            source.invalidate()
            source.token()
        except dsql_fast.Error:
            pass
for _ in range(4):
    threading.Thread(target=busy, daemon=True).start()
time.sleep(0.2)
""",
    "a failing source, tried again and again": """
def fail():
    raise LookupError
source = TokenSource(HOST, credentials=fail)
def persistent():
    while True:
        try:
            source.token()
        except dsql_fast.Error:
            pass
import logging
logging.disable(logging.CRITICAL)
for _ in range(4):
    threading.Thread(target=persistent, daemon=True).start()
time.sleep(0.2)
""",
    "a renewal in the background": """
now = 1_800_000_000.0
first = True
def source_of_keys():
    global first
    if first:
        first = False
        return KEYS
    hang()
source = TokenSource(HOST, credentials=source_of_keys, clock=lambda: now)
old = source.token()
now += 800
assert source.token() is old
hanging.wait()
""",
    "a token is asked for in the main thread's own atexit handlers": """
import atexit
source = TokenSource(HOST, credentials=KEYS)
atexit.register(lambda: print(source.token()[:7]))
source.token()
source.invalidate()
""",
    "a loop that is left": """
source = TokenSource(HOST, credentials=hang, credentials_timeout=600)
async def main():
    task = asyncio.ensure_future(source.token_async())
    await asyncio.to_thread(hanging.wait)
asyncio.run(main())
""",
    "a loop that is left with an asynchronous source": """
async def hang_async():
    hanging.set()
    await asyncio.sleep(600)
source = TokenSource(HOST, credentials=hang_async, credentials_timeout=600)
async def main():
    tasks = [asyncio.ensure_future(source.token_async()) for _ in range(5)]
    while not hanging.is_set():
        await asyncio.sleep(0)
asyncio.run(main())
""",
    "a loop in a daemon thread": """
source = TokenSource(HOST, credentials=hang, credentials_timeout=600)
threading.Thread(target=lambda: asyncio.run(source.token_async()), daemon=True).start()
hanging.wait()
time.sleep(0.05)
""",
    "a worker is joined at exit": """
import atexit
source = TokenSource(HOST, credentials=hang, credentials_timeout=600)
def work():
    try:
        source.token()
    except dsql_fast.CredentialsError:
        pass
worker = threading.Thread(target=work, daemon=True)
atexit.register(worker.join)
worker.start()
hanging.wait()
""",
    # The slower one had seen that nobody was there: it must not begin a list anew that the other one is on.
    "of two threads that come first both are sent away": """
import atexit
getpid = os.getpid
def slow():
    if threading.current_thread() is workers[0] and not hanging.is_set():
        seen.set()
        hanging.wait()
    return getpid()
def work(source):
    try:
        source.token()
    except dsql_fast.CredentialsError:
        pass
seen = threading.Event()
sources = [TokenSource(HOST, credentials=hang, credentials_timeout=600) for _ in range(2)]
workers = [threading.Thread(target=work, args=(source,), daemon=True) for source in sources]
atexit.register(lambda: [worker.join() for worker in workers])
os.getpid = slow
workers[0].start()
seen.wait()
workers[1].start()
hanging.wait()
time.sleep(0.05)
""",
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_exit(program: str, tmp_path: Path) -> None:
    run(PROGRAMS[program], tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("_", range(20))
@pytest.mark.parametrize("program", PROGRAMS)
def test_exit_many_times(program: str, _: int, tmp_path: Path) -> None:
    run(PROGRAMS[program], tmp_path)


def test_the_main_thread_gets_a_token_at_exit(tmp_path: Path) -> None:
    program = PROGRAMS["a token is asked for in the main thread's own atexit handlers"]
    assert run(program, tmp_path) == "cluster\n"


@pytest.mark.parametrize(("threads", "slept"), [(0, ""), (1, "slept\n" * 3)])
def test_only_other_threads_are_waited_for(threads: int, slept: str, tmp_path: Path) -> None:
    """A command that wants one token and ends is not to wait for nobody: that took as long as all the rest."""
    program = f"""
TokenSource(HOST, credentials=KEYS).token()
for _ in range({threads}):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
time.sleep = lambda seconds: print("slept")
"""
    assert run(program, tmp_path) == slept
