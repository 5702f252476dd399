"""`AssumeRole`: what it takes, what STS is asked, how long what it gives is used, and what failures say."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

import dsql_fast
from dsql_fast import (
    AssumeRole,
    ConfigError,
    Credentials,
    CredentialsError,
    CredentialsExpired,
    CredentialsTimeout,
    TokenSource,
)
from dsql_fast.psycopg._attempt import begin
from safety.leaks import assert_clean, assert_records_clean
from tokens import programs
from tokens.aws import Services, sts_error
from tokens.sources import HOST
from waiting import eventually, eventually_async

if TYPE_CHECKING:
    from tokens.conftest import Home

ARN = "arn:aws:iam::123456789012:role/app"


def value(keys: Any) -> Credentials:
    return Credentials(keys.access_key, keys.secret_key, keys.token)


@pytest.fixture
def user(services: Services) -> Any:
    return services.keys("someone", temporary=True)


@pytest.fixture
def role(services: Services, user: Any) -> AssumeRole:
    return AssumeRole(services.trust("app", user.arn), source=value(user))


def key_of(token: str) -> str:
    return token.partition("X-Amz-Credential=")[2].partition("%2F")[0]


def life_of(token: str) -> int:
    return int(token.partition("X-Amz-Expires=")[2].partition("&")[0])


# What it takes.


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ({"role_arn": "app"}, "role_arn must be"),
        ({"role_arn": "arn:aws:iam::123:role/app"}, "role_arn must be"),
        ({"role_arn": "arn:aws:iam::123456789012:user/app"}, "role_arn must be"),
        ({"role_arn": ARN + "\n"}, "role_arn must be"),
        ({"role_arn": None}, "role_arn must be"),
        ({"session_name": ""}, "session_name must be"),
        ({"session_name": "a"}, "session_name must be"),
        ({"session_name": "a b"}, "session_name must be"),
        ({"session_name": "x" * 65}, "session_name must be"),
        ({"external_id": "x"}, "external_id must be"),
        ({"external_id": "x y"}, "external_id must be"),
        ({"external_id": ""}, "external_id must be"),
        ({"duration": 899}, "from 900 to 43200 seconds, not 899"),
        ({"duration": 43_201}, "from 900 to 43200 seconds"),
        ({"duration": "900"}, "whole number of seconds"),
        ({"duration": 900.0}, "whole number of seconds"),
        ({"duration": True}, "whole number of seconds"),
        ({"region": "not a region"}, "is not a Region"),
        ({"source": "profile"}, "credentials cannot be a str"),
        ({"source": 7}, "credentials cannot be a int"),
        ({"source": AssumeRole(ARN), "duration": 3601}, "3600 seconds for a role that is assumed from another"),
    ],
)
def test_what_sts_would_refuse_is_refused_here(said: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        AssumeRole(**{"role_arn": ARN, **said})


@pytest.mark.parametrize(
    "said",
    [
        {"role_arn": "arn:aws-us-gov:iam::123456789012:role/a/path/to+=,.@-_Role"},
        {"role_arn": "arn:aws-cn:iam::123456789012:role/x"},
        {"session_name": "me@example.com", "external_id": "a:b/c=,.@-"},
        {"duration": 900},
        {"duration": 43_200},
        {"source": AssumeRole(ARN), "duration": 3600},
        {"region": "EU-west-1"},
    ],
)
def test_what_sts_takes_is_taken(said: dict[str, Any]) -> None:
    AssumeRole(**{"role_arn": ARN, **said})


def test_it_is_a_value() -> None:
    def load() -> Credentials:
        return Credentials("AKID", "s")

    one = AssumeRole(ARN, external_id="ex-1", source=load)
    assert one == AssumeRole(ARN, external_id="ex-1", source=load)
    assert hash(one) == hash(AssumeRole(ARN, external_id="ex-1", source=load))
    others: list[dict[str, Any]] = [
        {"external_id": "ex-2"},
        {"duration": 900},
        {"session_name": "other"},
        {"region": "us-west-1"},
    ]
    for other in others:
        assert one != AssumeRole(**{"role_arn": ARN, "external_id": "ex-1", "source": load, **other})
    with pytest.raises(AttributeError):
        one.duration = 900  # type: ignore[misc]


def test_it_shows_no_secret() -> None:
    shown = repr(AssumeRole(ARN, external_id="neverShown", source=Credentials("AKID", "neverShown")))
    assert ARN in shown
    assert "neverShown" not in shown
    assert "Credentials" not in shown


def test_equal_ones_share_a_token_and_others_do_not() -> None:
    def source(**said: Any) -> TokenSource:
        return begin(HOST, {"credentials": AssumeRole(ARN, source=Credentials("AKID", "s"), **said)}).source

    assert source() is source()
    assert source() is not source(duration=900)


# What STS is asked.


def test_what_is_asked(services: Services, role: AssumeRole) -> None:
    TokenSource(HOST, credentials=role).token()
    (request,) = services.requests
    assert (request.what, request.region) == ("AssumeRole", "us-east-1")
    fields = {name: request.fields[name] for name in ("RoleArn", "RoleSessionName", "DurationSeconds")}
    assert fields == {"RoleArn": role.role_arn, "RoleSessionName": "dsql-fast", "DurationSeconds": "3600"}
    assert "ExternalId" not in request.fields


def test_the_external_id_the_name_and_the_duration(services: Services, user: Any) -> None:
    arn = services.trust("app", user.arn, external_id="ex-1", longest=7200)
    source = value(user)
    said: dict[str, Any] = {"session_name": "me", "external_id": "ex-1", "duration": 7200, "source": source}
    assert "=ASIA" in dsql_fast.generate_token(HOST, credentials=AssumeRole(arn, **said))
    fields = services.requests[-1].fields
    assert (fields["RoleSessionName"], fields["ExternalId"], fields["DurationSeconds"]) == ("me", "ex-1", "7200")
    with pytest.raises(CredentialsError, match="with an external id, if it asks for one"):
        dsql_fast.generate_token(HOST, credentials=AssumeRole(arn, source=source))


def test_the_clusters_region_is_asked_and_another_if_named(
    services: Services, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "ap-south-1")
    arn = services.trust("app", user.arn)
    host = HOST.replace("us-east-1", "eu-west-3")
    for region in (None, "eu-north-1"):
        role = AssumeRole(arn, source=value(user), region=region)
        TokenSource(host, credentials=role).token()
        begin(host, {"credentials": role}).source.token()
        dsql_fast.generate_token(host, credentials=role)
    assert [request.region for request in services.requests] == ["eu-west-3", "eu-north-1"]


def test_a_role_from_a_role(services: Services, user: Any) -> None:
    first = services.trust("first", user.arn)
    second = services.trust("second", "arn:aws:sts::000000000000:assumed-role/first/dsql-fast")
    role = AssumeRole(second, source=AssumeRole(first, source=value(user)))
    token = TokenSource(HOST, credentials=role).token()
    assert [request.fields["RoleArn"] for request in services.requests] == [first, second]
    assert services.requests[1].key not in {user.access_key, key_of(token)}


def test_the_default_source_is_the_environment(
    services: Services, user: Any, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New keys in it count at once for connects, as without a role."""
    other = services.keys("other")
    role = AssumeRole(services.trust("app", user.arn, other.arn))
    home.static("default", other)
    assert "=ASIA" in begin(HOST, {"credentials": role}).source.token()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", user.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", user.secret_key)
    monkeypatch.setenv("AWS_SESSION_TOKEN", user.token)
    assert "=ASIA" in begin(HOST, {"credentials": role}).source.token()
    assert [request.key for request in services.requests] == [other.access_key, user.access_key]


def test_a_profile_is_the_source(services: Services, home: Home) -> None:
    keys = services.keys("someone")
    role = AssumeRole(services.trust("app", keys.arn))
    home.static("base", keys)
    assert "=ASIA" in TokenSource(HOST, credentials=role, profile="base").token()
    assert "=ASIA" in begin(HOST, {"credentials": role, "profile": "base"}).source.token()
    assert services.requests[0].key == keys.access_key
    with pytest.raises(ConfigError, match="both credentials= and profile="):
        TokenSource(HOST, credentials=AssumeRole(ARN, source=lambda: keys), profile="base")
    with pytest.raises(ConfigError, match="both credentials= and profile="):
        TokenSource(HOST, credentials=Credentials("AKID", "s"), profile="base")


# How long what it gives is used.


def test_all_sources_share_what_was_given(services: Services, role: AssumeRole) -> None:
    tokens = [TokenSource(HOST, credentials=role, user=user).token() for user in ("admin", "reader", "writer")]
    assert len({key_of(token) for token in tokens}) == 1
    assert services.count("AssumeRole") == 1


def test_many_at_once_ask_once(services: Services, role: AssumeRole) -> None:
    services.opened.clear()
    sources = [TokenSource(HOST, credentials=role, token_duration_secs=60 + number) for number in range(5)]
    tokens: list[str] = []
    threads = [threading.Thread(target=lambda each=each: tokens.append(each.token())) for each in sources]
    for thread in threads:
        thread.start()
    assert services.entered.acquire(timeout=30)
    services.opened.set()
    for thread in threads:
        thread.join(30)
    assert len({key_of(token) for token in tokens}) == 1
    assert len(tokens) == 5
    assert services.count("AssumeRole") == 1


def test_many_at_once_whose_source_is_awaited_ask_once(services: Services, user: Any) -> None:
    async def load() -> Credentials:
        await asyncio.sleep(0)
        return value(user)

    role = AssumeRole(services.trust("app", user.arn), source=load)

    async def main() -> list[str]:
        services.opened.clear()
        sources = [TokenSource(HOST, credentials=role, token_duration_secs=60 + number) for number in range(5)]
        tasks = [asyncio.ensure_future(source.token_async()) for source in sources]
        await eventually_async(lambda: services.count("AssumeRole") == 1)
        services.opened.set()
        return list(await asyncio.gather(*tasks))

    assert len({key_of(token) for token in asyncio.run(main())}) == 1
    assert services.count("AssumeRole") == 1


@pytest.mark.parametrize(("life", "asked"), [(901, 1), (899, 2)])
def test_they_are_renewed_a_quarter_of_an_hour_before_they_end(
    life: int, asked: int, services: Services, role: AssumeRole
) -> None:
    # 901 seconds are 900 and what a slow machine needs to come to the second token: 60 are spared.
    services.life = life + (60 if asked == 1 else 0)
    for _ in range(2):
        TokenSource(HOST, credentials=role).token()
    assert services.count("AssumeRole") == asked


def test_short_ones_are_used_more_than_once(services: Services, user: Any) -> None:
    role = AssumeRole(services.trust("app", user.arn), source=value(user), duration=900)
    for _ in range(3):
        TokenSource(HOST, credentials=role).token()
    assert services.count("AssumeRole") == 1


def test_a_token_does_not_outlive_them(services: Services, role: AssumeRole) -> None:
    services.life = 120
    source = TokenSource(HOST, credentials=role)
    assert 60 < life_of(source.token()) <= 120
    end = source.stats().expires_at
    assert end is not None
    assert end <= dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=120)


def test_what_has_ended_already_is_refused(services: Services, role: AssumeRole) -> None:
    services.life = -5
    with pytest.raises(CredentialsExpired, match="expired"):
        TokenSource(HOST, credentials=role).token()


def test_the_old_ones_to_their_end_when_sts_gives_none(
    services: Services, role: AssumeRole, caplog: pytest.LogCaptureFixture
) -> None:
    services.life = 600
    first = TokenSource(HOST, credentials=role).token()
    services.answers = [(403, sts_error("AccessDenied", "User: x is not authorized to perform: sts:AssumeRole"))]
    with caplog.at_level(logging.WARNING, "dsql_fast"):
        second = TokenSource(HOST, credentials=role).token()
    assert key_of(second) == key_of(first)
    assert dsql_fast.counters() == {"role_renewal_failed": 1}
    assert "was not assumed anew" in caplog.text
    third = TokenSource(HOST, credentials=role).token()
    assert key_of(third) != key_of(first)


# Nobody waits on the event loop.


def test_the_event_loop_goes_on_while_sts_does_not_answer(services: Services, role: AssumeRole) -> None:
    async def main() -> str:
        services.opened.clear()
        waiting = asyncio.ensure_future(TokenSource(HOST, credentials=role).token_async())
        await eventually_async(lambda: services.count("AssumeRole") == 1)
        assert not waiting.done()
        services.opened.set()  # by the loop, which is free
        return await waiting

    assert "=ASIA" in asyncio.run(main())


def test_sts_that_does_not_answer_in_time(services: Services, role: AssumeRole) -> None:
    services.opened.clear()
    source = TokenSource(HOST, credentials=role, credentials_timeout=0.05)
    with pytest.raises(CredentialsTimeout, match=r"0\.05 s"):
        source.token()
    services.opened.set()
    eventually(lambda: not source._renewals())
    assert "=ASIA" in source.token()


# What failures say.

CANONICAL = "The Canonical String should have been 'POST x-amz-security-token:sessionTokenNeverShown'"
REFUSED: dict[str, tuple[tuple[int, str, str], type[CredentialsError], str]] = {
    "denied": (
        (403, "AccessDenied", "User: arn:me is not authorized"),
        CredentialsError,
        "arn:me is not.*trust policy",
    ),
    "ended": (
        (403, "ExpiredToken", "The security token is expired"),
        CredentialsExpired,
        "is expired: renew what asks",
    ),
    "unknown": ((403, "InvalidClientTokenId", "invalid."), CredentialsError, "does not exist"),
    "signature": (
        (403, "SignatureDoesNotMatch", CANONICAL),
        CredentialsError,
        "SignatureDoesNotMatch: the secret",
    ),
    "too long": ((400, "ValidationError", "exceeds"), CredentialsError, "exceeds: a role allows 3600 seconds"),
    "region": ((403, "RegionDisabledException", "not activated"), CredentialsError, "activate STS in this Region"),
    "another": ((400, "MalformedPolicyDocument", "odd"), CredentialsError, "MalformedPolicyDocument: odd$"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_says_who_asked_for_what_and_why_not(
    case: str, services: Services, role: AssumeRole, user: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (status, code, message), kind, match = REFUSED[case]
    services.answers = [(status, sts_error(code, message))]
    caplog.set_level(logging.INFO)
    with pytest.raises(kind, match=match) as caught:
        TokenSource(HOST, credentials=role).token()
    assert type(caught.value) is kind
    assert f"{role.role_arn} was not assumed with credentials=: {code}" in str(caught.value)
    secrets = [user.secret_key, user.token, "NeverShown"]
    assert_clean(caught.value, secrets)
    assert_records_clean(caplog.records, secrets)


def test_a_busy_sts_is_asked_again_and_may_be_later(services: Services, role: AssumeRole) -> None:
    busy = (503, sts_error("ServiceUnavailable", "busy"))
    services.answers = [busy] * 2
    assert "=ASIA" in TokenSource(HOST, credentials=role).token()
    services.answers = [busy] * 3
    with pytest.raises(CredentialsTimeout, match=r"HTTP 503.*try again"):
        dsql_fast.generate_token(HOST, credentials=AssumeRole(role.role_arn, source=role.source, duration=1800))


def test_sts_that_cannot_be_reached(services: Services, role: AssumeRole, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1/")
    with pytest.raises(CredentialsTimeout, match=r"not assumed.*cannot be reached.*127\.0\.0\.1:1.*VPC endpoint"):
        dsql_fast.generate_token(HOST, credentials=role)


def test_a_page_of_a_proxys(services: Services, role: AssumeRole) -> None:
    services.answers = [(407, f"<html>{'x' * 100} NeverShown<br>")] * 3
    with pytest.raises(CredentialsTimeout, match=r"no answer of AWS's: a proxy's, perhaps") as caught:
        dsql_fast.generate_token(HOST, credentials=role)
    assert_clean(caught.value, ["NeverShown"])


def test_the_source_is_named(services: Services, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    services.answers = [(403, sts_error("AccessDenied", "no"))] * 4
    home.static("base", services.keys("someone"))
    home.static("default", services.keys("someone"))
    first = AssumeRole(services.trust("first"), source=lambda: services.keys("someone"))
    for settings, name in (
        ({"credentials": AssumeRole(ARN)}, "botocore's default chain"),
        ({"credentials": AssumeRole(ARN), "profile": "base"}, "profile 'base'"),
        ({"credentials": first}, r"credentials= \(a function\)"),
    ):
        arguments: dict[str, Any] = settings
        with pytest.raises(CredentialsError, match=f"was not assumed with {name}: AccessDenied"):
            TokenSource(HOST, **arguments).token()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    with pytest.raises(CredentialsError, match="was not assumed with the environment's keys"):
        TokenSource(HOST, credentials=AssumeRole(ARN)).token()


def test_a_wrong_secret_is_told_without_the_request(services: Services, role: AssumeRole, user: Any) -> None:
    """STS's own message repeats the request, with its session token."""
    wrong = AssumeRole(role.role_arn, source=Credentials(user.access_key, "wrong-secret", user.token))
    with pytest.raises(CredentialsError, match="SignatureDoesNotMatch: the secret access key") as caught:
        dsql_fast.generate_token(HOST, credentials=wrong)
    assert_clean(caught.value, [user.token, "wrong-secret", user.secret_key])


def test_a_source_that_fails_is_told_as_such(services: Services) -> None:
    def fail() -> Credentials:
        raise LookupError("the vault is sealed")

    with pytest.raises(CredentialsError, match="LookupError: the vault is sealed"):
        TokenSource(HOST, credentials=AssumeRole(ARN, source=fail)).token()
    assert not services.requests


def test_a_forked_child_assumes_it_for_itself(services: Services, user: Any, home: Home) -> None:
    program = """
role = dsql_fast.AssumeRole(sys.argv[1], source=Credentials(*sys.argv[2:]))
key = lambda: TokenSource(HOST, credentials=role).token().partition("Credential=")[2][:24]
mine = key()
assert mine == key()

def in_the_child():
    assert key() != mine

assert in_child(in_the_child) == 0
"""
    programs.run(program, home.path, services.trust("app", user.arn), user.access_key, user.secret_key, user.token)
    assert services.count("AssumeRole") == 2
