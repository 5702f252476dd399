"""What the cluster says when it says no: DSQL's texts, codes and hints in one place.

Each is marked with where it is known from: documented by AWS, observed (on real clusters, by
others), assumed (nobody's record was found; do not match on it strictly).
"""

from __future__ import annotations

from dataclasses import dataclass

_ACCESS_DENIED = "unable to accept connection, access denied"  # documented, observed


@dataclass(frozen=True)
class Refusal:
    """One way of being turned away.

    Attributes:
        reason: A short word for counters and events; never holds what the client sent.
        message: The text of the error; empty for a close without a word.
        sqlstate: Five characters.
        hint: The HINT field, or None.
    """

    reason: str
    message: str
    sqlstate: str
    hint: str | None = None


class Refused(Exception):  # noqa: N818 - a verdict, not a fault
    """Ends the opening of a connection with a refusal."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


def access_denied(reason: str, hint: str | None = None, sqlstate: str = "08006") -> Refusal:
    """Build an authentication failure.

    The SQLSTATE is 08006 or 28000 on real clusters (observed); here tokens get the first and
    roles the second, so that programs meet both.
    """
    return Refusal(reason, _ACCESS_DENIED, sqlstate, hint)


# --- before TLS ------------------------------------------------------------------------------
# The text contains "SSL is mandatory" (observed); the words around it are assumed.
PLAINTEXT = Refusal("plaintext", "unable to accept connection, SSL is mandatory", "08P01")
# PostgreSQL's own, after CVE-2021-23214: bytes sent before the TLS handshake could be an
# attacker's, and must not be taken for the client's.
EARLY_BYTES = Refusal("early-bytes", "received unencrypted data after SSL request", "08P01")
# Closed without a word, as PostgreSQL does: whoever sends this does not speak the protocol.
GARBAGE = Refusal("garbage", "", "08P01")
NO_ALPN = Refusal("no-alpn", "", "08P01")
TLS_FAILED = Refusal("tls-failed", "", "08P01")
TIMEOUT = Refusal("timeout", "", "08P01")
# Observed: a server-side cancel has no effect. The request is taken and nothing follows.
CANCEL = Refusal("cancel-request", "", "08P01")
GONE = Refusal("client-gone", "", "08006")

# --- the name that was asked for: texts documented and observed, SQLSTATE assumed ---------------
SNI_MISSING = Refusal("sni-missing", "unable to accept connection, sni was not received", "08006")
SNI_WRONG = Refusal("sni-wrong", "unable to accept connection, invalid sni", "08006")
CLUSTER_ID_WRONG = access_denied("cluster-id-wrong")  # assumed

# --- start-up ---------------------------------------------------------------------------------
STARTUP_LENGTH = Refusal("startup-length", "invalid length of startup packet", "08P01")
STARTUP_LAYOUT = Refusal(
    "startup-layout", "invalid startup packet layout: expected terminator as last byte", "08P01"
)
NO_USER = Refusal("no-user", "no PostgreSQL user name specified in startup packet", "28000")
# PostgreSQL's text; what DSQL says is assumed.
NO_DATABASE = Refusal("database", 'database "{}" does not exist', "3D000")
MESSAGE_TYPE = Refusal("message-type", "expected password response, got another message", "08P01")
PASSWORD_SIZE = Refusal("password-size", "invalid password packet size", "08P01")

# --- admission: documented by AWS -----------------------------------------------------------------
TOO_MANY = Refusal("connections", "Unable to accept connection, too many open connections.", "53300")
RATE_EXCEEDED = Refusal("rate", "Unable to accept connection, rate exceeded.", "53400")
# Observed; the SQLSTATE is assumed.
WAKING_UP = Refusal(
    "waking-up",
    "unable to accept connection, waking up cluster, please retry later",
    "57P03",
)

# --- roles: observed, without a hint ------------------------------------------------------------
ROLE_DENIED = access_denied("role", sqlstate="28000")


def parameter_not_supported(name: str) -> Refusal:
    """A start-up parameter outside the list (observed)."""
    return Refusal("parameter", f'setting configuration parameter "{name[:63]}" not supported', "0A000")


def protocol_not_supported(major: int, minor: int) -> Refusal:
    """A protocol other than 3 (PostgreSQL's text)."""
    return Refusal(
        "protocol",
        f"unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.0",
        "0A000",
    )
