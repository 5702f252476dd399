"""What a connection is made with: keywords, connection string and environment, checked and put together.

Pure: nothing here opens a file or a socket, apart from asking the profile for a Region when nothing else tells
it. Precedence: keywords, then the connection string, then the environment, then the default.

TLS is decided here. ``sslmode`` is ``verify-full`` unless the caller says otherwise in so many words (keyword
or connection string; the environment cannot). Each variable that libpq reads is listed in `driver_arguments`
or in `_libpq.LIBPQ_ENVIRONMENT` with what becomes of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from ._conninfo import parse_conninfo
from ._credentials import credentials_provider, profile_region
from ._endpoint import Endpoint, region_of_host, resolve_endpoint
from ._errors import ConfigError, DriverError
from ._libpq import DIRECT_TLS_LIBPQ, OLDEST_LIBPQ, PASSED, REFUSED, REQUIRE_AUTH_LIBPQ, SSL_MODES
from ._token_request import DEFAULT_LIFETIME, action_for, is_unicode, lifetime_from

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TypedDict

    from ._credentials import CredentialsProvider
    from ._credentials._provider import CredentialsSource

    class ConnectKeywords(TypedDict, total=False):
        """The keywords of a connection, for type checkers: ours, then libpq's that have a place here."""

        host: str | None
        region: str | None
        user: str | None
        dbname: str | None
        database: str | None
        port: int | str | None
        hostaddr: str | None
        profile: str | None
        credentials: CredentialsSource | CredentialsProvider | None
        custom_credentials_provider: CredentialsSource | CredentialsProvider | None
        token_duration_secs: int | str | None
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

DEFAULT_USER = "admin"
DEFAULT_DBNAME = "postgres"
DEFAULT_PORT = 5432

_OURS = (
    "host",
    "region",
    "user",
    "dbname",
    "database",
    "port",
    "hostaddr",
    "profile",
    "credentials",
    "custom_credentials_provider",
    "token_duration_secs",
)
# The official connectors' spellings.
_LIFETIME_SPELLINGS = ("token_duration_secs", "tokenDurationSecs", "token-duration-secs")

READ_ENVIRONMENT = (
    "AWS_ACCESS_KEY_ID",
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
    "PGDATABASE",
    "PGGEQO",
    "PGHOSTADDR",
    "PGPORT",
    "PGSERVICE",
    "PGSSLMINPROTOCOLVERSION",
    "PGSSLROOTCERT",
    "PGUSER",
)
"""All variables that `parse_config` reads: with equal ones, equal arguments give equal settings."""


@dataclass(frozen=True)
class Config:
    """One checked set of connection settings. Its `repr` shows no secret: it holds none.

    Attributes:
        endpoint: host (verified, sent as SNI, signed) and Region.
        user: database role; ``admin`` is signed for with an action of its own.
        dbname: database; DSQL has ``postgres`` only.
        port: TCP port.
        hostaddr: IP address to dial instead of resolving the host, or None.
        lifetime: a token's, in seconds.
        provider: where credentials come from.
        driver: libpq parameters that the caller gave, by keyword.
    """

    endpoint: Endpoint
    user: str
    dbname: str
    port: int
    hostaddr: str | None
    lifetime: int
    provider: CredentialsProvider
    driver: Mapping[str, str]

    @property
    def action(self) -> str:
        """The action that the token is for."""
        return action_for(self.user)

    @property
    def trusts_only_amazon(self) -> bool:
        """Nobody named other roots, and the server's certificate is verified."""
        return "sslrootcert" not in self.driver and self.driver.get("sslmode", "verify-full").startswith("verify-")


def needs_profile_region(conninfo: str, keywords: Mapping[str, Any], environ: Mapping[str, str]) -> bool:
    """Tell whether `parse_config` would have to read AWS configuration files, which blocks."""
    if keywords.get("region") or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION"):
        return False
    given = parse_conninfo(conninfo)
    host = keywords.get("host") or given.get("host") or ""
    return not given.get("region") and not (isinstance(host, str) and region_of_host(host.lower()))


def parse_config(conninfo: str, keywords: Mapping[str, Any], environ: Mapping[str, str]) -> Config:
    """Put a connection's settings together.

    Args:
        conninfo: a URI, ``key=value`` pairs, a bare host or cluster id; may be empty.
        keywords: what the caller gave by name; None counts as not given.
        environ: the environment's variables.

    Raises:
        ConfigError: something cannot be used. Nothing was sent.
        CredentialsError: the environment's credentials cannot be used.
    """
    given: dict[str, Any] = dict(parse_conninfo(conninfo))
    named = {name: value for name, value in keywords.items() if value is not None}
    for both in (given, named):
        _rename(both, "dbname", ("database",))
        _rename(both, "token_duration_secs", _LIFETIME_SPELLINGS[1:])
    given.update(named)
    _refuse_unknown(given)
    _refuse_environment(environ)
    # Credentials first: an unknown profile is told as such, not as a Region that is missing.
    profile = given.get("profile")
    provider = credentials_provider(
        given.get("credentials"),
        profile,
        environ,
        environment_by_value=True,
        custom=given.get("custom_credentials_provider"),
    )
    endpoint = resolve_endpoint(
        given.get("host"),
        given.get("region"),
        environ=environ,
        profile_region=lambda: profile_region(profile),
    )
    if given.get("user") == "":
        # A variable that came out empty must not make an administrator.
        raise ConfigError("user is empty: name a database role, or leave it out for admin")
    user = given.get("user") or environ.get("PGUSER") or DEFAULT_USER
    action_for(user)
    return Config(
        endpoint=endpoint,
        user=user,
        dbname=_text("dbname", given.get("dbname") or environ.get("PGDATABASE") or DEFAULT_DBNAME),
        port=_port(given["port"] if given.get("port", "") != "" else environ.get("PGPORT") or DEFAULT_PORT),
        hostaddr=_hostaddr(given.get("hostaddr") or environ.get("PGHOSTADDR") or None),
        lifetime=lifetime_from(given.get("token_duration_secs", DEFAULT_LIFETIME)),
        provider=provider.in_region(endpoint.region),
        driver=MappingProxyType(_driver_settings(given, environ)),
    )


def driver_arguments(config: Config, libpq_version: int, *, system_trust: bool = False) -> dict[str, Any]:
    """Write a configuration as libpq parameters, all but the password.

    Every parameter that bears on who sees the token is written out, whatever libpq would take from its
    environment or its defaults.

    Args:
        config: the settings.
        libpq_version: as ``PQlibVersion()`` has it: 170002 is 17.2.
        system_trust: trust the system's roots instead of the bundled ones.

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
        roots = "system" if system_trust else config.driver.get("sslrootcert", AMAZON_ROOTS)
        arguments["sslrootcert"] = roots
        if roots == "system" and libpq_version < REQUIRE_AUTH_LIBPQ:
            arguments["sslrootcert"] = _system_roots_file()
    if libpq_version >= REQUIRE_AUTH_LIBPQ:
        # The server must ask for the token, and in the one way that DSQL does.
        arguments["require_auth"] = "password"
        arguments["sslcertmode"] = "disable"
    else:
        # It would take an empty name for none, and send ~/.postgresql/postgresql.crt if that is there.
        arguments["sslcert"] = f"{AMAZON_ROOTS}/none"
    if libpq_version >= DIRECT_TLS_LIBPQ and "sslnegotiation" not in arguments:
        # One round trip less. libpq wants at least sslmode=require for it.
        encrypts = mode in ("require", "verify-ca", "verify-full")
        arguments["sslnegotiation"] = "direct" if encrypts else "postgres"
    return arguments


def _system_roots_file() -> str:
    # libpq learnt sslrootcert=system with 16; before, it takes a file.
    import ssl

    paths = ssl.get_default_verify_paths()
    found = paths.cafile or paths.openssl_cafile
    if not found:
        raise DriverError(
            "this libpq does not know sslrootcert=system and no file of the system's roots was found: "
            "pass sslrootcert=, or install a newer libpq with: pip install 'dsql-fast[binary]'",
        )
    return found


def _rename(given: dict[str, Any], name: str, spellings: tuple[str, ...]) -> None:
    for spelling in spellings:
        if spelling in given:
            value = given.pop(spelling)
            if name in given and given[name] != value:
                raise ConfigError(f"both {name} and {spelling} were given, and they differ")
            given[name] = value


def _refuse_unknown(given: Mapping[str, Any]) -> None:
    for name in given:
        if name in _OURS or name in PASSED:
            continue
        if name in REFUSED:
            raise ConfigError(f"{name} cannot be used: {REFUSED[name]}")
        if not name.replace("_", "").replace("-", "").isalnum():
            # Not repeated: it is no keyword at all, but a part of something malformed, of a password perhaps.
            raise ConfigError("the connection string is malformed: what stands before a = is no keyword")
        near = get_close_matches(name, (*_OURS, *PASSED), n=1, cutoff=0.5)
        advice = f"did you mean {near[0]}?" if near else f"ours are {', '.join(_OURS)}"
        raise ConfigError(f"unknown keyword {name!r}: {advice}")


def _refuse_environment(environ: Mapping[str, str]) -> None:
    if environ.get("PGSERVICE"):
        raise ConfigError("PGSERVICE is set: a service file could name another host; unset it")
    if environ.get("PGGEQO"):
        raise ConfigError("PGGEQO is set: libpq would send it, and DSQL refuses the connection; unset it")


def _driver_settings(given: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    settings = {name: _text(name, given[name]) for name in PASSED if name in given}
    mode = settings.get("sslmode")
    if mode is not None and mode not in SSL_MODES:
        raise ConfigError(f"sslmode must be one of {', '.join(SSL_MODES)}, not {mode!r}")
    if "sslrootcert" not in settings and environ.get("PGSSLROOTCERT"):
        settings["sslrootcert"] = environ["PGSSLROOTCERT"]
    roots = settings.get("sslrootcert")
    if roots == "":
        del settings["sslrootcert"]
    elif roots is not None and roots != "system" and not Path(roots).is_file():
        raise ConfigError(f"sslrootcert names no file: {roots}")
    least = environ.get("PGSSLMINPROTOCOLVERSION", "")
    if "ssl_min_protocol_version" not in settings and least.lower() == "tlsv1.3":
        settings["ssl_min_protocol_version"] = least
    # libpq's own name for what a driver calls itself: PGAPPNAME and application_name= beat it.
    settings.setdefault("fallback_application_name", "dsql-fast")
    return settings


def _text(name: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ConfigError(f"{name} must be text or a number, not {type(value).__name__}")
    text = str(value)
    if "\0" in text:
        raise ConfigError(f"{name} holds a zero byte")
    if not is_unicode(text):
        raise ConfigError(f"{name} cannot be written in UTF-8")
    return text


def _port(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:  # noqa: PLR2004
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 65535:  # noqa: PLR2004
        # Text is not repeated: in a URI it may be part of a password (user:pass/word@host).
        what = repr(value) if isinstance(value, (int, float)) else f"such a {type(value).__name__}"
        raise ConfigError(f"port must be a whole number from 1 to 65535, not {what}")
    return value


def _hostaddr(value: object) -> str | None:
    if value is None:
        return None
    try:
        if not isinstance(value, str):
            raise ValueError  # noqa: TRY301, TRY004 (an int would be read as an address)
        return str(ip_address(value))
    except ValueError:
        raise ConfigError(f"hostaddr must be one IP address, not {value!r}") from None
