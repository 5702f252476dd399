"""A forked or spawned process has tokens of its own making, whatever its parent was doing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tokens.programs import run

if TYPE_CHECKING:
    from pathlib import Path

PROGRAMS: dict[str, str] = {
    "a quiet process": """
source = TokenSource(HOST, credentials=KEYS)
token = source.token()
def work():
    assert source.token() is token      # inherited, still good
    assert source.stats().issued == 0   # a child counts from nought
    source.invalidate()
    assert source.token().startswith(HOST)
    assert source.stats().issued == 1
assert in_child(work) == 0
assert source.stats().issued == 1
""",
    "before the first token": """
source = TokenSource(HOST, credentials=lambda: KEYS)
assert in_child(lambda: source.token()) == 0
assert source.token().startswith(HOST)
""",
    "during a renewal in another thread": """
parent = os.getpid()
def slow():
    if os.getpid() == parent:
        hang()
    return KEYS
source = TokenSource(HOST, credentials=slow, credentials_timeout=600)
threading.excepthook = lambda arguments: None
for _ in range(5):
    threading.Thread(target=source.token, daemon=True).start()
hanging.wait()
time.sleep(0.05)
def work():
    assert source.token().startswith(HOST)
    assert asyncio.run(source.token_async()) is source.token()
    grandchild = in_child(lambda: source.invalidate() or source.token())
    assert grandchild == 0
for _ in range(3):
    assert in_child(work) == 0
""",
    "while the locks of those who wait are held": """
parent = os.getpid()
def slow():
    if os.getpid() == parent:
        hang()
    return KEYS
source = TokenSource(HOST, credentials=slow, credentials_timeout=600)
threading.excepthook = lambda arguments: None
threading.Thread(target=source.token, daemon=True).start()
hanging.wait()
while not _waiting.crowd().pending:
    time.sleep(0.001)
(future,) = _waiting.crowd().pending
held, release = threading.Event(), threading.Event()
def hold():
    with future._condition:
        held.set()
        release.wait()
threading.Thread(target=hold, daemon=True).start()
held.wait()
assert in_child(lambda: source.token()) == 0
assert in_child(lambda: None) == 0
release.set()
""",
    "a child that ends while its own threads sign": """
source = TokenSource(HOST, credentials=hang, credentials_timeout=600)
threading.excepthook = lambda arguments: None
threading.Thread(target=source.token, daemon=True).start()
hanging.wait()
def busy():
    quick = TokenSource(HOST, credentials=KEYS)
    while True:
        try:
            quick.invalidate()
            quick.token()
        except dsql_fast.Error:
            pass
def work():
    for _ in range(4):
        threading.Thread(target=busy, daemon=True).start()
    time.sleep(0.1)
for _ in range(5):
    assert in_child(work) == 0
""",
    "while the lock of the shared tokens is held": """
from dsql_fast._credentials import StaticCredentials
from dsql_fast._endpoint import Endpoint
key = (Endpoint(HOST, "us-east-1"), "DbConnect", 900, StaticCredentials(KEYS))
held, release = threading.Event(), threading.Event()
def hold():
    with _tokens._shared_lock():
        held.set()
        release.wait()
threading.Thread(target=hold, daemon=True).start()
held.wait()
def work():
    assert _tokens.shared_source(*key).token().startswith(HOST)
    assert _tokens.shared_source(*key) is _tokens.shared_source(*key)
assert in_child(work) == 0
release.set()
""",
    "again and again, among threads that sign": """
source = TokenSource(HOST, credentials=KEYS)
slower = TokenSource(HOST, credentials=lambda: KEYS)
def busy():
    while not done.is_set():
        for each in (source, slower):
            each.invalidate()
            each.token()
done = threading.Event()
threads = [threading.Thread(target=busy) for _ in range(4)]
for thread in threads:
    thread.start()
def work():
    for each in (source, slower):
        assert each.token().startswith(HOST)
        each.invalidate()
        assert each.token().startswith(HOST)
assert [in_child(work) for _ in range(40)] == [0] * 40
done.set()
""",
    "with a renewal under way in the parent's loop": """
parent = os.getpid()
async def slow():
    if os.getpid() == parent:
        hanging.set()
        await asyncio.sleep(600)
    return KEYS
source = TokenSource(HOST, credentials=slow)
async def main():
    task = asyncio.ensure_future(source.token_async())
    while not hanging.is_set():
        await asyncio.sleep(0)
    child = os.fork()
    if child == 0:
        status = 1
        def work():
            nonlocal status
            asyncio.run(source.token_async())
            status = 0
        try:
            thread = threading.Thread(target=work)  # this thread has the parent's loop
            thread.start()
            thread.join()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
asyncio.run(main())
""",
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_fork(program: str, tmp_path: Path) -> None:
    run(PROGRAMS[program], tmp_path)


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_multiprocessing(method: str, tmp_path: Path) -> None:
    program = """
import multiprocessing

def work(_):
    return os.getpid(), SOURCE.token()

SOURCE = TokenSource(HOST, credentials=lambda: KEYS)

if __name__ == "__main__":
    mine = SOURCE.token()
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        found = pool.map(work, range(8), chunksize=1)
    assert os.getpid() not in {pid for pid, _ in found}
    assert all(token.startswith(HOST) for _, token in found)
    if sys.argv[1] == "fork":
        assert {token for _, token in found} == {mine}
"""
    run(program, tmp_path, method)


def test_credentials_are_not_sent_to_another_process(tmp_path: Path) -> None:
    """A pickle would hold the secrets in clear."""
    program = """
import pickle
for what in (KEYS, TokenSource(HOST, credentials=KEYS)):
    try:
        pickle.dumps(what)
    except TypeError as error:
        print(error)
"""
    printed = run(program, tmp_path)
    assert "fake-secret" not in printed
    assert len(printed.splitlines()) == 2
