"""Fixtures: one cluster whose faults are these tests' own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dsql_fast.local import LocalCluster

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def _faulty_cluster() -> Iterator[LocalCluster]:
    with LocalCluster(rate=None) as running:
        yield running


@pytest.fixture
def faulty(_faulty_cluster: LocalCluster) -> Iterator[LocalCluster]:
    """A cluster whose `faults` are to be ordered; they are cleared after each test."""
    yield _faulty_cluster
    _faulty_cluster.faults.clear()
