"""A local cluster that behaves like Aurora DSQL, to develop and test against.

Example:
    >>> from dsql_fast.local import LocalCluster
    >>> with LocalCluster() as cluster:
    ...     connection = dsql_fast.connect(**cluster.connect_kwargs())

It imports nothing of the connector: it judges tokens with botocore's signer, so that one mistake
cannot hide another. What is like DSQL and what is not: docs/local.md.
"""

from __future__ import annotations

from dsql_fast.local._cluster import ClockControl, Event, LocalCluster, OpenSession
from dsql_fast.local._errors import (
    LocalClusterError,
    NotRunning,
    PortInUse,
    PostgresNotFound,
    StartFailed,
)
from dsql_fast.local._fault_control import FaultControl
from dsql_fast.local._faults import PendingFault
from dsql_fast.local._limits import Limits

__all__ = [
    "ClockControl",
    "Event",
    "FaultControl",
    "Limits",
    "LocalCluster",
    "LocalClusterError",
    "NotRunning",
    "OpenSession",
    "PendingFault",
    "PortInUse",
    "PostgresNotFound",
    "StartFailed",
]
