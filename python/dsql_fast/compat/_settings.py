"""What the official connector's arguments mean, put in ours: its defaults, and what it does not look at.

Its words that are ours too (``region``, ``profile``, ``token_duration_secs``, ...) are ours to check. Its
precedence is ours as well, keywords before the connection string; but it takes neither user nor database from the
environment.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .. import __version__
from .._application_name import application_name
from .._conninfo import parse_conninfo
from .._errors import without_frames
from .._settings import Unshown, settings_of, text_of
from .._settled import DEFAULT_DBNAME, DEFAULT_USER

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_DURATION = 60
"""Seconds a token lives. A token is looked at while connecting only, and renewed before its end."""

_DEFAULTS: Mapping[str, object] = MappingProxyType(
    {"user": DEFAULT_USER, "dbname": DEFAULT_DBNAME, "token_duration_secs": DEFAULT_DURATION}
)
# Given by programs that connect to other databases with the same settings: the token takes their place.
_IGNORED = frozenset({"password", "passfile"})


def settings(dsn: str | None, keywords: Mapping[str, Any], driver: str) -> dict[str, Any]:
    """Return a connection's settings as keywords for our ``connect``, whose connection string is empty then.

    Args:
        dsn: a connection string, or None.
        keywords: what was given by name; None counts as not given. Wins over `dsn`.
        driver: the driver's package.

    Raises:
        ConfigError: something cannot be used.
    """
    try:
        return _settings(dsn, keywords, driver)
    except BaseException as error:  # noqa: BLE001 (raised again below)
        failure = error
    # The frames on the way here hold what the caller passed, and error reporters show locals.
    del dsn, keywords
    try:
        raise without_frames(failure)
    finally:
        del failure  # it refers to this frame: no cycle


def _settings(dsn: str | None, keywords: Mapping[str, Any], driver: str) -> dict[str, Any]:
    given = settings_of(dsn or "", without_ignored(keywords), ignored=_IGNORED)
    prefix = given.get("application_name")
    name = None if prefix is None else text_of("application_name", prefix)
    # Said in so many words, so that no variable says otherwise.
    return {**_DEFAULTS, **given, "application_name": application_name(driver, __version__, name)}


def apart(conninfo: str) -> dict[str, str]:
    """Take a connection string apart for a pool that passes it on in keywords; what is ignored is left out.

    Raises:
        ConfigError: it is malformed.
    """
    try:
        said = parse_conninfo(conninfo)
        return {name: Unshown(value) for name, value in said.items() if name not in _IGNORED}
    except BaseException as error:  # noqa: BLE001 (raised again below)
        failure = error
    del conninfo
    try:
        raise without_frames(failure)
    finally:
        del failure


def without_ignored(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords that are given and are not ignored."""
    return {name: value for name, value in keywords.items() if value is not None and name not in _IGNORED}
