"""On a free-threaded Python nothing of ours brings the GIL back, and nothing breaks without it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import threading
from typing import TYPE_CHECKING

import pytest

from dsql_fast import Credentials, TokenSource

if TYPE_CHECKING:
    from dsql_fast.local import LocalCluster

without_gil = pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python has a GIL: make test-freethreaded"
)
HOST = "foo0bar1baz2quux3quuux4q00.dsql.us-east-1.on.aws"

# In a process of its own: what the tests import could bring the GIL back, too. Doing so warns.
IMPORTED = """
import sys
import dsql_fast
dsql_fast.Credentials, dsql_fast.ConnectionPool, dsql_fast.AsyncConnectionPool
import dsql_fast._native
assert not sys._is_gil_enabled()
"""
CONNECTED = """
import asyncio, os, sys
import dsql_fast, dsql_fast.asyncpg
where = {name: os.environ["PG" + name.upper()] for name in ("host", "hostaddr", "port")}
with dsql_fast.connect(**where) as conn:
    assert conn.execute("select 1").fetchone() == (1,)
assert not sys._is_gil_enabled()
async def both():
    async with await dsql_fast.connect_async(**where) as conn:
        await conn.execute("select 1")
    assert not sys._is_gil_enabled()
    conn = await dsql_fast.asyncpg.connect(**where)
    assert await conn.fetchval("select 1") == 1
    await conn.close()
asyncio.run(both())
assert not sys._is_gil_enabled()
"""


def run(program: str, environment: dict[str, str]) -> None:
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@without_gil
def test_an_import_leaves_the_gil_off() -> None:
    run(IMPORTED, dict(os.environ))


@without_gil
def test_a_connect_leaves_the_gil_off(cluster: LocalCluster) -> None:
    run(CONNECTED, {**os.environ, **cluster.environment()})


def test_tokens_are_whole_while_they_are_thrown_away() -> None:
    """Hits read an entry that other threads drop: each gets one that was issued, and the counts are exact."""
    source = TokenSource(HOST, credentials=Credentials("AKIDEXAMPLE0FAKE0000", "fake"))
    together = threading.Barrier(4)
    failures: list[BaseException] = []

    def call(throws: bool) -> None:
        try:
            together.wait(60)
            for _ in range(5_000):
                assert source.token().startswith(f"{HOST}/?Action=DbConnectAdmin&")
                if throws:
                    source.invalidate()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=call, args=(number < 2,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert not failures
    assert not any(thread.is_alive() for thread in threads)
    source.invalidate()
    issued = source.stats().issued
    assert source.token() is source.token()
    assert source.stats().issued == issued + 1
