"""What all sources of credentials have in common, and those that are a value already."""

from __future__ import annotations

from .._errors import ConfigError, CredentialsError
from .._native import Credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any, Protocol, TypeAlias

    from ._assume_role import AssumeRole

    class FrozenKeys(Protocol):
        """What botocore's `ReadOnlyCredentials` looks like."""

        @property
        def access_key(self) -> str: ...
        @property
        def secret_key(self) -> str: ...
        @property
        def token(self) -> str | None: ...

    # Anything else is botocore's, or the caller's own class, and is told apart when it is used.
    CredentialsLike: TypeAlias = Credentials | FrozenKeys | Any
    CredentialsSource: TypeAlias = (
        CredentialsLike | AssumeRole | Callable[[], CredentialsLike] | Callable[[], Awaitable[CredentialsLike]]
    )

ADVICE = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile (profile=, AWS_PROFILE), "
    "run where a role is attached, or pass credentials="
)


class CredentialsProvider:
    """A source of credentials, as a key of the token cache. Subclasses say how to load.

    Attributes:
        may_block: loading may wait for a file, a process or a network.
        is_async: loading gives an awaitable, which only an asynchronous caller can await.
    """

    __slots__ = ("_identity",)
    may_block = True
    is_async = False

    def __init__(self, identity: object) -> None:
        self._identity = identity

    @property
    def name(self) -> str:
        """What errors call it; nothing secret."""
        return f"credentials= (a {type(self._identity).__name__})"

    def load(self) -> Credentials:
        """Return the credentials that hold now.

        Raises:
            CredentialsError: there are none.
        """
        raise NotImplementedError

    async def load_async(self) -> Credentials:
        """Return the credentials that hold now; for providers that must be awaited."""
        return self.load()

    def in_region(self, region: str) -> CredentialsProvider:  # noqa: ARG002 (most have no use for it)
        """Return the provider for connections to a Region."""
        return self

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        mine, theirs = self._identity, other._identity
        return mine is theirs or bool(mine == theirs)

    def __hash__(self) -> int:
        try:
            return hash((type(self), self._identity))
        except TypeError:
            # An unhashable object (a mutable dataclass with `__call__`) still is a source; equal ones share
            # a bucket, and `__eq__` decides.
            return hash((type(self), type(self._identity)))

    def __repr__(self) -> str:
        # Never the identity: a caller's object may show its secrets.
        return f"<{type(self).__name__}>"


class StaticCredentials(CredentialsProvider):
    """Credentials that the caller gave as a value, or those of the environment as one."""

    __slots__ = ("_name",)
    may_block = False
    _identity: Credentials

    def __init__(self, identity: Credentials, name: str = "credentials=") -> None:
        super().__init__(identity)
        self._name = name

    @property
    def name(self) -> str:
        """What errors call it."""
        return self._name

    def load(self) -> Credentials:
        """Return the value."""
        return self._identity


class NoCredentials(CredentialsProvider):
    """None: a password is used instead of tokens."""

    __slots__ = ()
    may_block = False

    def __init__(self) -> None:
        super().__init__("none")

    @property
    def name(self) -> str:
        """What errors call it."""
        return "none: a password is used (DB_USE_IAM=false)"

    def load(self) -> Credentials:
        """Refuse.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("DB_USE_IAM is false: the connection uses a password, and there are no tokens for it")


def credentials_from(value: CredentialsLike) -> Credentials:
    """Turn what a source gave into `Credentials`.

    Raises:
        CredentialsError: it is no credentials, or blank ones.
    """
    if isinstance(value, Credentials):
        return value
    if hasattr(value, "get_frozen_credentials"):
        from .._botocore import freeze

        return from_keys(*freeze(value))
    if not has_keys(value):
        raise CredentialsError(
            f"a source of credentials gave a {type(value).__name__}: dsql_fast.Credentials or botocore's "
            "ReadOnlyCredentials are expected",
        )
    return from_keys(value, None)


def from_keys(keys: FrozenKeys, expires_at: Any) -> Credentials:
    """Make `Credentials` of frozen keys and of when they end (a datetime; None: never).

    Raises:
        CredentialsError: blank ones.
    """
    try:
        return Credentials(keys.access_key, keys.secret_key, keys.token or None, expires_at)
    except (ConfigError, CredentialsError, TypeError) as error:
        raise CredentialsError(f"the source of the credentials gave unusable ones: {error}") from None


def has_keys(value: object) -> bool:
    """Tell whether an object looks like botocore's `ReadOnlyCredentials`."""
    return all(hasattr(value, name) for name in ("access_key", "secret_key", "token"))
