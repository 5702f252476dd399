"""What went wrong in botocore, in words that say what to do.

Its errors are not passed on, nor kept as causes: some hold what a process printed, what an endpoint answered, or
(SignatureDoesNotMatch) the request with its session token. What is repeated is known to hold none of that.
"""

from __future__ import annotations

import os
import sys

from .._errors import CredentialsError, CredentialsExpired, CredentialsNotFound, CredentialsTimeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_HOP_LIMIT = (
    "in a container on an EC2 instance its answer needs a hop limit of 2: "
    "aws ec2 modify-instance-metadata-options --http-put-response-hop-limit 2 --instance-id <id>"
)
# Of what a credential_process wrote to stderr, the last line, so many characters at most.
_MOST_OF_STDERR = 200

# STS and its kin: by error code, what to do about it. Their messages name roles and identities, no secrets.
_ADVICE = {
    "AccessDenied": (
        "the role's trust policy must let the caller in (with an external id, if it asks for one), and the "
        "caller's own policy must allow sts:AssumeRole on the role"
    ),
    "ValidationError": (
        "a role allows 3600 seconds unless its MaxSessionDuration says more, and no more than that when it is "
        "assumed with another role's credentials"
    ),
    "RegionDisabledException": "activate STS in this Region, or name another by region=",
    "InvalidIdentityToken": "the identity provider must be known to IAM, with this token's audience",
    "IDPRejectedClaim": "the identity provider rejects the token: see whether it is the right one, and a new one",
    "InvalidClientTokenId": "the access key does not exist (any more), or lacks its session token",
    "UnrecognizedClientException": "the access key does not exist (any more), or lacks its session token",
}
_ENDED = ("ExpiredToken", "ExpiredTokenException")
_BUSY = (
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "ServiceUnavailable",
)
# Whose messages repeat the request.
_REPEATS_THE_REQUEST = ("SignatureDoesNotMatch", "IncompleteSignature", "InvalidSignatureException")
_SERVER_ERROR = 500


def is_botocores(error: BaseException) -> bool:
    """Tell whether botocore raised it, without importing botocore."""
    exceptions = sys.modules.get("botocore.exceptions")
    return exceptions is not None and isinstance(error, (exceptions.BotoCoreError, exceptions.ClientError))


def instance_advice() -> str:
    """Return what to say where the whole chain had nothing; it ends with the instance's metadata service."""
    if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return ""
    return (
        ". The instance metadata service, asked last, has no role or did not answer within its "
        f"time (AWS_METADATA_SERVICE_TIMEOUT); {_HOP_LIMIT}"
    )


def explained(error: BaseException, profile: str | None) -> CredentialsError:
    """Return our error for one on the chain.

    Args:
        error: anything.
        profile: the profile whose chain it is; None: the default one, or unknown.
    """
    if isinstance(error, CredentialsError):
        return error
    if _is_answer(error):
        return _refused(error, f"{_operation(error)} gave no credentials{_for(profile)}")
    for kind in type(error).__mro__:
        words = _WORDS.get(kind.__name__)
        if words is not None:
            return words(error, profile)
    return CredentialsError(f"botocore could not load credentials{_for(profile)}: {type(error).__name__}")


def not_assumed(error: BaseException, role_arn: str, source: str) -> CredentialsError:
    """Return our error for an AssumeRole that failed.

    Args:
        error: anything.
        role_arn: the role.
        source: whose credentials asked for it.
    """
    failure = f"{role_arn} was not assumed with {source}"
    if _is_answer(error):
        return _refused(error, failure)
    reason = explained(error, None)
    return type(reason)(f"{failure}: {reason}")


def _refused(error: Any, failure: str) -> CredentialsError:
    """Explain a ClientError: a service's answer with an error code."""
    code = str(error.response.get("Error", {}).get("Code", "no code"))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _REPEATS_THE_REQUEST:
        return CredentialsError(
            f"{failure}: {code}: the secret access key is not this access key's, or this machine's clock is wrong",
        )
    if status >= _SERVER_ERROR or code in _BUSY:
        return CredentialsTimeout(f"{failure}: {code} (HTTP {status}): it has too much to do; try again")
    message = str(error.response.get("Error", {}).get("Message", ""))
    advice = _ADVICE.get(code, "")
    if code in _ENDED:
        advice = "renew what asks for them (aws sso login, a newer web identity token, new keys)"
    kind = CredentialsExpired if code in _ENDED else CredentialsError
    return kind(": ".join(part for part in (failure, code, message, advice) if part))


def _is_answer(error: BaseException) -> bool:
    return any(kind.__name__ == "ClientError" for kind in type(error).__mro__)


def _operation(error: Any) -> str:
    return str(getattr(error, "operation_name", "") or "the service")


def _for(profile: str | None) -> str:
    return f" for profile {profile!r}" if profile else ""


def _sign_in(command: str) -> Callable[[Any, str | None], CredentialsError]:
    def words(_: Any, profile: str | None) -> CredentialsError:
        option = f" --profile {profile}" if profile else ""
        return CredentialsExpired(f"the sign-in{_for(profile)} has ended or was never made: {command}{option}")

    return words


def _unreachable(error: Any, profile: str | None) -> CredentialsError:
    # The text names the endpoint's URL at most; it is that of a service, not of a container (see below).
    return CredentialsTimeout(
        f"a service that gives credentials{_for(profile)} cannot be reached: {error}. In a private network it "
        "needs a VPC endpoint or a way out",
    )


def _no_answer(_: Any, profile: str | None) -> CredentialsError:
    return CredentialsTimeout(
        f"what a service that gives credentials{_for(profile)} answered is no answer of AWS's: a proxy's, perhaps",
    )


def _metadata(_: Any, __: str | None) -> CredentialsError:
    return CredentialsNotFound(f"the instance metadata service gave no session token (IMDSv2): {_HOP_LIMIT}")


def _not_retrieved(error: Any, profile: str | None) -> CredentialsError:
    provider, text = error.kwargs.get("provider"), str(error.kwargs.get("error_msg", ""))
    if provider == "custom-process":
        last = text.strip().splitlines()[-1:]
        said = f": {last[0].strip()[:_MOST_OF_STDERR]}" if last else ""
        return CredentialsError(f"the credential_process{_for(profile)} failed{said}")
    if provider == "container-role":
        return _no_container(text)
    if provider == "iam-role":
        return CredentialsTimeout(
            f"the instance metadata service did not renew the role's credentials; {_HOP_LIMIT}"
        )
    return CredentialsError(f"the source {provider!r}{_for(profile)} gave no credentials")


def _no_container(text: str) -> CredentialsError:
    # botocore's words: non 200 response, its status, "from container metadata", and what the endpoint answered.
    status = text.partition(" from container metadata")[0].rpartition(" ")[2]
    if status.isdigit() and int(status) < _SERVER_ERROR:
        return CredentialsError(
            f"the container's credentials endpoint refused with HTTP {status}: see "
            "AWS_CONTAINER_CREDENTIALS_FULL_URI (or _RELATIVE_URI), "
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE (or _TOKEN)",
        )
    what = f"failed with HTTP {status}" if status.isdigit() else "did not answer, or not with JSON"
    return CredentialsTimeout(
        f"the container's credentials endpoint {what}: see AWS_CONTAINER_CREDENTIALS_FULL_URI"
    )


def _no_file(error: Any, profile: str | None) -> CredentialsError:
    what, why = error.filename or "a file or process", error.strerror or type(error).__name__
    return CredentialsError(
        f"{what}: {why}: see credential_process, "
        f"AWS_WEB_IDENTITY_TOKEN_FILE, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE and ~/.aws{_for(profile)}",
    )


def _no_code(_: Any, profile: str | None) -> CredentialsError:
    return CredentialsError(
        f"a role{_for(profile)} wants an MFA code (mfa_serial), and nobody is there to type one: "
        "use SSO, or a credential_process that has it",
    )


def _unreadable(error: Any, profile: str | None) -> CredentialsError:
    return CredentialsError(
        f"what a source of credentials gave{_for(profile)} cannot be read ({type(error).__name__}): "
        "credential_process must print JSON with Version 1, AccessKeyId and SecretAccessKey, a container's "
        "endpoint JSON with AccessKeyId, SecretAccessKey, Token and Expiration",
    )


def _still_ended(error: Any, profile: str | None) -> CredentialsError:
    if "still expired" in str(error):
        return CredentialsExpired(
            f"the source of the credentials{_for(profile)} renewed them, and they had ended all the same: "
            "see its clock, and this machine's",
        )
    return CredentialsError(f"botocore could not load credentials{_for(profile)}: {type(error).__name__}")


def _configuration(error: Any, _: str | None) -> CredentialsError:
    return CredentialsError(f"the AWS configuration cannot be used: {error}")


_WORDS: dict[str, Callable[[Any, str | None], CredentialsError]] = {
    "SSOError": _sign_in("aws sso login"),
    "TokenRetrievalError": _sign_in("aws sso login"),
    "LoginError": _sign_in("aws login"),
    "HTTPClientError": _unreachable,
    "ConnectionError": _unreachable,
    "ResponseParserError": _no_answer,
    "MetadataRetrievalError": _metadata,
    "CredentialRetrievalError": _not_retrieved,
    # Their texts hold names of profiles, settings and files.
    **dict.fromkeys(
        (
            "ConfigNotFound",
            "ConfigParseError",
            "InfiniteLoopConfigError",
            "InvalidConfigError",
            "InvalidIMDSEndpointError",
            "MissingDependencyException",
            "NoRegionError",
            "PartialCredentialsError",
            "UnknownCredentialError",
        ),
        _configuration,
    ),
    "EOFError": _no_code,
    "RefreshWithMFAUnsupportedError": _no_code,
    "OSError": _no_file,
    "RuntimeError": _still_ended,
    "AttributeError": _unreadable,
    "KeyError": _unreadable,
    "TypeError": _unreadable,
    "ValueError": _unreadable,
}
