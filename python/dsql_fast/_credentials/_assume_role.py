"""`AssumeRole`: credentials of an IAM role, from STS."""

from __future__ import annotations

import os
import re
from _thread import allocate_lock
from dataclasses import dataclass, field
from datetime import datetime, timezone
from logging import WARNING
from typing import TYPE_CHECKING

from .. import _telemetry
from .._endpoint import checked_region
from .._errors import ConfigError, CredentialsError
from ._given import async_only
from ._provider import CredentialsProvider, from_keys

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .._native import Credentials
    from ._provider import CredentialsSource

# What STS takes (its API reference, AssumeRole).
_ROLE_ARN = re.compile(r"arn:[a-z0-9-]+:iam::[0-9]{12}:role/[\x21-\x7e]{1,576}", re.ASCII)
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
SHORTEST, LONGEST = 900, 43_200
# A role that was assumed with a role's credentials ("role chaining") lasts no longer.
_LONGEST_CHAINED = 3600

# Seconds to wait for another thread that asks STS already. After that, its source probably hangs.
_PATIENCE = 10.0
# Roles whose credentials are kept.
_MOST_HELD = 64


@dataclass(frozen=True)
class AssumeRole:
    """Credentials of an IAM role, got from STS with other credentials and renewed in time: for ``credentials=``.

    Two that are equal share what they got. Nothing is sent before a token is needed. The role's credentials are
    renewed when a quarter of `duration` is left, 15 minutes at most; if STS does not give any then, the old ones
    are used to their end.

    Args:
        role_arn: ``arn:aws:iam::<account>:role/<name>``.
        session_name: who it is, in the account's logs: 2 to 64 letters, digits and signs of ``_+=,.@-``; default
            ``dsql-fast``.
        external_id: what the role's trust policy may ask for, 2 to 1224 characters.
        duration: seconds that the role's credentials last, 900 to 43200; default 3600, which is also the most
            that a role allows unless it says otherwise, and the most for a role that is assumed from another.
        source: whose credentials ask for the role: whatever ``credentials=`` takes, another `AssumeRole` too.
            Default: the profile of ``profile=`` if there is one, else the environment's keys, else botocore's
            chain.
        region: whose STS is asked; default: that of the cluster (one Region's STS does not depend on another's).

    Raises:
        ConfigError: a value that STS would refuse. Nothing was sent.
    """

    __module__ = "dsql_fast"

    role_arn: str
    session_name: str = field(default="dsql-fast", kw_only=True)
    external_id: str | None = field(default=None, kw_only=True, repr=False)
    duration: int = field(default=3600, kw_only=True)
    source: CredentialsSource | None = field(default=None, kw_only=True, repr=False)
    region: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not _matches(_ROLE_ARN, self.role_arn):
            # Not repeated: what is pasted in the wrong place may be a secret.
            raise ConfigError("role_arn must be written arn:aws:iam::<12 digits>:role/<name>")
        if not _matches(_SESSION_NAME, self.session_name):
            raise ConfigError("session_name must be 2 to 64 letters, digits and signs of _+=,.@-")
        if self.external_id is not None and not _matches(_EXTERNAL_ID, self.external_id):
            raise ConfigError("external_id must be 2 to 1224 letters, digits and signs of _+=,.@:/-")
        if self.region is not None:
            object.__setattr__(self, "region", checked_region(self.region))
        _check_duration(self.duration, chained=isinstance(self.source, AssumeRole))
        if self.source is not None:
            from . import concealed

            concealed(self.source)  # refuses what is none


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _check_duration(seconds: object, *, chained: bool) -> None:
    if isinstance(seconds, bool) or not isinstance(seconds, int):
        raise ConfigError(f"duration must be a whole number of seconds, not a {type(seconds).__name__}")
    if not SHORTEST <= seconds <= LONGEST:
        raise ConfigError(f"duration must be from {SHORTEST} to {LONGEST} seconds, not {seconds}")
    if chained and seconds > _LONGEST_CHAINED:
        raise ConfigError(
            f"duration must not be over {_LONGEST_CHAINED} seconds for a role that is assumed from another, "
            f"not {seconds}: STS allows no more",
        )


def role_provider(role: AssumeRole, source: CredentialsProvider) -> CredentialsProvider:
    """Return the provider for a role and for the credentials that ask for it."""
    return (AsyncRoleCredentials if source.is_async else RoleCredentials)((role, source, None))


class RoleCredentials(CredentialsProvider):
    """An assumed role."""

    __slots__ = ()
    _identity: tuple[AssumeRole, CredentialsProvider, str | None]

    @property
    def name(self) -> str:
        """What errors call it."""
        return f"the role {self._identity[0].role_arn}"

    def in_region(self, region: str) -> CredentialsProvider:
        """Return the provider for connections to a Region: STS is asked there."""
        role, source, _ = self._identity
        return type(self)((role, source.in_region(region), role.region or region))

    def load(self) -> Credentials:
        """Return the role's credentials; ask STS if there are none that last.

        Raises:
            CredentialsError: the source has none, or STS refuses.
        """
        return self._renewed(self._identity[1].load)

    def _renewed(self, source: Callable[[], Credentials]) -> Credentials:
        held = _held_for(self)
        # One asks STS for all. But a source that hangs must not make the others wait for ever.
        in_turn = held.lock.acquire(True, _PATIENCE)
        try:
            if held.lasts():
                return held.kept()
            try:
                return held.keep(self._assumed(source()))
            except Exception as error:  # noqa: BLE001 (whatever a source raises is its failure)
                failure = error
            return held.after(failure)
        finally:
            if in_turn:
                held.lock.release()

    def _assumed(self, keys: Credentials) -> Credentials:
        from .._botocore import assume_role

        role, source, region = self._identity
        parameters: dict[str, Any] = {
            "RoleArn": role.role_arn,
            "RoleSessionName": role.session_name,
            "DurationSeconds": role.duration,
        }
        if role.external_id is not None:
            parameters["ExternalId"] = role.external_id
        return from_keys(*assume_role(keys._reveal(), region, parameters, source.name))  # noqa: SLF001 (ours)


class AsyncRoleCredentials(RoleCredentials):
    """An assumed role whose source must be awaited."""

    __slots__ = ()
    is_async = True

    def load(self) -> Credentials:
        """Refuse: a synchronous caller cannot await.

        Raises:
            ConfigError: always.
        """
        raise async_only()

    async def load_async(self) -> Credentials:
        """Return the role's credentials; the source is awaited here, STS is asked off the loop."""
        from asyncio import to_thread

        held = _held_for(self)
        if held.lasts():
            return held.kept()
        try:
            keys = await self._identity[1].load_async()
        except Exception as error:  # noqa: BLE001 (whatever a source raises is its failure)
            failure = error
        else:
            return await to_thread(self._renewed, lambda: keys)
        return held.after(failure)


class _Held:
    """A role's credentials, as long as they last."""

    __slots__ = ("_keys", "_name", "_renew_before", "lock")

    def __init__(self, role: AssumeRole) -> None:
        self.lock = allocate_lock()
        self._keys: Credentials | None = None
        self._name = role.role_arn
        # botocore's advisory quarter of an hour; of short ones a quarter, or they would never be used twice.
        self._renew_before = min(900.0, role.duration / 4)

    def _left(self) -> float:
        end = self._keys.expires_at if self._keys is not None else None
        return (end - datetime.now(timezone.utc)).total_seconds() if end is not None else 0.0

    def lasts(self) -> bool:
        """Tell whether they need no renewal yet."""
        return self._left() >= self._renew_before

    def kept(self) -> Credentials:
        """Return them."""
        assert self._keys is not None  # noqa: S101 (`lasts` was asked)
        return self._keys

    def keep(self, keys: Credentials) -> Credentials:
        """Keep new ones."""
        self._keys = keys
        return keys

    def after(self, failure: Exception) -> Credentials:
        """Go on with the old ones after a failed renewal, if they hold; else raise why it failed."""
        if self._left() <= 1.0:
            raise failure
        # Our own errors hold no secret; of others only the kind is told.
        why = failure if isinstance(failure, CredentialsError) else type(failure).__name__
        _telemetry.record("role_renewal_failed", WARNING, "%s was not assumed anew: %s", self._name, why)
        return self.kept()


# By process: a lock that another thread holds during a fork stays locked in the child.
_held: tuple[int, dict[RoleCredentials, _Held]] = (os.getpid(), {})


def _held_for(provider: RoleCredentials) -> _Held:
    global _held  # noqa: PLW0603
    if _held[0] != os.getpid():
        _held = (os.getpid(), {})
    holders = _held[1]
    found = holders.get(provider)
    if found is None:
        if len(holders) >= _MOST_HELD:
            holders.clear()  # tokens made of them stay; a role in use is assumed once more
        found = holders.setdefault(provider, _Held(provider._identity[0]))  # noqa: SLF001 (the same file)
    return found
