"""Fixtures of the local cluster's own tests."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from local.doors import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dsql_fast.local import LocalCluster


@pytest.fixture
def fresh_role(cluster: LocalCluster) -> Iterator[str]:
    """A login role of the test's own, given to the cluster's first key."""
    name = "role_" + secrets.token_hex(4)
    with connect(cluster) as conn:
        conn.execute(f"create role {name} with login")
        conn.execute(f"aws iam grant {name} to '{cluster.credentials.arn}'")
    yield name
    with connect(cluster) as conn:
        conn.execute(f"drop role {name}")
