"""What a caller said of a connection: gathered from keywords and connection string, and checked value by value.

Pure. `_config` puts the checked values together.
"""

from __future__ import annotations

import math
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from ._conninfo import parse_conninfo
from ._endpoint import checked_host, region_of_host
from ._errors import ConfigError
from ._libpq import PASSED, REFUSED, SSL_MODES
from ._token_request import is_unicode

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any

_OURS = (
    "host",
    "region",
    "user",
    "dbname",
    "database",
    "port",
    "hostaddr",
    "connect_host",
    "profile",
    "credentials",
    "custom_credentials_provider",
    "token_duration_secs",
    "orm_prefix",
    "return_to_first_secs",
    "pacing",
)
_SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "dbname": ("database",),
    # The official connectors' spellings.
    "token_duration_secs": ("tokenDurationSecs", "token-duration-secs"),
    "orm_prefix": ("ormPrefix",),
}
# What may be a list, one value an endpoint.
_OF_AN_ENDPOINT = ("host", "region", "port", "hostaddr", "connect_host")
# Two ways to say where to dial: whoever says one of them takes back what was said before of the other.
_DIALS = (("hostaddr", "connect_host"), ("connect_host", "hostaddr"))


class Unshown(str):
    """A value out of a connection string, which messages do not repeat.

    A password with an unescaped delimiter in it comes apart: what follows the delimiter may come out as any
    setting's value.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "what the connection string has there"


def named_settings(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords that were given (None counts as not given), each by the one name that it has here.

    Raises:
        ConfigError: one is not known or has no place here, or two spellings of one differ.
    """
    return _with_one_name({name: value for name, value in keywords.items() if value is not None})


def settings_of(conninfo: object, keywords: Mapping[str, Any], *, ignored: Collection[str] = ()) -> dict[str, Any]:
    """Gather what keywords and connection string say; keywords win.

    Args:
        conninfo: the connection string.
        keywords: what was given by name.
        ignored: names that are left out of the string.

    Raises:
        ConfigError: the string is malformed, a name is not known or has no place here, or two spellings of one
            setting differ.
    """
    said = {name: Unshown(value) for name, value in parse_conninfo(conninfo).items() if name not in ignored}
    return overruled(_with_one_name(said, of_string=True), named_settings(keywords))


def overruled(said: Mapping[str, Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """Put what was said before and what is said now together; the latter wins."""
    merged = {**said, **named}
    for ours, other in _DIALS:
        if ours in named and other not in named:
            merged.pop(other, None)
    return merged


def spread(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the settings of each endpoint; one where `host` is no list.

    Port, ``hostaddr`` and ``connect_host`` hold for all endpoints unless they are lists themselves. A Region that
    is no list is for the cluster ids, and hosts that do not tell theirs.

    Raises:
        ConfigError: lists of different lengths, an empty one, or a list where there is one host.
    """
    hosts = given.get("host")
    if not _is_list(hosts):
        for name in _OF_AN_ENDPOINT:
            if _is_list(given.get(name)):
                raise ConfigError(f"{name} is a list and host is not: several endpoints are host=[..., ...]")
        return [dict(given)]
    if not hosts:
        raise ConfigError("host is an empty list: name at least one endpoint")
    for name in _OF_AN_ENDPOINT:
        if _is_list(given.get(name)) and len(given[name]) != len(hosts):
            raise ConfigError(f"host names {len(hosts)} endpoints, and {name} has {len(given[name])} values")
    each = [
        {
            name: value[index] if name in _OF_AN_ENDPOINT and _is_list(value) else value
            for name, value in given.items()
        }
        for index in range(len(hosts))
    ]
    telling = [isinstance(one["host"], str) and region_of_host(one["host"].lower()) is not None for one in each]
    if not _is_list(given.get("region")) and not all(telling):
        for one, tells in zip(each, telling, strict=True):
            if tells:
                one.pop("region", None)
    return [{name: value for name, value in one.items() if value is not None} for one in each]


def refuse_environment(environ: Mapping[str, str]) -> None:
    """Refuse variables that libpq would follow to somewhere else.

    Raises:
        ConfigError: one is set.
    """
    if environ.get("PGSERVICE"):
        raise ConfigError("PGSERVICE is set: a service file could name another host; unset it")
    if environ.get("PGGEQO"):
        raise ConfigError("PGGEQO is set: libpq would send it, and DSQL refuses the connection; unset it")


def driver_settings(given: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the libpq parameters that go through, checked as far as they bear on safety.

    Raises:
        ConfigError: one cannot be used.
    """
    settings = {name: text_of(name, given[name]) for name in PASSED if name in given}
    mode = settings.get("sslmode")
    if mode is not None and mode not in SSL_MODES:
        raise ConfigError(f"sslmode must be one of {', '.join(SSL_MODES)}, not {given['sslmode']!r}")
    if "sslrootcert" not in settings and environ.get("PGSSLROOTCERT"):
        settings["sslrootcert"] = environ["PGSSLROOTCERT"]
    roots = settings.get("sslrootcert")
    if roots == "":
        del settings["sslrootcert"]
    elif roots is not None and roots != "system" and not Path(roots).is_file():
        raise ConfigError(f"sslrootcert names no file: {given.get('sslrootcert', roots)!r}")
    for name, variable in (("sslcrl", "PGSSLCRL"), ("sslcrldir", "PGSSLCRLDIR")):
        # libpq would read them by itself; other drivers do not.
        if name not in settings and environ.get(variable):
            settings[name] = environ[variable]
    least = environ.get("PGSSLMINPROTOCOLVERSION", "")
    if "ssl_min_protocol_version" not in settings and least.lower() == "tlsv1.3":
        settings["ssl_min_protocol_version"] = least
    return settings


def text_of(name: str, value: object) -> str:
    """Check a setting that is text; numbers are written out.

    Raises:
        ConfigError: it cannot be sent.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ConfigError(f"{name} must be text or a number, not {type(value).__name__}")
    text = str(value)
    if "\0" in text:
        raise ConfigError(f"{name} holds a zero byte")
    if not is_unicode(text):
        raise ConfigError(f"{name} cannot be written in UTF-8")
    return text


def port_of(value: object, name: str = "port") -> int:
    """Check a port; numeric text is accepted.

    Raises:
        ConfigError: not a whole number from 1 to 65535.
    """
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:  # noqa: PLR2004
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 65535:  # noqa: PLR2004
        # Text is not repeated: in a URI it may be part of a password (user:pass/word@host).
        what = repr(value) if isinstance(value, (int, float)) else f"such a {type(value).__name__}"
        raise ConfigError(f"{name} must be a whole number from 1 to 65535, not {what}")
    return value


def seconds_of(name: str, value: object) -> float:
    """Check a time in seconds; numeric text is accepted.

    Raises:
        ConfigError: not a number, or a negative one.
    """
    seconds = math.nan
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):
            seconds = float(value)
    # Not in a handler: float() repeats what it was given in its error.
    if not 0 <= seconds < math.inf:
        raise ConfigError(f"{name} must be a number of seconds, 0 or more, not {value!r}")
    return seconds


def hostaddr_of(value: object) -> str | None:
    """Check an IP address.

    Raises:
        ConfigError: it is none, or more than one.
    """
    if value is None:
        return None
    if isinstance(value, str):  # an int would be read as an address
        with suppress(ValueError):
            return str(ip_address(str(value)))
    # Not in a handler: ip_address() repeats what it was given in its error.
    raise ConfigError(f"hostaddr must be one IP address, not {value!r}")


def connect_host_of(value: object) -> str | None:
    """Check a name to dial.

    Raises:
        ConfigError: it is not one host name.
    """
    if value is None:
        return None
    if value == "":
        raise ConfigError("connect_host is empty: name the host to dial, or leave it out")
    try:
        return checked_host(value)
    except ConfigError as error:
        raise ConfigError(f"connect_host: {error}") from None


def _is_list(value: object) -> bool:
    return isinstance(value, (list, tuple))


def _with_one_name(given: dict[str, Any], *, of_string: bool = False) -> dict[str, Any]:
    for name, spellings in _SPELLINGS.items():
        for spelling in spellings:
            if spelling in given:
                value = given.pop(spelling)
                if name in given and given[name] != value:
                    raise ConfigError(f"both {name} and {spelling} were given, and they differ")
                given[name] = value
    for name in given:
        if name not in _OURS and name not in PASSED:
            raise _unknown(name, of_string=of_string)
    return given


def _unknown(name: str, *, of_string: bool) -> ConfigError:
    if name in REFUSED:
        return ConfigError(f"{name} cannot be used: {REFUSED[name]}")
    if not name.replace("_", "").replace("-", "").isalnum():
        # Not repeated: it is no keyword at all, but a part of something malformed, of a password perhaps.
        return ConfigError("the connection string is malformed: what stands before a = is no keyword")
    from difflib import get_close_matches

    near = get_close_matches(name, (*_OURS, *PASSED), n=1, cutoff=0.5)
    advice = f"did you mean {near[0]}?" if near else f"ours are {', '.join(_OURS)}"
    # A name in a string may be a part of a password, too.
    what = "unknown keyword in the connection string" if of_string else f"unknown keyword {name!r}"
    return ConfigError(f"{what}: {advice}")
