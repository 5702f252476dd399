"""What a connection is made with: keywords, connection string and environment, checked and put together.

Pure: nothing here opens a file or a socket, apart from asking the profile for a Region when nothing else tells
it. Precedence: keywords, then the connection string (or `Config`), then the environment, then the default.

TLS is decided here. ``sslmode`` is ``verify-full`` unless the caller says otherwise in so many words (keyword
or connection string; the environment cannot). Each variable that libpq reads is listed in `driver_arguments`
or in `_libpq.LIBPQ_ENVIRONMENT` with what becomes of it.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from ._application_name import application_name
from ._conninfo import parse_conninfo
from ._credentials._provider import NoCredentials
from ._endpoint import region_of_host
from ._environment import password_from, settings_from
from ._errors import DriverError, without_frames
from ._libpq import DIRECT_TLS_LIBPQ, OLDEST_LIBPQ, REQUIRE_AUTH_LIBPQ
from ._native import __version__
from ._pacing import FLEET_VARIABLE
from ._settings import named_settings, overruled, refuse_environment, settings_of
from ._settled import SOURCES, provider_of, settled
from ._system_roots import system_roots
from ._token_request import action_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, NoReturn, TypedDict

    from typing_extensions import Self, Unpack

    from ._credentials import CredentialsProvider
    from ._credentials._provider import CredentialsSource
    from ._endpoint import Endpoint
    from ._environment import Password
    from ._pacing import Pacing

    class ConnectKeywords(TypedDict, total=False):
        """The keywords of a connection, for type checkers: ours, then libpq's that have a place here."""

        host: str | Sequence[str] | None
        region: str | Sequence[str | None] | None
        user: str | None
        dbname: str | None
        database: str | None
        port: int | str | Sequence[int | str] | None
        hostaddr: str | Sequence[str | None] | None
        connect_host: str | Sequence[str | None] | None
        profile: str | None
        credentials: CredentialsSource | CredentialsProvider | None
        custom_credentials_provider: CredentialsSource | CredentialsProvider | None
        token_duration_secs: int | str | None
        pacing: Pacing | bool | None
        return_to_first_secs: float | str | None
        orm_prefix: str | None
        application_name: str | None
        client_encoding: str | None
        connect_timeout: int | str | None
        fallback_application_name: str | None
        keepalives: int | str | None
        keepalives_count: int | str | None
        keepalives_idle: int | str | None
        keepalives_interval: int | str | None
        load_balance_hosts: str | None
        max_protocol_version: str | None
        min_protocol_version: str | None
        options: str | None
        ssl_max_protocol_version: str | None
        ssl_min_protocol_version: str | None
        sslcrl: str | None
        sslcrldir: str | None
        sslkeylogfile: str | None
        sslmode: str | None
        sslnegotiation: str | None
        sslrootcert: str | None
        tcp_user_timeout: int | str | None


AMAZON_ROOTS = str(Path(__file__).with_name("amazon-roots.pem"))
"""The bundled file of the Amazon Trust Services roots. One small file is parsed for each connection; the
system's store costs three times the whole connect."""

READ_ENVIRONMENT = (
    "AWS_ACCESS_KEY_ID",
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
    FLEET_VARIABLE,
    "PGCONNECT_TIMEOUT",
    "PGDATABASE",
    "PGGEQO",
    "PGHOSTADDR",
    "PGPORT",
    "PGSERVICE",
    "PGSSLCRL",
    "PGSSLCRLDIR",
    "PGSSLMINPROTOCOLVERSION",
    "PGSSLROOTCERT",
    "PGUSER",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
)
"""All variables that are read for a connection: with equal ones, equal arguments give equal settings."""


# What a `Config` keeps of the environment it was built from: all of that but keys.
_KEPT = tuple(
    name
    for name in READ_ENVIRONMENT
    if name.startswith("PG") or name in ("AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_REGION", FLEET_VARIABLE)
)


class Config:
    """One checked description of a connection: `connect`, the pools and `TokenSource` take it as first argument.

    It is built with what `connect` takes, and what it leaves open is taken from the environment then, not later:
    a variable that is set afterwards changes nothing. AWS keys are the exception: those of the process's
    environment are read at each renewal of a token. Immutable; equal ones are equal. Its `repr` shows no secret.

    Args:
        conninfo: as for `Connection.connect`.
        **keywords: the settings of `Connection.connect`; they win over the string.

    Raises:
        ConfigError: something cannot be used.
        CredentialsError: the environment's credentials cannot be used.

    Attributes:
        endpoint: host (verified, sent as SNI, signed) and Region; of several, the first's.
        user: database role; ``admin`` is signed for with an action of its own.
        dbname: database; DSQL has ``postgres`` only.
        port: TCP port.
        hostaddr: IP address to dial instead of resolving the host, or None.
        connect_host: name to resolve and dial instead of the host, or None.
        lifetime: a token's, in seconds.
        provider: where credentials come from.
        password: what is sent instead of a token to an ordinary PostgreSQL (`from_env`), or None.
        orm_prefix: what stands before our own name in ``application_name``, or None.
        driver: libpq parameters that the caller gave, by keyword.
        pacing: how it shares the cluster's rate of new connections; None for one try and no wait.
        alternatives: of several endpoints, one `Config` each, in order; empty for one endpoint.
        return_to_first_secs: seconds after which the first of several endpoints is tried again.
        deadline: seconds for a connect over all endpoints and addresses that are dialled; None: no end, or
            the driver's.
    """

    __module__ = "dsql_fast"
    __slots__ = (
        "_environ",
        "_hash",
        "_said",
        "alternatives",
        "connect_host",
        "dbname",
        "deadline",
        "driver",
        "endpoint",
        "hostaddr",
        "lifetime",
        "orm_prefix",
        "pacing",
        "password",
        "port",
        "provider",
        "return_to_first_secs",
        "user",
    )
    endpoint: Endpoint
    user: str
    dbname: str
    port: int
    hostaddr: str | None
    connect_host: str | None
    lifetime: int
    provider: CredentialsProvider
    password: Password | None
    orm_prefix: str | None
    driver: Mapping[str, str]
    pacing: Pacing | None
    alternatives: tuple[Config, ...]
    return_to_first_secs: float
    deadline: float | None
    _said: Mapping[str, Any]
    _environ: Mapping[str, str]
    _hash: int

    def __init__(self, conninfo: str = "", **keywords: Unpack[ConnectKeywords]) -> None:
        try:
            given = settings_of(conninfo, keywords)
            refuse_environment(os.environ)
            provider = provider_of(given, os.environ, by_value=False)
            _fill(self, settled(given, _kept(os.environ), provider))
        except BaseException as error:  # noqa: BLE001 (raised again below)
            failure = error
        else:
            return
        # Frames on the way here hold what the caller passed, and error reporters show locals.
        del self, conninfo, keywords
        try:
            raise without_frames(failure)
        finally:
            del failure  # it refers to this frame: no cycle

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ, **keywords: Unpack[ConnectKeywords]) -> Self:
        """Build one from environment variables: libpq's, AWS's and those of DSQL's sample programs.

        Host: ``DB_HOST``, ``CLUSTER_ENDPOINT``, ``PGHOST``. Region: ``REGION``. User: ``DB_USER``,
        ``CLUSTER_USER``, ``PGUSER``. Port: ``DB_PORT``, ``PGPORT``. Database: ``DB_NAME``, ``PGDATABASE``. A
        token's lifetime: ``TOKEN_REFRESH_INTERVAL`` (seconds). Of each, the first that is set wins.

        ``DB_USE_IAM`` not set, or true: tokens. False: an ordinary PostgreSQL, to which ``DB_PASSWORD``, else
        ``PGPASSWORD``, is sent; ``PGSSLMODE`` counts there, and is ``verify-full`` unless set.

        Args:
            environ: the variables; default: the process's. AWS keys of another mapping are kept as they are.
            **keywords: the settings of `Connection.connect`; they win.

        Raises:
            ConfigError: there is no host, or something cannot be used.
            CredentialsError: the environment's credentials cannot be used.
        """
        config = cls.__new__(cls)
        try:
            _fill(config, _from_environment(environ, keywords))
        except BaseException as error:  # noqa: BLE001 (raised again below)
            failure = error
        else:
            return config
        del config, environ, keywords
        try:
            raise without_frames(failure)
        finally:
            del failure  # it refers to this frame: no cycle

    def replace(self, **changes: Unpack[ConnectKeywords]) -> Self:
        """Return one that differs in some settings.

        Args:
            **changes: the settings of `Connection.connect`; None takes back what was said, so that the environment
                (as it was) or the default tells. ``credentials``, ``profile``, ``custom_credentials_provider``
                are one matter: who changes one of them says all that hold.

        Raises:
            ConfigError: something cannot be used.
            CredentialsError: the environment's credentials cannot be used.
        """
        config = type(self).__new__(type(self))
        try:
            _fill(config, _changed(self, changes))
        except BaseException as error:  # noqa: BLE001 (raised again below)
            failure = error
        else:
            return config
        del config, changes
        try:
            raise without_frames(failure)
        finally:
            del failure  # it refers to this frame: no cycle

    @property
    def action(self) -> str:
        """The action that the token is for."""
        return action_for(self.user)

    @property
    def trusts_only_amazon(self) -> bool:
        """Nobody named other roots, and the server's certificate is verified."""
        if self.password is not None:
            return False
        return "sslrootcert" not in self.driver and self.driver.get("sslmode", "verify-full").startswith("verify-")

    def own_application_name(self, driver: str) -> str:
        """Return what a driver's connections are called where the caller, or ``PGAPPNAME``, named nothing.

        Args:
            driver: the driver's package.
        """
        return application_name(driver, __version__, self.orm_prefix)

    def _compared(self) -> tuple[Any, ...]:
        names = [name for name in self.__slots__ if not name.startswith("_") and name != "driver"]
        return (*(getattr(self, name) for name in names), self.driver)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Config cannot be changed: {name} (replace() makes another one)")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Config cannot be changed: {name}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Config):
            return NotImplemented
        return self is other or (self._hash == other._hash and self._compared() == other._compared())

    def __hash__(self) -> int:
        return self._hash

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        # What gives credentials belongs to this process, and a password must not come into a file unseen.
        raise TypeError("a Config cannot be pickled: build it where it is used")

    def __repr__(self) -> str:
        if self.alternatives:
            shown = ", ".join(f"{one.endpoint.host}:{one.port}" for one in self.alternatives)
            where = f"endpoints=[{shown}], return_to_first_secs={self.return_to_first_secs:g}"
        else:
            where = f"host={self.endpoint.host!r}, region={self.endpoint.region!r}, port={self.port}"
            where += f", hostaddr={self.hostaddr!r}" if self.hostaddr else ""
            where += f", connect_host={self.connect_host!r}" if self.connect_host else ""
        how = repr(self.password) if self.password is not None else f"{self.provider!r}, lifetime={self.lifetime}"
        driver = "".join(f", {name}={value!r}" for name, value in self.driver.items())
        return f"Config({where}, user={self.user!r}, dbname={self.dbname!r}, {how}{driver})"


def needs_profile_region(conninfo: str | Config, keywords: Mapping[str, Any], environ: Mapping[str, str]) -> bool:
    """Tell whether `parse_config` would have to read AWS configuration files, which blocks."""
    if isinstance(conninfo, Config):
        given: Mapping[str, Any] = conninfo._said  # noqa: SLF001 (the same file)
        environ = conninfo._environ  # noqa: SLF001
    else:
        given = parse_conninfo(conninfo)
    if environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION"):
        return False
    hosts = keywords.get("host") or given.get("host") or ""
    regions = keywords.get("region") or given.get("region")
    hosts = list(hosts) if isinstance(hosts, (list, tuple)) else [hosts]
    regions = list(regions) if isinstance(regions, (list, tuple)) else [regions] * len(hosts)
    telling = [bool(region) for region in regions] + [False] * len(hosts)
    return any(
        not tells and not (isinstance(host, str) and region_of_host(host.lower()))
        for host, tells in zip(hosts, telling, strict=False)
    )


def parse_config(conninfo: str | Config, keywords: Mapping[str, Any], environ: Mapping[str, str]) -> Config:
    """Put a connection's settings together.

    Args:
        conninfo: a URI, ``key=value`` pairs, a bare host or cluster id; may be empty. Or a `Config`.
        keywords: what the caller gave by name; None counts as not given.
        environ: the environment's variables.

    Raises:
        ConfigError: something cannot be used. Nothing was sent.
        CredentialsError: the environment's credentials cannot be used.
    """
    if isinstance(conninfo, Config):
        refuse_environment(environ)  # libpq reads what is set now
        changes = {name: value for name, value in keywords.items() if value is not None}
        return _made(_changed(conninfo, changes)) if changes else conninfo
    given = settings_of(conninfo, keywords)
    refuse_environment(environ)
    # Credentials first: an unknown profile is told as such, not as a Region that is missing.
    provider = provider_of(given, environ, by_value=True)
    return _made(settled(given, environ, provider))


def dialled(config: Config, hostaddr: str | None, seconds: int | None) -> Config:
    """Return a configuration of one endpoint for one try.

    Args:
        config: the endpoint's.
        hostaddr: the IP address to dial, or None.
        seconds: for this try; None: as configured.
    """
    values = {name: getattr(config, name) for name in Config.__slots__}
    values["hostaddr"] = hostaddr
    if seconds is not None:
        values["driver"] = MappingProxyType({**config.driver, "connect_timeout": str(seconds)})
    return _made(values)


def _fill(config: Config, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        object.__setattr__(config, name, value)
    object.__setattr__(config, "alternatives", tuple(_made(one) for one in values["alternatives"]))
    *values_but_driver, driver = config._compared()  # noqa: SLF001 (the same file)
    # Kept: a Config is a part of the key of each connect's plan.
    object.__setattr__(config, "_hash", hash((*values_but_driver, *sorted(driver.items()))))


def _made(values: Mapping[str, Any]) -> Config:
    config = Config.__new__(Config)
    _fill(config, values)
    return config


def _from_environment(environ: Mapping[str, str], keywords: Mapping[str, Any]) -> dict[str, Any]:
    password = password_from(environ)
    named = named_settings(keywords)
    given = overruled(settings_from(environ, named, password=password is not None), named)
    refuse_environment(environ)
    if password is not None:
        return settled(given, _kept(environ), NoCredentials(), password)
    provider = provider_of(given, environ, by_value=environ is not os.environ)
    return settled(given, _kept(environ), provider)


def _changed(config: Config, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a configuration with some settings changed; None takes one back."""
    taken_back = {name for name, value in changes.items() if value is None}
    named = named_settings(changes)
    given = overruled(config._said, named)  # noqa: SLF001 (the same file)
    for name in taken_back:
        given.pop("dbname" if name == "database" else name, None)
    provider = config.provider
    if config.password is None and not SOURCES.isdisjoint(changes):
        for name in SOURCES.difference(named):
            given.pop(name, None)
        provider = provider_of(given, os.environ, by_value=False)
    return settled(given, config._environ, provider, config.password)  # noqa: SLF001


def _kept(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Copy what a Config keeps of the environment."""
    return MappingProxyType({name: environ[name] for name in _KEPT if environ.get(name)})


def driver_arguments(
    config: Config, libpq_version: int, *, system_trust: bool = False, own_openssl: bool = False
) -> dict[str, Any]:
    """Write a configuration as libpq parameters, all but the password.

    Every parameter that bears on who sees the token is written out, whatever libpq would take from its
    environment or its defaults.

    Args:
        config: the settings.
        libpq_version: as ``PQlibVersion()`` has it: 170002 is 17.2.
        system_trust: trust the system's roots instead of the bundled ones.
        own_openssl: libpq came in a wheel, with an OpenSSL that does not know where the system's roots are.

    Raises:
        DriverError: libpq is too old.
    """
    if libpq_version < OLDEST_LIBPQ:
        raise DriverError(
            f"libpq {libpq_version // 10000} is too old: DSQL needs SNI, which came with libpq 14. "
            "Install a newer one with: pip install 'dsql-fast[binary]'",
        )
    mode = config.driver.get("sslmode", "verify-full")
    arguments: dict[str, Any] = {
        "host": config.endpoint.host,
        "port": config.port,
        "user": config.user,
        "dbname": config.dbname,
        "sslmode": mode,
        # libpq would try GSS first, and a GSS session counts as encrypted whatever sslmode says.
        "gssencmode": "disable",
        "ssl_min_protocol_version": "TLSv1.2",
        "ssl_max_protocol_version": "",
        "sslcompression": 0,
        "sslsni": 1,
        "sslcert": "",
        "channel_binding": "prefer",
        "target_session_attrs": "any",
        "options": "",
        **config.driver,
    }
    if config.hostaddr is not None:
        arguments["hostaddr"] = config.hostaddr
    if mode.startswith("verify-"):
        default = AMAZON_ROOTS if config.password is None else "system"
        roots = "system" if system_trust else config.driver.get("sslrootcert", default)
        if roots == "system":
            roots = system_roots(libpq_version, own_openssl=own_openssl)
            if roots == "system" and libpq_version < REQUIRE_AUTH_LIBPQ:
                raise DriverError(
                    "this libpq does not know sslrootcert=system and no file of the system's roots was found: "
                    "pass sslrootcert=, or install a newer libpq with: pip install 'dsql-fast[binary]'",
                )
        arguments["sslrootcert"] = roots
    if libpq_version >= REQUIRE_AUTH_LIBPQ:
        arguments["require_auth"] = _authentication(config, mode)
        arguments["sslcertmode"] = "disable"
    else:
        # It would take an empty name for none, and send ~/.postgresql/postgresql.crt if that is there.
        arguments["sslcert"] = f"{AMAZON_ROOTS}/none"
    if libpq_version >= DIRECT_TLS_LIBPQ and "sslnegotiation" not in arguments:
        # One round trip less. libpq wants at least sslmode=require for it, and PostgreSQL at least version 17.
        encrypts = mode in ("require", "verify-ca", "verify-full") and config.password is None
        arguments["sslnegotiation"] = "direct" if encrypts else "postgres"
    return arguments


def _authentication(config: Config, mode: str) -> str:
    if config.password is None:
        # The server must ask for the token, and in the one way that DSQL does.
        return "password"
    # An ordinary PostgreSQL. Only a server that was verified may have the password as it is.
    return "scram-sha-256,md5,none" + (",password" if mode.startswith("verify-") else "")
