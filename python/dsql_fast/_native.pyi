from collections.abc import Callable
from datetime import datetime
from typing import NoReturn, final

from typing_extensions import Self, disjoint_base

# Editors show these docstrings, not those of the compiled module, which are in src/python.rs in full.
# ruff: noqa: PYI021

__all__ = [
    "Credentials",
    "Lease",
    "Stats",
    "TokenCache",
    "__version__",
    "begin_exit",
    "inside",
    "sign_plain",
    "sign_token",
]

__version__: str

@final
class Credentials:
    """AWS credentials; equal and hashed by every field, secrets never shown, not pickled."""

    def __new__(
        cls,
        access_key_id: str,
        secret_access_key: str,
        session_token: str | None = None,
        expires_at: datetime | None = None,
    ) -> Self: ...
    @property
    def access_key_id(self) -> str: ...
    @property
    def expires_at(self) -> datetime | None: ...
    def _reveal(self) -> tuple[str, str, str | None]:
        """Key id, secret and session token, for the request that assumes a role."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __copy__(self) -> Self: ...
    def __deepcopy__(self, _memo: object) -> Self: ...
    def __reduce_ex__(self, _protocol: object) -> NoReturn: ...

def begin_exit() -> None:
    """Let nobody but this thread into what calls Python from native code."""

def inside() -> int:
    """How many threads are inside native code that calls Python."""

def sign_plain(
    host: object,
    region: object,
    user: object,
    expires_in: object,
    credentials: object,
    now: object,
    /,
) -> str | None:
    """`generate_token` where nothing is to be looked up or refused; else None."""

def sign_token(
    credentials: Credentials,
    host: str,
    region: str,
    action: str,
    expires_in: int,
    now: datetime | float | None = None,
) -> tuple[str, float, float]:
    """Sign one token: its text, when it was signed and when it ends (Unix seconds)."""

@disjoint_base
class TokenCache:
    """Keeps one token; a subclass makes it in `_on_miss`."""

    def __new__(
        cls,
        *_args: object,
        clock: Callable[[], float] | None = None,
        lease_timeout: float = 60.0,
        async_only: bool = False,
        **_kwargs: object,
    ) -> Self: ...
    def token(self) -> str:
        """The token; without a hit, what `_on_miss` returns."""
    def _get(self) -> tuple[str | None, Lease | None]:
        """(token, None) hit; (token, lease) stale; (None, lease) miss; (None, None) wait."""
    def _join(self, future: object) -> object | None:
        """The future to wait on, or None if no lease is out any more."""
    def _on_miss(self, stale: str | None, lease: Lease | None, /) -> str:
        """Make, renew or wait for the token."""
    def invalidate(self) -> None:
        """Forget the token: the next call makes a new one."""
    def stats(self) -> Stats:
        """What was issued, renewed and failed in this process."""
    def _noop(self) -> None:
        """Do nothing."""

@final
class Lease:
    """The duty to make a token. Each method settles it and returns the waiters' future or None."""

    def fulfil(self, token: str, signed_at: float, expires_at: float) -> object | None:
        """Publish the token; times in Unix seconds."""
    def fail(self, jitter: float) -> object | None:
        """Give up; the next try waits for `jitter` (0 to 1) of the back-off."""
    def abandon(self) -> object | None:
        """Give the lease back for the next caller to take at once."""

@final
class Stats:
    """Counts of this process, and the present token's end."""

    @property
    def issued(self) -> int: ...
    @property
    def renewals(self) -> int: ...
    @property
    def failures(self) -> int: ...
    @property
    def expires_at(self) -> datetime | None: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]
