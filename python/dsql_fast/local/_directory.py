"""The private directory that holds all a cluster has, and that goes with it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

_PREFIX = "dsql-fast-"
_LOCK = "lock"
# A socket's path must fit into 108 bytes on Linux, 104 on macOS.
_LONGEST_SOCKET_PATH = 103
SOCKET_NAME = ".s.PGSQL.5432"
_MEMORY = Path("/dev/shm")  # noqa: S108 - a private directory is made in it
_ENOUGH_MEMORY = 1024**3  # bytes; containers often have 64 MiB there, too few for a database
_YOUNG_SECONDS = 60.0


class PrivateDirectory:
    """A directory of mode 0700, locked by the process that made it.

    It is in memory where there is room: `initdb` writes a thousand small files, which takes three
    times as long on a disk (measured: 0.33 s and 0.9 s). `TMPDIR` overrides that. What earlier
    processes could not delete, because they were killed, is deleted here.
    """

    def __init__(self) -> None:
        place = _place()
        _sweep(place)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        if len(os.fsencode(self.path / SOCKET_NAME)) > _LONGEST_SOCKET_PATH:
            self.path.rmdir()
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir="/tmp"))
        # Held until the process ends, in whatever way: that is how others know that it lives.
        # A process id would not do, being another one in another container.
        self._lock = os.open(self.path / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def delete(self) -> None:
        """Delete it with all that is in it. May be called twice."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _place() -> Path:
    if not os.environ.get("TMPDIR") and os.access(_MEMORY, os.W_OK):
        with contextlib.suppress(OSError):
            if shutil.disk_usage(_MEMORY).free >= _ENOUGH_MEMORY:
                return _MEMORY
    return Path(tempfile.gettempdir())


def _sweep(place: Path) -> None:
    """Delete the directories of ours whose process is gone."""
    for directory in place.glob(_PREFIX + "*"):
        with contextlib.suppress(OSError):
            _delete_if_left_behind(directory)


def _delete_if_left_behind(directory: Path) -> None:
    lock_file = directory / _LOCK
    about = lock_file.stat()
    # A young one may not have come to its lock yet.
    if about.st_uid != os.geteuid() or time.time() - about.st_mtime < _YOUNG_SECONDS:
        return
    lock = os.open(lock_file, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(directory, ignore_errors=True)
    finally:
        os.close(lock)
