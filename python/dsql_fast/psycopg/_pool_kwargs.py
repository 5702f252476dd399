"""What a bare psycopg_pool pool needs to connect to DSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from .._errors import Error, without_frames
from .._lifetimes import MAX_IDLE, MAX_LIFETIME
from ._connection import AsyncConnection, Connection
from ._pool_settings import connection_settings

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .._config import Config, ConnectKeywords


def pool_kwargs(
    conninfo: str | Config = "",
    *,
    asynchronous: bool = False,
    **connection: Unpack[ConnectKeywords],
) -> dict[str, Any]:
    """Return the keywords with which a pool of psycopg_pool's own connects to a cluster.

    For programs that cannot use `ConnectionPool` or `AsyncConnectionPool`, which do more: a bare pool spreads the
    ages over 5 % only, may hand out a connection that is past its time, and does not say why it has none.

    Args:
        conninfo: as for `Connection.connect`.
        asynchronous: for ``psycopg_pool.AsyncConnectionPool``.
        **connection: the settings of `Connection.connect`.

    Returns:
        ``conninfo``, ``kwargs``, ``connection_class``, ``max_lifetime`` and ``max_idle`` (seconds).

    Raises:
        ConfigError: something cannot be used.
        CredentialsError: the environment's credentials cannot be used.
    """
    try:
        settings = connection_settings(conninfo, cast("dict[str, Any]", connection), None)
    except Error as error:
        failure = error
    else:
        # Its workers are not to sleep until a refused connect may be tried again: psycopg_pool schedules that.
        settings.setdefault("pacing", False)
        return {
            "conninfo": conninfo,
            "kwargs": settings,
            "connection_class": AsyncConnection if asynchronous else Connection,
            "max_lifetime": MAX_LIFETIME,
            "max_idle": MAX_IDLE,
        }
    # Our frames hold what the caller passed, and error reporters show locals.
    del conninfo, connection
    try:
        raise without_frames(failure)
    finally:
        del failure  # it refers to this frame: no cycle
