"""What asyncpg gets for a password: where to ask for a token, and a token that can be sent in one way only.

A callable, not the token: asyncpg asks it within its own timeout, at each connect, and what the connection keeps
(``_params``, and what query loggers are shown) is the callable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Password:
    """Asked by asyncpg for the token of one connect.

    Args:
        token: is awaited for a token.
        cleartext_only: it is a token. False for the password of an ordinary PostgreSQL, which may ask for a hash
            of it, or for nothing.
    """

    __slots__ = ("_cleartext_only", "_given", "_token")

    def __init__(self, token: Callable[[], Awaitable[str]], *, cleartext_only: bool = True) -> None:
        self._token = token
        self._cleartext_only = cleartext_only
        self._given: _CleartextOnly | None = None

    def __repr__(self) -> str:
        return "<token>"

    async def __call__(self) -> _CleartextOnly | str:
        token = await self._token()
        if not self._cleartext_only:
            return token
        self._given = given = _CleartextOnly(token)
        return given

    @property
    def was_refused(self) -> bool:
        """The server did not ask for the token as it is."""
        return self._cleartext_only and (self._given is None or not self._given.was_sent)

    def forget(self) -> None:
        """Drop the token."""
        self._given = None


class _CleartextOnly:
    """A token. asyncpg answers whatever the server asks for; this has only what a cleartext password needs.

    For MD5 asyncpg would add the user's name to it, and for SCRAM it wants text: both end the connect. DSQL asks
    for neither.
    """

    __slots__ = ("_token", "was_sent")

    def __init__(self, token: str) -> None:
        self._token = token
        self.was_sent = False

    def __repr__(self) -> str:
        return "<token>"

    def encode(self, encoding: str) -> bytes:
        """Asked for where the password is sent as it is."""
        self.was_sent = True
        return self._token.encode(encoding)
