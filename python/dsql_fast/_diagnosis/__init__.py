"""Why a connect failed, as far as it can be told: the text of the failure, held against what the client knows.

Pure: no driver, no clock, no I/O. A failure is known from its text alone (psycopg has no SQLSTATE for one, and
DSQL's differ from case to case): by DSQL's sentence and its hint, then by what TLS and the network say. Where a
sentence or a hint of DSQL's is only assumed, so is the case.

Nothing said here repeats a token: what is quoted of a text goes through `redacted`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .._errors import (
    AccessDenied,
    ClockSkew,
    ConnectError,
    RateExceeded,
    TooManyConnections,
    WakingUp,
    docs_link,
)
from . import _denials, _reach
from ._known import Known, Refusal, token_facts

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ._known import Said

__all__ = ["KINDS", "Diagnosis", "Known", "diagnose", "redacted", "token_facts"]


@dataclass(frozen=True)
class Diagnosis:
    """What a failed connect is, and what to do.

    Attributes:
        kind: the case; also the section of ``docs/errors.md``.
        error: the class of ours for it.
        cause: the likeliest cause, a sentence.
        next_step: what to do about it.
        permanent: connecting again does not help until somebody changes something.
        hint: the server's, or None.
        known: what the client knew.
    """

    kind: str
    error: type[ConnectError]
    cause: str
    next_step: str
    permanent: bool
    hint: str | None
    known: Known

    def advice(self) -> str:
        """Return what is said after the driver's own text: a few lines."""
        lines = [f"Likeliest cause: {self.cause}.", f"Next step: {self.next_step}."]
        if issubclass(self.error, AccessDenied):
            facts = redacted(self.known.in_words())
            lines += [f"Known here: {facts}."] if facts else []
        return "\n".join([*lines, f"More: {docs_link(self.kind)}"])

    def facts(self) -> dict[str, Any]:
        """Return the attributes of a `ConnectError`."""
        known, token = self.known, self.known.token
        return {
            "kind": self.kind,
            "cause": self.cause,
            "next_step": self.next_step,
            "docs": docs_link(self.kind),
            "permanent": self.permanent,
            "hint": self.hint,
            "host": known.host,
            "region": known.region,
            "user": known.user and redacted(known.user),
            "action": known.action,
            "token_age": known.token_age,
            "token_expires_in": None if token is None else token.ends_at - known.now,
            "credential_source": known.credential_source and redacted(known.credential_source),
            "credentials_expire_in": known.credentials_expire_in,
            "_advice": self.advice(),
        }


@dataclass(frozen=True)
class _Case:
    """One thing that can be the matter.

    Attributes:
        kind: its word.
        words: a regular expression that is found in the text, in lower case.
        say: makes the sentences.
        permanent: as in `Diagnosis`.
        error: its class.
    """

    kind: str
    words: str
    say: Callable[[Refusal, Known], Said]
    permanent: bool = False
    error: type[ConnectError] = ConnectError


# The first that fits: DSQL's own sentences, then TLS, then the network. Where a name has several addresses,
# psycopg lists what each of them gave, and the one that got farthest knows most. DSQL's sentences are documented
# by AWS or observed; whether they begin with a capital varies.
_CASES = (
    _Case("rate-exceeded", "connection, rate exceeded", _reach.rate_exceeded, error=RateExceeded),
    _Case(
        "too-many-connections",
        "connection, too many open connections",
        _reach.too_many_connections,
        error=TooManyConnections,
    ),
    _Case("waking-up", "connection, waking up", _reach.waking_up, error=WakingUp),
    _Case("no-server-name", "sni was not received", _reach.no_server_name, permanent=True),
    _Case("wrong-server-name", "invalid sni", _reach.wrong_server_name, permanent=True),
    _Case("no-tls", "ssl is mandatory", _reach.no_tls, permanent=True),
    _Case("setting-not-supported", "parameter .* not supported", _reach.setting, permanent=True),
    _Case("no-such-database", 'database ".*" does not exist', _reach.no_such_database, permanent=True),
    # Before the next: Python's ssl calls it a failed verification as well.
    _Case(
        "certificate-of-another-name",
        "does not match host name|hostname mismatch|ip address mismatch",
        _reach.another_name,
        permanent=True,
    ),
    _Case("certificate-not-trusted", "certificate verify failed", _reach.not_trusted, permanent=True),
    _Case("no-roots", "root certificate file", _reach.no_roots, permanent=True),
    _Case(
        "no-dsql-there",
        "wrong[ _]version[ _]number|ssl negotiation|alpn protocol|no application protocol|does not support ssl"
        "|rejected ssl upgrade|during ssl exchange",
        _reach.no_dsql_there,
    ),
    _Case(
        "host-not-found",
        "(resolve|translate) host|(name|nodename) .*not known|name resolution|getaddrinfo failed|gaierror"
        "|cannot be resolved",
        _reach.host_not_found,
    ),
    _Case("connection-refused", r"connection ?refused|\[errno (111|61)\]", _reach.refused),
    _Case("timeout", r"timeout expired|timed out|timeouterror|connectiontimeout", _reach.timeout),
    _Case(
        "unreachable",
        r"no route to host|network (is )?unreachable|host is down|\[errno (101|113|51|65)\]",
        _reach.unreachable,
    ),
    _Case(
        "connection-closed",
        "closed the connection|unexpected eof|connection ?reset|broken ?pipe|connection was closed"
        "|connection_lost",
        _reach.closed,
    ),
)
_UNKNOWN = _Case("unknown", "", _reach.unknown)

_ACCESS_DENIED = "access denied"
# By DSQL's hint (the first three are observed). What a hint quotes of anybody's choosing, a user's or role's name,
# stands in the first two, so they are asked first.
_DENIALS = (
    _Case("wrong-action", "wrong user to action mapping", _denials.wrong_action, permanent=True),
    _Case("not-authorized", "not authorized to perform", _denials.not_authorized, permanent=True),
    _Case("other-account", "not authorized to access", _denials.other_account, permanent=True),
    _Case("token-lifetime", "x-amz-expires", _denials.token_lifetime, permanent=True),
    _Case("expired-credentials", "included in the request is expired", _denials.expired_keys, permanent=True),
    _Case("unknown-key", "included in the request is invalid", _denials.unknown_key, permanent=True),
    _Case("bad-signature", "does not match the signature", _denials.bad_signature, permanent=True),
)


def diagnose(text: str, known: Known | None = None) -> Diagnosis:
    """Tell what a failed connect is.

    Args:
        text: what the driver said, with the server's hint.
        known: what the client knows; None: nothing.
    """
    known = known or Known()
    words = text.lower()
    if _ACCESS_DENIED in words:
        refusal = Refusal(text, _hint(text))
        return _diagnosis(_denial(refusal, known), refusal, known)
    return _diagnosis(_found(_CASES, words) or _UNKNOWN, Refusal(text, _hint(text)), known)


def _found(cases: tuple[_Case, ...], text: str) -> _Case | None:
    return next((case for case in cases if re.search(case.words, text)), None)


def _diagnosis(case: _Case, refusal: Refusal, known: Known) -> Diagnosis:
    cause, next_step = case.say(refusal, known)
    hint = None if refusal.hint is None else redacted(refusal.hint)
    return Diagnosis(case.kind, case.error, redacted(cause), redacted(next_step), case.permanent, hint, known)


def _denial(refusal: Refusal, known: Known) -> _Case:
    """Find the case of an ``access denied``: by its hint, or else by what the client knows."""
    said = (refusal.hint or refusal.text).lower()
    case = _found(_DENIALS, said) or _by_time(said, refusal, known) or _without_reason(refusal, known)
    return case if issubclass(case.error, AccessDenied) else replace(case, error=AccessDenied)


def _by_time(said: str, refusal: Refusal, known: Known) -> _Case | None:
    if "signature not yet current" in said:
        return _Case("clock-skew", "", _denials.clock_ahead, error=ClockSkew)
    if "signature expired" not in said:
        return None
    if _denials.is_over(refusal, known):
        return _Case("token-expired", "", _denials.token_expired)
    return _Case("clock-skew", "", _denials.clock_behind, error=ClockSkew)


def _without_reason(refusal: Refusal, known: Known) -> _Case:
    left = known.credentials_expire_in
    if left is not None and left <= 0:
        return _Case("expired-credentials", "", _denials.expired_keys, permanent=True)
    if _denials.names_another_cluster(known):
        return _Case("another-cluster", "", _denials.another_cluster, permanent=True)
    if refusal.hint is None and known.user not in {None, "admin"}:
        # Observed: no hint for a role that is not granted.
        return _Case("role-not-granted", "", _denials.role_not_granted, permanent=True)
    return _Case("access-denied", "", _denials.denied, permanent=True)


KINDS = (
    *(case.kind for case in (*_CASES, *_DENIALS)),
    *("access-denied", "another-cluster", "clock-skew", "role-not-granted", "token-expired", "unknown"),
)
"""All that `Diagnosis.kind` can be."""


def _hint(text: str) -> str | None:
    """Return the line that libpq, or asyncpg, labels as the server's hint; whatever the label's language."""
    found = None
    for line in text.splitlines():
        label, mark, said = line.partition(":  ")
        if mark and said and label.isalpha() and label not in {"DETAIL", "FATAL", "ERROR"}:
            found = said
    return found


# Names of a token's parts with their values, then what a signature or a session token is made of. ARNs and ids are
# shorter, or have other characters in between.
_SECRETS = re.compile(
    r"X-Amz-[A-Za-z-]+(?:=|%3D)\S*|\bAction=\S*|[0-9a-f]{64,}|[A-Za-z0-9+/=%_-]{100,}", re.IGNORECASE
)


def redacted(text: str) -> str:
    """Return a text without what could be a token or a part of one, in one line of printable characters."""
    return _SECRETS.sub("[...]", "".join(one if one.isprintable() else " " for one in text))
