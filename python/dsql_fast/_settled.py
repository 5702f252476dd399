"""What was said of a connection, checked as a whole and completed: the values of a `Config`.

Pure, apart from asking the profile for a Region when nothing else tells it.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from ._application_name import checked_prefix
from ._credentials import credentials_provider, profile_region
from ._endpoint import Endpoint, checked_host, resolve_endpoint
from ._errors import ConfigError
from ._failover import DEFAULT_DEADLINE, DEFAULT_RETURN
from ._pacing import pacing_from
from ._settings import (
    connect_host_of,
    driver_settings,
    hostaddr_of,
    port_of,
    seconds_of,
    spread,
    text_of,
)
from ._token_request import DEFAULT_LIFETIME, action_for, lifetime_from

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ._credentials import CredentialsProvider
    from ._environment import Password

SOURCES = frozenset({"credentials", "profile", "custom_credentials_provider"})
"""The settings that say where credentials come from."""
# Those of them that the provider holds.
_OBJECTS = ("credentials", "custom_credentials_provider")

DEFAULT_USER = "admin"
DEFAULT_DBNAME = "postgres"
DEFAULT_PORT = 5432


def provider_of(given: Mapping[str, Any], environ: Mapping[str, str], *, by_value: bool) -> CredentialsProvider:
    """Decide where credentials come from; as `credentials_provider`, whose errors it raises."""
    return credentials_provider(
        given.get("credentials"),
        given.get("profile"),
        environ,
        environment_by_value=by_value,
        custom=given.get("custom_credentials_provider"),
    )


def settled(
    given: Mapping[str, Any],
    environ: Mapping[str, str],
    provider: CredentialsProvider,
    password: Password | None = None,
) -> dict[str, Any]:
    """Check what was said, and fill in what was not.

    Args:
        given: what was said, by keyword; wins over the environment.
        environ: the environment's variables.
        provider: where credentials come from.
        password: what is sent instead of a token, or None.

    Returns:
        The attributes of a `Config`, its alternatives as such mappings.

    Raises:
        ConfigError: something cannot be used.
    """
    each = spread(given)
    # The hosts before the rest: a comma in one is told as such.
    endpoints = [_endpoint(one, environ, password) for one in each]
    if given.get("user") == "":
        # A variable that came out empty must not make an administrator.
        raise ConfigError("user is empty: name a database role, or leave it out for admin")
    user = given.get("user") or environ.get("PGUSER") or DEFAULT_USER
    action_for(user)
    common: dict[str, Any] = {
        "user": str(user),
        "dbname": text_of("dbname", given.get("dbname") or environ.get("PGDATABASE") or DEFAULT_DBNAME),
        "lifetime": lifetime_from(given.get("token_duration_secs", DEFAULT_LIFETIME)),
        "password": password,
        "orm_prefix": checked_prefix(text_of("orm_prefix", given.get("orm_prefix", ""))),
        "driver": MappingProxyType(driver_settings(given, environ)),
        "alternatives": (),
        "return_to_first_secs": seconds_of(
            "return_to_first_secs", given.get("return_to_first_secs", DEFAULT_RETURN)
        ),
        "deadline": None,
        "pacing": pacing_from(given.get("pacing"), environ),
        "_environ": environ,
    }
    members = [
        {
            **common,
            **_where(one, environ),
            "endpoint": endpoint,
            "provider": provider.in_region(endpoint.region),
            "_said": _kept_of(one),
        }
        for one, endpoint in zip(each, endpoints, strict=True)
    ]
    deadline = _deadline(common["driver"], environ, len(members))
    if len(members) == 1:
        return {**members[0], "deadline": deadline}
    return {
        **members[0],
        "alternatives": tuple(members),
        "deadline": deadline,
        "_said": _kept_of(given),
    }


def _endpoint(given: Mapping[str, Any], environ: Mapping[str, str], password: Password | None) -> Endpoint:
    if password is not None:
        # An ordinary PostgreSQL has no Region, and nothing is signed for it.
        return Endpoint(checked_host(given.get("host")), "")
    profile = given.get("profile")
    return resolve_endpoint(
        given.get("host"),
        given.get("region"),
        environ=environ,
        profile_region=lambda: profile_region(profile),
    )


def _where(given: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    if given.get("hostaddr") and given.get("connect_host"):
        raise ConfigError("both hostaddr and connect_host say where to dial: drop one of the two")
    connect_host = connect_host_of(given.get("connect_host"))
    hostaddr = given.get("hostaddr") or environ.get("PGHOSTADDR") or None
    return {
        "port": port_of(given["port"] if given.get("port", "") != "" else environ.get("PGPORT") or DEFAULT_PORT),
        "hostaddr": hostaddr_of(hostaddr) if connect_host is None else None,
        "connect_host": connect_host,
    }


def _deadline(driver: Mapping[str, str], environ: Mapping[str, str], endpoints: int) -> float | None:
    said = driver.get("connect_timeout") or environ.get("PGCONNECT_TIMEOUT")
    if endpoints == 1:
        # A number that cannot be read is the driver's to refuse, as ever.
        try:
            return seconds_of("connect_timeout", said or 0) or None
        except ConfigError:
            return None
    if not said:
        return DEFAULT_DEADLINE
    return seconds_of("connect_timeout", said) or None


def _kept_of(given: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType({name: value for name, value in given.items() if name not in _OBJECTS})
