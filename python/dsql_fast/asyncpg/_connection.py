"""asyncpg connections whose password is a token.

Every failure of `connect` is raised anew, outside of the handler: the driver's frames hold the token among their
locals, ours hold what the caller passed, and error reporters show locals.
"""

from __future__ import annotations

import ssl as _ssl
import time
from typing import TYPE_CHECKING, Any, cast

import asyncpg

from .._config import Config
from .._errors import ConfigError, without_frames
from ._attempt import begin
from ._password import Password

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from typing_extensions import Unpack

    from .._config import ConnectKeywords
    from .._connecting import Attempt


class Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg ships no types
    """An asyncpg connection to Aurora DSQL."""

    __module__ = "dsql_fast.asyncpg"
    __slots__ = ()

    def get_reset_query(self) -> str:
        """Return what `reset` sends: DSQL has neither advisory locks nor LISTEN, which asyncpg would end."""
        return "RESET ALL;"


async def connect(
    dsn: str | Config | None = None,
    *,
    loop: asyncio.AbstractEventLoop | None = None,
    timeout: float | None = 60,
    statement_cache_size: int = 100,
    max_cached_statement_lifetime: float = 300,
    max_cacheable_statement_size: int = 1024 * 15,
    command_timeout: float | None = None,
    ssl: bool | str | None = None,
    direct_tls: bool | None = None,
    connection_class: type[Any] = Connection,
    record_class: type[Any] = asyncpg.Record,
    server_settings: Mapping[str, str] | None = None,
    **kwargs: Unpack[ConnectKeywords],
) -> Connection:
    """Connect to a cluster, over TLS whose certificate is verified. Nothing blocks the event loop.

    Args:
        dsn: a `Config`, the cluster's host or id, a URI (``postgresql://``, ``postgres://``, ``dsql://``) or
            ``key=value`` pairs. Keywords win over it, and it over the environment.
        loop: as in asyncpg.
        timeout: seconds for the whole connect, the token included; default 60, None for no limit. Of several
            endpoints each gets a share of it, or of 30 seconds if that is less.
        statement_cache_size: as in asyncpg; default 100.
        max_cached_statement_lifetime: seconds, as in asyncpg; default 300.
        max_cacheable_statement_size: bytes, as in asyncpg; default 15 KiB.
        command_timeout: seconds for each statement, as in asyncpg; default None: no limit.
        ssl: another word for ``sslmode``: one of its values, True (``verify-full``) or False (``disable``).
        direct_tls: another word for ``sslnegotiation``: True (the default) for ``direct``, False for ``postgres``.
        connection_class: as in asyncpg; default `Connection`.
        record_class: as in asyncpg.
        server_settings: as in asyncpg: what is set as the session begins. DSQL accepts few.
        **kwargs: the settings of `dsql_fast.connect` (``host``, ``region``, ``user``, ``database``, ``port``,
            ``hostaddr``, ``profile``, ``credentials``, ``token_duration_secs``, ``sslmode``, ``sslrootcert``,
            ``sslcrl``, ``application_name``, ``connect_timeout``, which wins over `timeout`, ...).

    Returns:
        An instance of `connection_class`.

    Raises:
        ConfigError: something cannot be used. Nothing was sent.
        CredentialsError: no usable AWS credentials. Nothing was sent.
        ConnectError: the connection failed or was refused; also what asyncpg raises: an ``asyncpg.PostgresError``
            of the server's, an ``OSError`` of the network's or of TLS, an ``asyncio.TimeoutError``.
        asyncpg.InterfaceError: asyncpg cannot use something, or the server does not ask for the token.
    """
    attempt: Attempt | None = None
    began = time.monotonic()
    while True:
        try:
            if attempt is None:
                attempt = await begin(
                    checked_dsn(dsn), settings_of(ssl, direct_tls, cast("dict[str, Any]", kwargs))
                )
                attempt.end_within(timeout)
            await attempt.pause_async()
            arguments = await attempt.arguments_async()
            limit = arguments.get("timeout", timeout)
            connection: Connection = await _connect(
                attempt,
                arguments,
                loop=loop,
                # On a route, or after a wait, it is the time of this one try.
                timeout=limit if attempt.has_time else _left(limit, began),
                statement_cache_size=statement_cache_size,
                max_cached_statement_lifetime=max_cached_statement_lifetime,
                max_cacheable_statement_size=max_cacheable_statement_size,
                command_timeout=command_timeout,
                connection_class=connection_class,
                record_class=record_class,
                server_settings={**arguments["server_settings"], **(server_settings or {})},
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
    del dsn, kwargs, server_settings
    try:
        raise failure
    finally:
        del failure  # it refers to this frame: no cycle


async def _connect(attempt: Attempt, shared: Mapping[str, Any], **further: Any) -> Any:
    """Connect once."""
    arguments = {**shared, **further}
    tls = arguments.pop("tls")
    context = False if tls is None else await tls.context()
    password = Password(attempt.token_async, cleartext_only=arguments.pop("cleartext_only"))
    try:
        connection = await asyncpg.connect(password=password, ssl=context, **arguments)
    except asyncpg.InternalClientError:
        # What it makes of a token that is no text, when it is to hash it.
        if not password.was_refused:
            raise
    else:
        if not password.was_refused:
            return connection
        connection.terminate()
    finally:
        password.forget()  # the connection keeps it
    raise asyncpg.InterfaceError("the server did not ask for the token as it is: it is no Aurora DSQL cluster")


def _left(timeout: float | None, began: float) -> float | None:
    return None if timeout is None else max(0.0, timeout - (time.monotonic() - began))


def checked_dsn(dsn: object) -> str | Config:
    """Return a DSN, or what is taken for one; None is an empty text.

    Raises:
        ConfigError: it is neither text nor a `Config`.
    """
    if dsn is None:
        return ""
    if not isinstance(dsn, (str, Config)):
        raise ConfigError(f"dsn must be text or a Config, not {type(dsn).__name__}")
    return dsn


def settings_of(ssl: object, direct_tls: object, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with asyncpg's words for TLS put as ours.

    Raises:
        ConfigError: they cannot be used, or both were given and differ.
    """
    settings = dict(kwargs)
    if isinstance(ssl, _ssl.SSLContext):
        raise ConfigError("ssl takes no SSLContext here: name the roots with sslrootcert=; the rest is decided")
    if ssl is not None:
        mode = {True: "verify-full", False: "disable"}[ssl] if isinstance(ssl, bool) else str(ssl)
        _put(settings, "sslmode", mode, "ssl")
    if direct_tls is not None:
        _put(settings, "sslnegotiation", "direct" if direct_tls else "postgres", "direct_tls")
    return settings


def _put(settings: dict[str, Any], name: str, value: str, spelling: str) -> None:
    if settings.get(name) not in {None, value}:
        raise ConfigError(f"both {name} and {spelling} were given, and they differ")
    settings[name] = value
