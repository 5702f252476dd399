"""The environment's keys, read without an SDK: that is all a Lambda function needs."""

from __future__ import annotations

import os

from .._errors import ConfigError, CredentialsError, CredentialsNotFound
from .._native import Credentials
from ._provider import ADVICE, CredentialsProvider

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TypeAlias

    _Key: TypeAlias = tuple[str, str, str | None, str | None]

NAME = "the environment's keys (AWS_ACCESS_KEY_ID)"


class EnvironmentCredentials(CredentialsProvider):
    """The environment's keys, read again at each load."""

    __slots__ = ()
    may_block = False
    name = NAME

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
            raise CredentialsNotFound(f"AWS_ACCESS_KEY_ID is no longer set: {ADVICE}")
        return credentials


_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
    "AWS_CREDENTIAL_EXPIRATION",
)
_ENCODED = tuple(map(getattr(os.environ, "encodekey", str), _VARIABLES))


def unchanged_credentials() -> Credentials | None:
    """Return the credentials in the process's environment, if its variables are those of the last time.

    Nothing is decided or refused here: for None, ask `environment_credentials`.
    """
    last = _last_environment
    if last is None or last[2] is None or last[2] != _as_it_is(os.environ):
        return None
    return last[1]


def _as_it_is(environ: Any) -> tuple[object, ...] | None:
    """Return the variables in whatever form they are at hand, or None where that takes as long as reading them.

    ``os.environ.get`` for the five of them takes five times as long as a signature. So its dict is read, where it
    has one (CPython; tested).
    """
    data = getattr(environ, "_data", None)
    return tuple(map(data.get, _ENCODED)) if environ is os.environ and type(data) is dict else None


def environment_credentials(environ: Mapping[str, str]) -> Credentials | None:
    """Read the keys in the environment, or return None where there are none.

    ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_SESSION_TOKEN`` (``AWS_SECURITY_TOKEN`` beats it) and
    ``AWS_CREDENTIAL_EXPIRATION`` (ISO 8601), as botocore reads them. Empty variables count as not set.

    Raises:
        CredentialsError: half a pair, blank keys, or an expiration that is not a time.
    """
    before = _as_it_is(environ)
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
        credentials = last[1]
    else:
        try:
            credentials = Credentials(
                access_key,
                secret_key,
                session_token,
                _parse_time(expiration) if expiration else None,
            )
        except (ConfigError, CredentialsError) as error:
            raise CredentialsError(f"the credentials in the environment: {error}") from None
    # Not if somebody changed the variables while they were read.
    _last_environment = (key, credentials, before if before == _as_it_is(environ) else None)
    return credentials


# The values, what they made, and the variables as they were.
_last_environment: tuple[_Key, Credentials, tuple[object, ...] | None] | None = None


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
