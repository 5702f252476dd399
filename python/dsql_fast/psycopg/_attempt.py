"""psycopg's part in a connect: how it takes its settings, and what its errors say and hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg

from .. import _connecting
from .._config import driver_arguments
from .._errors import linked
from ._driver import LIBPQ_VERSION, OWN_OPENSSL
from ._prepared import Prepared

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._config import Config
    from .._connecting import Attempt


class _Psycopg:
    name = "psycopg"

    def arguments(self, config: Config, *, system_trust: bool) -> Prepared:
        arguments = driver_arguments(config, LIBPQ_VERSION, system_trust=system_trust, own_openssl=OWN_OPENSSL)
        # libpq's own name for what a driver calls itself: PGAPPNAME and application_name= beat it.
        arguments.setdefault("fallback_application_name", config.own_application_name(self.name))
        return Prepared(arguments)

    def refusal(self, error: BaseException) -> str | None:
        # libpq puts the hint into the message, and has no SQLSTATE for a failed connect.
        return str(error) if isinstance(error, psycopg.OperationalError) else None

    def unreachable(self, text: str) -> Exception:
        return psycopg.OperationalError(text)


DRIVER = _Psycopg()


def begin(conninfo: str | Config, keywords: Mapping[str, Any]) -> Attempt:
    """As `_connecting.begin`."""
    return _connecting.begin(DRIVER, conninfo, keywords)


async def begin_async(conninfo: str | Config, keywords: Mapping[str, Any]) -> Attempt:
    """As `_connecting.begin_async`."""
    return await _connecting.begin_async(DRIVER, conninfo, keywords)


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
