"""Why a token is turned away: for each case the likeliest cause, and the next step.

Each is as strong as its evidence: what is not known is not said.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .._endpoint import region_of_host
from ._commands import cluster_arn, get_cluster, identifier, principal, renew, who_am_i
from ._known import span, time_from

if TYPE_CHECKING:
    from ._known import Known, Refusal, Said


# --- the token's time --------------------------------------------------------------------------


def is_over(refusal: Refusal, known: Known) -> bool:
    """Tell whether a token that the cluster calls expired is over by this machine's clock too.

    If it is not, the clocks differ.
    """
    if known.token is not None:
        return known.now >= known.token.ends_at
    # Without the token: its age is what the hint says, against the clock's difference.
    behind = _behind(refusal, known)
    return behind is not None and abs(behind) < _CLOCKS_AGREE


# Seconds: less than that apart, two clocks are not the reason why a token of minutes is refused.
_CLOCKS_AGREE = 60.0


def _behind(refusal: Refusal, known: Known) -> float | None:
    """Return by how many seconds this machine's clock is behind the cluster's, where the hint has its time.

    DSQL's hint begins with the time of signing (observed); the cluster's own time as the third one is assumed,
    after what other AWS services say.
    """
    times = re.findall(r"\b[0-9]{8}T[0-9]{6}Z\b", refusal.hint or refusal.text)
    if len(times) != 3 or not known.now:  # noqa: PLR2004
        return None
    theirs = time_from(times[2])
    # Both in whole seconds.
    return None if theirs is None else theirs - int(known.now)


_SET_THE_CLOCK = (
    "set this machine's clock by NTP (`timedatectl set-ntp true`, `chronyc makestep`; in a container or a virtual "
    "machine, the host's), and connect again"
)


def clock_behind(refusal: Refusal, known: Known) -> Said:
    behind = _behind(refusal, known)
    if behind is not None and behind > 0:
        by = f"{span(behind)} behind the cluster's"
    elif known.token is not None:
        # It takes the token to be good for so long yet, and the cluster takes it to be over.
        by = f"at least {span(known.token.ends_at - known.now)} behind the cluster's"
    else:
        by = "behind the cluster's"
    return f"this machine's clock is {by}, so that a new token is over when it arrives", _SET_THE_CLOCK


def clock_ahead(refusal: Refusal, known: Known) -> Said:
    behind = _behind(refusal, known)
    by = f"{span(-behind)} ahead" if behind is not None and behind < 0 else "ahead"
    return f"this machine's clock is {by} of the cluster's, so that a new token is not valid yet", _SET_THE_CLOCK


def token_expired(refusal: Refusal, known: Known) -> Said:
    token = known.token
    if token is None:
        return "the token was over when it arrived", "sign a new one for each connect, as TokenSource.token() does"
    cause = (
        f"the token was signed {span(known.now - token.signed_at)} ago, was good for {span(token.lifetime)}, and "
        "the clocks do not contradict that"
    )
    if token.lifetime < _CLOCKS_AGREE:
        return cause, f"raise token_duration_secs, which is {token.lifetime}: connecting may take that long"
    return cause, "connect again: a new token is signed, for an expired one once in 30 s at most"


def token_lifetime(refusal: Refusal, known: Known) -> Said:
    asked = "" if known.token is None else f" of {known.token.lifetime} s"
    return f"a lifetime{asked} that DSQL does not take", "ask for 1 to 604800 seconds (token_duration_secs=)"


# --- who it is -------------------------------------------------------------------------------------

_ARN = r"arn:[\w:/+=,.@*-]+"


def wrong_action(refusal: Refusal, known: Known) -> Said:
    said = re.search(r"user: (.*), action: (\w+)", refusal.hint or "")
    user, action = (said[1], said[2]) if said else (known.user or "this user", known.action or "another action")
    return (
        f"the token is for {action}, which is not how the user {user} connects",
        (
            "sign the token for the user that connects (generate_token(user=...), TokenSource(user=...)): admin "
            "has DbConnectAdmin, every other role DbConnect"
        ),
    )


def not_authorized(refusal: Refusal, known: Known) -> Said:
    said = re.search(
        rf"User: ({_ARN}) is not authorized to perform: (dsql:\w+)(?: on resource: ({_ARN}))?(.*)",
        refusal.hint or "",
    )
    who, action, resource, why = said.groups() if said else (None, None, None, None)
    action = action or f"dsql:{known.action or '<action>'}"
    cause = f"{who or 'whoever signed the token'} may not do {action} on this cluster"
    if why and "explicit deny" in why:
        return cause + ": a policy denies it", f"take the Deny for {action} out of the policy that the hint names"
    allow = f'{{"Effect": "Allow", "Action": "{action}", "Resource": "{resource or cluster_arn(known)}"}}'
    return f"{cause}: no policy allows it", f"allow it in a policy of {principal(who)}: {allow}"


def other_account(refusal: Refusal, known: Known) -> Said:
    said = re.search(rf"User: ({_ARN})", refusal.hint or "")
    parts = said[1].split(":") if said else []
    account = f"account {parts[4]}" if len(parts) > 4 and parts[4].isdigit() else "one account"  # noqa: PLR2004
    return (
        f"the credentials are of {account}, and the cluster is of another one",
        (
            "use credentials of the cluster's account, by a role there that may be assumed, say; whose the "
            f"present ones are, and whose the cluster is: {who_am_i(known)}, `{get_cluster(known)}`"
        ),
    )


def unknown_key(refusal: Refusal, known: Known) -> Said:
    token = known.token
    if token is not None and token.key_prefix == "ASIA" and not token.has_session_token:
        return (
            "the access key is a temporary one (ASIA...), and its session token is missing",
            (
                "give the session token with it: AWS_SESSION_TOKEN, aws_session_token in a profile, or "
                "Credentials(session_token=...)"
            ),
        )
    if token is not None and token.key_prefix == "AKIA" and token.has_session_token:
        return (
            "the access key is a long-lived one (AKIA...), and a session token of other credentials came with it",
            "leave the session token out: unset AWS_SESSION_TOKEN and AWS_SECURITY_TOKEN",
        )
    cause = "AWS does not know the access key (any more): deleted, deactivated or mistyped"
    if token is not None and token.has_session_token:
        cause += "; or its session token is cut, or of other credentials"
    return cause, f"see whether the credentials still hold: {who_am_i(known)}; if not, {renew(known)}"


def expired_keys(refusal: Refusal, known: Known) -> Said:
    left = known.credentials_expire_in
    ago = f" {span(-left)} ago" if left is not None and left <= 0 else ""
    return f"the temporary credentials that signed the token ended{ago}, and the token with them", renew(known)


def bad_signature(refusal: Refusal, known: Known) -> Said:
    return (
        "the secret access key is not the one of this access key: mistyped, cut, or of another pair",
        f"copy both anew; {who_am_i(known)} tells whether they fit",
    )


def role_not_granted(refusal: Refusal, known: Known) -> Said:
    role = identifier(known.user)
    return (
        (
            f"the database role {role} is not granted to whoever signed the token, or does not exist (DSQL gives "
            "no hint for either)"
        ),
        (
            f"as admin: `CREATE ROLE {role} WITH LOGIN` if need be, and `AWS IAM GRANT {role} TO '<ARN of the IAM "
            f"role or user>'`; {who_am_i(known)} tells whose the credentials are "
            "(arn:aws:sts::<account>:assumed-role/<name>/... is granted to as "
            "arn:aws:iam::<account>:role/<name>), and sys.iam_pg_role_mappings what is granted"
        ),
    )


def names_another_cluster(known: Known) -> bool:
    """Tell whether ``options`` names a cluster that the host is not of."""
    named = _named_cluster(known)
    return named is not None and known.cluster_id is not None and named != known.cluster_id


def another_cluster(refusal: Refusal, known: Known) -> Said:
    return (
        f"options= names the cluster {_named_cluster(known)}, and the token is for {known.host}",
        "give one cluster: its id in options=-c amzn-cluster-id=, and its host as host=",
    )


def _named_cluster(known: Known) -> str | None:
    said = re.search(r"amzn-cluster-id=([a-z0-9]{26})(?![a-z0-9])", known.options or "")
    return said[1] if said else None


def denied(refusal: Refusal, known: Known) -> Said:
    cause = "DSQL gives no reason; mostly it is credentials that do not hold (any more), or of another account"
    if known.host and known.region and region_of_host(known.host) is None:
        cause += f"; or the cluster is not in {known.region}, which the host does not tell"
    return (
        cause,
        (
            f"see whether the credentials hold, and whose they are: {who_am_i(known)}; and whether the cluster "
            f"is there, in the same account: `{get_cluster(known)}`"
        ),
    )
