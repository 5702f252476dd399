"""Sessions by profile, and the credentials that botocore's chain finds for them.

Botocore keeps what it found for the life of a session, so that a running program would never see new keys in a
profile. Here credentials that botocore renews by itself (they have an end) are kept, and those that it does not
are looked up again at each load; the session itself is built anew when the AWS files or variables have changed.
"""

from __future__ import annotations

import os
from _thread import allocate_lock

from .._errors import CredentialsNotFound
from ._failures import explained, is_botocores

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    # Frozen keys, and their end as a datetime (None: they have none).
    Found: TypeAlias = tuple[Any, Any]

# Searched for the end of refreshable credentials, in seconds from now. No AWS service issues temporary
# credentials for longer than 36 hours (GetSessionToken).
_LONGEST_LIFE = 36 * 3600
# Seconds to wait for another thread that walks the chain already. After that, what it asks probably hangs.
_PATIENCE = 10.0
# A misspelt profile is told with the ones that there are, so many at most.
_MOST_NAMED = 20


class Chain:
    """A profile's session, and the credentials that were found through it.

    Attributes:
        session: the botocore session.
        stamp: the state of the files and variables that it was built from.
    """

    __slots__ = ("_lock", "_profile", "_renewing_itself", "session", "stamp")

    def __init__(self, profile: str | None, stamp: object) -> None:
        self.stamp = stamp
        self.session = _new_session(profile)
        self._profile = profile or os.environ.get("AWS_PROFILE") or None
        self._renewing_itself: Any = None
        self._lock = allocate_lock()

    def load(self, region: str | None = None) -> Found | None:
        """Return the keys that hold now and their end; None: nothing on the chain has any.

        Args:
            region: whose STS is asked for a role where AWS's configuration names no Region: without one, botocore
                would fail.

        Raises:
            CredentialsError: a source on the chain failed.
        """
        # One walks for all. But what hangs for one must not make the others wait for ever.
        in_turn = self._lock.acquire(True, _PATIENCE)
        try:
            found = self._renewing_itself if in_turn else None
            # Whatever fails is looked for from the start the next time: there may be a new sign-in.
            self._renewing_itself = None
            try:
                found = self._walk(region) if found is None else found
                frozen = None if found is None else _frozen(found)
            except Exception as error:  # noqa: BLE001 (botocore runs processes and parses what they print)
                failure = explained(error, self._profile)
            else:
                if hasattr(found, "refresh_needed"):
                    self._renewing_itself = found
                return frozen
        finally:
            if in_turn:
                self._lock.release()
        raise failure

    def _walk(self, region: str | None) -> Any:
        from botocore.credentials import create_credential_resolver

        # A resolver of its own for each walk: one that has followed a profile's role does not do so twice.
        region = self.session.get_config_variable("region") or region
        return create_credential_resolver(self.session, region_name=region).load_credentials()


# One session a profile: building one costs 40 ms, and it holds the credentials that it refreshes. By process,
# for a lock of botocore's that another thread holds during a fork stays locked in the child.
_chains: dict[tuple[int, str | None], Chain] = {}


def chain_for(profile: str | None) -> Chain:
    """Return this process's chain for a profile (None: AWS_PROFILE's, or the default one).

    Raises:
        CredentialsNotFound: there is no such profile, or no botocore.
        CredentialsError: the AWS configuration cannot be read.
    """
    key, stamp = (os.getpid(), profile), _stamp()
    found = _chains.get(key)
    if found is None or found.stamp != stamp:
        made = Chain(profile, stamp)
        found = _chains.get(key)
        if found is None or found.stamp != stamp:  # nobody else was faster
            found = _chains[key] = made
    return found


def _stamp() -> int:
    """Return what changes when AWS's files or variables do."""
    variables = [item for item in os.environ.items() if item[0].startswith("AWS_") or item[0] == "HOME"]
    states: list[tuple[int, ...]] = []
    for variable, default in (("AWS_CONFIG_FILE", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials")):
        path = os.path.expanduser(os.environ.get(variable) or f"~/.aws/{default}")  # noqa: PTH111 (as botocore does)
        try:
            state = os.stat(path)  # noqa: PTH116
        except OSError:
            states.append(())
        else:
            states.append((state.st_mtime_ns, state.st_size, state.st_ino))
    # The hash, not the values: there are secrets among them.
    return hash((frozenset(variables), *states))


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
        raise _no_profile(profile or os.environ.get("AWS_PROFILE"), session.available_profiles) from None
    except botocore.exceptions.BotoCoreError as error:
        raise explained(error, profile) from None
    return session


def _no_profile(profile: str | None, there: list[str]) -> CredentialsNotFound:
    from difflib import get_close_matches

    near = get_close_matches(profile or "", there, n=1, cutoff=0.6)
    if near:
        advice = f"did you mean {near[0]!r}?"
    elif there:
        more = ", ..." if len(there) > _MOST_NAMED else ""
        advice = f"there are {', '.join(there[:_MOST_NAMED])}{more}"
    else:
        advice = "there are none in ~/.aws, or where AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE say"
    return CredentialsNotFound(f"there is no AWS profile {profile!r}: {advice}")


def ask(load: Callable[[], Any], *, botocores: bool = False) -> Found | None:
    """Let something of the caller's, botocore's mostly, give its credentials, and freeze them.

    Args:
        load: gives them, or None.
        botocores: no code of the caller's runs in it.

    Returns:
        The keys and their end; None where it has none.

    Raises:
        CredentialsError: botocore failed. What the caller's own code raises is left as it is.
    """
    try:
        found = load()
        return None if found is None else _frozen(found)
    except Exception as error:
        if not botocores and not is_botocores(error):
            raise
        failure = explained(error, None)
    raise failure


def freeze(found: Any) -> Found:
    """Return the keys that credentials of botocore's hold now, and their end.

    Raises:
        CredentialsError: botocore could not renew them.
    """
    frozen = ask(lambda: found)
    assert frozen is not None  # noqa: S101 (it was given)
    return frozen


def _frozen(found: Any) -> Found:
    # The end is read before the keys: if they are refreshed in between, the end is too early, never too late.
    expires_at = _end_of(found)
    return found.get_frozen_credentials(), expires_at


def _end_of(found: Any) -> Any:
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
    """Return the Region of a profile (None: AWS_PROFILE's, or the default one), or None where it names none.

    Raises:
        CredentialsNotFound: there is no such profile.
    """
    try:
        session = chain_for(profile).session
    except CredentialsNotFound:
        if profile is not None:
            raise
        return None
    region = session.get_config_variable("region")
    return region if isinstance(region, str) else None
