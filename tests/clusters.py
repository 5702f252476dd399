"""Fixtures: local clusters for tests."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from dsql_fast.local import LocalCluster, NotRunning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def cluster() -> Iterator[LocalCluster]:
    """One cluster for the whole run, without a rate limit; leave its limits and clocks alone."""
    with LocalCluster(rate=None) as running:
        yield running
        _without_defects(running)


@pytest.fixture
def fresh_cluster() -> Iterator[Callable[..., LocalCluster]]:
    """A function that starts clusters of a test's own; they are stopped after it."""
    with contextlib.ExitStack() as stack:

        def start(**arguments: Any) -> LocalCluster:
            started = stack.enter_context(LocalCluster(**arguments))
            stack.callback(_without_defects, started)
            return started

        yield start


def _without_defects(cluster: LocalCluster) -> None:
    """Nothing has gone wrong in the cluster's own process (sessions that a defect ended look like cut ones)."""
    with contextlib.suppress(NotRunning):
        assert "broken" not in cluster.stats()["happened"], cluster.stats()["happened"]["broken"]
