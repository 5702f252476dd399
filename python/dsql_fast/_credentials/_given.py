"""Sources that the caller passes as objects: callables, sessions, botocore's credentials and providers."""

from __future__ import annotations

from .._errors import ConfigError, CredentialsNotFound
from ._provider import ADVICE, CredentialsProvider, credentials_from, from_keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from .._native import Credentials
    from ._provider import CredentialsLike


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
        raise async_only()

    async def load_async(self) -> Credentials:
        """Call it and await what it gives."""
        return credentials_from(await self._identity())


def async_only() -> ConfigError:
    """Make the error for a synchronous caller of a source that must be awaited."""
    return ConfigError(
        "the credentials callable is asynchronous: use an asynchronous entry point "
        "(connect_async, token_async, AsyncConnectionPool)",
    )


class BotocoreCredentials(CredentialsProvider):
    """An object that freezes its keys: what botocore's sessions give, refreshed by themselves."""

    __slots__ = ()
    _identity: Any

    def load(self) -> Credentials:
        """Freeze the keys that hold now."""
        return credentials_from(self._identity)


class SessionCredentials(CredentialsProvider):
    """A boto3 or botocore session, or a botocore credential provider."""

    __slots__ = ()
    _identity: Any

    def load(self) -> Credentials:
        """Ask it for its credentials.

        Raises:
            CredentialsNotFound: it has none.
            CredentialsError: it failed.
        """
        from .._botocore import ask

        source = self._identity
        botocores = type(source).__module__.partition(".")[0] in ("boto3", "botocore")
        load = source.load if is_botocore_provider(source) else source.get_credentials
        found = ask(load, botocores=botocores)
        if found is None:
            raise CredentialsNotFound(f"the {type(source).__name__} has no credentials: {ADVICE}")
        return from_keys(*found)


class CustomCredentials(CredentialsProvider):
    """A provider of the caller's, asked before those that there would be without it.

    As the official connectors have it: they put it first on botocore's chain.
    """

    __slots__ = ()
    name = "custom_credentials_provider="
    _identity: tuple[CredentialsProvider, str | None]

    def load(self) -> Credentials:
        """Ask it, and where it has none, the profile, the environment and the chain."""
        try:
            return self._identity[0].load()
        except CredentialsNotFound:
            return self._next().load()

    def in_region(self, region: str) -> CredentialsProvider:
        """Return the provider for connections to a Region."""
        first, profile = self._identity
        return type(self)((first.in_region(region), profile))

    def _next(self) -> CredentialsProvider:
        import os

        from . import credentials_provider

        return credentials_provider(None, self._identity[1], os.environ, environment_by_value=False)


class AsyncCustomCredentials(CustomCredentials):
    """The same where the caller's provider is asynchronous."""

    __slots__ = ()
    is_async = True

    def load(self) -> Credentials:
        """Refuse: a synchronous caller cannot await.

        Raises:
            ConfigError: always.
        """
        raise async_only()

    async def load_async(self) -> Credentials:
        """Ask it, and where it has none, the others, off the loop."""
        try:
            return await self._identity[0].load_async()
        except CredentialsNotFound:
            pass
        from asyncio import to_thread

        return await to_thread(self._next().load)


def is_botocore_provider(source: object) -> bool:
    """Tell whether an object is a botocore.credentials.CredentialProvider, without importing it."""
    return hasattr(source, "load") and hasattr(source, "METHOD")


def is_async(function: object) -> bool:
    """Tell whether a callable must be awaited."""
    from inspect import iscoroutinefunction

    return iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004
