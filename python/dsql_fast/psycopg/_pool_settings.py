"""What a pool connects with, checked when the pool is made, before anything is sent."""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING, Any, cast

from .._config import Config, parse_config
from .._credentials import concealed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

# Arguments of psycopg's `connect` that are no settings of the connection string.
_DRIVER_ONLY = ("autocommit", "prepare_threshold", "context", "row_factory", "cursor_factory")


def connection_settings(
    conninfo: str | Config | Callable[..., Any],
    keywords: dict[str, Any],
    kwargs: Mapping[str, Any] | Callable[..., Any] | None,
) -> dict[str, Any]:
    """Check a pool's connection settings as far as they are known, and return the keywords among them.

    Credentials come back as a provider: unlike what the caller gave, it shows no secret among the locals of
    psycopg_pool's frames.

    Raises:
        ConfigError: something cannot be used.
        CredentialsError: the environment's credentials cannot be used.
    """
    named = {name: value for name, value in keywords.items() if value is not None}
    # If it is not, only each connect will know the host.
    is_known = not callable(conninfo) and (bool(conninfo) or "host" in named or not callable(kwargs))
    if is_known:
        known = dict(named)
        if kwargs is not None and not callable(kwargs):
            known.update((name, value) for name, value in kwargs.items() if name not in _DRIVER_ONLY)
        parse_config(cast("str | Config", conninfo), known, os.environ)
    return _merged(named, {})


def merged_kwargs(
    settings: dict[str, Any], kwargs: dict[str, Any] | Callable[[], dict[str, Any]] | None
) -> dict[str, Any] | Callable[[], dict[str, Any]]:
    """Put the pool's keywords and the caller's ``kwargs`` together; the latter win."""
    if kwargs is None:
        return settings
    if not callable(kwargs):
        return _merged(settings, kwargs)
    call = kwargs
    return lambda: _merged(settings, call())


def merged_async_kwargs(
    settings: dict[str, Any],
    kwargs: dict[str, Any] | Callable[[], dict[str, Any]] | Callable[[], Awaitable[dict[str, Any]]] | None,
) -> dict[str, Any] | Callable[[], Awaitable[dict[str, Any]]]:
    """Put the pool's keywords and the caller's ``kwargs`` together; the latter win."""
    if kwargs is None:
        return settings
    if not callable(kwargs):
        return _merged(settings, kwargs)
    call = kwargs

    async def merged() -> dict[str, Any]:
        found = call()
        return _merged(settings, await found if inspect.isawaitable(found) else found)

    return merged


def _merged(settings: dict[str, Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**settings, **kwargs}
    for name in ("credentials", "custom_credentials_provider"):
        if merged.get(name) is not None:
            merged[name] = concealed(merged[name])
    return merged
