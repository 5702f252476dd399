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
        detail: The DETAIL field, or None.
    """

    reason: str
    message: str
    sqlstate: str
    hint: str | None = None
    detail: str | None = None


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
# A fault that was ordered: nothing is said, ever.
SILENT = Refusal("silent", "", "08006")

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


# --- conflicts and the cluster's own trouble, at severity ERROR: observed --------------------------
# Earlier with ", please retry: " before the code; SQLSTATE documented by AWS.
CONFLICT = Refusal("OC000", "change conflicts with another transaction (OC000)", "40001")
SCHEMA_CONFLICT = Refusal("OC001", "schema has been updated by another transaction (OC001)", "40001")
UNAVAILABLE = Refusal("unavailable", "server unavailable", "XX000")


# --- limits and rules of transactions: observed -----------------------------------------------------
TOO_MANY_ROWS = Refusal("rows", "transaction row limit exceeded", "54000")
ROW_SIZE = Refusal("row-size", "row size limit exceeded", "54000")  # the limit is documented, the text assumed
SECOND_DDL = Refusal("second-ddl", "multiple ddl statements not supported in a transaction", "0A000")
DDL_AND_DML = Refusal("ddl-and-dml", "ddl and dml are not supported in the same transaction", "0A000")
# Of this gateway: no driver is known that sends COPY FROM STDIN so.
COPY_EXTENDED = Refusal("copy-extended", "COPY FROM STDIN is taken in a simple query only", "0A000")
FUNCTION_CALL = Refusal("function-call", "function call protocol message not supported", "0A000")  # assumed


def transaction_age(age: float, limit: float) -> Refusal:
    """A transaction that is too old (observed)."""
    detail = f"Current transaction age {age:.0f}s exceeds {limit:.0f}s"
    return Refusal("age", f"transaction age limit of {limit:.0f}s exceeded", "54000", detail=detail)


def transaction_size(size: int, limit: int) -> Refusal:
    """A transaction that wrote too much (observed); sizes in bytes."""
    mib = 1024 * 1024
    most = f"{limit / mib:.4g}mb"
    # Rounded up: what is over the limit must not look like the limit.
    detail = f"Current transaction size {-(-size // mib)}mb > {most}"
    return Refusal("size", f"transaction size limit {most} exceeded", "54000", detail=detail)


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
