"""Botocore's chain: profiles, SSO, roles, web identity, containers, instances, processes."""

from __future__ import annotations

from .._errors import CredentialsNotFound
from ._provider import ADVICE, CredentialsProvider, from_keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._native import Credentials


class ChainCredentials(CredentialsProvider):
    """Botocore's chain, for a profile that the caller named or for the default one."""

    __slots__ = ()
    _identity: tuple[str | None, bool, str | None]

    def __init__(self, profile: str | None, *, named: bool, region: str | None = None) -> None:
        """Take a profile's name.

        Args:
            profile: the name, or None where there is none.
            named: the caller named it. Otherwise it is what AWS_PROFILE says: then the environment's web identity
                beats it, as botocore has it, and the variable is read again at each load.
            region: whose STS is asked for a role where AWS's configuration names no Region.
        """
        super().__init__((profile, named, region))

    @property
    def name(self) -> str:
        """What errors call it."""
        profile = self._identity[0]
        return f"profile {profile!r}" if profile else "botocore's default chain"

    def in_region(self, region: str) -> CredentialsProvider:
        """Return the provider for connections to a Region."""
        profile, named, _ = self._identity
        return type(self)(profile, named=named, region=region)

    def load(self) -> Credentials:
        """Walk the chain.

        Raises:
            CredentialsNotFound: nothing on it has any, or there is no such profile.
            CredentialsError: a source on the chain failed.
        """
        from .._botocore import chain_for, instance_advice

        profile, named, region = self._identity
        found = chain_for(profile if named else None).load(region)
        if found is None:
            where = f"profile {profile!r}" if profile else "environment or on this machine"
            raise CredentialsNotFound(f"no AWS credentials in the {where}: {ADVICE}{instance_advice()}")
        return from_keys(*found)
