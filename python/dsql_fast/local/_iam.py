"""A stand-in for IAM: who may do what on this cluster, and which database roles are whose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dsql_fast.local._keys import ACCOUNT
from dsql_fast.local._refusals import Refused, access_denied

if TYPE_CHECKING:
    from dsql_fast.local._administrator import Administrator
    from dsql_fast.local._identity import Identity
    from dsql_fast.local._keys import Key, KeyRing

ACTIONS = ("DbConnect", "DbConnectAdmin")


class Policies:
    """What is denied; all else is allowed, as if every user and role had a policy for both actions.

    Args:
        identity: The cluster, which is the resource.
        keys: Whose users and roles there are.
    """

    def __init__(self, identity: Identity, keys: KeyRing) -> None:
        self._resource = f"arn:aws:dsql:{identity.region}:{ACCOUNT}:cluster/{identity.cluster_id}"
        self._keys = keys
        self._denied: set[tuple[str, str]] = set()

    def deny(self, who: str, action: str | None) -> None:
        """Take an action from a user or role, with all its keys.

        Args:
            who: A key's id, a name or an ARN.
            action: "DbConnect", "DbConnectAdmin", or None for both.

        Raises:
            ValueError: If nobody is called so, or there is no such action.
        """
        self._denied |= self._statements(who, action)

    def allow(self, who: str, action: str | None) -> None:
        """Give it back; see `deny`."""
        self._denied -= self._statements(who, action)

    def check(self, key: Key, action: str) -> None:
        """Ask whether the bearer of a key may do it.

        Raises:
            Refused: With DSQL's hint (observed, both).
        """
        if key.account != ACCOUNT:
            hint = f"User: {key.arn} is not authorized to access this resource"
            raise Refused(access_denied("other-account", hint))
        if (key.principal, action) in self._denied:
            hint = (
                f"User: {key.arn} is not authorized to perform: dsql:{action} on resource: {self._resource} "
                f"because no identity-based policy allows the dsql:{action} action"
            )
            raise Refused(access_denied("iam-denied", hint))

    def _statements(self, who: str, action: str | None) -> set[tuple[str, str]]:
        check_action(action)
        principals = self._keys.principals(who)
        if not principals:
            raise ValueError("this cluster has given out no key of that id, name or ARN")
        actions = ACTIONS if action is None else (action,)
        return {(principal, each) for principal in principals for each in actions}


async def holds_role(key: Key, role: str, administrator: Administrator) -> bool:
    """Whether `AWS IAM GRANT` gave a database role to the bearer of a key.

    Documented by AWS: the grant to an IAM role holds for all its sessions. That one to a single session's ARN
    holds for this one is assumed.

    Args:
        key: Whose it is.
        role: The name of a role that exists.
        administrator: Asks PostgreSQL.

    Raises:
        BackendGone: If PostgreSQL is gone.
    """
    arns = ", ".join(_quoted(arn) for arn in (key.principal, key.arn))
    query = (
        "SELECT 1 FROM sys.iam_pg_role_mappings "  # noqa: S608 - quoted, each of them
        f"WHERE pg_role_name = {_quoted(role)} AND arn IN ({arns}) LIMIT 1"
    )
    return await administrator.value(query) is not None


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def check_action(action: str | None) -> None:
    """Check the name of an action.

    Raises:
        ValueError: If there is none of that name.
    """
    if action is not None and action not in ACTIONS:
        raise ValueError(f"action must be one of {', '.join(ACTIONS)}, not {action!r}")
