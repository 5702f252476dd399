"""Who the cluster is: its id, its region, and the one host name that follows from them."""

from __future__ import annotations

import re
import secrets
import string
from dataclasses import dataclass

_CLUSTER_ID = re.compile(r"[a-z0-9]{26}")
# Region names are lower-case words and one number: us-east-1, ap-southeast-2, us-gov-west-1.
_REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-[0-9]{1,2}")


@dataclass(frozen=True)
class Identity:
    """A cluster's name in the world.

    Args:
        cluster_id: 26 characters of a-z and 0-9 (documented by AWS).
        region: An AWS region name.

    Raises:
        ValueError: If either does not have its form.
        TypeError: If either is not a string.
    """

    cluster_id: str
    region: str

    def __post_init__(self) -> None:
        if not _CLUSTER_ID.fullmatch(self.cluster_id):
            raise ValueError(f"cluster_id must be 26 characters of a-z0-9, not {self.cluster_id!r}")
        if not _REGION.fullmatch(self.region):
            raise ValueError(f"region must look like 'us-east-1', not {self.region!r}")

    @classmethod
    def create(cls, cluster_id: str | None, region: str) -> Identity:
        """Build an identity, with a random id where none is given."""
        if cluster_id is None:
            alphabet = string.ascii_lowercase + string.digits
            cluster_id = "".join(secrets.choice(alphabet) for _ in range(26))
        return cls(cluster_id, region)

    @property
    def host(self) -> str:
        """The host that clients verify, send as SNI and sign."""
        return f"{self.cluster_id}.dsql.{self.region}.on.aws"
