"""psycopg connections whose password is a token.

In both `connect` methods every failure is raised anew, outside of the handler: the driver's frames hold the
token among their locals, ours hold what the caller passed, and error reporters show locals.
"""

from __future__ import annotations

from contextvars import ContextVar
from selectors import EVENT_WRITE
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import timeout_from_conninfo
from psycopg.rows import Row

from .._connecting import begin, begin_async
from .._errors import ConfigError
from .._handshakes import Handshake, current, gate_of
from ._attempt import DRIVER, without_frames
from ._prepared import has_methods, keywords, overrides_methods

if TYPE_CHECKING:
    from typing import ClassVar

    from psycopg.abc import AdaptContext, ConnDict, PQGenConn
    from psycopg.rows import AsyncRowFactory, RowFactory
    from typing_extensions import Self, Unpack

    from .._config import Config, ConnectKeywords
    from .._connecting import Attempt
    from ._prepared import Prepared

# What libpq gets beside what psycopg reads (`_prepared`), while a connect is under way.
_rest: ContextVar[str | None] = ContextVar("dsql_fast_rest", default=None)


class Connection(psycopg.Connection[Row]):
    """A psycopg connection to Aurora DSQL. Usable wherever psycopg's is (``connection_class=``).

    DSQL does not act on cancel requests (observed): after `cancel` or `cancel_safe` a statement goes on.
    """

    __module__ = "dsql_fast"
    # Whether psycopg may be given a connect's arguments in parts.
    _takes_parts: ClassVar[bool] = has_methods(psycopg.Connection)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._takes_parts = cls._takes_parts and not overrides_methods(cls, psycopg.Connection)

    @classmethod
    def connect(  # type: ignore[override]  # our keywords are named; psycopg takes any
        cls,
        conninfo: str | Config = "",
        *,
        autocommit: bool = False,
        prepare_threshold: int | None = 5,
        context: AdaptContext | None = None,
        row_factory: RowFactory[Row] | None = None,
        cursor_factory: type[psycopg.Cursor[Row]] | None = None,
        **kwargs: Unpack[ConnectKeywords],
    ) -> Self:
        """Connect to a cluster, over TLS whose certificate is verified.

        Args:
            conninfo: the cluster's host or id, a URI (``postgresql://``, ``postgres://``, ``dsql://``) or
                ``key=value`` pairs; or a `Config`. Keywords win over it, and it over the environment.
            autocommit: as in psycopg; default False.
            prepare_threshold: as in psycopg; default 5.
            context: as in psycopg.
            row_factory: as in psycopg; default tuples.
            cursor_factory: as in psycopg.
            **kwargs:
                ``host``: the cluster's host, or its id (then a Region is needed). A list of them: tried in order
                where one cannot be reached, each with a token of its own; ``connect_timeout`` (default 30) is for
                all of them together.
                ``return_to_first_secs``: seconds after which the first of a list is tried again; default 60.
                ``region``: default: the host's, else ``AWS_REGION``, ``AWS_DEFAULT_REGION``, the profile's.
                ``user``: database role; default ``PGUSER``, else ``admin``.
                ``dbname``: default ``PGDATABASE``, else ``postgres``.
                ``port``: default ``PGPORT``, else 5432.
                ``hostaddr``: an IP address to dial; the certificate is verified against ``host`` all the same.
                ``connect_host``: the same with a name to resolve (an interface endpoint of PrivateLink, a tunnel).
                ``profile``: AWS profile; beats the environment's keys.
                ``credentials``: `Credentials`, `AssumeRole`, botocore's ReadOnlyCredentials, a boto3 or botocore
                session, or a callable; default: the environment's keys, else botocore's chain.
                ``custom_credentials_provider``: as in the official connectors: asked before all of these.
                ``token_duration_secs``: a token's lifetime in seconds, 1 to 604800; default 900.
                ``sslmode``: default ``verify-full``, whatever the environment says.
                ``sslrootcert``: file of the roots to trust, or ``system``; default ``PGSSLROOTCERT``, else the
                bundled Amazon roots and, where the certificate is not theirs, the system's.
                ``orm_prefix``: the name of an ORM or a framework, to stand before ours in ``application_name``
                (``django:dsql-fast-psycopg/1.0``); of no effect beside a name of your own.
                Further libpq parameters (``connect_timeout`` in seconds, ``application_name``, ...).

        Raises:
            ConfigError: something cannot be used. Nothing was sent.
            CredentialsError: no usable AWS credentials. Nothing was sent.
            ConnectError: the connection failed or was refused; also a ``psycopg.OperationalError``.
        """
        attempt: Attempt | None = None
        while True:
            outer = _rest.set(None)
            try:
                if attempt is None:
                    attempt = begin(DRIVER, conninfo, kwargs)
                attempt.pause()
                connection = super().connect(
                    password=attempt.token(),
                    autocommit=autocommit,
                    prepare_threshold=prepare_threshold,
                    context=context,
                    row_factory=row_factory,
                    cursor_factory=cursor_factory,
                    **keywords(attempt.arguments(), in_parts=cls._takes_parts),
                )
            except BaseException as error:  # noqa: BLE001 (raised again below)
                failure = error
                _rest.reset(outer)
            else:
                _rest.reset(outer)
                attempt.connected()
                return connection
            without_frames(failure)
            if attempt is None:
                break
            if not attempt.again(failure):
                failure = attempt.diagnosed(failure)
                break
        del conninfo, kwargs
        try:
            raise failure
        finally:
            del failure  # it refers to this frame: no cycle

    @classmethod
    def _get_connection_params(cls, conninfo: str, *, prepared: Prepared | None = None, **kwargs: Any) -> ConnDict:
        """Read the parameters as psycopg does; those of our `connect` are read already."""
        if prepared is None:
            return super()._get_connection_params(conninfo, **kwargs)
        _rest.set(prepared.rest(kwargs.pop("password")))
        return kwargs

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> PQGenConn[Self]:
        """Connect as psycopg does, with the rest of the parameters."""
        rest = _rest.get()
        return super()._connect_gen(conninfo if rest is None else f"{conninfo} {rest}")


class AsyncConnection(psycopg.AsyncConnection[Row]):
    """A psycopg connection to Aurora DSQL for asyncio. Usable wherever psycopg's is."""

    __module__ = "dsql_fast"
    _takes_parts: ClassVar[bool] = has_methods(psycopg.AsyncConnection)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._takes_parts = cls._takes_parts and not overrides_methods(cls, psycopg.AsyncConnection)

    @classmethod
    async def connect(  # type: ignore[override]  # our keywords are named; psycopg takes any
        cls,
        conninfo: str | Config = "",
        *,
        autocommit: bool = False,
        prepare_threshold: int | None = 5,
        context: AdaptContext | None = None,
        row_factory: AsyncRowFactory[Row] | None = None,
        cursor_factory: type[psycopg.AsyncCursor[Row]] | None = None,
        **kwargs: Unpack[ConnectKeywords],
    ) -> Self:
        """Connect to a cluster. As `Connection.connect`; nothing blocks the event loop.

        Raises:
            ConfigError: something cannot be used. Nothing was sent.
            CredentialsError: no usable AWS credentials. Nothing was sent.
            ConnectError: the connection failed or was refused; also a ``psycopg.OperationalError``.
        """
        attempt: Attempt | None = None
        while True:
            try:
                if attempt is None:
                    attempt = await begin_async(DRIVER, conninfo, kwargs)
                await attempt.pause_async()
                arguments = await attempt.arguments_async()
                handshake = Handshake(gate_of(attempt.host), timeout_from_conninfo(arguments))
                connection = await handshake.run(
                    super().connect(
                        password=await attempt.token_async(),
                        autocommit=autocommit,
                        prepare_threshold=prepare_threshold,
                        context=context,
                        row_factory=row_factory,
                        cursor_factory=cursor_factory,
                        **keywords(arguments, in_parts=cls._takes_parts),
                    )
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
        del conninfo, kwargs
        try:
            raise failure
        finally:
            del failure  # it refers to this frame: no cycle

    @classmethod
    async def _get_connection_params(
        cls, conninfo: str, *, prepared: Prepared | None = None, **kwargs: Any
    ) -> ConnDict:
        """Read the parameters as psycopg does; those of our `connect` are read already."""
        handshake = current.get()
        if prepared is None:
            return await super()._get_connection_params(conninfo, **kwargs)
        if handshake is None:  # nobody would put the rest after them, and the password must not go without
            return await super()._get_connection_params(conninfo, **{**prepared, **kwargs})
        handshake.rest = prepared.rest(kwargs.pop("password"))
        return kwargs

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> PQGenConn[Self]:
        """As `Connection._connect_gen`; and tell the handshake which socket is waited for."""
        handshake = current.get()
        if handshake is None:
            return (yield from super()._connect_gen(conninfo))
        steps = super()._connect_gen(conninfo if handshake.rest is None else f"{conninfo} {handshake.rest}")
        ready: int | None = None
        handshake.begin()
        try:
            while True:
                # As psycopg does it: None first, then what is ready.
                fileno, wait = next(steps) if ready is None else steps.send(ready)
                handshake.waits_for(fileno, is_for_writing=wait == EVENT_WRITE)
                ready = yield fileno, wait
                if not ready and handshake.came:
                    ready = wait  # psycopg was left alone meanwhile, and does not know
        except StopIteration as end:
            connection: Self = end.value
            return connection
        finally:
            handshake.fileno = None  # closed, or the connection's: the number may soon be another's


def with_tokens(connection_class: type[Any]) -> type[Any]:
    """Return `connection_class` as one that connects with tokens.

    A class of the caller's that derives from psycopg's own gets our `connect` before its own.

    Raises:
        ConfigError: it is no connection class of psycopg's.
    """
    for ours, theirs in (
        (Connection, psycopg.Connection),
        (AsyncConnection, psycopg.AsyncConnection),
    ):
        if issubclass(connection_class, ours):
            return connection_class
        if connection_class is theirs:
            return ours
        if issubclass(connection_class, theirs):
            names = {"__module__": connection_class.__module__, "__doc__": connection_class.__doc__}
            return type(connection_class.__name__, (ours, connection_class), names)
    raise ConfigError("connection_class must be a subclass of psycopg's Connection or AsyncConnection")
