"""The access keys this cluster knows. They are random, and work nowhere else."""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass, field

_BASE62 = string.ascii_letters + string.digits


@dataclass
class Key:
    """One access key.

    Attributes:
        session_token: None for a long-lived key.
        expires_at: Seconds since the epoch on the token clock, or None.
        revoked: Whether it has been taken back.
    """

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    expires_at: float | None = None
    revoked: bool = False


class KeyRing:
    """Keys by their id."""

    def __init__(self) -> None:
        self._keys: dict[str, Key] = {}

    def issue(self, *, temporary: bool = False, expires_at: float | None = None) -> Key:
        """Make a new random key and remember it.

        Temporary ones start with ASIA and have a session token, as AWS's do. The word in the id
        says to whoever finds it in a log that it is nobody's.
        """
        prefix = "ASIALOCALCLUSTER" if temporary else "AKIALOCALCLUSTER"
        suffix = "".join(secrets.choice(string.ascii_uppercase + "234567") for _ in range(8))
        key = Key(
            access_key_id=prefix + suffix,
            secret_access_key="local/" + "".join(secrets.choice(_BASE62) for _ in range(34)),
            # Base64 with all of its signs, so that encoding mistakes show.
            session_token="local+/" + secrets.token_urlsafe(240) + "==" if temporary else None,
            expires_at=expires_at,
        )
        self._keys[key.access_key_id] = key
        return key

    def add(self, key: Key) -> None:
        """Remember a key made elsewhere."""
        self._keys[key.access_key_id] = key

    def get(self, access_key_id: str) -> Key | None:
        """Find a key, revoked ones too."""
        return self._keys.get(access_key_id)

    def revoke(self, access_key_id: str) -> bool:
        """Take a key back; False if it was never known."""
        key = self._keys.get(access_key_id)
        if key is None:
            return False
        key.revoked = True
        return True
