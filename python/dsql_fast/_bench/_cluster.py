"""A local cluster for programs that connect, and what they need to find it."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from dsql_fast.local import LocalCluster

from .._connecting import begin
from .._system_roots import system_roots
from ..psycopg._attempt import DRIVER

if TYPE_CHECKING:
    from collections.abc import Iterator

# What would count for more than what a program is told.
_AWAY = ("AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "SSL_CERT_DIR")
_PATIENCE = 30.0  # seconds


@contextmanager
def cluster_for_programs() -> Iterator[tuple[LocalCluster, dict[str, str | None]]]:
    """Start a cluster that turns nobody away; give it, and the variables with which programs find it.

    ``DSQL_FAST_BENCH_ARGUMENTS`` has what this package gives psycopg for it, as JSON: the floor connects with
    the same, and the rivals, too. The keys are in the environment, the cheapest place for boto3 to find them. The
    trust file holds the roots that the package comes with, and the cluster's own; SSL_CERT_FILE the system's, and
    the cluster's own.
    """
    with (
        LocalCluster(rate=None, handshake_seconds=None) as cluster,
        TemporaryDirectory(prefix="dsql-fast-bench-") as directory,
    ):
        amazon = resources.files("dsql_fast").joinpath("amazon-roots.pem").read_bytes()
        trusted = _with(cluster, Path(directory, "trusted.pem"), amazon)
        system = _with(cluster, Path(directory, "system.pem"), _roots_of_the_system())
        arguments = begin(DRIVER, "", {**cluster.connect_kwargs(), "sslrootcert": str(trusted)}).arguments()
        yield (
            cluster,
            {
                **cluster.environment(),
                **dict.fromkeys(_AWAY),
                "PGSSLROOTCERT": str(trusted),
                "SSL_CERT_FILE": str(system),
                "DSQL_FAST_BENCH_ARGUMENTS": json.dumps(arguments),
            },
        )


def settled(cluster: LocalCluster) -> None:
    """Wait until a cluster has no session left: nobody's turn is to meet the end of somebody else's."""
    until = time.monotonic() + _PATIENCE
    while cluster.stats()["open"] and time.monotonic() < until:
        time.sleep(0.01)


def _with(cluster: LocalCluster, path: Path, roots: bytes) -> Path:
    path.write_bytes(roots + b"\n" + cluster.ca_file.read_bytes())
    return path


def _roots_of_the_system() -> bytes:
    file = system_roots(0, own_openssl=True)
    return Path(file).read_bytes() if file != "system" else b""  # there are none
