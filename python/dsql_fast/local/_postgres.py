"""A private PostgreSQL: made for one cluster, reachable through one socket, gone with it."""

from __future__ import annotations

import os
import pwd
import secrets
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from dsql_fast.local import _unprivileged
from dsql_fast.local._directory import SOCKET_NAME, PrivateDirectory
from dsql_fast.local._errors import StartFailed

if TYPE_CHECKING:
    from pathlib import Path

_NOBODY = 65534
_LOG_TAIL = 2_000  # characters
_START_SECONDS = 30.0
_STOP_SECONDS = 5.0

# Backends that PostgreSQL may have. DSQL's 10,000 are not to be had from processes on one
# machine; each slot costs about 25 KiB of shared memory even when unused.
MAX_BACKENDS = 1_200

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": str(MAX_BACKENDS),
    # DSQL's only level; the gateway refuses the others.
    "default_transaction_isolation": "repeatable read",
    # The data is thrown away at the end: nothing is worth a wait for the disk.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "shared_buffers": "64MB",
    # The directory may be in memory: old log is given back soon.
    "max_wal_size": "128MB",
    "huge_pages": "off",
    # As files in the data directory: what is in /dev/shm would outlive a kill.
    "dynamic_shared_memory_type": "mmap",
    "jit": "off",
    # Whoever waits for a lock is freed by the gateway; PostgreSQL must not fail anybody meanwhile.
    "deadlock_timeout": "1h",
    # A backend whose client is gone ends within this time, even inside a long statement.
    "client_connection_check_interval": "500ms",
    "log_min_messages": "error",
    # Statements stay out of the log: they may hold what a program keeps to itself.
    "log_min_error_statement": "panic",
}


class Postgres:
    """One PostgreSQL server in a directory of its own.

    `begin()` returns at once, so that the caller can do its own preparations meanwhile;
    `finish()` waits until connections are accepted.

    Args:
        binaries: The directory with `initdb` and `postgres`.
    """

    def __init__(self, binaries: Path) -> None:
        # Nobody can guess it, and the gateway refuses it: no client is ever the superuser.
        self.superuser = "cluster_" + secrets.token_hex(8)
        self._binaries = binaries
        self._private = PrivateDirectory()
        self.directory = self._private.path
        self.socket_path = self.directory / SOCKET_NAME
        self._data = self.directory / "data"
        self._log = self.directory / "postgres.log"
        self._log.touch(mode=0o600)
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Start `initdb`."""
        if os.geteuid() == 0:
            _give_to_nobody_if_needed(self.directory, self._log)
        self._process = self._run(
            "initdb",
            *("-D", str(self._data), "-U", self.superuser, "--auth=trust", "--encoding=UTF8"),
            # DSQL's only collation is C.
            *("--locale=C", "--no-sync", "--no-instructions"),
        )

    def finish(self) -> None:
        """Wait for `initdb`, start the server, wait until its socket is there.

        Raises:
            StartFailed: With the end of the log.
        """
        if self._process is None:
            self.begin()
        if self._process is None or self._process.wait(_START_SECONDS) != 0:
            raise StartFailed("initdb failed", self.log_tail())
        options = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        directories = f"--unix_socket_directories={self.directory}"
        self._process = self._run("postgres", "-D", str(self._data), directories, *options)
        deadline = time.monotonic() + _START_SECONDS
        # postmaster.pid says "ready" in its last line once recovery is over.
        while not self._ready():
            if self._process.poll() is not None:
                raise StartFailed("PostgreSQL ended while starting", self.log_tail())
            if time.monotonic() > deadline:
                raise StartFailed("PostgreSQL was not ready in time", self.log_tail())
            time.sleep(0.003)

    def alive(self) -> bool:
        """Whether the server process runs."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stop whatever runs and delete the directory. May be called at any point, and twice."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            # Immediate shutdown: no checkpoint of data that is deleted next.
            process.send_signal(signal.SIGQUIT)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._private.delete()

    def log_tail(self) -> str:
        """The end of the log."""
        try:
            return self._log.read_text(errors="replace")[-_LOG_TAIL:].strip()
        except OSError:
            return ""

    def _ready(self) -> bool:
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[7].strip() == "ready"  # noqa: PLR2004 - its 8th line

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - a list, and no shell
                [
                    *(sys.executable, "-I", "-S", _unprivileged.__file__),
                    *(str(self._binaries / program), *arguments),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=_environment(),
            )


def _environment() -> dict[str, str]:
    """The little that PostgreSQL needs; PG* and LC_* of the user would change what it is."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "TZ": "UTC", "LC_ALL": "C", "DSQL_FAST_NOBODY": str(_nobody())}


def _nobody() -> int:
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError:
        return _NOBODY


def _give_to_nobody_if_needed(*paths: Path) -> None:
    """Hand the directory to `nobody` where root cannot step into a user namespace."""
    probe = subprocess.run(  # noqa: S603 - our own interpreter
        [
            *(sys.executable, "-I", "-S"),
            *(_unprivileged.__file__, "--probe"),
        ],
        check=False,
    )
    if probe.returncode != 0:
        for path in paths:
            os.chown(path, _nobody(), -1)
