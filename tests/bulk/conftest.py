"""Fixtures: one cluster whose faults are these tests' own, a table, and a pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import dsql_fast
import dsql_fast.psycopg2
from dsql_fast.local import LocalCluster

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def _bulk_cluster() -> Iterator[LocalCluster]:
    with LocalCluster(rate=None) as running:
        yield running


class Table:
    """Three tables: `items` with a primary key, `loose` without any, so that what is written twice shows, and a ledger."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster
        self._conn = dsql_fast.connect(**cluster.connect_kwargs(), autocommit=True)
        for sql in (
            "CREATE TABLE IF NOT EXISTS items (id int PRIMARY KEY, body text)",
            "CREATE TABLE IF NOT EXISTS loose (id int NOT NULL, body text)",
        ):
            self(sql)
        dsql_fast.create_ledger(self._conn, "bulk_ledger")

    def __call__(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        while True:
            try:
                cursor = self._conn.execute(sql, values)
                return cursor.fetchall() if cursor.description is not None else []
            except psycopg.errors.SerializationFailure:
                continue
            except psycopg.OperationalError:  # a test has killed it
                assert self._conn.broken
                self._conn = dsql_fast.connect(**self._cluster.connect_kwargs(), autocommit=True)

    def ids(self, table: str = "loose") -> list[int]:
        """Every id, as often as it is there, in their order."""
        return [one for (one,) in self(f"SELECT id FROM {table} ORDER BY id")]

    def empty(self) -> None:
        for table in ("items", "loose", "bulk_ledger"):
            while self(f"SELECT 1 FROM {table} LIMIT 1"):
                self(f"DELETE FROM {table} WHERE ctid IN (SELECT ctid FROM {table} LIMIT 2500)")

    def close(self) -> None:
        self._conn.close()


@pytest.fixture(scope="session")
def _table(_bulk_cluster: LocalCluster) -> Iterator[Table]:
    made = Table(_bulk_cluster)
    yield made
    made.close()


@pytest.fixture
def faulty(_bulk_cluster: LocalCluster) -> Iterator[LocalCluster]:
    """A cluster whose `faults` are to be ordered; they are cleared after each test."""
    yield _bulk_cluster
    _bulk_cluster.faults.clear()


@pytest.fixture
def table(faulty: LocalCluster, _table: Table) -> Iterator[Table]:
    yield _table
    faulty.faults.clear()
    _table.empty()


@pytest.fixture(scope="session")
def _pool(_bulk_cluster: LocalCluster, _table: Table) -> Iterator[dsql_fast.ConnectionPool[Any]]:
    with dsql_fast.ConnectionPool(**_bulk_cluster.connect_kwargs(), min_size=1, max_size=4) as made:
        yield made


@pytest.fixture
def pool(_pool: dsql_fast.ConnectionPool[Any]) -> dsql_fast.ConnectionPool[Any]:
    return _pool


@pytest.fixture(scope="session")
def _psycopg2_pool(_bulk_cluster: LocalCluster, _table: Table) -> Iterator[Any]:
    made = dsql_fast.psycopg2.ThreadedConnectionPool(1, 4, **_bulk_cluster.connect_kwargs())
    yield made
    made.closeall()


@pytest.fixture(params=["psycopg", "psycopg2"])
def each_pool(request: pytest.FixtureRequest) -> Any:
    """A pool of each synchronous driver's."""
    return request.getfixturevalue("_pool" if request.param == "psycopg" else "_psycopg2_pool")
