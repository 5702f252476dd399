"""asyncpg's part in a connect: how it takes its settings, and what its errors say and hold."""

from __future__ import annotations

import asyncio
import ssl
from ipaddress import ip_address
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import asyncpg

from .. import _connecting
from .._errors import ConfigError
from ._tls import tls_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._config import Config
    from .._connecting import Attempt

# libpq's parameters that asyncpg has no place for.
_NOT_ASYNCPGS: Mapping[str, str] = MappingProxyType(
    {
        "client_encoding": "asyncpg speaks UTF-8",
        **dict.fromkeys(
            ("keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval", "tcp_user_timeout"),
            "asyncpg does not set it on its sockets",
        ),
        "load_balance_hosts": "each try is one address",
        "max_protocol_version": "asyncpg speaks 3.0",
        "min_protocol_version": "asyncpg speaks 3.0",
    }
)
_WRONG_NAME = {62, 64}  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH

ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "PGHOST": "not read: a host is always passed",
        "PGPORT": "read",
        "PGUSER": "read",
        "PGDATABASE": "read",
        "PGPASSWORD": "not read: the token is passed",
        "PGPASSFILE": "not read: the token is passed",
        "PGSERVICE": "refused: a service could name another host",
        "PGSERVICEFILE": "not read: asyncpg gets no DSN",
        "PGSSLMODE": "overruled: verify-full, or what the caller says",
        "PGSSLNEGOTIATION": "overruled: direct, or what the caller says",
        "PGSSLROOTCERT": "read: replaces the bundled roots",
        "PGSSLCRL": "read: can only refuse more",
        "PGSSLCERT": "not read: no client certificate is sent",
        "PGSSLKEY": "not read: no client certificate is sent",
        "PGSSLMINPROTOCOLVERSION": "read, but never below TLSv1.2",
        "PGSSLMAXPROTOCOLVERSION": "not read: no maximum",
        "PGTARGETSESSIONATTRS": "overruled: any",
        "PGKRBSRVNAME": "of no effect: only a cleartext password is answered",
        "PGGSSLIB": "of no effect: only a cleartext password is answered",
        "SSLKEYLOGFILE": "not read: pass sslkeylogfile",
    }
)
"""Each variable that asyncpg itself reads, and what becomes of it. Some are read by `_config` in its place."""


class _Asyncpg:
    name = "asyncpg"

    def arguments(self, config: Config, *, system_trust: bool) -> dict[str, Any]:
        """As `_connecting.Driver` says, but for what `connect` makes ``ssl`` and ``password`` from.

        These are ``tls`` and ``cleartext_only``.
        """
        given = config.driver
        for name in given:
            if name in _NOT_ASYNCPGS:
                raise ConfigError(f"{name} cannot be used with asyncpg: {_NOT_ASYNCPGS[name]}")
        tls = tls_of(config, system_trust=system_trust)
        if config.password is not None:
            _check_password(config)
        # As with libpq: no server before PostgreSQL 17 speaks direct TLS.
        negotiation = given.get("sslnegotiation", "direct" if config.password is None else "postgres")
        if negotiation not in {"direct", "postgres"}:
            raise ConfigError(f"sslnegotiation must be direct or postgres, not {negotiation!r}")
        # As for psycopg: what the user says beats our own name.
        said = given.get("application_name") or given.get("fallback_application_name")
        settings: dict[str, str] = {"application_name": said or config.own_application_name(self.name)}
        if given.get("options"):
            settings["options"] = given["options"]
        arguments = {
            "host": config.hostaddr or config.endpoint.host,
            "port": config.port,
            "user": config.user,
            "database": config.dbname,
            "tls": tls,
            "direct_tls": tls is not None and negotiation == "direct",
            "cleartext_only": config.password is None,
            "server_settings": settings,
            # What it would take from the environment otherwise.
            "target_session_attrs": "any",
            "krbsrvname": "postgres",
            "gsslib": "gssapi",
        }
        if "connect_timeout" in given:
            arguments["timeout"] = _seconds(given["connect_timeout"])
        return arguments

    def refusal(self, error: BaseException) -> str | None:
        if isinstance(error, asyncpg.PostgresError):
            # As libpq writes it: the severity, and at the end the hint.
            severity = getattr(error, "severity_en", None) or getattr(error, "severity", None)
            return f"{severity}:  {error}" if severity else str(error)
        if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in _WRONG_NAME:
            # Without Python's "certificate verify failed": with other roots it would still be another's name.
            return f"server certificate does not match host name: {error.verify_message}"
        if not isinstance(error, (OSError, asyncio.TimeoutError)):
            return None
        # asyncio's have no text.
        timed_out = isinstance(error, asyncio.TimeoutError)
        return str(error) or ("connection timeout expired" if timed_out else "the connection was closed")

    def unreachable(self, text: str) -> Exception:
        return OSError(text)


def _check_password(config: Config) -> None:
    """Keep a password that is no token from those who may ask for it as it is.

    asyncpg sends it so to whoever asks, and cannot be told to answer with a hash only, as libpq can.

    Raises:
        ConfigError: the server is not verified, and not on this machine.
    """
    if config.driver.get("sslmode", "verify-full").startswith("verify-"):
        return
    place = config.hostaddr or config.connect_host or config.endpoint.host
    try:
        is_here = ip_address(place).is_loopback
    except ValueError:
        is_here = place == "localhost"
    if not is_here:
        raise ConfigError(
            "asyncpg sends a password to any server that asks for it: use sslmode verify-full or verify-ca, or "
            "psycopg, which sends a hash of it"
        )


DRIVER: _connecting.Driver = _Asyncpg()


def _seconds(given: str) -> float | None:
    """As libpq has it: 0 or less is no limit."""
    try:
        seconds = float(given)
    except ValueError:
        raise ConfigError("connect_timeout must be a number of seconds") from None
    return seconds if seconds > 0 else None


async def begin(dsn: str | Config, keywords: Mapping[str, Any]) -> Attempt:
    """As `_connecting.begin_async`."""
    return await _connecting.begin_async(DRIVER, dsn, keywords)
