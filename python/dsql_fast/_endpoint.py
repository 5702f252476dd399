"""Which cluster: its host and its Region. Pure; no imports, for this stands on the way to the first token.

A host is an identity: it is the name that the certificate must carry, that goes out as SNI, and that is
signed. So only what can be one name is let in, and nothing is guessed.
"""

from __future__ import annotations

from ._errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_LETTERS_DIGITS = "abcdefghijklmnopqrstuvwxyz0123456789"
_HOST_CHARACTERS = _LETTERS_DIGITS + ".-"
_CLUSTER_ID_LENGTH = 26
_HOST_MAX_LENGTH = 253  # RFC 1035, section 2.3.4, in text

# What was resolved without the environment, by (host, region): it takes longer than signing does.
_resolved: dict[tuple[str, str | None], Endpoint] = {}
_MOST_RESOLVED = 64


class Endpoint:
    """One cluster endpoint: the host that is verified and signed, and its Region. Immutable.

    Attributes:
        host: lower-case host name.
        region: AWS Region, as ``us-east-1``.
    """

    __slots__ = ("host", "region")
    host: str
    region: str

    def __init__(self, host: str, region: str) -> None:
        object.__setattr__(self, "host", host)
        object.__setattr__(self, "region", region)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"an Endpoint cannot be changed: {name}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Endpoint):
            return NotImplemented
        return self.host == other.host and self.region == other.region

    def __hash__(self) -> int:
        return hash((self.host, self.region))

    def __repr__(self) -> str:
        return f"Endpoint(host={self.host!r}, region={self.region!r})"


def is_cluster_id(text: str) -> bool:
    """Tell whether `text` is a cluster's id: 26 of a-z and 0-9."""
    return len(text) == _CLUSTER_ID_LENGTH and text.isascii() and text.isalnum() and text == text.lower()


def resolve_endpoint(
    host: object,
    region: object = None,
    *,
    environ: Mapping[str, str],
    profile_region: Callable[[], str | None] | None = None,
) -> Endpoint:
    """Turn what the caller said into an endpoint.

    The Region is, in this order: the one given, the host's own, ``AWS_REGION``, ``AWS_DEFAULT_REGION``,
    the profile's.

    Args:
        host: a host name, or a cluster's id, which is expanded with the Region.
        region: an AWS Region, or None.
        environ: the environment's variables.
        profile_region: asked for the profile's Region, last of all.

    Raises:
        ConfigError: no host, not one host name, no Region to be had, or one that contradicts the host.
    """
    # Text only: what else is equal to it may not be a host.
    said = (host, region) if type(host) is str and (region is None or type(region) is str) else None
    known_already = _resolved.get(said) if said is not None else None
    if known_already is not None:
        return known_already
    name = checked_host(host)
    explicit = checked_region(region) if region is not None else None
    if is_cluster_id(name):
        known = explicit or _fallback_region(environ, profile_region)
        if known is None:
            raise ConfigError(
                f"the cluster id {name} needs a Region: pass region=, or set AWS_REGION",
            )
        return Endpoint(f"{name}.dsql.{known}.on.aws", known)
    own = region_of_host(name)
    if own is not None and explicit is not None and own != explicit:
        raise ConfigError(
            f"region={region!r} contradicts the host {name}, which is in {own}: drop one of the two",
        )
    known = explicit or own
    if known is not None:
        endpoint = Endpoint(name, known)
        if said is not None:
            if len(_resolved) >= _MOST_RESOLVED:
                _resolved.clear()
            _resolved[said] = endpoint
        return endpoint
    known = _fallback_region(environ, profile_region)
    if known is None:
        raise ConfigError(
            f"the host {name} does not tell its Region: pass region=, or set AWS_REGION",
        )
    return Endpoint(name, known)


def region_of_host(host: str) -> str | None:
    """Read the Region from a host, or return None where its form is not known.

    Forms: ``<id>.dsql.<region>.on.aws`` and, over PrivateLink, ``<id>.dsql-<suffix>.<region>.on.aws``
    (documented by AWS).
    """
    labels = host.split(".")
    if len(labels) != 5 or labels[3:] != ["on", "aws"]:  # noqa: PLR2004
        return None
    service = labels[1]
    if service != "dsql" and not service.startswith("dsql-"):
        return None
    return labels[2] or None


def checked_host(host: object) -> str:
    """Return a host name in lower case.

    Raises:
        ConfigError: it is not one name and nothing else.
    """
    if host is None or host == "":
        raise ConfigError(
            "no host: pass the cluster's endpoint (<id>.dsql.<region>.on.aws), or its id with region=",
        )
    if not isinstance(host, str):
        raise ConfigError(f"host must be text, not {type(host).__name__}")
    # Only what is ASCII is lower-cased: the Kelvin sign would turn into a k.
    name = host.lower() if host.isascii() else host
    # The whole at once, which is five times as fast as character by character; the culprit is looked for after.
    if not (name.isascii() and name.replace(".", "").replace("-", "").isalnum()):
        raise ConfigError(f"{_what_is_wrong(name)}: host must be one host name and nothing else")
    if len(name) > _HOST_MAX_LENGTH:
        raise ConfigError(f"the host is {len(name)} characters long; a name has at most 253")
    if name[0] in ".-" or name[-1] in ".-" or ".." in name:
        raise ConfigError("the host begins, ends or breaks off with a dot or a hyphen: one host name is needed")
    return name


def checked_region(region: object) -> str:
    """Return a Region's code, lower-cased.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(region, str):
        raise ConfigError(f"region must be text, not {type(region).__name__}")
    name = region.lower() if region.isascii() else region
    if not (name.isascii() and name.replace("-", "").isalnum()) or name[0] == "-" or name[-1] == "-":
        raise ConfigError(f"{region!r} is not a Region: one is written like us-east-1")
    return name


def _what_is_wrong(name: str) -> str:
    # The host itself is not repeated: it may be a whole URI, with a password in it.
    character = next((one for one in name if one not in _HOST_CHARACTERS), None)
    reasons = {
        ",": "the host holds a comma (several endpoints are a list, host=[..., ...]: a token is for one host)",
        "/": "the host holds a slash (a scheme or a path)",
        ":": "the host holds a colon (pass port= by itself)",
        "@": "the host holds user information (pass user= by itself)",
        " ": "the host holds a space",
    }
    if character is None:
        return "the host has no letter or digit"
    if character in reasons:
        return reasons[character]
    if not character.isascii():
        return "the host holds a character that is not ASCII"
    return f"the host holds the character {character!r}"


def _fallback_region(
    environ: Mapping[str, str],
    profile_region: Callable[[], str | None] | None,
) -> str | None:
    for variable in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        value = environ.get(variable)
        if value:
            try:
                return checked_region(value)
            except ConfigError as error:
                raise ConfigError(f"{variable}: {error}") from None
    region = profile_region() if profile_region is not None else None
    return checked_region(region) if region else None
