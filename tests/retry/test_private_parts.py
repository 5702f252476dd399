"""The private parts of psycopg that our transactions touch: there, and of the form that they were written for.

psycopg is pinned to one minor version; a patch that changes one of these fails here, by name.
"""

from __future__ import annotations

import inspect
from contextlib import nullcontext
from typing import Any

import psycopg
import pytest

from retry.scripted import ScriptedServer

METHODS = {
    "_exec_command": ["self", "command", "result_format"],
    "_get_tx_start_command": ["self"],
    "wait": ["self", "gen", "interval", "timeout"],
}


@pytest.mark.parametrize("connection_class", [psycopg.Connection, psycopg.AsyncConnection])
@pytest.mark.parametrize("name", METHODS)
def test_method(connection_class: type[Any], name: str) -> None:
    assert list(inspect.signature(getattr(connection_class, name)).parameters) == METHODS[name]


def test_the_count_of_blocks_is_what_refuses_commit() -> None:
    with ScriptedServer() as server, psycopg.connect(server.conninfo) as conn:
        assert conn._num_transactions == 0
        assert "transaction" not in vars(conn)
        with conn.transaction():
            assert conn._num_transactions == 1
            with pytest.raises(psycopg.ProgrammingError, match="forbidden"):
                conn.commit()
            with pytest.raises(psycopg.ProgrammingError, match="forbidden"):
                conn.rollback()
        assert conn._num_transactions == 0


def test_a_command_gives_its_result_with_its_tag() -> None:
    with ScriptedServer(COMMIT=["ROLLBACK"]) as server, psycopg.connect(server.conninfo) as conn, conn.lock:
        conn.wait(conn._exec_command(conn._get_tx_start_command()))
        result = conn.wait(conn._exec_command(b"COMMIT"))
        assert result is not None
        assert result.command_status == b"ROLLBACK"


@pytest.mark.parametrize("failed", [False, True])
def test_the_end_of_a_block_does_nothing_to_an_idle_connection_of_a_pool(failed: bool) -> None:
    """So a pool of ours leaves it out after a transaction that was committed or rolled back."""
    with ScriptedServer() as server:
        conn = psycopg.connect(server.conninfo)
        conn._pool = pool = object()  # type: ignore[assignment]
        before = list(server.queries)
        with pytest.raises(LookupError) if failed else nullcontext(), conn:
            if failed:
                raise LookupError
        assert (server.queries, conn.closed, conn._pool) == (before, False, pool)
        conn._pool = None
        conn.close()
