"""What a token is asked for: the action, by the user, and the lifetime. Pure."""

from __future__ import annotations

from ._errors import ConfigError

DEFAULT_LIFETIME = 900
"""Seconds; the default of botocore and of most connectors."""

LONGEST_LIFETIME = 604_800
"""Seconds: seven days, SigV4's limit for presigned requests."""


def lifetime_from(value: object, name: str = "token_duration_secs") -> int:
    """Check a token's lifetime in seconds; numeric text is accepted.

    Raises:
        ConfigError: not a whole number from 1 to 604800 (seven days).
    """
    seconds: object = value
    if isinstance(value, str):
        digits = value.strip()
        # int() has a limit of its own, whose error is not ours.
        if digits.isascii() and digits.isdigit() and len(digits) < 20:  # noqa: PLR2004
            seconds = int(digits)
    if isinstance(seconds, float) and seconds.is_integer():
        seconds = int(seconds)
    if isinstance(seconds, bool) or not isinstance(seconds, int):
        raise ConfigError(f"{name} must be a whole number of seconds, not {value!r}")
    if not 1 <= seconds <= LONGEST_LIFETIME:
        raise ConfigError(f"{name} must be from 1 to {LONGEST_LIFETIME} (seven days), not {seconds}")
    return seconds


def is_unicode(text: str) -> bool:
    """Tell whether `text` can be encoded: what came from undecodable bytes (lone surrogates) cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def action_for(user: object) -> str:
    """Return the action that a user's token is for: ``admin`` has one of its own (documented by AWS).

    Raises:
        ConfigError: the user is not a name.
    """
    if not isinstance(user, str) or not user or "\0" in user or not is_unicode(user):
        raise ConfigError("user must be the name of a database role")
    return "DbConnectAdmin" if user == "admin" else "DbConnect"
