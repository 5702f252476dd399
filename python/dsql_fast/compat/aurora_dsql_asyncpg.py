"""The official connector's ``aurora_dsql_asyncpg``: its public names, signatures and meanings, over ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from .. import __version__
from .._conflict import is_occ_error
from .._errors import ConfigError, CredentialsError
from .._lifetimes import HEALTH_CHECK_PERIOD, MAX_LIFETIME
from .._run import run_transaction_async
from ..asyncpg import Connection, Pool
from ..asyncpg import connect as _connect
from ._errors import also_botocores
from ._retry import OCCRetryConfig, checked_retry, policy_for
from ._settings import settings

# isort: split
# After ours, which tells what to install where asyncpg is missing.
from asyncpg import Record

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Mapping

    from botocore.credentials import CredentialProvider

__all__ = [
    "AuroraDSQLPool",
    "OCCRetryConfig",
    "__version__",
    "connect",
    "create_pool",
    "is_occ_error",
]

T = TypeVar("T")

# asyncpg's arguments of a pool and of `connect` that are no settings of ours.
_OF_POOL = (
    "init_size",
    "min_size",
    "max_size",
    "max_queries",
    "max_inactive_connection_lifetime",
    "setup",
    "init",
    "loop",
    "record_class",
)
_OF_CONNECT = (
    "timeout",
    "statement_cache_size",
    "max_cached_statement_lifetime",
    "max_cacheable_statement_size",
    "command_timeout",
    "ssl",
    "direct_tls",
    "server_settings",
)
# What each endpoint of DSQL is.
_SESSIONS = ("any", "primary", "prefer-standby", "read-write")


async def connect(
    dsn: str | None = None,
    *,
    host: str | None = None,
    port: int | str | None = None,
    user: str | None = None,
    password: object = None,
    passfile: object = None,
    database: str | None = None,
    loop: asyncio.AbstractEventLoop | None = None,
    timeout: float | None = 60,
    statement_cache_size: int = 100,
    max_cached_statement_lifetime: float = 300,
    max_cacheable_statement_size: int = 1024 * 15,
    command_timeout: float | None = None,
    ssl: bool | str | None = None,
    direct_tls: bool | None = None,
    connection_class: type[Any] = Connection,
    record_class: type[Any] = Record,
    server_settings: Mapping[str, str] | None = None,
    target_session_attrs: str | None = None,
    custom_credentials_provider: CredentialProvider | None = None,
    **kwargs: Any,
) -> Any:
    """Connect to a cluster with asyncpg, over TLS whose certificate is verified. Nothing blocks the event loop.

    Args:
        dsn: the cluster's host or id, a URI or ``key=value`` pairs. Keywords win over it.
        host: the cluster's host, or its id.
        port: default ``PGPORT``, else 5432.
        user: database role; default ``admin``, whatever the environment says.
        password: ignored: the token takes its place.
        passfile: ignored.
        database: default ``postgres``, whatever the environment says.
        loop: as in asyncpg.
        timeout: seconds for the whole connect, the token included; default 60.
        statement_cache_size: as in asyncpg.
        max_cached_statement_lifetime: seconds, as in asyncpg.
        max_cacheable_statement_size: bytes, as in asyncpg.
        command_timeout: seconds for each statement, as in asyncpg.
        ssl: another word for ``sslmode``, over which it wins: one of its values, True (``verify-full``) or False
            (``disable``).
        direct_tls: as for `dsql_fast.asyncpg.connect`.
        connection_class: as in asyncpg; default `dsql_fast.asyncpg.Connection`.
        record_class: as in asyncpg.
        server_settings: as in asyncpg. An ``application_name`` in it is taken for that of the keywords.
        target_session_attrs: each endpoint is writable: so ``standby`` and ``read-only`` are refused.
        custom_credentials_provider: asked for credentials before all other sources.
        **kwargs: further settings of `dsql_fast.asyncpg.connect`. Here ``token_duration_secs`` (seconds, text too)
            is 60 unless given, and ``application_name`` is what stands before our own name.

    Returns:
        An instance of `connection_class`.

    Raises:
        ConfigError: something cannot be used; also a ``ValueError``. Nothing was sent.
        CredentialsError: no usable AWS credentials; also a ``botocore.exceptions.BotoCoreError``.
        ConnectError: the connection failed or was refused; also asyncpg's error, or an ``OSError``.
    """
    try:
        kwargs.update(
            host=host or None,
            port=port or None,
            user=user or None,
            database=database or None,
            ssl=ssl,
            direct_tls=direct_tls,
            server_settings=server_settings,
            target_session_attrs=target_session_attrs,
            custom_credentials_provider=custom_credentials_provider,
        )
        return await _connect(
            loop=loop,
            timeout=timeout,
            statement_cache_size=statement_cache_size,
            max_cached_statement_lifetime=max_cached_statement_lifetime,
            max_cacheable_statement_size=max_cacheable_statement_size,
            command_timeout=command_timeout,
            connection_class=connection_class,
            record_class=record_class,
            **_of_connection(dsn, kwargs),
        )
    except CredentialsError as error:
        also_botocores(error)
        raise
    finally:
        # Error reporters show locals.
        del dsn, password, passfile, server_settings, custom_credentials_provider, kwargs


class AuroraDSQLPool(Pool):
    """An asyncpg pool, with the official connector's arguments; `create_pool` makes it.

    Args:
        *connect_args: the connection string, or nothing.
        retry: whether, and how, `run_transaction` runs again after a conflict; default: not.
        **kwargs: the arguments of `dsql_fast.asyncpg.create_pool`.
    """

    def __init__(self, *connect_args: Any, retry: OCCRetryConfig | bool | None = None, **kwargs: Any) -> None:
        try:
            self._retry = checked_retry(retry)
            dsn = connect_args[0] if connect_args else kwargs.pop("dsn", None)
            super().__init__(
                None,
                max_lifetime=kwargs.pop("max_lifetime", MAX_LIFETIME),
                health_check_period=kwargs.pop("health_check_period", HEALTH_CHECK_PERIOD),
                connect=None,
                reset=kwargs.pop("reset", None),
                connection_class=kwargs.pop("connection_class", Connection),
                pool={name: kwargs.pop(name) for name in _OF_POOL if name in kwargs},
                connection=_of_connection(dsn, kwargs),
            )
        finally:
            dsn = None
            del connect_args, kwargs

    def set_connect_args(self, dsn: str | None = None, **connect_kwargs: Any) -> None:  # type: ignore[override]
        """As in asyncpg: the settings of all connections from now on, with the arguments of `connect`."""
        try:
            super().set_connect_args(None, **_of_connection(dsn, connect_kwargs))
        finally:
            del dsn, connect_kwargs

    async def run_transaction(  # type: ignore[override]  # its own words, as there
        self, callback: Callable[[Any], Awaitable[T]], *, retry: OCCRetryConfig | bool | None = None
    ) -> T:
        """Run an async function in a transaction, and again after a conflict where ``retry=`` says so.

        As `dsql_fast.run_transaction_async`, whose errors it raises.

        Args:
            callback: is called with a connection; the outermost ``conn.transaction()`` in it is the transaction.
            retry: for this call; None: as the pool. False: one attempt. True: as the pool, else the default.
        """
        return await run_transaction_async(self, callback, policy=policy_for(self._retry, retry))


async def create_pool(
    dsn: str | None = None,
    *,
    retry: OCCRetryConfig | bool | None = None,
    min_size: int = 10,
    max_size: int = 10,
    max_queries: int = 50000,
    max_inactive_connection_lifetime: float = 300.0,
    setup: Callable[[Any], Awaitable[None]] | None = None,
    init: Callable[[Any], Awaitable[None]] | None = None,
    reset: Callable[[Any], Awaitable[None]] | None = None,
    loop: asyncio.AbstractEventLoop | None = None,
    connection_class: type[Any] = Connection,
    record_class: type[Any] = Record,
    **connect_kwargs: Any,
) -> AuroraDSQLPool:
    """Make a pool, and open it.

    Args:
        dsn: as for `connect`.
        retry: as for `AuroraDSQLPool`.
        min_size: connections kept; default 10.
        max_size: default 10.
        max_queries: a connection is replaced after so many; default 50000.
        max_inactive_connection_lifetime: seconds until idle connections above `min_size` are closed; default 5
            minutes.
        setup: as in asyncpg.
        init: as in asyncpg.
        reset: as in asyncpg; default: ROLLBACK if a transaction is open, and RESET ALL.
        loop: as in asyncpg.
        connection_class: as in asyncpg; default `dsql_fast.asyncpg.Connection`.
        record_class: as in asyncpg.
        **connect_kwargs: further arguments of `connect`; also ``max_lifetime`` and ``health_check_period`` in
            seconds.

    Raises:
        ConfigError: something cannot be used; also a ``ValueError``. Nothing was sent.
        CredentialsError: no usable AWS credentials; also a ``botocore.exceptions.BotoCoreError``.
        ConnectError: one of the first `min_size` connections failed or was refused.
    """
    try:
        return await AuroraDSQLPool(
            dsn,
            retry=retry,
            min_size=min_size,
            max_size=max_size,
            max_queries=max_queries,
            max_inactive_connection_lifetime=max_inactive_connection_lifetime,
            setup=setup,
            init=init,
            reset=reset,
            loop=loop,
            connection_class=connection_class,
            record_class=record_class,
            **connect_kwargs,
        )
    except CredentialsError as error:
        also_botocores(error)
        raise
    finally:
        del dsn, connect_kwargs


def _of_connection(dsn: str | None, keywords: dict[str, Any]) -> dict[str, Any]:
    """Return a connection's arguments as keywords for our ``connect``, whose connection string is empty then."""
    try:
        own = {name: keywords.pop(name) for name in _OF_CONNECT if name in keywords}
        session = keywords.pop("target_session_attrs", None)
        if session is not None and session not in _SESSIONS:
            raise ConfigError(f"target_session_attrs must be one of {', '.join(_SESSIONS)}")
        at_start = dict(own.pop("server_settings", None) or {})
        name = at_start.pop("application_name", None)
        if keywords.get("application_name") is None:
            keywords["application_name"] = name
        given = settings(dsn, keywords, "asyncpg")
        if own.get("ssl") is not None:
            given.pop("sslmode", None)
        return {**given, **own, "server_settings": at_start}
    finally:
        del dsn, keywords
