"""Fixtures: local clusters for tests."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from dsql_fast.local import LocalCluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def cluster() -> Iterator[LocalCluster]:
    """One cluster for the whole run, without a rate limit; leave its limits and clocks alone."""
    with LocalCluster(rate=None) as running:
        yield running


@pytest.fixture
def fresh_cluster() -> Iterator[Callable[..., LocalCluster]]:
    """A function that starts clusters of a test's own; they are stopped after it."""
    with contextlib.ExitStack() as stack:

        def start(**arguments: Any) -> LocalCluster:
            return stack.enter_context(LocalCluster(**arguments))

        yield start
