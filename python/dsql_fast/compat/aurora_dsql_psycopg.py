"""The official connector's ``aurora_dsql_psycopg``: its public names, signatures and meanings, over ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from .. import __version__
from .._conflict import is_occ_error
from .._errors import CredentialsError
from .._run import run_transaction, run_transaction_async
from ..psycopg import AsyncConnection, AsyncConnectionPool, Connection, ConnectionPool
from ._errors import also_botocores
from ._retry import OCCRetryConfig, checked_retry, policy_for
from ._settings import apart, settings, without_ignored

# isort: split
# After ours, which tells what to install where psycopg is missing.
from psycopg.rows import Row
from psycopg_pool.abc import ACT, CT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import psycopg
    from botocore.credentials import CredentialProvider
    from psycopg.abc import AdaptContext
    from psycopg.rows import AsyncRowFactory, RowFactory
    from typing_extensions import Self

__all__ = [
    "AuroraDSQLAsyncPool",
    "AuroraDSQLPool",
    "DSQLAsyncConnection",
    "DSQLConnection",
    "OCCRetryConfig",
    "__version__",
    "connect",
    "create_async_pool",
    "create_pool",
    "is_occ_error",
]

T = TypeVar("T")

# The DB-API's three.
apilevel = "2.0"
threadsafety = 2
paramstyle = "pyformat"


class DSQLConnection(Connection[Row]):
    """A psycopg connection to Aurora DSQL, with the official connector's arguments."""

    @classmethod
    def connect(  # type: ignore[override]  # any keywords, as there
        cls,
        conninfo: str = "",
        *,
        autocommit: bool = False,
        prepare_threshold: int | None = 5,
        context: AdaptContext | None = None,
        row_factory: RowFactory[Row] | None = None,
        cursor_factory: type[psycopg.Cursor[Row]] | None = None,
        custom_credentials_provider: CredentialProvider | None = None,
        **kwargs: Any,
    ) -> Self:
        """Connect to a cluster, over TLS whose certificate is verified.

        Args:
            conninfo: the cluster's host or id, a URI or ``key=value`` pairs. Keywords win over it.
            autocommit: as in psycopg.
            prepare_threshold: as in psycopg.
            context: as in psycopg.
            row_factory: as in psycopg.
            cursor_factory: as in psycopg.
            custom_credentials_provider: asked for credentials before all other sources.
            **kwargs: the settings of `dsql_fast.Connection.connect`. Here ``token_duration_secs`` (seconds, text
                too) is 60 unless given, ``user`` is ``admin`` and ``dbname`` is ``postgres`` whatever the
                environment says; ``application_name`` is what stands before our own name, and a ``password`` is
                ignored.

        Raises:
            ConfigError: something cannot be used; also a ``ValueError``. Nothing was sent.
            CredentialsError: no usable AWS credentials; also a ``botocore.exceptions.BotoCoreError``.
            ConnectError: the connection failed or was refused; also a ``psycopg.OperationalError``.
        """
        try:
            kwargs["custom_credentials_provider"] = custom_credentials_provider
            return super().connect(
                autocommit=autocommit,
                prepare_threshold=prepare_threshold,
                context=context,
                row_factory=row_factory,
                cursor_factory=cursor_factory,
                **settings(conninfo, kwargs, "psycopg"),
            )
        except CredentialsError as error:
            also_botocores(error)
            raise
        finally:
            # Error reporters show locals.
            del conninfo, custom_credentials_provider, kwargs


class DSQLAsyncConnection(AsyncConnection[Row]):
    """As `DSQLConnection`, for asyncio: nothing blocks the event loop."""

    @classmethod
    async def connect(  # type: ignore[override]  # any keywords, as there
        cls,
        conninfo: str = "",
        *,
        autocommit: bool = False,
        prepare_threshold: int | None = 5,
        context: AdaptContext | None = None,
        row_factory: AsyncRowFactory[Row] | None = None,
        cursor_factory: type[psycopg.AsyncCursor[Row]] | None = None,
        custom_credentials_provider: CredentialProvider | None = None,
        **kwargs: Any,
    ) -> Self:
        """Connect to a cluster. As `DSQLConnection.connect`."""
        try:
            kwargs["custom_credentials_provider"] = custom_credentials_provider
            return await super().connect(
                autocommit=autocommit,
                prepare_threshold=prepare_threshold,
                context=context,
                row_factory=row_factory,
                cursor_factory=cursor_factory,
                **settings(conninfo, kwargs, "psycopg"),
            )
        except CredentialsError as error:
            also_botocores(error)
            raise
        finally:
            del conninfo, custom_credentials_provider, kwargs


connect = DSQLConnection.connect


class AuroraDSQLPool(ConnectionPool[CT]):
    """A psycopg_pool pool, with the official connector's arguments. See `dsql_fast.ConnectionPool`.

    Args:
        *args: the connection string, or nothing.
        retry: whether, and how, `run_transaction` runs again after a conflict; default: not.
        **kwargs: the arguments of `dsql_fast.ConnectionPool`; settings of the connections are in ``kwargs=``.
    """

    def __init__(self, *args: Any, retry: OCCRetryConfig | bool | None = None, **kwargs: Any) -> None:
        try:
            self._retry = checked_retry(retry)
            kwargs.setdefault("connection_class", DSQLConnection)
            super().__init__(*args[1:], **_taken_apart(args, kwargs))
        finally:
            del args, kwargs

    def run_transaction(  # type: ignore[override]  # its own words, as there
        self, callback: Callable[[CT], T], *, retry: OCCRetryConfig | bool | None = None
    ) -> T:
        """Run a function in a transaction, and again after a conflict where ``retry=`` says so.

        As `dsql_fast.run_transaction`, whose errors it raises; in `callback`, ``commit()`` and ``rollback()`` are
        refused.

        Args:
            callback: is called with a connection.
            retry: for this call; None: as the pool. False: one attempt. True: as the pool, else the default.
        """
        return run_transaction(self, callback, policy=policy_for(self._retry, retry))


class AuroraDSQLAsyncPool(AsyncConnectionPool[ACT]):
    """As `AuroraDSQLPool`, for asyncio."""

    def __init__(self, *args: Any, retry: OCCRetryConfig | bool | None = None, **kwargs: Any) -> None:
        try:
            self._retry = checked_retry(retry)
            kwargs.setdefault("connection_class", DSQLAsyncConnection)
            super().__init__(*args[1:], **_taken_apart(args, kwargs))
        finally:
            del args, kwargs

    async def run_transaction(  # type: ignore[override]  # its own words, as there
        self, callback: Callable[[ACT], Awaitable[T]], *, retry: OCCRetryConfig | bool | None = None
    ) -> T:
        """Run an async function in a transaction. As `AuroraDSQLPool.run_transaction`."""
        return await run_transaction_async(self, callback, policy=policy_for(self._retry, retry))


def create_pool(
    conninfo: str = "", *, retry: OCCRetryConfig | bool | None = None, **kwargs: Any
) -> AuroraDSQLPool[Any]:
    """Make a pool of `DSQLConnection`; it is open, unless ``open=False`` is said.

    Args:
        conninfo: the cluster's host or id, a URI or ``key=value`` pairs; ``kwargs=`` wins over it.
        retry: as for `AuroraDSQLPool`.
        **kwargs: as for `AuroraDSQLPool`.

    Raises:
        TypeError: ``connection_class`` is no subclass of `DSQLConnection`.
        ConfigError: something cannot be used. Nothing was sent.
    """
    try:
        _check_class(kwargs, DSQLConnection)
        return AuroraDSQLPool(conninfo, retry=retry, **kwargs)
    finally:
        del conninfo, kwargs


def create_async_pool(
    conninfo: str = "", *, retry: OCCRetryConfig | bool | None = None, **kwargs: Any
) -> AuroraDSQLAsyncPool[Any]:
    """Make a pool of `DSQLAsyncConnection`: open it with ``async with`` or ``await pool.open()``.

    As `create_pool`.
    """
    try:
        _check_class(kwargs, DSQLAsyncConnection)
        return AuroraDSQLAsyncPool(conninfo, retry=retry, **kwargs)
    finally:
        del conninfo, kwargs


def _check_class(kwargs: dict[str, Any], least: type[Any]) -> None:
    given = kwargs.get("connection_class", least)
    if not issubclass(given, least):
        raise TypeError(f"connection_class must be a subclass of {least.__name__}, not {given.__name__}")


def _taken_apart(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return a pool's arguments with the connection string among those of the connections."""
    conninfo = args[0] if args else kwargs.get("conninfo", "")
    of_connections = kwargs.get("kwargs")
    if callable(conninfo) or callable(of_connections):
        # Each connect will see, and check: there may be no host before.
        return {**kwargs, "conninfo": conninfo if callable(conninfo) else lambda: conninfo}
    return {**kwargs, "conninfo": "", "kwargs": {**apart(conninfo), **without_ignored(of_connections or {})}}
