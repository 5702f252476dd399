"""Commands and names in them, written out with what is known; a ``<placeholder>`` stands for what is not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._known import Known


def _profile(known: Known) -> str:
    said = re.fullmatch(r"profile '([\w.@+-]+)'", known.credential_source or "")
    return f" --profile {said[1]}" if said else ""


def who_am_i(known: Known) -> str:
    return f"`aws sts get-caller-identity{_profile(known)}`"


def get_cluster(known: Known) -> str:
    cluster, region = known.cluster_id or "<cluster id>", known.region or "<Region>"
    return f"aws dsql get-cluster --identifier {cluster} --region {region}{_profile(known)}"


def cluster_arn(known: Known) -> str:
    return f"arn:aws:dsql:{known.region or '<Region>'}:<account>:cluster/{known.cluster_id or '<cluster id>'}"


def address(known: Known) -> str:
    return f"{known.dialled or known.host or '<host>'}:{known.port or 5432}"


def principal(arn: str | None) -> str:
    assumed = re.fullmatch(r"arn:[\w-]+:sts::([0-9]+):assumed-role/([^/]+)/.*", arn or "")
    if assumed:
        return f"the IAM role {assumed[2]}"
    return "that user or role" if arn else "the user or role that signs"


def renew(known: Known) -> str:
    source, profile = known.credential_source or "", _profile(known)
    if profile:
        return f"renew the profile's credentials (`aws sso login{profile}`, or `aws configure{profile}`)"
    if source.startswith("the environment"):
        return (
            "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for temporary ones, AWS_SESSION_TOKEN to ones that "
            "hold"
        )
    if source.startswith("credentials="):
        return "pass some that hold, or a source that renews them (profile=, a boto3 session, a callable)"
    return "pass credentials that hold" + (f" (the present ones: {source})" if source else "")


def identifier(role: str | None) -> str:
    """Write a role's name as SQL has it; a placeholder for one that would not be read as a name."""
    if not role or not role.isprintable() or "`" in role:
        return "<role>"
    return role if re.fullmatch("[a-z_][a-z0-9_]*", role) else '"{}"'.format(role.replace('"', '""'))
