"""Where AWS credentials come from.

The environment's keys are read here, without an SDK: that is all a Lambda function needs. Everything else
(profile, SSO, assumed role, web identity, container, instance, process) is botocore's chain, imported when
it is first needed; and so are the sources that the caller passes as objects, and `AssumeRole`.

A *provider* is an object with ``load()``, which returns `Credentials` or raises. It says of itself whether
loading may block (then it runs off the caller's thread) and whether it must be awaited. Providers are keys
of the process-wide cache of tokens: two are equal when they stand for the same source, by equality of the
object that the caller gave. They hold that object, since an `id()` is used again after its owner has gone.
"""

from __future__ import annotations

from .._errors import ConfigError
from .._native import Credentials
from ._environment import NAME as _ENVIRONMENT
from ._environment import EnvironmentCredentials, environment_credentials
from ._provider import CredentialsProvider, StaticCredentials, credentials_from, has_keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._provider import CredentialsSource

__all__ = [
    "Credentials",
    "CredentialsProvider",
    "concealed",
    "credentials_provider",
    "profile_region",
]


def credentials_provider(
    credentials: CredentialsSource | None,
    profile: str | None,
    environ: Mapping[str, str],
    *,
    environment_by_value: bool,
    custom: CredentialsSource | None = None,
) -> CredentialsProvider:
    """Decide where credentials come from.

    What the caller passes comes first; then an explicit profile; then the environment's keys (as botocore
    has it: ``AWS_PROFILE`` does not beat them); then botocore's chain.

    Args:
        credentials: what the caller passed, or None. An `AssumeRole` without a source goes with a profile, which
            is its source then.
        profile: the profile that the caller named, or None.
        environ: the environment's variables.
        environment_by_value: make the environment's keys themselves the identity, so that new keys in a
            running process count at once (connects and pools). Otherwise they are read at each renewal.
        custom: the official connectors' ``custom_credentials_provider``: asked first, before the profile too.

    Raises:
        ConfigError: both were passed, or something that is no source of credentials.
        CredentialsError: the environment holds half a pair.
    """
    if profile is not None and (not isinstance(profile, str) or not profile.strip()):
        raise ConfigError("profile must be the name of a profile")
    if custom is not None:
        if credentials is not None:
            raise ConfigError("both credentials= and custom_credentials_provider= were given: drop one of the two")
        from ._given import AsyncCustomCredentials, CustomCredentials

        first = _provider_of(custom, environ, environment_by_value=environment_by_value)
        return (AsyncCustomCredentials if first.is_async else CustomCredentials)((first, profile))
    if credentials is not None:
        return _provider_of(credentials, environ, profile, environment_by_value=environment_by_value)
    if profile is None:
        found = environment_credentials(environ)
        if found is not None:
            if environment_by_value:
                return StaticCredentials(found, _ENVIRONMENT)
            return EnvironmentCredentials()
    from ._chain import ChainCredentials

    if profile is not None:
        return ChainCredentials(profile, named=True)
    return ChainCredentials(environ.get("AWS_PROFILE") or None, named=False)


def _provider_of(
    source: CredentialsSource,
    environ: Mapping[str, str],
    profile: str | None = None,
    *,
    environment_by_value: bool,
) -> CredentialsProvider:
    if isinstance(source, Credentials) and profile is None:
        return StaticCredentials(source)
    from ._assume_role import AssumeRole, role_provider

    if isinstance(source, AssumeRole) and (profile is None or source.source is None):
        assumer = credentials_provider(source.source, profile, environ, environment_by_value=environment_by_value)
        return role_provider(source, assumer)
    if profile is not None:
        raise ConfigError("both credentials= and profile= were given: drop one of the two")
    return _passed(source)


def _passed(source: CredentialsSource) -> CredentialsProvider:
    from . import _given as given

    if isinstance(source, CredentialsProvider):
        return source
    if given.is_botocore_provider(source) or hasattr(source, "get_credentials"):
        return given.SessionCredentials(source)
    if hasattr(source, "get_frozen_credentials"):
        return given.BotocoreCredentials(source)
    if has_keys(source):
        return StaticCredentials(credentials_from(source))
    if callable(source):
        if given.is_async(source):
            return given.AsyncCallableCredentials(source)
        return given.CallableCredentials(source)
    raise ConfigError(
        f"credentials cannot be a {type(source).__name__}: pass dsql_fast.Credentials or AssumeRole, botocore's "
        "ReadOnlyCredentials, a boto3 or botocore session, or a callable that returns one of these keys",
    )


def concealed(source: CredentialsSource) -> CredentialsSource:
    """Return a source in a form that shows no secret among the locals of somebody's frames.

    Raises:
        ConfigError: it is no source of credentials.
    """
    from ._assume_role import AssumeRole

    # An AssumeRole shows none itself, and its source may yet be the profile or the environment.
    if isinstance(source, AssumeRole):
        return source
    return StaticCredentials(source) if isinstance(source, Credentials) else _passed(source)


def profile_region(profile: str | None) -> str | None:
    """Return the Region of a profile (None: the default one), or None where it names none.

    Raises:
        CredentialsNotFound: there is no such profile.
    """
    from .._botocore import region_of

    return region_of(profile)
