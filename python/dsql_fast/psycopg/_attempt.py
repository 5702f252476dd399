"""One connect: what the driver is given, and what is tried again after a failure. For sync and async alike."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import TYPE_CHECKING, cast

import psycopg

from .. import _telemetry
from .._config import driver_arguments, needs_profile_region, parse_config
from .._errors import linked
from .._tokens import shared_source
from ._driver import LIBPQ_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .._config import Config
    from .._tokens import TokenSource

# Hosts whose certificate is not signed by an Amazon root but by one that the system trusts (a proxy of the
# company's, a local cluster): the bundled roots are not tried again for them in this process.
_system_trust: set[str] = set()

_EXPIRED = "Signature expired"  # the hint of DSQL's refusal (observed)
_NOT_VERIFIED = "certificate verify failed"  # OpenSSL's words, in libpq's message


class Attempt:
    """The tries of one connect. At most three: as configured, with the system's roots, with a new token."""

    __slots__ = ("_config", "_system_trust", "source")

    def __init__(self, config: Config) -> None:
        self._config = config
        self._system_trust = config.trusts_only_amazon and config.endpoint.host in _system_trust
        self.source: TokenSource = shared_source(config.endpoint, config.action, config.lifetime, config.provider)

    def arguments(self) -> dict[str, Any]:
        """Return what goes to ``psycopg.connect``, all but the password."""
        return driver_arguments(self._config, LIBPQ_VERSION, system_trust=self._system_trust)

    def again(self, failure: BaseException) -> bool:
        """Tell whether another try makes sense, and prepare it."""
        if not isinstance(failure, psycopg.OperationalError):
            return False
        text = str(failure)
        if _NOT_VERIFIED in text and self._config.trusts_only_amazon and not self._system_trust:
            self._system_trust = True
            return True
        # Never on "not authorized" or "Wrong user": one role without a grant must not flush a token that
        # serves everybody else.
        if _EXPIRED in text and self.source._drop_expired(time.monotonic()):
            host = self._config.endpoint.host
            _telemetry.record(
                "token_dropped",
                logging.WARNING,
                "%s says that the token has expired: signing anew",
                host,
            )
            return True
        return False

    def connected(self) -> None:
        """Take note of what worked."""
        host = self._config.endpoint.host
        if self._system_trust and host not in _system_trust:
            _system_trust.add(host)
            _telemetry.record(
                "system_trust_used",
                logging.WARNING,
                "the certificate of %s is not signed by an Amazon root, but by one that this system trusts",
                host,
            )


def begin(conninfo: str, keywords: object) -> Attempt:
    """Check a connection's settings.

    Raises:
        ConfigError: something cannot be used. Nothing was sent.
        CredentialsError: the environment's credentials cannot be used.
    """
    return Attempt(parse_config(conninfo, cast("Mapping[str, Any]", keywords), os.environ))


async def begin_async(conninfo: str, keywords: object) -> Attempt:
    """Check a connection's settings; AWS configuration files are read off the loop."""
    if needs_profile_region(conninfo, cast("Mapping[str, Any]", keywords), os.environ):
        return await asyncio.to_thread(begin, conninfo, keywords)
    return begin(conninfo, keywords)


def without_frames(error: BaseException) -> BaseException:
    """Take the tracebacks off an error and all that is linked to it, and libpq's connection out of it.

    The frames of a driver hold the token among their locals, and error reporters show locals. Call it outside of
    the handler, and raise the error again: it has the frames from there on only.
    """
    for link in linked(error):
        link.__traceback__ = None
        if isinstance(link, psycopg.Error):
            link._pgconn = None
    return error
