"""psycopg2 connections whose password is a token.

Every failure is raised anew, outside of the handler: psycopg2's frames hold the token among their locals (it puts
a connection string together), ours hold what the caller passed, and error reporters show locals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

import psycopg2

from .._errors import ConfigError, without_frames
from ._driver import begin

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg2.extensions import connection
    from psycopg2.extensions import cursor as _cursor
    from typing_extensions import Unpack

    from .._config import Config, ConnectKeywords
    from .._connecting import Attempt

C = TypeVar("C", bound="connection")


@overload
def connect(
    dsn: str | Config | None,
    connection_factory: Callable[..., C],
    cursor_factory: Callable[..., _cursor] | None = None,
    **settings: Unpack[ConnectKeywords],
) -> C: ...
@overload
def connect(
    dsn: str | Config | None = None,
    *,
    connection_factory: Callable[..., C],
    cursor_factory: Callable[..., _cursor] | None = None,
    **settings: Unpack[ConnectKeywords],
) -> C: ...
@overload
def connect(
    dsn: str | Config | None = None,
    connection_factory: None = None,
    cursor_factory: Callable[..., _cursor] | None = None,
    **settings: Unpack[ConnectKeywords],
) -> connection: ...
def connect(
    dsn: str | Config | None = None,
    connection_factory: Callable[..., Any] | None = None,
    cursor_factory: Callable[..., _cursor] | None = None,
    **settings: Unpack[ConnectKeywords],
) -> Any:
    """Connect to a cluster with psycopg2, over TLS whose certificate is verified.

    With a wait callback (``psycopg2.extensions.set_wait_callback``, as gevent's patches set it) the connect waits
    in it, as psycopg2's own does. psycopg2's asynchronous connections (``async_=True``) are refused.

    Args:
        dsn: a `Config`, the cluster's host or id, a URI (``postgresql://``, ``postgres://``, ``dsql://``) or
            ``key=value`` pairs. Keywords win over it, and it over the environment.
        connection_factory: as in psycopg2. It is called with a connection string that holds the token.
        cursor_factory: as in psycopg2.
        **settings: as for `dsql_fast.connect`: ``host``, ``region``, ``user`` (default ``admin``), ``dbname``
            or ``database``, ``port``, ``hostaddr``, ``profile``, ``credentials``, ``token_duration_secs`` (default
            900), ``sslmode`` (default ``verify-full``), ``sslrootcert``, and further libpq parameters
            (``connect_timeout`` in seconds, ``application_name``, ...).

    Raises:
        ConfigError: something cannot be used. Nothing was sent.
        CredentialsError: no usable AWS credentials. Nothing was sent.
        ConnectError: the connection failed or was refused; also a ``psycopg2.OperationalError``.
    """
    attempt: Attempt | None = None
    while True:
        try:
            if attempt is None:
                attempt = begin(dsn or "", _synchronous(settings))
            attempt.pause()
            connection = psycopg2.connect(
                password=attempt.token(),
                connection_factory=connection_factory,
                cursor_factory=cursor_factory,
                **attempt.arguments(),
            )
        except BaseException as error:  # noqa: BLE001 (raised again below)
            failure = error
        else:
            attempt.connected()
            return connection
        without_frames(failure)
        if attempt is None:
            break
        if not attempt.again(failure):
            failure = attempt.diagnosed(failure)
            break
    del dsn, settings
    try:
        raise failure
    finally:
        del failure  # it refers to this frame: no cycle


def check_settings(
    dsn: str | Config | None = None,
    connection_factory: object = None,
    cursor_factory: object = None,
    **settings: Any,
) -> None:
    """Check the arguments of a `connect` that is to come.

    Raises:
        ConfigError: something cannot be used.
        CredentialsError: the environment's credentials cannot be used.
    """
    del connection_factory, cursor_factory  # psycopg2's
    begin(dsn or "", _synchronous(settings))


def _synchronous(settings: object) -> dict[str, Any]:
    """Return the settings without psycopg2's two words for "asynchronous".

    Such a connect is over before anything was sent. What it ends with, the caller's polling finds: nobody would
    try again with other roots or a new token, and a first token would be waited for on the caller's event loop.
    """
    named = dict(cast("dict[str, Any]", settings))
    if any([named.pop("async", None), named.pop("async_", None)]):
        raise ConfigError(
            "psycopg2's asynchronous connections cannot be used: use dsql_fast.connect_async, or psycopg2's wait "
            "callback (gevent)"
        )
    return named
