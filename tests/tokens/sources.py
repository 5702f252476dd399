"""Sources of credentials that do what tests need, and a clock."""

from __future__ import annotations

import threading

from dsql_fast import Credentials

HOST = "cluster000000000000000000a.dsql.us-east-1.on.aws"


def keys(name: str = "AKIDFAKE") -> Credentials:
    return Credentials(name, "fake-secret")


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += seconds


class Source:
    """A callable source that counts its calls, and fails or gives what it is told to."""

    def __init__(self, credentials: Credentials | None = None) -> None:
        self.calls = 0
        self.credentials = credentials or keys()
        self.failure: BaseException | None = None
        self._lock = threading.Lock()

    def __call__(self) -> Credentials:
        with self._lock:
            self.calls += 1
        if self.failure is not None:
            raise self.failure
        return self.credentials


class Gate(Source):
    """A source that waits until it is opened; `entered` counts up as calls come in."""

    def __init__(self, credentials: Credentials | None = None) -> None:
        super().__init__(credentials)
        self.entered = threading.Semaphore(0)
        self.opened = threading.Event()

    def __call__(self) -> Credentials:
        found = super().__call__()
        self.entered.release()
        assert self.opened.wait(60)
        return found

    def wait_entered(self) -> None:
        assert self.entered.acquire(timeout=30)
