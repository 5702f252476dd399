"""No key in any error on the way to a token, its causes, or the locals of its frames."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
from botocore.credentials import ReadOnlyCredentials

import dsql_fast
from dsql_fast import TokenSource
from safety.doors import HOST
from safety.leaks import assert_clean, assert_records_clean, texts_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Keys

SECRET = "secretNeverShownAnywhere"
TOKEN = "sessionTokenNeverShownAnywhere"
KEYS = ReadOnlyCredentials("AKIDFAKE", SECRET, TOKEN)
BLANK = ReadOnlyCredentials(" ", SECRET, TOKEN)


class OwnError(Exception):
    pass


def fail() -> ReadOnlyCredentials:
    keys = (KEYS, SECRET)
    raise OwnError(f"no network after {len(keys)} tries")


async def fail_async() -> ReadOnlyCredentials:
    return fail()


def chained() -> ReadOnlyCredentials:
    secret = SECRET
    try:
        return fail()
    except OwnError as error:
        raise LookupError(len(secret)) from error


class Refusing:
    """Fails with its secret in an attribute, as an own class of credentials might."""

    def __init__(self) -> None:
        self.held = SECRET

    def __repr__(self) -> str:
        return f"Refusing({self.held})"

    def __call__(self) -> ReadOnlyCredentials:
        raise OwnError("refused")


def by_generate_token(**arguments: Any) -> str:
    host = arguments.pop("host", HOST)
    arguments["expires_in"] = arguments.pop("token_duration_secs", 900)
    return dsql_fast.generate_token(host, **arguments)


def by_token(**arguments: Any) -> str:
    return TokenSource(arguments.pop("host", HOST), **arguments).token()


def by_token_async(**arguments: Any) -> str:
    return asyncio.run(TokenSource(arguments.pop("host", HOST), **arguments).token_async())


def by_connect(**arguments: Any) -> str:
    return str(dsql_fast.connect(hostaddr="127.0.0.1", port=1, **{"host": HOST, **arguments}))


WAYS: dict[str, Callable[..., str]] = {
    "generate_token": by_generate_token,
    "token": by_token,
    "token_async": by_token_async,
    "connect": by_connect,
}
TROUBLE: dict[str, dict[str, Any]] = {
    "no host": {"host": "", "credentials": KEYS},
    "a URI for a host": {"host": f"dsql://admin:{SECRET}@{HOST}", "credentials": KEYS},
    "lifetime": {"token_duration_secs": 0, "credentials": KEYS},
    "user": {"user": "a\0b", "credentials": KEYS},
    "region": {"region": "eu-west-1", "credentials": KEYS},
    "blank keys": {"credentials": BLANK},
    "blank keys from a callable": {"credentials": lambda: BLANK},
    "no source": {"credentials": [KEYS]},
    "a pair": {"credentials": lambda: (KEYS.access_key, SECRET)},
    "a failing source": {"credentials": fail},
    "a failing chain of causes": {"credentials": chained},
    "a failing object": {"credentials": Refusing()},
}


@pytest.mark.parametrize("trouble", TROUBLE)
@pytest.mark.parametrize("way", WAYS)
def test_failures(way: str, trouble: str, caplog: pytest.LogCaptureFixture) -> None:
    for name in (None, "dsql_fast", "botocore"):
        caplog.set_level(logging.DEBUG, name)
    with pytest.raises(dsql_fast.Error) as caught:
        WAYS[way](**TROUBLE[trouble])
    assert_clean(caught.value, [SECRET, TOKEN])
    assert_records_clean(caplog.records, [SECRET, TOKEN])
    assert not [text for _, text in texts_of(caught.value) if "Refusing(" in text]


def test_a_failing_asynchronous_source() -> None:
    with pytest.raises(dsql_fast.CredentialsError) as caught:
        by_token_async(credentials=fail_async)
    assert_clean(caught.value, [SECRET, TOKEN])


def test_interrupts_and_exits_of_a_source() -> None:
    for kind in (KeyboardInterrupt, SystemExit):

        def stop(kind: type[BaseException] = kind) -> ReadOnlyCredentials:
            keys = KEYS
            raise kind(len(keys))

        with pytest.raises(kind) as caught:
            dsql_fast.generate_token(HOST, credentials=stop)
        assert_clean(caught.value, [SECRET, TOKEN])


@pytest.mark.parametrize(
    "environment",
    [
        {"AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": TOKEN},
        {"AWS_ACCESS_KEY_ID": " ", "AWS_SECRET_ACCESS_KEY": SECRET},
        {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": SECRET + " "},
        {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": TOKEN + "\n"},
        {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_CREDENTIAL_EXPIRATION": "x"},
        {
            "AWS_ACCESS_KEY_ID": "AKID",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_CREDENTIAL_EXPIRATION": "2020-01-01T00:00:00Z",
        },
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_unusable_environments(way: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(dsql_fast.CredentialsError) as caught:
        WAYS[way]()
    assert_clean(caught.value, [SECRET, TOKEN])


def test_what_holds_secrets_does_not_show_them(aws_keys: Keys) -> None:
    source = TokenSource(HOST)
    held = [
        dsql_fast.Credentials("AKIDFAKE", SECRET, TOKEN),
        source,
        source.stats(),
        source._provider,
        vars(source),
    ]
    source.token()
    for shown in (f"{each!r} {each!s} {each}" for each in held):
        assert SECRET not in shown
        assert TOKEN not in shown
        assert aws_keys.secret_key not in shown
        assert "X-Amz" not in shown
