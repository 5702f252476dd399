"""Judges tokens: a token is a SigV4-presigned URL for the cluster's host, without its scheme.

The signature is computed anew with botocore's signer, over the decoded parameters: whoever
signed, in whatever order and encoding, must agree with it. Nothing of the connector's own signer
is used, so that one mistake cannot hide another.
"""

from __future__ import annotations

import hmac
import string
from calendar import timegm
from dataclasses import dataclass
from time import gmtime, strftime, strptime
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from dsql_fast.local._iam import ACTIONS
from dsql_fast.local._refusals import Refused, access_denied

if TYPE_CHECKING:
    from dsql_fast.local._keys import Key, KeyRing

MAX_LIFETIME = 604_800  # seconds; SigV4's week
_AHEAD = 300  # seconds a signer's clock may be ahead (assumed: AWS services allow five minutes)
_TIME_FORMAT = "%Y%m%dT%H%M%SZ"
_ALGORITHM = "AWS4-HMAC-SHA256"
_REQUIRED = {
    "Action",
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
}

# What AWS services say in these cases; that DSQL hands them on as hints is assumed.
_UNKNOWN_KEY = "The security token included in the request is invalid."
_EXPIRED_KEY = "The security token included in the request is expired"
_BAD_SIGNATURE = (
    "The request signature we calculated does not match the signature you provided. "
    "Check your AWS Secret Access Key and signing method."
)


@dataclass(frozen=True, repr=False)
class Token:
    """A token taken apart, not yet believed. Its repr shows nothing of it."""

    host: str
    parameters: tuple[tuple[str, str], ...]
    action: str
    access_key_id: str
    scope_date: str
    region: str
    service: str
    date: str
    expires: int
    session_token: str | None
    signature: str

    @classmethod
    def parse(cls, text: bytes) -> Token:
        """Take a token apart.

        Liberal in order and encoding (`host/?q` and `host?q`, a space as `+` or `%20`, `~` bare or
        as `%7E`), strict in everything else: a parameter that comes twice could be read one way
        here and another way by the signer.

        Raises:
            Refused: If it does not have the form of a token.
        """
        try:
            decoded = text.decode("ascii")
            address, mark, query = decoded.partition("?")
            pairs = [pair.partition("=") for pair in query.split("&")] if query else []
            parameters = tuple(
                (unquote_plus(name, errors="strict"), unquote_plus(value, errors="strict"))
                for name, _, value in pairs
            )
        except UnicodeError:
            raise Refused(access_denied("token-malformed")) from None
        fields = dict(parameters)
        if not mark or len(fields) != len(parameters):
            raise Refused(access_denied("token-malformed"))
        if not fields.keys() >= _REQUIRED:
            raise Refused(access_denied("token-incomplete"))
        scope = fields["X-Amz-Credential"].split("/")
        if (
            fields["X-Amz-Algorithm"] != _ALGORITHM
            or fields["X-Amz-SignedHeaders"] != "host"
            or len(scope) != 5  # noqa: PLR2004 - key, date, region, service, terminator
            or scope[4] != "aws4_request"
            or _parse_time(fields["X-Amz-Date"]) is None
            or scope[1] != fields["X-Amz-Date"][:8]
        ):
            raise Refused(access_denied("token-malformed"))
        return cls(
            host=address.removesuffix("/"),
            parameters=parameters,
            action=fields["Action"],
            access_key_id=scope[0],
            scope_date=scope[1],
            region=scope[2],
            service=scope[3],
            date=fields["X-Amz-Date"],
            expires=_parse_lifetime(fields["X-Amz-Expires"]),
            # An empty session token means none.
            session_token=fields.get("X-Amz-Security-Token") or None,
            signature=fields["X-Amz-Signature"],
        )

    def signature_with(self, key: Key) -> str:
        """Compute what the signature must be if `key` signed this token's parameters."""
        credentials = ReadOnlyCredentials(key.access_key_id, key.secret_access_key, None)
        signer = SigV4Auth(credentials, self.service, self.region)
        request = AWSRequest(method="GET", url=f"https://{self.host}/")
        # A list of pairs is encoded and sorted by the signer: the canonical form, whatever came.
        request.params = [pair for pair in self.parameters if pair[0] != "X-Amz-Signature"]
        request.context["timestamp"] = self.date
        canonical = signer.canonical_request(request)
        return str(signer.signature(signer.string_to_sign(request, canonical), request))


def action_of(user: str) -> str:
    """The action that a token for this user must be for (documented by AWS)."""
    return "DbConnectAdmin" if user == "admin" else "DbConnect"


def verify(text: bytes, *, user: str, host: str, region: str, keys: KeyRing, now: float) -> Key:
    """Judge a token.

    Args:
        text: The token as it came in the password message.
        user: The user who wants to connect.
        host: The host it must be for.
        region: The region it must be for.
        keys: The access keys that are known.
        now: Seconds since the epoch.

    Returns:
        The key that signed it.

    Raises:
        Refused: With DSQL's text and, where one is known, its hint. The order of the checks is
            assumed: what anybody could have made up is asked before what it says.
    """
    token = Token.parse(text)
    if token.host != host:
        raise Refused(access_denied("token-host"))
    if token.region != region or token.service != "dsql":
        raise Refused(access_denied("token-scope"))
    key = keys.get(token.access_key_id)
    if key is None or key.revoked:
        raise Refused(access_denied("key-unknown" if key is None else "key-revoked", _UNKNOWN_KEY))
    if not _same(token.session_token or "", key.session_token or ""):
        raise Refused(access_denied("session-token", _UNKNOWN_KEY))
    if not _same(token.signature, token.signature_with(key)):
        raise Refused(access_denied("signature", _BAD_SIGNATURE))
    _check_action(token.action, user)
    _check_time(token, now)
    if key.expires_at is not None and now >= key.expires_at:
        # Documented by AWS: such a token ends with its credentials.
        raise Refused(access_denied("key-expired", _EXPIRED_KEY))
    return key


def _check_action(action: str, user: str) -> None:
    # Documented and observed; decided before it is known whether the role exists.
    if action not in ACTIONS:
        raise Refused(access_denied("action-unknown"))
    if action != action_of(user):
        hint = f"Wrong user to action mapping. user: {user}, action: {action}"
        raise Refused(access_denied("action", hint))


def _check_time(token: Token, now: float) -> None:
    signed = _parse_time(token.date)
    if signed is None:  # parse() saw to it
        raise Refused(access_denied("token-malformed"))
    if now > signed + token.expires:
        # The beginning is observed, the tail assumed after other AWS services.
        hint = (
            f"Signature expired: {token.date} is now earlier than "
            f"{_format_time(now - token.expires)} ({_format_time(now)} - {_span(token.expires)})"
        )
        raise Refused(access_denied("token-expired", hint))
    if signed > now + _AHEAD:
        hint = (
            f"Signature not yet current: {token.date} is still later than "
            f"{_format_time(now + _AHEAD)} ({_format_time(now)} + {_span(_AHEAD)})"
        )
        raise Refused(access_denied("token-not-yet-current", hint))


def _parse_lifetime(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 12:  # noqa: PLR2004 - far above a week already
        raise Refused(access_denied("token-expires", "X-Amz-Expires should be a number"))  # assumed
    lifetime = int(text)
    if lifetime > MAX_LIFETIME:  # observed
        hint = (
            "X-Amz-Expires must be less than a week (in seconds); "
            "i.e. the given X-Amz-Expires must be less than 604800 seconds"
        )
        raise Refused(access_denied("token-expires", hint))
    if lifetime < 1:  # assumed
        raise Refused(access_denied("token-expires", "X-Amz-Expires must be greater than 0"))
    return lifetime


def _parse_time(text: str) -> int | None:
    # strptime alone would also take blanks and short numbers.
    if len(text) != 16 or not set(text) <= set(string.digits + "TZ"):  # noqa: PLR2004
        return None
    try:
        return timegm(strptime(text, _TIME_FORMAT))
    except ValueError:
        return None


def _format_time(when: float) -> str:
    return strftime(_TIME_FORMAT, gmtime(when))


def _span(seconds: int) -> str:
    return f"{seconds // 60} min." if seconds % 60 == 0 else f"{seconds} sec."


def _same(left: str, right: str) -> bool:
    """Compare in constant time; text that is not ASCII is no reason to fail."""
    return hmac.compare_digest(left.encode(), right.encode())
