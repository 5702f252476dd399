"""A cluster whose clock, limits and certificate these tests may disturb."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dsql_fast.local import LocalCluster

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def disturbed() -> Iterator[LocalCluster]:
    with LocalCluster(rate=None) as cluster:
        yield cluster
