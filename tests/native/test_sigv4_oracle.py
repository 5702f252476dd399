"""Signing, byte for byte against botocore's signer; and what it refuses.

The oracle is `botocore.auth.SigV4QueryAuth` itself with a frozen clock: where awscrt is installed, botocore's
clients sign with that, which orders the query differently.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone
from typing import Any
from unittest import mock
from urllib.parse import parse_qs

import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import given, settings
from hypothesis import strategies as st

from dsql_fast._errors import ConfigError, CredentialsError, CredentialsExpired
from dsql_fast._native import Credentials, sign_token

HOST = "foo0bar1baz2quux3quuux4q00.dsql.us-east-1.on.aws"
REGION = "us-east-1"
NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=timezone.utc)
WEEK = 604_800


def oracle(
    keys: tuple[str, str, str | None],
    host: str,
    region: str,
    action: str,
    *,
    expires_in: int,
    now: datetime,
) -> str:
    request = AWSRequest("GET", f"https://{host}/?Action={action}")
    signer = SigV4QueryAuth(BotocoreCredentials(*keys), "dsql", region, expires_in)
    with mock.patch("botocore.auth.get_current_datetime", return_value=now.replace(tzinfo=None)):
        signer.add_auth(request)
    return str(request.url).removeprefix("https://")


# Anything that may stand in a key: no control characters, no white space around it. Surrogates have no UTF-8.
any_key = (
    st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=60)
    | st.text("AKIAZ27/+=%&?~-_. !\"#$'()*,:;<>@[]^`{|}é€\U0001f511", min_size=1, max_size=60)
).filter(lambda key: bool(key.strip()) and key.strip() == key)
a_host = st.from_regex(r"[a-z0-9]([a-z0-9.\-]{0,60}[a-z0-9])?", fullmatch=True)
a_region = st.from_regex(r"[a-z0-9\-]{1,20}", fullmatch=True)
a_moment = st.integers(0, 253_402_300_799_999_999).map(
    lambda micros: datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=micros)
)


@settings(max_examples=2_000, deadline=None)
@given(
    key=any_key,
    secret=any_key,
    session_token=st.none() | st.just("") | any_key,
    host=a_host,
    region=a_region,
    action=st.sampled_from(["DbConnect", "DbConnectAdmin"]),
    expires_in=st.integers(1, WEEK),
    now=a_moment,
)
def test_the_text_is_botocores(
    *,
    key: str,
    secret: str,
    session_token: str | None,
    host: str,
    region: str,
    action: str,
    expires_in: int,
    now: datetime,
) -> None:
    credentials = Credentials(key, secret, session_token)
    token, signed_at, expires_at = sign_token(credentials, host, region, action, expires_in, now)
    assert token == oracle(
        (key, secret, session_token or None), host, region, action, expires_in=expires_in, now=now
    )
    assert signed_at == now.replace(microsecond=0).timestamp()
    assert expires_at - signed_at == expires_in


def test_the_text_is_botocores_for_one_object_over_days_regions_and_lifetimes() -> None:
    """One object keeps a day's key: it must never be used for another day or region."""
    rng = random.Random(20261121)
    keys = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG", "FwoG+ZX/Ivl==" * 30)
    credentials = Credentials(*keys)
    for _ in range(2_000):
        region = rng.choice(["us-east-1", "us-east-2", "eu-west-1"])
        now = NOW + timedelta(seconds=rng.choice([0, 1, 86_399, 43_199, 43_200, rng.randrange(10**8)]))
        expires_in = rng.choice([1, 60, 900, WEEK, rng.randint(1, WEEK)])
        action = rng.choice(["DbConnect", "DbConnectAdmin"])
        token, _, _ = sign_token(credentials, HOST, region, action, expires_in, now)
        assert token == oracle(keys, HOST, region, action, expires_in=expires_in, now=now)


@pytest.mark.parametrize("now", [NOW.timestamp(), int(NOW.timestamp()), NOW.timestamp() + 0.999])
def test_unix_seconds_and_datetimes_mean_the_same(now: float) -> None:
    credentials = Credentials("akid", "secret")
    expected = sign_token(credentials, HOST, REGION, "DbConnect", 900, NOW)
    assert sign_token(credentials, HOST, REGION, "DbConnect", 900, now) == expected
    elsewhere = NOW.astimezone(timezone(timedelta(hours=-7, minutes=-30)))
    assert sign_token(credentials, HOST, REGION, "DbConnect", 900, elsewhere) == expected


def test_without_a_time_it_is_now() -> None:
    before = datetime.now(timezone.utc).timestamp()
    _, signed_at, expires_at = sign_token(Credentials("akid", "secret"), HOST, REGION, "DbConnect", 900)
    assert before - 1 <= signed_at <= datetime.now(timezone.utc).timestamp()
    assert expires_at == signed_at + 900


def test_the_host_is_lower_cased() -> None:
    credentials = Credentials("akid", "secret")
    assert sign_token(credentials, HOST.upper(), REGION, "DbConnect", 900, NOW) == sign_token(
        credentials, HOST, REGION, "DbConnect", 900, NOW
    )


@pytest.mark.parametrize(
    "change",
    [
        *({"host": host} for host in ["", "a,b", "a:5432", "https://a", "u@a", "a/", "a b", "a\n", "ä", "-a"]),
        *({"region": region} for region in ["", "US-EAST-1", "us east 1", "us-east-1/"]),
        *({"action": action} for action in ["", "dbconnect", "DbConnectAdmin "]),
        *({"expires_in": life} for life in [0, -1, WEEK + 1, 2**63, -(2**70), True]),
        *({"now": now} for now in [datetime(2026, 11, 21), -1, 1e12, float("nan"), float("inf"), True]),  # noqa: DTZ001
        {"now": datetime(1969, 12, 31, 23, 59, 59, tzinfo=timezone.utc)},
    ],
    ids=str,
)
def test_refuses_what_cannot_be_signed(change: dict[str, Any]) -> None:
    request: dict[str, Any] = {
        "host": HOST,
        "region": REGION,
        "action": "DbConnect",
        "expires_in": 900,
        "now": NOW,
    }
    with pytest.raises(ConfigError) as refused:
        sign_token(Credentials("akid", "secret"), **{**request, **change})
    assert isinstance(refused.value, ValueError)


@pytest.mark.parametrize("change", [{"expires_in": "900"}, {"expires_in": 9.5}, {"now": "now"}, {"host": None}])
def test_wrong_types_are_type_errors(change: dict[str, Any]) -> None:
    request: dict[str, Any] = {"host": HOST, "region": REGION, "action": "DbConnect", "expires_in": 900}
    with pytest.raises(TypeError):
        sign_token(Credentials("akid", "secret"), **{**request, **change})


def test_a_token_never_outlives_its_credentials() -> None:
    def life(left: timedelta) -> str:
        credentials = Credentials("akid", "secret", expires_at=NOW + left)
        token, signed_at, expires_at = sign_token(credentials, HOST, REGION, "DbConnect", 900, NOW)
        assert expires_at == signed_at + float(parse_qs(token)["X-Amz-Expires"][0])
        return parse_qs(token)["X-Amz-Expires"][0]

    assert life(timedelta(hours=1)) == "900"
    assert life(timedelta(seconds=899, microseconds=999_999)) == "899"
    assert life(timedelta(seconds=1)) == "1"
    for left in (timedelta(microseconds=999_999), timedelta(0), timedelta(days=-1)):
        with pytest.raises(CredentialsExpired) as expired:
            life(left)
        assert isinstance(expired.value, CredentialsError)
