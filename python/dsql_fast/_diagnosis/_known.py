"""What the client knows when a connect fails. Pure; nothing in it is secret."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from .._endpoint import is_cluster_id

if TYPE_CHECKING:
    from typing import TypeAlias

    # The likeliest cause, and the next step.
    Said: TypeAlias = tuple[str, str]


@dataclass(frozen=True)
class TokenFacts:
    """What a token says that is no secret.

    Attributes:
        host: whom it is for.
        region: the Region in its scope.
        action: ``DbConnect`` or ``DbConnectAdmin``.
        signed_at: Unix seconds.
        lifetime: seconds.
        has_session_token: it was signed with temporary credentials.
        key_prefix: the first four letters of the access key's id.
    """

    host: str
    region: str
    action: str
    signed_at: float
    lifetime: int
    has_session_token: bool
    key_prefix: str

    @property
    def ends_at(self) -> float:
        """Unix seconds."""
        return self.signed_at + self.lifetime


@dataclass(frozen=True)
class Known:
    """What the client knows when a connect fails. None: it does not.

    Attributes:
        now: Unix seconds, by this machine's clock.
        host: the cluster's.
        region: that is signed for.
        user: the database role.
        dialled: the address that was connected to instead of resolving the host, as the caller gave it.
        port: TCP port.
        options: libpq's ``options``.
        token: what the token says that was sent.
        credential_source: where its credentials came from, in words.
        credentials_end: when they end, Unix seconds.
        roots: the roots that the server's certificate was held against, in words.
    """

    now: float = 0.0
    host: str | None = None
    region: str | None = None
    user: str | None = None
    dialled: str | None = None
    port: int | None = None
    options: str | None = None
    token: TokenFacts | None = None
    credential_source: str | None = None
    credentials_end: float | None = None
    roots: tuple[str, ...] = ()

    @property
    def action(self) -> str | None:
        """What the token is for."""
        return None if self.token is None else self.token.action

    @property
    def token_age(self) -> float | None:
        """Seconds since it was signed."""
        return None if self.token is None else self.now - self.token.signed_at

    @property
    def credentials_expire_in(self) -> float | None:
        """Seconds."""
        return None if self.credentials_end is None else self.credentials_end - self.now

    @property
    def cluster_id(self) -> str | None:
        """The cluster's id, where the host begins with one."""
        first = (self.host or "").partition(".")[0]
        return first if is_cluster_id(first) else None

    @property
    def place(self) -> str:
        """Where was dialled, in words."""
        where = self.dialled or self.host or "the server"
        return where if self.port is None else f"{where}, port {self.port}"

    def in_words(self) -> str:
        """Tell what bears on a refused token."""
        parts = [f"{name} {value}" for name, value in (("user", self.user), ("Region", self.region)) if value]
        if self.token is not None:
            left = self.token.ends_at - self.now
            end = f"ends in {span(left)}" if left > 0 else f"ended {span(-left)} ago"
            parts += [f"token for {self.token.action}, {span(self.now - self.token.signed_at)} old, {end}"]
        if self.credential_source is not None:
            left_of_keys = self.credentials_expire_in
            if left_of_keys is None:
                end = "no end known"
            else:
                end = f"ending in {span(left_of_keys)}" if left_of_keys > 0 else f"ended {span(-left_of_keys)} ago"
            parts += [f"credentials: {self.credential_source}, {end}"]
        return "; ".join(parts)


@dataclass(frozen=True)
class Refusal:
    """A failure's text, and the server's hint in it."""

    text: str
    hint: str | None


def token_facts(token: str) -> TokenFacts | None:
    """Read from a token what is no secret; None if it is none."""
    address, mark, query = token.partition("?")
    try:
        fields = dict(parse_qsl(query))
    except ValueError:
        return None
    key, *scope = fields.get("X-Amz-Credential", "").split("/")
    signed_at, life = time_from(fields.get("X-Amz-Date", "")), fields.get("X-Amz-Expires", "")
    if not mark or len(scope) != 4 or signed_at is None or not re.fullmatch("[0-9]{1,9}", life):  # noqa: PLR2004
        return None
    return TokenFacts(
        host=address.rstrip("/"),
        region=scope[1],
        action=fields.get("Action", ""),
        signed_at=signed_at,
        lifetime=int(life),
        has_session_token=bool(fields.get("X-Amz-Security-Token")),
        # Documented by AWS: long-lived keys begin with AKIA, temporary ones with ASIA.
        key_prefix=key[:4],
    )


def span(seconds: float) -> str:
    """Write a span of time by its two largest units."""
    left = round(max(seconds, 0.0))
    parts: list[tuple[int, str]] = []
    for name, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or parts or name == "s":
            parts.append((count, name))
    # "15 min", not "15 min 0 s".
    first, *more = parts[:2]
    return " ".join(f"{count} {name}" for count, name in (first, *(one for one in more if one[0])))


def time_from(text: str) -> float | None:
    """Read SigV4's form of a time (``20260131T120000Z``) as Unix seconds; None if it is none."""
    if not re.fullmatch(r"[0-9]{8}T[0-9]{6}Z", text):
        return None
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None
