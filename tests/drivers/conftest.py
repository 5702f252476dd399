"""Fixtures: each way to use a driver in turn, and a cluster that these tests may disturb."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import dsql_fast
from dsql_fast.local import LocalCluster
from waiting import eventually

from .ways import WAYS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .ways import Way


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[Way]:
    """A way to use a driver, or the one that the test names."""
    made = WAYS[request.param]()
    yield made
    made.finish()


@pytest.fixture(scope="module")
def _disturbed() -> Iterator[LocalCluster]:
    with LocalCluster(rate=None) as running:
        yield running


@pytest.fixture
def faulty(_disturbed: LocalCluster) -> Iterator[LocalCluster]:
    """A cluster whose faults, certificate and clock are these tests' own; no test leaves a session behind."""
    yield _disturbed
    _disturbed.faults.clear()
    _disturbed.set_certificate("valid")
    eventually(lambda: _disturbed.sessions() == [])


class Account:
    """A table ``account`` with one number, and somebody else who looks and changes it."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._kwargs = cluster.connect_kwargs()

    def do(self, statement: str) -> Any:
        """Execute on a connection of its own: no view of the schema is old."""
        with dsql_fast.connect(**self._kwargs, autocommit=True) as conn:
            cursor = conn.execute(statement)
            return cursor.fetchone() if cursor.description is not None else None

    @property
    def value(self) -> int:
        return int(self.do("select n from account")[0])


@pytest.fixture
def account(faulty: LocalCluster) -> Iterator[Account]:
    """The account; there is nothing on it."""
    made = Account(faulty)
    made.do("create table account (n int not null)")
    made.do("insert into account values (0)")
    yield made
    faulty.faults.clear()
    made.do("drop table account")
