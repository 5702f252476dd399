"""Each kind of credentials, from a real source of it to a connection that the cluster admits."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from hashlib import sha1
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
import pytest
from botocore.credentials import Credentials as BotocoreCredentials

import dsql_fast
from dsql_fast import AssumeRole, Credentials, TokenSource
from tokens import programs
from tokens.aws import IMDS_TOKEN, Services

if TYPE_CHECKING:
    from collections.abc import Callable

    from dsql_fast.local import LocalCluster
    from tokens.conftest import Home


class Scene:
    """What a kind is set up with."""

    def __init__(self, services: Services, home: Home, patch: pytest.MonkeyPatch) -> None:
        self.services, self.home, self.patch = services, home, patch
        self.in_env = patch.setenv

    def keys(self, **arguments: Any) -> Any:
        return self.services.keys("someone", **arguments)


def environment(scene: Scene) -> dict[str, Any]:
    keys = scene.keys(temporary=True)
    scene.in_env("AWS_ACCESS_KEY_ID", keys.access_key)
    scene.in_env("AWS_SECRET_ACCESS_KEY", keys.secret_key)
    scene.in_env("AWS_SESSION_TOKEN", keys.token)
    return {}


def profile(scene: Scene) -> dict[str, Any]:
    scene.home.static("app", scene.keys(temporary=True))
    return {"profile": "app"}


def aws_profile(scene: Scene) -> dict[str, Any]:
    scene.home.static("app", scene.keys())
    scene.in_env("AWS_PROFILE", "app")
    return {}


def process(scene: Scene) -> dict[str, Any]:
    scene.home.profile("app", credential_process=scene.home.process(scene.keys(temporary=True)))
    return {"profile": "app"}


def role_of_profile(scene: Scene) -> dict[str, Any]:
    user = scene.keys()
    role = scene.services.trust("app", user.arn, external_id="ex-1")
    scene.home.static("base", user)
    scene.home.profile("app", role_arn=role, source_profile="base", external_id="ex-1", role_session_name="me")
    return {"profile": "app"}


def role_over_two_profiles(scene: Scene) -> dict[str, Any]:
    scene.services.trust("last", "arn:aws:sts::000000000000:assumed-role/app/me")
    role_of_profile(scene)
    scene.home.profile("last", role_arn="arn:aws:iam::000000000000:role/last", source_profile="app")
    return {"profile": "last"}


def web_identity(scene: Scene) -> dict[str, Any]:
    file = scene.home.path / "web-identity"
    file.write_text("webIdentityTokenNeverShown")
    scene.in_env("AWS_WEB_IDENTITY_TOKEN_FILE", str(file))
    scene.in_env("AWS_ROLE_ARN", scene.services.trust("pod", web_identity="webIdentityTokenNeverShown"))
    return {}


def container(scene: Scene) -> dict[str, Any]:
    file = scene.home.path / "container"
    file.write_text(scene.services.container_token)
    scene.in_env("AWS_CONTAINER_CREDENTIALS_FULL_URI", scene.services.url + "/container")
    scene.in_env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(file))
    return {}


def instance(scene: Scene) -> dict[str, Any]:
    scene.patch.delenv("AWS_EC2_METADATA_DISABLED")
    scene.in_env("AWS_EC2_METADATA_SERVICE_ENDPOINT", scene.services.url)
    return {}


def a_callable(scene: Scene) -> dict[str, Any]:
    return {"credentials": lambda: scene.keys(temporary=True)}


def a_value(scene: Scene) -> dict[str, Any]:
    keys = scene.keys(temporary=True)
    return {"credentials": Credentials(keys.access_key, keys.secret_key, keys.token)}


def boto3_session(scene: Scene) -> dict[str, Any]:
    keys = scene.keys(temporary=True)
    return {"credentials": boto3.Session(keys.access_key, keys.secret_key, keys.token)}


def botocore_session(scene: Scene) -> dict[str, Any]:
    keys = scene.keys()
    session = botocore.session.Session()
    session.set_credentials(keys.access_key, keys.secret_key)
    return {"credentials": session}


class Provider(botocore.credentials.CredentialProvider):  # type: ignore[misc]
    METHOD = "test"

    def __init__(self, keys: Any) -> None:
        super().__init__()
        self.keys = keys

    def load(self) -> Any:
        return self.keys and BotocoreCredentials(self.keys.access_key, self.keys.secret_key, self.keys.token)


def botocore_provider(scene: Scene) -> dict[str, Any]:
    return {"credentials": Provider(scene.keys(temporary=True))}


def custom_provider(scene: Scene) -> dict[str, Any]:
    """As in the official connectors, beside a profile and before it."""
    scene.home.static("app", BotocoreCredentials("AKIAUNKNOWN", "s"))
    return {"custom_credentials_provider": Provider(scene.keys(temporary=True)), "profile": "app"}


def custom_provider_that_has_none(scene: Scene) -> dict[str, Any]:
    return {"custom_credentials_provider": Provider(None), **profile(scene)}


def custom_callable(scene: Scene) -> dict[str, Any]:
    return {"custom_credentials_provider": lambda: scene.keys(temporary=True)}


def assumed_role(scene: Scene) -> dict[str, Any]:
    user = scene.keys()
    role = scene.services.trust("app", user.arn)
    return {"credentials": AssumeRole(role, source=Credentials(user.access_key, user.secret_key))}


KINDS = {
    kind.__name__: kind
    for kind in (
        *(environment, profile, aws_profile, process, role_of_profile, role_over_two_profiles),
        *(web_identity, container, instance, a_callable, a_value, boto3_session, botocore_session),
        *(botocore_provider, custom_provider, custom_provider_that_has_none, custom_callable, assumed_role),
    )
}


@pytest.fixture
def scene(services: Services, home: Home, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(services, home, monkeypatch)


def where(cluster: LocalCluster) -> dict[str, Any]:
    """How to reach the cluster, without any credentials."""
    return {name: value for name, value in cluster.connect_kwargs().items() if name != "credentials"}


async def connected_async(**settings: Any) -> Any:
    async with await dsql_fast.connect_async(**settings) as conn:
        return await (await conn.execute("select current_user")).fetchone()


@pytest.mark.parametrize("kind", KINDS)
def test_the_cluster_admits(kind: str, scene: Scene, cluster: LocalCluster) -> None:
    given = KINDS[kind](scene)
    with dsql_fast.connect(**where(cluster), **given) as conn:
        assert conn.execute("select current_user").fetchone() == ("admin",)
    assert asyncio.run(connected_async(**where(cluster), **given, user="admin")) == ("admin",)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pool_takes_it(kind: str, scene: Scene, cluster: LocalCluster) -> None:
    given = KINDS[kind](scene)
    with dsql_fast.ConnectionPool(**where(cluster), **given, min_size=1) as pool, pool.connection() as conn:
        assert conn.execute("select 1").fetchone() == (1,)


def test_an_async_callable(scene: Scene, cluster: LocalCluster) -> None:
    async def load() -> Any:
        return scene.keys(temporary=True)

    for name in ("credentials", "custom_credentials_provider"):
        assert asyncio.run(connected_async(**where(cluster), **{name: load})) == ("admin",)
        settings: dict[str, Any] = {**where(cluster), name: load}
        with pytest.raises(dsql_fast.ConfigError, match="asynchronous"):
            dsql_fast.connect(**settings)


def test_an_async_callable_that_has_none(scene: Scene, cluster: LocalCluster) -> None:
    async def load() -> Any:
        raise dsql_fast.CredentialsNotFound("none here")

    settings = {**where(cluster), **profile(scene)}
    assert asyncio.run(connected_async(**settings, custom_credentials_provider=load)) == ("admin",)


def test_an_async_source_of_a_role(scene: Scene, cluster: LocalCluster) -> None:
    user = scene.keys()

    async def load() -> Any:
        return user

    role = AssumeRole(scene.services.trust("app", user.arn), source=load)
    for _ in range(2):
        assert asyncio.run(connected_async(**where(cluster), credentials=role)) == ("admin",)
    assert asyncio.run(connected_async(**where(cluster), credentials=role, token_duration_secs=60)) == ("admin",)
    assert scene.services.count("AssumeRole") == 1
    with pytest.raises(dsql_fast.ConfigError, match="asynchronous"):
        dsql_fast.connect(**where(cluster), credentials=role)


def test_a_custom_provider_excludes_credentials(cluster: LocalCluster) -> None:
    settings = {**cluster.connect_kwargs(), "custom_credentials_provider": lambda: None}
    with pytest.raises(dsql_fast.ConfigError, match="both credentials= and custom_credentials_provider="):
        dsql_fast.connect(**settings)
    with pytest.raises(dsql_fast.ConfigError, match="credentials cannot be a int"):
        dsql_fast.connect(**{**where(cluster), "custom_credentials_provider": 7})


# What the services saw.


def test_what_a_profile_says_of_its_role_is_asked_for(scene: Scene) -> None:
    TokenSource("a" * 26, "eu-west-1", **role_of_profile(scene)).token()
    (request,) = scene.services.requests
    assert request.what == "AssumeRole"
    assert (request.fields["RoleSessionName"], request.fields["ExternalId"]) == ("me", "ex-1")


def test_web_identity_against_profiles_is_as_botocore_has_it(scene: Scene) -> None:
    """AWS_PROFILE does not beat the environment's web identity; a profile that the caller names does."""
    web_identity(scene)
    aws_profile(scene)
    botocores = botocore.session.Session().get_credentials()
    assert botocores.method == "assume-role-with-web-identity"
    assert "=ASIA" in TokenSource("a" * 26, "eu-west-1").token()
    assert "=AKIA" in TokenSource("a" * 26, "eu-west-1", profile="app").token()


def test_the_web_identity_file_is_read_anew(scene: Scene) -> None:
    web_identity(scene)
    scene.services.life = 900
    source = TokenSource("a" * 26, "eu-west-1")
    first = source.token()
    (scene.home.path / "web-identity").write_text("newer")
    scene.services.roles["arn:aws:iam::000000000000:role/pod"].web_identity = "newer"
    source.invalidate()
    assert source.token() != first
    assert [each.fields["WebIdentityToken"] for each in scene.services.requests][-1] == "newer"


def test_the_containers_token_file_is_read_anew(scene: Scene) -> None:
    container(scene)
    scene.services.life = 300
    source = TokenSource("a" * 26, "eu-west-1")
    first = source.token()
    scene.services.container_token = "another"
    (scene.home.path / "container").write_text("another")
    source.invalidate()
    assert source.token() != first


def test_the_instance_is_asked_with_a_session_token(scene: Scene) -> None:
    instance(scene)
    token = TokenSource("a" * 26, "eu-west-1").token()
    assert IMDS_TOKEN not in token
    assert [each.what for each in scene.services.requests] == ["imds PUT", "imds GET", "imds GET"]


def test_an_instance_with_version_1_only(scene: Scene) -> None:
    instance(scene)
    scene.services.imds_v1, scene.services.imds_v2 = True, False
    assert "=ASIA" in TokenSource("a" * 26, "eu-west-1").token()


# SSO: botocore fixes where it looks for sign-ins when it is imported, so each of these is a process of its own.

PRINT = """
import logging
logging.disable()  # what is logged would go to stderr
try:
    with dsql_fast.connect(os.environ["CLUSTER_ENDPOINT"], profile="app") as conn:
        print("connected", end=" ")
    asyncio.run(TokenSource(HOST, profile="app").token_async())
    print("and async", end="")
except dsql_fast.Error as error:
    print(type(error).__name__, error)
"""


def sign_in(home: Home, services: Services, key: str, *, ended: bool = False) -> None:
    """What `aws sso login` leaves behind."""
    cache = home.path / ".aws" / "sso" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    end = dt.datetime.now(dt.timezone.utc) + dt.timedelta(hours=-1 if ended else 8)
    token = {"accessToken": services.sso_token, "expiresAt": end.strftime("%Y-%m-%dT%H:%M:%SZ")}
    name = sha1(key.encode()).hexdigest()  # noqa: S324 (botocore's name for the file)
    (cache / f"{name}.json").write_text(json.dumps(token))


SSO = {"sso_start_url": "https://start.example/here", "sso_region": "us-east-1"}
WHO = {"sso_account_id": "000000000000", "sso_role_name": "Developer"}


@pytest.fixture
def sso(
    services: Services, home: Home, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], str]:
    for name, value in cluster.environment().items():
        if not name.endswith("ACCESS_KEY") and not name.endswith("KEY_ID"):
            monkeypatch.setenv(name, value)
    return lambda: programs.run(PRINT, home.path)


def test_sso(sso: Callable[[], str], services: Services, home: Home) -> None:
    home.profile("app", **SSO, **WHO)
    sign_in(home, services, SSO["sso_start_url"])
    assert sso() == "connected and async"
    assert services.requests[0].fields == {"role_name": "Developer", "account_id": "000000000000"}
    assert services.count("sso") == 1


def test_sso_by_a_named_session(sso: Callable[[], str], services: Services, home: Home) -> None:
    home.profile("sso-session company", **SSO)
    home.profile("app", sso_session="company", **WHO)
    sign_in(home, services, "company")
    assert sso() == "connected and async"


@pytest.mark.parametrize("trouble", ["ended", "never made", "refused", "named session ended"])
def test_an_sso_sign_in_that_does_not_hold(
    trouble: str, sso: Callable[[], str], services: Services, home: Home
) -> None:
    home.profile("sso-session company", **SSO)
    home.profile("app", **WHO, **({"sso_session": "company"} if "named" in trouble else SSO))
    if trouble != "never made":
        sign_in(
            home, services, "company" if "named" in trouble else SSO["sso_start_url"], ended="ended" in trouble
        )
    services.sso_token = "another"
    said = sso()
    assert said.startswith("CredentialsExpired the sign-in for profile 'app' has ended or was never made: ")
    assert "aws sso login --profile app" in said
    assert "NeverShown" not in said


@pytest.mark.parametrize("name", ["credentials", "custom_credentials_provider"])
@pytest.mark.parametrize("given_in", ["keywords", "kwargs"])
def test_a_pool_keeps_them_in_a_form_that_shows_nothing(
    name: str, given_in: str, scene: Scene, cluster: LocalCluster
) -> None:
    """Its attributes are locals of psycopg_pool's frames, which error reporters show."""
    keys = scene.keys(temporary=True)
    given: dict[str, Any] = {name: BotocoreCredentials(keys.access_key, keys.secret_key).get_frozen_credentials()}
    assert keys.secret_key in repr(given)
    settings = given if given_in == "keywords" else {"kwargs": given}
    pool = dsql_fast.ConnectionPool(**where(cluster), **settings, min_size=1, open=False)
    assert keys.access_key[-8:] not in repr(vars(pool))
    assert keys.secret_key not in repr(vars(pool))
