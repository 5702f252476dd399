"""What failures on botocore's chain say: the likeliest fix, in a typed error, and nothing secret."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
import pytest

import dsql_fast
from dsql_fast import CredentialsError, CredentialsExpired, CredentialsNotFound, CredentialsTimeout, TokenSource
from safety.leaks import assert_clean, texts_of
from tokens import programs
from tokens.aws import sts_error
from tokens.sources import HOST
from tokens.test_kinds import Scene, container, instance, role_of_profile, web_identity

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokens.aws import Services
    from tokens.conftest import Home


@pytest.fixture
def scene(services: Services, home: Home, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(services, home, monkeypatch)


def failure(kind: type[CredentialsError], **settings: Any) -> str:
    """What a failing source says, by each way to a token; nothing secret is in any."""
    said = set()
    for way in (lambda: TokenSource(HOST, **settings).token(), lambda: dsql_fast.connect(host=HOST, **settings)):
        with pytest.raises(dsql_fast.Error) as caught:
            way()
        assert type(caught.value) is kind, caught.value
        assert_clean(caught.value, ["NeverShown"])
        assert caught.value.__cause__ is None
        said.add(str(caught.value))
    (words,) = said
    return words


@pytest.fixture(autouse=True)
def _nothing_secret_is_logged(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.INFO)
    yield
    assert "NeverShown" not in caplog.text
    ours = [record for record in caplog.records if record.name.startswith("dsql_fast")]
    assert not [
        text for record in ours if record.exc_info and record.exc_info[1] for text in texts_of(record.exc_info[1])
    ]


# Profiles.


def test_a_misspelt_profile(scene: Scene) -> None:
    for name in ("development", "production"):
        scene.home.static(name, scene.keys())
    assert "'devlopment': did you mean 'development'?" in failure(CredentialsNotFound, profile="devlopment")
    assert "'x': there are development, production" in failure(CredentialsNotFound, profile="x")
    scene.in_env("AWS_PROFILE", "prodution")
    assert "'prodution': did you mean 'production'?" in failure(CredentialsNotFound)


def test_a_profile_where_there_is_none(home: Home) -> None:
    assert "there is no AWS profile 'x': there are none in ~/.aws" in failure(CredentialsNotFound, profile="x")


def test_at_most_twenty_profiles_are_named(scene: Scene) -> None:
    for number in range(25):
        scene.home.static(f"profile{number:02}", scene.keys())
    said = failure(CredentialsNotFound, profile="x")
    assert said.endswith("profile19, ...")


def test_a_profile_without_credentials(scene: Scene) -> None:
    scene.home.profile("app", region="eu-west-1")
    assert "no AWS credentials in the profile 'app': set AWS_ACCESS_KEY_ID" in failure(
        CredentialsNotFound, profile="app"
    )


def test_half_a_pair_in_a_profile(scene: Scene) -> None:
    scene.home.profile("app", aws_access_key_id="AKIDHALF")
    assert "aws_secret_access_key" in failure(CredentialsError, profile="app")


def test_a_file_that_cannot_be_read(scene: Scene) -> None:
    scene.home.config.write_text("[default\naws_secret_access_key = NeverShown\n")
    assert "configuration cannot be used" in failure(CredentialsError)


def test_a_role_of_a_profile(scene: Scene) -> None:
    role_of_profile(scene)
    scene.services.roles.clear()
    said = failure(CredentialsError, profile="app")
    assert (
        "AssumeRole gave no credentials for profile 'app': AccessDenied: User: arn:aws:iam::000000000000:user/"
        in said
    )
    assert "role/app: the role's trust policy must let the caller in" in said


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"source_profile": "nobody"}, "nobody"),
        ({"source_profile": "app"}, "app"),
        ({}, "source_profile"),
        ({"credential_source": "Nowhere"}, "Nowhere"),
    ],
)
def test_a_role_without_a_source(settings: dict[str, str], match: str, scene: Scene) -> None:
    scene.home.profile("app", role_arn="arn:aws:iam::000000000000:role/app", **settings)
    said = failure(CredentialsError, profile="app")
    assert "the AWS configuration cannot be used: " in said
    assert match in said


def test_a_role_that_wants_a_code(scene: Scene) -> None:
    """botocore asks whoever sits at the terminal; here nobody does."""
    program = """
import logging, warnings
logging.disable()
warnings.simplefilter("ignore")  # getpass warns of an input that is no terminal
os.setsid()  # without a terminal of its own
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
sys.stderr = open(os.devnull, "w")
try:
    TokenSource(HOST, profile="app").token()
except dsql_fast.CredentialsError as error:
    print(error, end="")
"""
    role_of_profile(scene)
    mfa = {"mfa_serial": "arn:aws:iam::000000000000:mfa/me", "source_profile": "base"}
    scene.home.profile("app", role_arn="arn:aws:iam::000000000000:role/app", **mfa)
    said = programs.run(program, scene.home.path)
    assert said.startswith("a role for profile 'app' wants an MFA code (mfa_serial)")


# Processes.


@pytest.mark.parametrize(
    ("program", "match"),
    [
        ("raise SystemExit('first\\nthe vault is sealed')", "failed: the vault is sealed"),
        ("raise SystemExit(3)", "credential_process for profile 'app' failed"),
        ("print('NeverShown')", "cannot be read (JSONDecodeError): credential_process must print JSON"),
        ("print('\"NeverShown\"')", "cannot be read"),
        ('print(\'{"Version": 2, "SecretAccessKey": "NeverShown"}\')', "failed"),
        ('print(\'{"Version": 1, "SecretAccessKey": "NeverShown"}\')', "failed"),
        ("import sys; sys.stdout.buffer.write(b'NeverShown\\xff')", "cannot be read (UnicodeDecodeError)"),
    ],
)
def test_a_process(program: str, match: str, scene: Scene) -> None:
    scene.home.profile("app", credential_process=scene.home.program(program))
    assert match in failure(CredentialsError, profile="app")


def test_a_process_that_is_not_there(scene: Scene) -> None:
    scene.home.profile("app", credential_process="/no/such/program")
    assert "/no/such/program: No such file or directory: see credential_process" in failure(
        CredentialsError, profile="app"
    )


def test_a_process_whose_keys_have_ended(scene: Scene) -> None:
    command = scene.home.process(scene.keys(temporary=True), "2020-01-01T00:00:00Z")
    scene.home.profile("app", credential_process=command)
    assert "renewed them, and they had ended all the same" in failure(CredentialsExpired, profile="app")


# Web identity.


def test_a_web_identity_file_that_is_not_there(scene: Scene) -> None:
    web_identity(scene)
    scene.in_env("AWS_WEB_IDENTITY_TOKEN_FILE", "/no/such/file")
    assert "/no/such/file: No such file" in failure(CredentialsError)


def test_a_web_identity_without_a_role(scene: Scene) -> None:
    web_identity(scene)
    scene.patch.delenv("AWS_ROLE_ARN")
    assert "AWS_ROLE_ARN" in failure(CredentialsError)


def test_a_web_identity_that_is_refused(scene: Scene) -> None:
    web_identity(scene)
    (scene.home.path / "web-identity").write_text("anotherTokenNeverShown")
    assert "AssumeRoleWithWebIdentity gave no credentials: InvalidIdentityToken" in failure(CredentialsError)
    expired = sts_error("ExpiredTokenException", "Token expired: current date/time 1 must be before 0")
    scene.services.answers = [(400, expired)] * 2
    assert "ExpiredTokenException: Token expired" in failure(CredentialsExpired)


# Containers and instances.


@pytest.mark.parametrize(
    ("trouble", "kind", "match"),
    [
        ("wrong token", CredentialsError, "refused with HTTP 401: .*AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
        ("server error", CredentialsTimeout, "failed with HTTP 500"),
        pytest.param("not JSON", CredentialsTimeout, "or not with JSON", marks=pytest.mark.full),
        pytest.param("nobody there", CredentialsTimeout, "did not answer", marks=pytest.mark.full),
    ],
)
def test_a_container(trouble: str, kind: type[CredentialsError], match: str, scene: Scene) -> None:
    """Three tries of botocore's, a second apart; what the endpoint answers is not repeated."""
    container(scene)
    if trouble == "wrong token":
        (scene.home.path / "container").write_text("anotherTokenNeverShown")
    elif trouble == "nobody there":
        scene.in_env("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/NeverShown")
    else:
        scene.services.answers = [(500 if trouble == "server error" else 200, "NeverShown")] * 3
    with pytest.raises(CredentialsError, match=match) as caught:
        TokenSource(HOST).token()
    assert type(caught.value) is kind
    assert_clean(caught.value, ["NeverShown"])


def test_a_container_that_answers_something_else(scene: Scene) -> None:
    container(scene)
    scene.services.answers = [(200, '{"SecretAccessKey": "NeverShown"}')] * 2
    assert "cannot be read (KeyError)" in failure(CredentialsError)


def test_a_containers_token_file_that_is_not_there(scene: Scene) -> None:
    container(scene)
    scene.in_env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/no/such/file")
    assert "/no/such/file: No such file" in failure(CredentialsError)


def test_a_container_elsewhere(scene: Scene) -> None:
    """botocore speaks HTTP to loopback and to AWS's own addresses only."""
    container(scene)
    scene.in_env("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://192.0.2.1/container")
    assert "cannot be read (ValueError)" in failure(CredentialsError)


HOP_LIMIT = "--http-put-response-hop-limit 2"


def test_an_instance_that_gives_no_session_token(scene: Scene) -> None:
    """As in a container on it whose packets are one hop too far away: version 1 is refused then."""
    instance(scene)
    scene.services.imds_v2 = False
    assert HOP_LIMIT in failure(CredentialsNotFound)
    scene.in_env("AWS_EC2_METADATA_V1_DISABLED", "true")
    said = failure(CredentialsNotFound)
    assert "gave no session token (IMDSv2)" in said
    assert HOP_LIMIT in said


def test_an_instance_that_cannot_be_reached(scene: Scene) -> None:
    instance(scene)
    scene.in_env("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")
    said = failure(CredentialsNotFound)
    assert "no AWS credentials in the environment or on this machine" in said
    assert HOP_LIMIT in said


def test_an_instance_that_is_slow(scene: Scene) -> None:
    instance(scene)
    scene.in_env("AWS_METADATA_SERVICE_TIMEOUT", "1")
    scene.services.opened.clear()
    with pytest.raises(CredentialsNotFound, match="AWS_METADATA_SERVICE_TIMEOUT"):
        TokenSource(HOST).token()


def test_an_instance_without_a_role(scene: Scene) -> None:
    instance(scene)
    scene.services.answers = [(200, "token"), (404, "")] * 2
    assert "has no role or did not answer" in failure(CredentialsNotFound)


def test_metadata_that_is_switched_off_is_not_talked_of(home: Home) -> None:
    assert "metadata" not in failure(CredentialsNotFound)


# Services out of reach.


def test_a_service_that_cannot_be_reached(scene: Scene) -> None:
    web_identity(scene)
    scene.in_env("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1/")
    scene.in_env("AWS_MAX_ATTEMPTS", "1")
    assert "cannot be reached" in failure(CredentialsTimeout)


# Sources of the caller's.


def test_a_session_of_the_callers(scene: Scene) -> None:
    """In the same words; what its process printed is no more repeated than by the chain."""
    scene.home.profile("app", credential_process=scene.home.program("print('NeverShown')"))
    for session in (boto3.Session(profile_name="app"), botocore.session.Session(profile="app")):
        assert "cannot be read (JSONDecodeError)" in failure(CredentialsError, credentials=session)


@pytest.mark.parametrize("parse", [json.loads, bytes.decode])
def test_a_callable_that_cannot_read_what_it_got(parse: Callable[[bytes], Any]) -> None:
    """Errors of parsing keep what was parsed: they are told, not passed on."""
    said = failure(CredentialsError, credentials=lambda: parse(b"NeverShown\xff"))
    assert "UnicodeDecodeError" in said
    said = failure(CredentialsError, credentials=lambda: json.loads("NeverShown"))
    assert "JSONDecodeError" in said
