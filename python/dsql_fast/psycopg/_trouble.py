"""Why a pool has no connection to give.

psycopg_pool connects in the background: what goes wrong there is logged, and the caller hears of a timeout only.
Here the last failure is kept, told in the `PoolTimeout`, and, where trying again cannot help, told at once.
"""

from __future__ import annotations

import time

import psycopg
import psycopg_pool

from .._diagnosis import diagnose
from .._errors import ConfigError, ConnectError, CredentialsError, CredentialsTimeout, Error
from ._attempt import without_frames

# For so long after a permanent failure a caller is refused at once; then the next one tries anew (seconds).
_FRESH = 1.0


class PoolTimeout(psycopg_pool.PoolTimeout, Error):  # noqa: N818 (psycopg_pool's name)
    """The pool has no connection to give in time; the message and ``__cause__`` tell why."""

    __module__ = "dsql_fast"


def is_permanent(failure: BaseException) -> bool:
    """Tell whether connecting again cannot help until somebody changes something."""
    if isinstance(failure, CredentialsTimeout):
        return False
    if isinstance(failure, (ConfigError, CredentialsError)):
        return True
    if isinstance(failure, ConnectError):
        return failure.permanent
    # Of a `connection_class` that connects in its own way.
    return isinstance(failure, psycopg.Error) and diagnose(str(failure)).permanent


class Trouble:
    """The last failure to connect, until a connect succeeds."""

    __slots__ = ("_at", "_failure", "_put_off_until")

    def __init__(self) -> None:
        self._failure: BaseException | None = None
        self._at = 0.0
        self._put_off_until = 0.0

    def note(self, failure: BaseException) -> bool:
        """Keep a failure; tell whether it is permanent."""
        self._failure = without_frames(failure)
        self._at = time.monotonic()
        return is_permanent(failure)

    def over(self) -> None:
        """Forget it: a connect succeeded."""
        self._failure = None
        self._put_off_until = 0.0

    def put_off(self, seconds: float) -> None:
        """Take note that a connect is not to be tried yet."""
        self._put_off_until = time.monotonic() + seconds

    @property
    def is_permanent(self) -> bool:
        """The last connect failed, and waiting does not help."""
        return self._failure is not None and is_permanent(self._failure)

    @property
    def is_fresh(self) -> bool:
        """It is permanent, and was seen within the last second."""
        return self.is_permanent and time.monotonic() - self._at < _FRESH

    def is_permanent_since(self, at: float) -> bool:
        """As `is_permanent`, and it was seen after that time (monotonic seconds)."""
        return self.is_permanent and self._at >= at

    def explain(
        self, what: str, otherwise: str = "all connections are in use, and none came back in time"
    ) -> PoolTimeout:
        """Make the error that tells what did not work, and why: the last failure, or `otherwise`."""
        failure = self._failure
        seconds = self._put_off_until - time.monotonic()
        if failure is None and seconds > 0:
            return PoolTimeout(f"{what}: to keep to the cluster's rate, the next connect comes in {seconds:.2f} s")
        if failure is None:
            return PoolTimeout(f"{what}: {otherwise}")
        kind = "trying again does not help" if is_permanent(failure) else "the last connect failed"
        error = PoolTimeout(f"{what}: {kind}: {type(failure).__name__}: {failure}")
        error.__cause__ = failure
        return error
