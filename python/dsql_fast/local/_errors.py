"""What can go wrong with a local cluster, as types.

* LocalClusterError
    * PostgresNotFound - no PostgreSQL programs to run
    * PortInUse - another program listens on the port that was asked for
    * StartFailed - PostgreSQL or the gateway did not come up; carries the end of the log
    * NotRunning - the cluster was stopped, never started, or belongs to a parent process

Bad arguments are `ValueError` (and `TypeError`), raised before anything is started.
"""

from __future__ import annotations


class LocalClusterError(Exception):
    """The base of every error a local cluster raises on its own."""


class PostgresNotFound(LocalClusterError):  # noqa: N818 - says what happened, as its siblings
    """No `initdb` and `postgres` were found; the message says where they were looked for."""


class PortInUse(LocalClusterError):  # noqa: N818
    """The port is taken on 127.0.0.1."""


class StartFailed(LocalClusterError):  # noqa: N818
    """PostgreSQL or the gateway did not start.

    Attributes:
        log: The last lines of PostgreSQL's log, or an empty string.
    """

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(f"{message}\n{log}" if log else message)
        self.log = log


class NotRunning(LocalClusterError):  # noqa: N818
    """The cluster is not running, or this process is a fork of the one that started it."""
