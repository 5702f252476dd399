"""`is_conflict` with tenacity and stamina, as they are."""

from __future__ import annotations

import contextlib

import psycopg
import pytest
import stamina
import tenacity

from dsql_fast import is_conflict
from retry.scripted import DATA, Refusal, ScriptedServer


def write(server: ScriptedServer) -> None:
    # psycopg's own `with` does not close what it fails to commit.
    with contextlib.closing(psycopg.connect(server.conninfo)) as conn:
        conn.execute("UPDATE t SET a = 1")
        conn.commit()


def test_tenacity() -> None:
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_conflict), stop=tenacity.stop_after_attempt(3), reraise=True
    )
    with ScriptedServer(COMMIT=[DATA, DATA, "well", Refusal("23503")]) as server:
        retrying(write, server)
        assert server.executed("COMMIT") == 3
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            retrying(write, server)
        assert server.executed("COMMIT") == 4


def test_stamina() -> None:
    decorated = stamina.retry(on=is_conflict, attempts=3, wait_initial=0.0, wait_jitter=0.0)(write)
    with ScriptedServer(COMMIT=[DATA, DATA, "well", Refusal("23503")]) as server:
        decorated(server)
        assert server.executed("COMMIT") == 3
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            decorated(server)
        assert server.executed("COMMIT") == 4
