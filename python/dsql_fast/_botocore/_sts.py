"""The one request that is made to AWS by this package's own decision: AssumeRole."""

from __future__ import annotations

from types import SimpleNamespace

from ._chains import chain_for
from ._failures import explained, not_assumed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._chains import Found

# Seconds, and tries: together less than the minute that a caller waits for credentials.
_CONNECT, _READ, _TRIES = 5, 10, 3


def assume_role(
    keys: tuple[str, str, str | None],
    region: str | None,
    parameters: dict[str, Any],
    source: str,
) -> Found:
    """Ask STS for a role's credentials. Blocks.

    Args:
        keys: whose request it is: the access key's id, its secret, the session token.
        region: whose STS is asked. The endpoint is as AWS's configuration has it (``AWS_ENDPOINT_URL_STS``), else
            the Region's own.
        parameters: as the STS API has them.
        source: what errors call the keys.

    Raises:
        CredentialsError: STS refused, in a few words why.
        CredentialsTimeout: it could not be reached, or had too much to do.
    """
    client = _client(keys, region)
    try:
        answer = client.assume_role(**parameters)["Credentials"]
    except Exception as error:  # noqa: BLE001 (frames below hold the keys: the error goes no further)
        failure = not_assumed(error, parameters["RoleArn"], source)
    else:
        given = SimpleNamespace(
            access_key=answer["AccessKeyId"], secret_key=answer["SecretAccessKey"], token=answer["SessionToken"]
        )
        return given, answer["Expiration"]
    finally:
        client.close()
    raise failure


def _client(keys: tuple[str, str, str | None], region: str | None) -> Any:
    session = chain_for(None).session
    from botocore.config import Config

    key_id, secret, session_token = keys
    # A client of its own each time, once in an hour or so: nothing to share between threads and forks.
    try:
        return session.create_client(
            "sts",
            region_name=region,
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            aws_session_token=session_token,
            config=Config(
                connect_timeout=_CONNECT,
                read_timeout=_READ,
                retries={"total_max_attempts": _TRIES, "mode": "standard"},
            ),
        )
    except Exception as error:  # noqa: BLE001 (as above)
        failure = explained(error, None)
    raise failure
