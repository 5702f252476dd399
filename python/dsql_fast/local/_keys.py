"""The access keys this cluster knows, and whose they are. They are random, and work nowhere else."""

from __future__ import annotations

import re
import secrets
import string
from dataclasses import dataclass, field

# Clearly nobody's: AWS gives out no such account.
ACCOUNT = "000000000000"
_BASE62 = string.ascii_letters + string.digits
# IAM's rules for names of users, roles and sessions (documented by AWS).
_NAME = re.compile(r"[A-Za-z0-9_+=,.@-]{1,64}")
_ACCOUNT = re.compile(r"[0-9]{12}")


@dataclass
class Key:
    """One access key.

    Attributes:
        session_token: None for a long-lived key.
        expires_at: Seconds since the epoch on the token clock, or None.
        revoked: Whether it has been taken back.
        name: The IAM user's, or the IAM role's.
        account: 12 digits.
        session: The name of an assumed role's session; None for a user's key.
    """

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    expires_at: float | None = None
    revoked: bool = False
    name: str = "user"
    account: str = ACCOUNT
    session: str | None = None

    @property
    def arn(self) -> str:
        """Who uses it, as AWS's errors name him."""
        if self.session is None:
            return self.principal
        return f"arn:aws:sts::{self.account}:assumed-role/{self.name}/{self.session}"

    @property
    def principal(self) -> str:
        """What policies and `AWS IAM GRANT` are about: the IAM user, or the IAM role of all its sessions."""
        kind = "user" if self.session is None else "role"
        return f"arn:aws:iam::{self.account}:{kind}/{self.name}"


class KeyRing:
    """Keys by their id."""

    def __init__(self) -> None:
        self._keys: dict[str, Key] = {}

    def issue(
        self,
        *,
        name: str | None = None,
        account: str = ACCOUNT,
        temporary: bool = False,
        session: str = "local",
        expires_at: float | None = None,
    ) -> Key:
        """Make a new random key and remember it.

        Temporary ones start with ASIA and have a session token, as AWS's do. The word in the id
        says to whoever finds it in a log that it is nobody's.

        Args:
            name: Of the IAM user or, if temporary, role; one of its own if None.
            account: 12 digits.
            temporary: With a session token, as an assumed role has it.
            session: The name of the role's session.
            expires_at: Seconds since the epoch on the token clock, or None.

        Raises:
            ValueError: If a name or the account does not have its form.
        """
        check_names(name=name, session=session, account=account)
        prefix = "ASIALOCALCLUSTER" if temporary else "AKIALOCALCLUSTER"
        suffix = "".join(secrets.choice(string.ascii_uppercase + "234567") for _ in range(8))
        key = Key(
            access_key_id=prefix + suffix,
            secret_access_key="local/" + "".join(secrets.choice(_BASE62) for _ in range(34)),
            name=name or f"{'role' if temporary else 'user'}-{len(self._keys) + 1}",
            account=account,
            session=session if temporary else None,
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

    def principals(self, who: str) -> set[str]:
        """Find the IAM users and roles that a key's id, a name or an ARN stands for; none if it is unknown."""
        return {
            key.principal
            for key in self._keys.values()
            if who in (key.access_key_id, key.name, key.arn, key.principal)
        }

    def revoke(self, access_key_id: str) -> bool:
        """Take a key back; False if it was never known."""
        key = self._keys.get(access_key_id)
        if key is None:
            return False
        key.revoked = True
        return True


def check_names(*, name: str | None, session: str, account: str) -> None:
    """Check what a key is to be called.

    Raises:
        ValueError: If one does not have its form.
        TypeError: If one is no string.
    """
    for what, value in (("name", name), ("session", session)):
        if value is not None and not _NAME.fullmatch(value):
            raise ValueError(f"{what} must be 1 to 64 letters, digits and signs of _+=,.@-, not {value!r}")
    if not _ACCOUNT.fullmatch(account):
        raise ValueError(f"account must be 12 digits, not {account!r}")
