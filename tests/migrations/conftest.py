"""Fixtures: one cluster whose faults are these tests' own, and a connection that looks."""

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
def _migrated_cluster() -> Iterator[LocalCluster]:
    with LocalCluster(rate=None) as running:
        yield running


@pytest.fixture
def faulty(_migrated_cluster: LocalCluster) -> Iterator[LocalCluster]:
    """A cluster whose `faults` are to be ordered, with nothing in it."""
    yield _migrated_cluster
    _migrated_cluster.faults.clear()
    with Look(_migrated_cluster) as look:
        for (table,) in look("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
            look(f'DROP TABLE "{table}" CASCADE')


class Look:
    """A connection of its own; a schema conflict is run again."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._conn = dsql_fast.connect(**cluster.connect_kwargs(), autocommit=True)

    def __enter__(self) -> Look:  # noqa: PYI034 - nothing inherits from it
        return self

    def __exit__(self, *_: object) -> None:
        self._conn.close()

    def __call__(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        while True:
            try:
                cursor = self._conn.execute(sql, values)
                return cursor.fetchall() if cursor.description is not None else []
            except psycopg.errors.SerializationFailure:
                continue

    def indexes(self) -> dict[str, bool]:
        """The users' indexes, and whether they are valid; without those of primary keys."""
        return dict(
            self(
                "SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
                "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public' AND NOT i.indisprimary"
            )
        )

    def tables(self) -> set[str]:
        return {name for (name,) in self("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}


@pytest.fixture
def look(faulty: LocalCluster) -> Iterator[Look]:
    with Look(faulty) as made:
        yield made


@pytest.fixture
def pool(faulty: LocalCluster) -> Iterator[dsql_fast.ConnectionPool[Any]]:
    with dsql_fast.ConnectionPool(**faulty.connect_kwargs(), min_size=1, max_size=2) as made:
        yield made


@pytest.fixture(params=["psycopg", "psycopg2"])
def each_pool(request: pytest.FixtureRequest, faulty: LocalCluster) -> Iterator[Any]:
    """A pool of each synchronous driver's."""
    if request.param == "psycopg":
        yield request.getfixturevalue("pool")
        return
    made = dsql_fast.psycopg2.ThreadedConnectionPool(1, 2, **faulty.connect_kwargs())
    yield made
    made.closeall()
