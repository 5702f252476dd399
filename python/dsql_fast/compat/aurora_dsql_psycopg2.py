"""The official connector's ``aurora_dsql_psycopg2``: its public names, signatures and meanings, over ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from .. import __version__, psycopg2
from .._conflict import is_occ_error
from .._errors import CredentialsError
from .._run import run_transaction
from ._errors import also_botocores
from ._retry import OCCRetryConfig, checked_retry, policy_for
from ._settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.credentials import CredentialProvider
    from psycopg2.extensions import connection
    from typing_extensions import Self

__all__ = [
    "AuroraDSQLThreadedConnectionPool",
    "OCCRetryConfig",
    "__version__",
    "connect",
    "is_occ_error",
]

T = TypeVar("T")

# The DB-API's three.
apilevel = "2.0"
threadsafety = 2
paramstyle = "pyformat"

# psycopg2's arguments of `connect`, in their order.
_DRIVER_ONLY = ("dsn", "connection_factory", "cursor_factory")


def connect(
    dsn: str | None = None,
    *,
    connection_factory: Callable[..., Any] | None = None,
    cursor_factory: Callable[..., Any] | None = None,
    custom_credentials_provider: CredentialProvider | None = None,
    **kwargs: Any,
) -> Any:
    """Connect to a cluster with psycopg2, over TLS whose certificate is verified.

    Args:
        dsn: the cluster's host or id, a URI or ``key=value`` pairs. Keywords win over it.
        connection_factory: as in psycopg2.
        cursor_factory: as in psycopg2.
        custom_credentials_provider: asked for credentials before all other sources.
        **kwargs: the settings of `dsql_fast.psycopg2.connect`. Here ``token_duration_secs`` (seconds, text too) is
            60 unless given, ``user`` is ``admin`` and ``dbname`` is ``postgres`` whatever the environment says;
            ``application_name`` is what stands before our own name, and a ``password`` is ignored.

    Returns:
        A psycopg2 connection.

    Raises:
        ConfigError: something cannot be used; also a ``ValueError``. Nothing was sent.
        CredentialsError: no usable AWS credentials; also a ``botocore.exceptions.BotoCoreError``.
        ConnectError: the connection failed or was refused; also a ``psycopg2.OperationalError``.
    """
    try:
        kwargs["custom_credentials_provider"] = custom_credentials_provider
        return psycopg2.connect(
            connection_factory=connection_factory,
            cursor_factory=cursor_factory,
            **settings(dsn, kwargs, "psycopg2"),
        )
    except CredentialsError as error:
        also_botocores(error)
        raise
    finally:
        # Error reporters show locals.
        del dsn, custom_credentials_provider, kwargs


class AuroraDSQLThreadedConnectionPool(psycopg2.ThreadedConnectionPool):
    """A psycopg2 pool for threads, with the official connector's arguments.

    See `dsql_fast.psycopg2.ThreadedConnectionPool`. In a ``with`` statement it is closed at the end.

    Args:
        minconn: connections opened at once, and kept.
        maxconn: connections at most.
        *args: as for ``psycopg2.connect``.
        retry: whether, and how, `run_transaction` runs again after a conflict; default: not.
        custom_credentials_provider: asked for credentials before all other sources.
        **kwargs: the settings of `connect`, and ``max_lifetime`` and ``max_idle`` in seconds.
    """

    def __init__(
        self,
        minconn: int,
        maxconn: int,
        *args: Any,
        retry: OCCRetryConfig | bool | None = None,
        custom_credentials_provider: CredentialProvider | None = None,
        **kwargs: Any,
    ) -> None:
        try:
            self._retry = checked_retry(retry)
            kwargs["custom_credentials_provider"] = custom_credentials_provider
            super().__init__(minconn, maxconn, **_arguments(args, kwargs))
        except CredentialsError as error:
            also_botocores(error)
            raise
        finally:
            del args, custom_credentials_provider, kwargs

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closeall()

    def run_transaction(  # type: ignore[override]  # its own words, as there
        self, callback: Callable[[connection], T], *, retry: OCCRetryConfig | bool | None = None
    ) -> T:
        """Run a function in a transaction, and again after a conflict where ``retry=`` says so.

        As `dsql_fast.run_transaction`, whose errors it raises; in `callback`, ``commit()`` and ``rollback()`` are
        refused.

        Args:
            callback: is called with a connection.
            retry: for this call; None: as the pool. False: one attempt. True: as the pool, else the default.
        """
        return run_transaction(self, callback, policy=policy_for(self._retry, retry))


def _arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return a pool's arguments as keywords."""
    own = {name: kwargs.pop(name) for name in (*_DRIVER_ONLY, "max_lifetime", "max_idle") if name in kwargs}
    own.update(zip(_DRIVER_ONLY, args, strict=False))
    return {**settings(own.pop("dsn", None), kwargs, "psycopg2"), **own}
