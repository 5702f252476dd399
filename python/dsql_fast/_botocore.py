"""What is asked of botocore: sessions by profile, the end of their credentials, a profile's Region.

Imported when it is first needed, and botocore with the first session: a token from the environment's keys needs
neither.
"""

from __future__ import annotations

import os

from ._errors import CredentialsError, CredentialsNotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Searched for the end of refreshable credentials, in seconds from now. No AWS service issues temporary
# credentials for longer than 36 hours (GetSessionToken).
_LONGEST_LIFE = 36 * 3600


# One session a profile: building one costs 40 ms, and it holds the credentials that it refreshes. By process,
# for a lock of botocore's that another thread holds during a fork stays locked in the child.
_sessions: dict[tuple[int, str | None], Any] = {}


def session_for(profile: str | None) -> Any:
    """Return this process's session for a profile (None: the default one).

    Raises:
        CredentialsNotFound: there is no such profile, or no botocore.
        CredentialsError: the AWS configuration cannot be read.
    """
    key = (os.getpid(), profile)
    session = _sessions.get(key)
    if session is None:
        session = _sessions.setdefault(key, _new_session(profile))
    return session


def _new_session(profile: str | None) -> Any:
    try:
        import botocore.exceptions
        import botocore.session
    except ImportError:
        raise CredentialsNotFound(
            "no AWS credentials in the environment, and botocore, which would look elsewhere, is not installed: "
            "pip install boto3, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ) from None
    session = botocore.session.Session(profile=profile)
    try:
        _ = session.full_config, session.get_scoped_config()
    except botocore.exceptions.ProfileNotFound:
        raise CredentialsNotFound(
            f"there is no AWS profile {profile!r}: see `aws configure list-profiles`",
        ) from None
    except botocore.exceptions.BotoCoreError as error:
        raise CredentialsError(f"the AWS configuration cannot be read: {error}") from None
    return session


def end_of(found: Any) -> Any:
    """Find the end of refreshable credentials by botocore's public API, to the second.

    ``refresh_needed(n)`` tells whether they end within n seconds; halving the interval finds the end. What
    has no such method does not end.
    """
    refresh_needed = getattr(found, "refresh_needed", None)
    if refresh_needed is None:
        return None
    # Deferred credentials (assumed roles) know no end before they were fetched: this fetches them.
    found.get_frozen_credentials()
    if not refresh_needed(_LONGEST_LIFE):
        return None
    from datetime import datetime, timedelta, timezone

    now = datetime.now(timezone.utc)
    at_least, less_than = 0, _LONGEST_LIFE
    while less_than - at_least > 1:
        middle = (at_least + less_than) // 2
        if refresh_needed(middle):
            less_than = middle
        else:
            at_least = middle
    return now + timedelta(seconds=at_least)


def region_of(profile: str | None) -> str | None:
    """Return the Region of a profile (None: the default one), or None where it names none.

    Raises:
        CredentialsNotFound: there is no such profile.
    """
    try:
        session = session_for(profile or os.environ.get("AWS_PROFILE") or None)
    except CredentialsNotFound:
        if profile is not None:
            raise
        return None
    region = session.get_config_variable("region")
    return region if isinstance(region, str) else None
