"""Where AWS credentials come from.

The environment's keys are read here, without an SDK: that is all a Lambda function needs. Everything else
(profile, SSO, assumed role, web identity, container, instance, process) is botocore's chain, imported when
it is first needed.

A *provider* is an object with ``load()``, which returns `Credentials` or raises. It says of itself whether
loading may block (then it runs off the caller's thread) and whether it must be awaited. Providers are keys
of the process-wide cache of tokens: two are equal when they stand for the same source, by equality of the
object that the caller gave. They hold that object, since an `id()` is used again after its owner has gone.
"""

from __future__ import annotations

import os

from ._errors import ConfigError, CredentialsError, CredentialsNotFound
from ._native import Credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Any, Protocol, TypeAlias

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
        CredentialsLike | Callable[[], CredentialsLike] | Callable[[], Awaitable[CredentialsLike]]
    )

__all__ = ["Credentials", "CredentialsProvider", "credentials_provider", "profile_region"]

_ADVICE = (
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

    def load(self) -> Credentials:
        """Return the credentials that hold now.

        Raises:
            CredentialsError: there are none.
        """
        raise NotImplementedError

    async def load_async(self) -> Credentials:
        """Return the credentials that hold now; for providers that must be awaited."""
        return self.load()

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
    """Credentials that the caller gave as a value."""

    __slots__ = ()
    may_block = False
    _identity: Credentials

    def load(self) -> Credentials:
        """Return the value."""
        return self._identity


class EnvironmentCredentials(CredentialsProvider):
    """The environment's keys, read again at each load."""

    __slots__ = ()
    may_block = False

    def __init__(self) -> None:
        super().__init__("environment")

    def load(self) -> Credentials:
        """Read the environment.

        Raises:
            CredentialsError: half a pair, or blank keys.
            CredentialsNotFound: the keys are gone.
        """
        credentials = environment_credentials(os.environ)
        if credentials is None:
            raise CredentialsNotFound(f"AWS_ACCESS_KEY_ID is no longer set: {_ADVICE}")
        return credentials


class CallableCredentials(CredentialsProvider):
    """A callable of the caller's."""

    __slots__ = ()
    _identity: Callable[[], CredentialsLike]

    def load(self) -> Credentials:
        """Call it."""
        value = self._identity()
        if hasattr(value, "__await__"):
            close = getattr(value, "close", None)
            if close is not None:
                close()  # or Python warns of a coroutine that was never awaited
            raise ConfigError(
                "the credentials callable returned an awaitable: make it an `async def`, and use an "
                "asynchronous entry point (connect_async, token_async, AsyncConnectionPool)",
            )
        return credentials_from(value)


class AsyncCallableCredentials(CredentialsProvider):
    """An `async def` of the caller's."""

    __slots__ = ()
    is_async = True
    _identity: Callable[[], Awaitable[CredentialsLike]]

    def load(self) -> Credentials:
        """Refuse: a synchronous caller cannot await.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "the credentials callable is asynchronous: use an asynchronous entry point "
            "(connect_async, token_async, AsyncConnectionPool)",
        )

    async def load_async(self) -> Credentials:
        """Call it and await what it gives."""
        return credentials_from(await self._identity())


class BotocoreCredentials(CredentialsProvider):
    """An object that freezes its keys: what botocore's sessions give, refreshed by themselves."""

    __slots__ = ()
    _identity: Any

    def load(self) -> Credentials:
        """Freeze the keys that hold now."""
        return _freeze(self._identity)


class SessionCredentials(CredentialsProvider):
    """A boto3 or botocore session, or a botocore credential provider."""

    __slots__ = ()
    _identity: Any

    def load(self) -> Credentials:
        """Ask it for its credentials."""
        source = self._identity
        found = source.load() if _is_botocore_provider(source) else source.get_credentials()
        if found is None:
            raise CredentialsNotFound(f"the {type(source).__name__} has no credentials: {_ADVICE}")
        return _freeze(found)


class ChainCredentials(CredentialsProvider):
    """Botocore's chain, for a profile or for the default one."""

    __slots__ = ()
    _identity: str | None

    def load(self) -> Credentials:
        """Walk the chain.

        Raises:
            CredentialsNotFound: nothing on it has any.
            CredentialsError: the profile does not exist, or a source on the chain failed.
        """
        from ._botocore import session_for

        found = session_for(self._identity).get_credentials()
        if found is None:
            where = f"profile {self._identity!r}" if self._identity else "environment or on this machine"
            raise CredentialsNotFound(f"no AWS credentials in the {where}: {_ADVICE}")
        return _freeze(found)


def credentials_provider(
    credentials: CredentialsSource | None,
    profile: str | None,
    environ: Mapping[str, str],
    *,
    environment_by_value: bool,
) -> CredentialsProvider:
    """Decide where credentials come from.

    What the caller passes comes first; then an explicit profile; then the environment's keys (as botocore
    has it: ``AWS_PROFILE`` does not beat them); then botocore's chain.

    Args:
        credentials: what the caller passed, or None.
        profile: the profile that the caller named, or None.
        environ: the environment's variables.
        environment_by_value: make the environment's keys themselves the identity, so that new keys in a
            running process count at once (connects and pools). Otherwise they are read at each renewal.

    Raises:
        ConfigError: both were passed, or something that is no source of credentials.
        CredentialsError: the environment holds half a pair.
    """
    if profile is not None:
        if credentials is not None:
            raise ConfigError("both credentials= and profile= were given: drop one of the two")
        if not isinstance(profile, str) or not profile.strip():
            raise ConfigError("profile must be the name of a profile")
        return ChainCredentials(profile)
    if credentials is not None:
        return _provider_of(credentials)
    found = environment_credentials(environ)
    if found is None:
        return ChainCredentials(environ.get("AWS_PROFILE") or None)
    return StaticCredentials(found) if environment_by_value else EnvironmentCredentials()


def _provider_of(source: CredentialsSource) -> CredentialsProvider:
    if isinstance(source, CredentialsProvider):
        return source
    if isinstance(source, Credentials):
        return StaticCredentials(source)
    if _is_botocore_provider(source) or hasattr(source, "get_credentials"):
        return SessionCredentials(source)
    if hasattr(source, "get_frozen_credentials"):
        return BotocoreCredentials(source)
    if _has_keys(source):
        return StaticCredentials(credentials_from(source))
    if callable(source):
        return AsyncCallableCredentials(source) if _is_async(source) else CallableCredentials(source)
    raise ConfigError(
        f"credentials cannot be a {type(source).__name__}: pass dsql_fast.Credentials, botocore's "
        "ReadOnlyCredentials, a boto3 or botocore session, or a callable that returns one of the first two",
    )


def environment_credentials(environ: Mapping[str, str]) -> Credentials | None:
    """Read the keys in the environment, or return None where there are none.

    ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_SESSION_TOKEN`` (``AWS_SECURITY_TOKEN`` beats it) and
    ``AWS_CREDENTIAL_EXPIRATION`` (ISO 8601), as botocore reads them. Empty variables count as not set.

    Raises:
        CredentialsError: half a pair, blank keys, or an expiration that is not a time.
    """
    access_key = environ.get("AWS_ACCESS_KEY_ID") or ""
    secret_key = environ.get("AWS_SECRET_ACCESS_KEY") or ""
    if not access_key and not secret_key:
        return None
    if not access_key or not secret_key:
        there, missing = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
        if not access_key:
            there, missing = missing, there
        raise CredentialsError(f"{there} is set but {missing} is not: set both or neither")
    session_token = environ.get("AWS_SECURITY_TOKEN") or environ.get("AWS_SESSION_TOKEN") or None
    expiration = environ.get("AWS_CREDENTIAL_EXPIRATION") or None
    key = (access_key, secret_key, session_token, expiration)
    global _last_environment  # noqa: PLW0603 (one value, replaced whole: no lock is needed)
    last = _last_environment
    if last is not None and last[0] == key:
        # The same object again: it keeps the day's signing key.
        return last[1]
    try:
        credentials = Credentials(
            access_key,
            secret_key,
            session_token,
            _parse_time(expiration) if expiration else None,
        )
    except (ConfigError, CredentialsError) as error:
        raise CredentialsError(f"the credentials in the environment: {error}") from None
    _last_environment = (key, credentials)
    return credentials


_last_environment: tuple[tuple[str, str, str | None, str | None], Credentials] | None = None


def _parse_time(text: str) -> Any:
    from datetime import datetime, timezone

    try:
        # Python 3.10's fromisoformat() does not know the Z.
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        raise CredentialsError(
            "AWS_CREDENTIAL_EXPIRATION is not a time in ISO 8601, as in 2026-01-31T12:00:00Z",
        ) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)


def credentials_from(value: CredentialsLike) -> Credentials:
    """Turn what a source gave into `Credentials`.

    Raises:
        CredentialsError: it is no credentials, or blank ones.
    """
    if isinstance(value, Credentials):
        return value
    if hasattr(value, "get_frozen_credentials"):
        return _freeze(value)
    if not _has_keys(value):
        raise CredentialsError(
            f"a source of credentials gave a {type(value).__name__}: dsql_fast.Credentials or botocore's "
            "ReadOnlyCredentials are expected",
        )
    return _from_keys(value, None)


def _from_keys(keys: FrozenKeys, expires_at: Any) -> Credentials:
    try:
        return Credentials(keys.access_key, keys.secret_key, keys.token or None, expires_at)
    except (ConfigError, CredentialsError, TypeError) as error:
        raise CredentialsError(f"the source of the credentials gave unusable ones: {error}") from None


def _has_keys(value: object) -> bool:
    return all(hasattr(value, name) for name in ("access_key", "secret_key", "token"))


def _is_botocore_provider(source: object) -> bool:
    # botocore.credentials.CredentialProvider, without importing it
    return hasattr(source, "load") and hasattr(source, "METHOD")


def _is_async(function: object) -> bool:
    from inspect import iscoroutinefunction

    return iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _freeze(found: Any) -> Credentials:
    from ._botocore import end_of

    # The end is read before the keys: if they are refreshed in between, the end is too early, never too late.
    expires_at = end_of(found)
    return _from_keys(found.get_frozen_credentials(), expires_at)


def profile_region(profile: str | None) -> str | None:
    """Return the Region of a profile (None: the default one), or None where it names none.

    Raises:
        CredentialsNotFound: there is no such profile.
    """
    from ._botocore import region_of

    return region_of(profile)
