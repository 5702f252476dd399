"""Connections that send every statement in one way, so that a scenario can be told once and played in all ways."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from local.doors import connect

if TYPE_CHECKING:
    from dsql_fast.local import LocalCluster

CONFLICT = "change conflicts with another transaction (OC000)"
SCHEMA_CONFLICT = "schema has been updated by another transaction (OC001)"

WAYS = ["simple", "extended", "prepared", "pipeline", "binary"]


class Speaker:
    """One connection; calling it sends one statement and gives the rows, or the count of its tag."""

    def __init__(self, cluster: LocalCluster, way: str = "extended", **changes: Any) -> None:
        self.conn = connect(cluster, **changes)
        self.conn.prepare_threshold = None
        self._way = way
        if way == "simple":
            self.conn.cursor_factory = psycopg.ClientCursor

    def __enter__(self) -> Speaker:  # noqa: PYI034 - nothing inherits from it
        return self

    def __exit__(self, *_: object) -> None:
        self.conn.close()

    def __call__(self, sql: str, *values: object) -> Any:
        if self._way == "pipeline":
            with self.conn.pipeline():
                cursor = self.conn.execute(sql, values)
        elif self._way == "binary":
            cursor = self.conn.execute(sql, values, binary=True)
        else:
            cursor = self.conn.execute(sql, values, prepare=self._way == "prepared")
        return cursor.fetchall() if cursor.description is not None else cursor.rowcount

    def one(self, sql: str, *values: object) -> Any:
        """The only column of the only row."""
        ((value,),) = self(sql, *values)
        return value

    @property
    def state(self) -> str:
        return self.conn.info.transaction_status.name

    def loses(self, sql: str = "commit", text: str = CONFLICT) -> None:
        """Send what must be refused with a conflict, and see that the session can go on at once."""
        with pytest.raises(psycopg.errors.SerializationFailure) as caught:
            self(sql)
        told(caught.value, text)
        assert self.state == "IDLE"
        assert self.one("select 1") == 1


def told(error: psycopg.Error, text: str = CONFLICT) -> None:
    """The error is DSQL's, in every field that a client can see."""
    diag = error.diag
    assert (diag.sqlstate, diag.message_primary) == ("40001", text)
    assert diag.severity == diag.severity_nonlocalized == "ERROR"
    assert [diag.message_detail, diag.message_hint, diag.context] == [None, None, None]


def new_name(prefix: str) -> str:
    """A name for a table, view or role of a test's own."""
    return f"{prefix}_{secrets.token_hex(4)}"
