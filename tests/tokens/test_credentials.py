"""Where credentials come from, which beats which, and when new ones count."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
import pytest
from botocore.credentials import (
    CredentialProvider,
    RefreshableCredentials,
    SharedCredentialProvider,
)
from botocore.credentials import Credentials as BotocoreCredentials

import dsql_fast
from dsql_fast import Credentials, CredentialsError, TokenSource
from dsql_fast._credentials._environment import environment_credentials
from dsql_fast.psycopg._attempt import begin
from tokens.sources import HOST

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Keys


def utc(seconds: float) -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=seconds)


def in_environment(patch: pytest.MonkeyPatch, access_key: str = "AKIDENV", **further: str) -> None:
    patch.setenv("AWS_ACCESS_KEY_ID", access_key)
    patch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-" + access_key)
    for name, value in further.items():
        patch.setenv(name, value)


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shared credentials file with two profiles, and a configuration with their Regions."""
    file = tmp_path / "credentials"
    file.write_text(
        "[default]\naws_access_key_id = AKIDDEFAULT\naws_secret_access_key = s\n"
        "[other]\naws_access_key_id = AKIDOTHER\naws_secret_access_key = s\naws_session_token = t\n"
    )
    config = tmp_path / "config"
    config.write_text("[default]\nregion = eu-west-1\n[profile other]\nregion = eu-west-2\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    return file


# What may be passed as credentials=, made of an access key.


def _refreshable(access_key: str) -> Any:
    found = {"access_key": access_key, "secret_key": "s", "token": "t", "expiry_time": utc(7200).isoformat()}
    return RefreshableCredentials.create_from_metadata(found, lambda: found, "test")


def _botocore_session(access_key: str) -> Any:
    session = botocore.session.Session()
    session.set_credentials(access_key, "s", "t")
    return session


class _Provider(CredentialProvider):  # type: ignore[misc]
    METHOD = "test"

    def __init__(self, access_key: str) -> None:
        super().__init__()
        self.access_key = access_key

    def load(self) -> Any:
        return BotocoreCredentials(self.access_key, "s", "t")


class _Own:
    """Not botocore's, but with the same attributes."""

    def __init__(self, access_key: str) -> None:
        self.access_key, self.secret_key, self.token = access_key, "s", None


KINDS: dict[str, Callable[[str], Any]] = {
    "Credentials": lambda key: Credentials(key, "s", "t"),
    "ReadOnlyCredentials": lambda key: BotocoreCredentials(key, "s", "t").get_frozen_credentials(),
    "botocore Credentials": lambda key: BotocoreCredentials(key, "s", "t"),
    "RefreshableCredentials": _refreshable,
    "botocore session": _botocore_session,
    "boto3 session": lambda key: boto3.Session(key, "s", "t"),
    "botocore provider": _Provider,
    "own class": _Own,
}
CALLABLE_KINDS = (
    "Credentials",
    "ReadOnlyCredentials",
    "botocore Credentials",
    "RefreshableCredentials",
    "own class",
)


@pytest.mark.parametrize("kind", KINDS)
def test_what_may_be_passed(kind: str, aws_keys: Keys) -> None:
    """It beats the environment's keys, by every way to a token."""
    given = KINDS[kind]("AKIDGIVEN")
    for token in (
        dsql_fast.generate_token(HOST, credentials=given),
        TokenSource(HOST, credentials=given).token(),
        asyncio.run(TokenSource(HOST, credentials=given).token_async()),
        begin(HOST, {"credentials": given}).source.token(),
    ):
        assert "X-Amz-Credential=AKIDGIVEN%2F" in token
        assert ("X-Amz-Security-Token" in token) == (kind != "own class")


@pytest.mark.parametrize("kind", CALLABLE_KINDS)
def test_what_a_callable_may_give(kind: str) -> None:
    made = KINDS[kind]("AKIDGIVEN")

    async def asynchronous() -> Any:
        return made

    assert "AKIDGIVEN" in TokenSource(HOST, credentials=lambda: made).token()
    assert "AKIDGIVEN" in asyncio.run(TokenSource(HOST, credentials=asynchronous).token_async())
    assert "AKIDGIVEN" in dsql_fast.generate_token(HOST, credentials=lambda: made)


def test_sources_that_have_none() -> None:
    class Empty(_Provider):
        def load(self) -> None:
            return None

    for given in (Empty("x"), botocore.session.Session(), boto3.Session()):
        with pytest.raises(dsql_fast.CredentialsNotFound, match="has no credentials"):
            TokenSource(HOST, credentials=given).token()


def test_a_botocore_provider_for_a_file(profiles: Path) -> None:
    provider = SharedCredentialProvider(str(profiles), "other")
    assert "AKIDOTHER" in TokenSource(HOST, credentials=provider).token()


def test_the_end_of_refreshable_credentials_caps_the_token() -> None:
    found = {"access_key": "AKID", "secret_key": "s", "token": "t", "expiry_time": utc(7200).isoformat()}
    refreshable = RefreshableCredentials.create_from_metadata(found, lambda: found, "test")
    source = TokenSource(HOST, credentials=refreshable, token_duration_secs=604800)
    life = int(source.token().partition("X-Amz-Expires=")[2].partition("&")[0])
    assert 7190 <= life <= 7200
    assert TokenSource(HOST, credentials=refreshable).token().count("X-Amz-Expires=900&") == 1


# The environment.


def test_the_environments_session_token(monkeypatch: pytest.MonkeyPatch) -> None:
    in_environment(monkeypatch)
    assert "Security-Token" not in dsql_fast.generate_token(HOST)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "newer")
    assert "Security-Token=newer&" in dsql_fast.generate_token(HOST)
    monkeypatch.setenv("AWS_SECURITY_TOKEN", "older")
    assert "Security-Token=older&" in dsql_fast.generate_token(HOST)
    # botocore's order
    keys = botocore.session.Session().get_credentials().get_frozen_credentials()
    assert keys.token == "older"
    monkeypatch.setenv("AWS_SESSION_TOKEN", "")
    monkeypatch.setenv("AWS_SECURITY_TOKEN", "")
    assert "Security-Token" not in dsql_fast.generate_token(HOST)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("2030-01-31T12:00:00Z", "2030-01-31T12:00:00+00:00"),
        ("2030-01-31T12:00:00+00:00", "2030-01-31T12:00:00+00:00"),
        ("2030-01-31T14:00:00+02:00", "2030-01-31T12:00:00+00:00"),
        ("2030-01-31T12:00:00", "2030-01-31T12:00:00+00:00"),
        (" 2030-01-31T12:00:00Z ", "2030-01-31T12:00:00+00:00"),
        ("2030-01-31T12:00:00.123456Z", "2030-01-31T12:00:00.123456+00:00"),
    ],
)
def test_the_environments_expiration(text: str, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    in_environment(monkeypatch, AWS_CREDENTIAL_EXPIRATION=text)
    source = begin(HOST, {}).source
    source.token()
    found = environment_credentials(
        {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_CREDENTIAL_EXPIRATION": text}
    )
    assert found is not None
    assert found.expires_at == dt.datetime.fromisoformat(end)


def test_the_environments_expiration_caps_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    in_environment(monkeypatch, AWS_CREDENTIAL_EXPIRATION=utc(100).isoformat())
    life = int(dsql_fast.generate_token(HOST).partition("X-Amz-Expires=")[2].partition("&")[0])
    assert 90 <= life <= 100
    monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", utc(-1).isoformat())
    with pytest.raises(dsql_fast.CredentialsExpired):
        dsql_fast.generate_token(HOST)
    with pytest.raises(dsql_fast.CredentialsExpired):
        begin(HOST, {}).source.token()


@pytest.mark.parametrize("text", ["soon", "2030-13-01", "1893499200", "2030-01-31T25:00:00Z"])
def test_an_expiration_that_is_no_time(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    in_environment(monkeypatch, AWS_CREDENTIAL_EXPIRATION=text)
    with pytest.raises(CredentialsError, match="AWS_CREDENTIAL_EXPIRATION is not a time"):
        dsql_fast.generate_token(HOST)


# Precedence.


def test_an_explicit_profile_beats_the_environments_keys(profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_environment(monkeypatch)
    assert "AKIDOTHER" in TokenSource(HOST, profile="other").token()
    assert "AKIDOTHER" in begin(HOST, {"profile": "other"}).source.token()
    assert "AKIDOTHER" in begin(f"host={HOST} profile=other", {}).source.token()


def test_aws_profile_does_not(profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "other")
    assert "AKIDOTHER" in dsql_fast.generate_token(HOST)
    assert "AKIDOTHER" in begin(HOST, {}).source.token()
    in_environment(monkeypatch)
    assert "AKIDENV" in dsql_fast.generate_token(HOST)
    assert "AKIDENV" in begin(HOST, {}).source.token()


def test_the_default_profile_is_last(profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "AKIDDEFAULT" in dsql_fast.generate_token(HOST)
    assert "AKIDDEFAULT" in TokenSource(HOST).token()
    in_environment(monkeypatch)
    assert "AKIDENV" in TokenSource(HOST).token()


def test_the_profiles_region(profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = "a" * 26
    assert f"{cluster}.dsql.eu-west-1.on.aws" in dsql_fast.generate_token(cluster)
    assert f"{cluster}.dsql.eu-west-2.on.aws" in TokenSource(cluster, profile="other").token()
    monkeypatch.setenv("AWS_PROFILE", "other")
    assert f"{cluster}.dsql.eu-west-2.on.aws" in dsql_fast.generate_token(cluster)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
    assert "eu-west-3" in dsql_fast.generate_token(cluster)
    monkeypatch.setenv("AWS_REGION", "eu-west-4")
    assert "eu-west-4" in dsql_fast.generate_token(cluster)
    assert "eu-west-5" in dsql_fast.generate_token(cluster, "EU-West-5")
