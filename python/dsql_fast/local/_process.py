"""The parent's side: starts the cluster's process and talks to it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from dsql_fast.local._errors import (
    LocalClusterError,
    NotRunning,
    PortInUse,
    PostgresNotFound,
    StartFailed,
)

_START_SECONDS = 60.0
_ANSWER_SECONDS = 30.0
_STOP_SECONDS = 10.0
_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])
INTERPRETER_NAME = "DSQL_FAST_LOCAL_PYTHON"

_ERRORS = (LocalClusterError, PortInUse, PostgresNotFound, StartFailed, ValueError, TypeError)
_ERRORS_BY_NAME: dict[str, type[Exception]] = {error.__name__: error for error in _ERRORS}


def another_interpreter() -> str | None:
    """Return the interpreter that the environment names for the cluster's process; None is this one."""
    return os.environ.get(INTERPRETER_NAME) or None


class ClusterProcess:
    """A running cluster process and the line to it.

    Args:
        configuration: What `_service.serve` reads first. It goes over the line, because a command
            line can be read by everybody on the machine.

    Raises:
        LocalClusterError: If it does not come up.
    """

    def __init__(self, configuration: dict[str, Any]) -> None:
        self._lock = threading.Lock()
        self._owner = os.getpid()
        ours, theirs = socket.socketpair()
        self._line = ours
        self._pending = bytearray()
        interpreter = another_interpreter()
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, or the one that was named
                    [interpreter or sys.executable, "-m", "dsql_fast.local", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    # Ctrl-C in a terminal goes to a whole group; the cluster ends when told to.
                    start_new_session=True,
                    # `-m` looks into the current directory first; nothing of ours is there.
                    cwd="/",
                    env=_environment(with_paths=interpreter is None),
                )
        except OSError as error:
            ours.close()
            if interpreter is None:
                raise
            raise LocalClusterError(
                f"{INTERPRETER_NAME} is {interpreter!r}, which does not start: {error}"
            ) from None
        except BaseException:
            ours.close()
            raise
        self.directory: Path | None = None
        try:
            self.ready = self._call(configuration, _START_SECONDS)
            self.directory = Path(self.ready["directory"])
        except BaseException:
            self.stop()
            raise

    def call(self, command: str, **arguments: Any) -> Any:
        """Have a command carried out.

        Raises:
            NotRunning: If the process is gone, or this one is a fork of its owner.
        """
        if os.getpid() != self._owner:
            raise NotRunning("the cluster belongs to the process that started it, not to its forks")
        return self._call({"do": command, **arguments}, _ANSWER_SECONDS)

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Stop it and wait until it is gone, with everything it had. In a fork: do nothing."""
        if os.getpid() != self._owner:
            return
        with contextlib.suppress(OSError):
            self._line.sendall(b'{"do": "stop"}\n')
        self._line.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._clean_up()

    def _clean_up(self) -> None:
        """Do what the process could not do any more, if it was killed."""
        if self.directory is None or not self.directory.exists():
            return
        with contextlib.suppress(OSError, ValueError, IndexError):
            pid = int((self.directory / "data" / "postmaster.pid").read_text().split()[0])
            os.kill(pid, signal.SIGQUIT)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _call(self, request: dict[str, Any], seconds: float) -> Any:
        with self._lock:
            try:
                self._line.settimeout(seconds)
                self._line.sendall(json.dumps(request).encode() + b"\n")
                reply = json.loads(self._read_line())
            except OSError as error:
                raise NotRunning(f"the cluster's process does not answer: {error}") from None
        if "error" not in reply:
            return reply["result"]
        kind = _ERRORS_BY_NAME.get(reply["error"], LocalClusterError)
        if kind is StartFailed:
            raise StartFailed(reply["message"], reply.get("log", ""))
        raise kind(reply["message"])

    def _read_line(self) -> bytes:
        while b"\n" not in self._pending:
            part = self._line.recv(65536)
            if not part:
                raise ConnectionResetError("it has ended")
            self._pending += part
        line, _, rest = bytes(self._pending).partition(b"\n")
        self._pending = bytearray(rest)
        return line


def _environment(*, with_paths: bool) -> dict[str, str]:
    """The parent's environment, with its module path, and without what changes a server.

    Another interpreter gets no module path: the parent's modules need not be for it.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PG", "AWS_", "PYTHONSTARTUP", "PYTHONINSPECT"))
    }
    if not with_paths:
        environment.pop("PYTHONPATH", None)
        return environment
    paths = [os.path.abspath(path or ".") for path in sys.path]  # noqa: PTH100 - text is wanted
    environment["PYTHONPATH"] = os.pathsep.join([_PACKAGE_ROOT, *paths])
    return environment
