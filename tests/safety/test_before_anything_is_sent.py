"""What cannot be used is refused with a typed error, before a connection is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.credentials import ReadOnlyCredentials

import dsql_fast
from dsql_fast import ConfigError, CredentialsError, CredentialsNotFound
from safety.doors import DOORS, HOST
from safety.recorder import Recorder

if TYPE_CHECKING:
    from conftest import Keys

HOSTS: dict[str, tuple[object, str]] = {
    "empty": ("", "no host"),
    "comma": (f"{HOST},b.example", "comma"),
    "list in a string": (f"['{HOST}', 'b']", "character"),
    "list in a list": ([[HOST], [HOST]], "text, not list"),
    "set": ({HOST}, "text, not set"),
    "bytes": (HOST.encode(), "text, not bytes"),
    "scheme": (f"https://{HOST}", "colon"),
    "port": (f"{HOST}:5432", "colon"),
    "path": (f"{HOST}/postgres", "slash"),
    "user information": (f"admin@{HOST}", "user information"),
    "space": (f"{HOST} b", "space"),
    "space before": (f" {HOST}", "space"),
    "line feed": (f"{HOST}\n", "character"),
    "zero byte": (f"{HOST}\0", "character"),
    "tab": (f"{HOST}\tb", "character"),
    "not ASCII": (HOST.replace("u", "ü", 1), "not ASCII"),
    "full-width": (HOST.replace("c", "ｃ", 1), "not ASCII"),
    "a capital that lowers to two characters": ("İ" + HOST, "not ASCII"),
    "Kelvin sign": ("\u212a" + HOST, "not ASCII|dsql|Region"),
    "underscore": (f"a_{HOST}", "character"),
    "percent": (f"a%2e{HOST}", "character"),
    "IPv6": ("[::1]", "character|colon"),
    "dot before": ("." + HOST, "dot"),
    "dot after": (HOST + ".", "dot"),
    "two dots": (HOST.replace(".", "..", 1), "dot"),
    "hyphen before": ("-" + HOST, "hyphen"),
    "too long": ("a" * 254, "253"),
    "Unix socket": ("/tmp", "slash"),
}
KEYWORDS: dict[str, tuple[dict[str, Any], str]] = {
    "cluster id without a Region": ({"host": "a" * 26}, "needs a Region"),
    "host without a Region": ({"host": "db.example"}, "Region"),
    "another Region": ({"region": "eu-west-1"}, "contradicts"),
    "no Region at all": ({"region": "us east 1"}, "not a Region"),
    "empty Region": ({"region": ""}, "not a Region"),
    "lifetime 0": ({"token_duration_secs": 0}, "from 1 to 604800"),
    "lifetime negative": ({"token_duration_secs": -1}, "from 1 to 604800"),
    "lifetime over a week": ({"token_duration_secs": 604801}, "from 1 to 604800"),
    "lifetime huge": ({"token_duration_secs": 10**30}, "from 1 to 604800"),
    "lifetime of very many digits": ({"token_duration_secs": "9" * 5000}, "604800|whole number"),
    "lifetime true": ({"token_duration_secs": True}, "whole number"),
    "lifetime false": ({"token_duration_secs": False}, "whole number"),
    "lifetime with a fraction": ({"token_duration_secs": 900.5}, "whole number"),
    "lifetime infinite": ({"token_duration_secs": float("inf")}, "whole number"),
    "lifetime no number": ({"token_duration_secs": float("nan")}, "whole number"),
    "lifetime in words": ({"token_duration_secs": "soon"}, "whole number"),
    "lifetime in other digits": ({"token_duration_secs": "٩٠٠"}, "whole number"),
    "lifetime empty": ({"token_duration_secs": ""}, "whole number"),
    "lifetime of two spellings": (
        {"token_duration_secs": 900, "conninfo": "tokenDurationSecs=1 token-duration-secs=2"},
        "differ",
    ),
    "password": ({"password": "x"}, "the token is the password"),
    "empty password": ({"password": ""}, "the token is the password"),
    "passfile": ({"passfile": "x"}, "the token is the password"),
    "password in pairs": ({"conninfo": "password=x"}, "the token is the password"),
    "password in a URI": ({"conninfo": f"postgresql://admin:x@{HOST}/"}, "the token is the password"),
    "password in a URI's parameters": ({"conninfo": f"dsql://{HOST}/?password=x"}, "the token is the password"),
    "nearly a keyword": ({"usr": "x"}, "did you mean user"),
    "nearly another keyword": ({"token_duration_sec": 1}, "did you mean token_duration_secs"),
    "nearly a keyword of libpq's": ({"sslrootcrt": "x"}, "did you mean sslrootcert"),
    "not nearly a keyword": ({"qqqqqq": 1}, "unknown keyword 'qqqqqq'"),
    "nearly a keyword in a URI": ({"conninfo": f"postgresql://{HOST}/?regoin=x"}, "did you mean region"),
    "service": ({"service": "x"}, "service"),
    "GSS": ({"gssencmode": "prefer"}, "bypass TLS"),
    "channel binding": ({"channel_binding": "require"}, "SCRAM"),
    "authentication": ({"require_auth": "none"}, "cleartext password"),
    "no SNI": ({"sslsni": 0}, "SNI"),
    "unknown mode": ({"sslmode": "verify_full"}, "sslmode must be one of"),
    "empty mode": ({"sslmode": ""}, "sslmode must be one of"),
    "roots that are not there": ({"sslrootcert": "/nowhere/root.pem"}, "names no file"),
    "port 0": ({"port": 0}, "from 1 to 65535"),
    "port too high": ({"port": 65536}, "from 1 to 65535"),
    "port true": ({"port": True}, "from 1 to 65535"),
    "port false": ({"port": False}, "from 1 to 65535"),
    "port list": ({"port": "5432,5433"}, "from 1 to 65535"),
    "port of very many digits": ({"port": "9" * 5000}, "from 1 to 65535"),
    "hostaddr a name": ({"hostaddr": "localhost"}, "one IP address"),
    "hostaddr list": ({"hostaddr": "127.0.0.1,127.0.0.2"}, "one IP address"),
    "hostaddr number": ({"hostaddr": 2130706433}, "one IP address"),
    "user not a name": ({"user": 7}, "user must be"),
    "user with a zero byte": ({"user": "a\0b"}, "user must be"),
    "zero byte": ({"application_name": "a\0b"}, "zero byte"),
    "lone surrogate": ({"application_name": "a\udc80"}, "UTF-8"),
    "lone surrogate in the user": ({"user": "a\udc80"}, "user must be"),
    "bool": ({"application_name": True}, "must be text"),
    "two names for one thing": ({"dbname": "a", "database": "b"}, "differ"),
    "credentials and profile": ({"profile": "p", "credentials": dsql_fast.Credentials("a", "b")}, "both"),
    "blank profile": ({"profile": " "}, "profile must be"),
    "credentials of another kind": ({"credentials": "AKID:secret"}, "cannot be a str"),
    "scheme of another kind": ({"conninfo": f"mysql://{HOST}/"}, "scheme"),
    "malformed pairs": ({"conninfo": "host=a b"}, "malformed"),
    "conninfo no text": ({"conninfo": 7}, "must be text"),
}


def refused(door: str, server: Recorder, keywords: dict[str, Any], kind: type[Exception], words: str) -> None:
    base: dict[str, Any] = {"host": HOST, "hostaddr": "127.0.0.1", "port": server.port}
    if "dsql://" in str(keywords.get("conninfo")) or "sql://" in str(keywords.get("conninfo")):
        del base["host"]
    with pytest.raises(kind, match=words) as caught:
        DOORS[door]({**base, **keywords})
    assert isinstance(caught.value, dsql_fast.Error)
    assert server.settle().connections == 0


@pytest.mark.parametrize("door", DOORS)
def test_bad_hosts(door: str, aws_keys: Keys) -> None:
    with Recorder() as server:
        for host, words in HOSTS.values():
            refused(door, server, {"host": host}, ConfigError, words)


@pytest.mark.parametrize("host", HOSTS)
def test_bad_hosts_get_no_token(host: str, aws_keys: Keys) -> None:
    value: Any
    value, words = HOSTS[host]
    for call in (dsql_fast.generate_token, dsql_fast.TokenSource):
        with pytest.raises(ConfigError, match=words):
            call(value, "us-east-1")


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("bad", KEYWORDS)
def test_bad_keywords(door: str, bad: str, aws_keys: Keys) -> None:
    keywords, words = KEYWORDS[bad]
    with Recorder() as server:
        refused(door, server, keywords, ConfigError, words)


@pytest.mark.parametrize(
    "lifetime", [0, -1, 604801, 10**30, True, False, 900.5, float("nan"), "soon", "", "9" * 5000, None, b"900"]
)
def test_bad_lifetimes_of_a_token(lifetime: Any, aws_keys: Keys) -> None:
    with pytest.raises(ConfigError, match="expires_in"):
        dsql_fast.generate_token(HOST, expires_in=lifetime)
    if lifetime is not None:
        with pytest.raises(ConfigError, match="token_duration_secs"):
            dsql_fast.TokenSource(HOST, token_duration_secs=lifetime)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "AWS_ACCESS_KEY_ID"),
        ({"AWS_ACCESS_KEY_ID": "AKID"}, "AWS_SECRET_ACCESS_KEY is not"),
        ({"AWS_SECRET_ACCESS_KEY": "s"}, "AWS_ACCESS_KEY_ID is not"),
        ({"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": ""}, "AWS_SECRET_ACCESS_KEY is not"),
        ({"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "  "}, "secret_access_key"),
        ({"AWS_ACCESS_KEY_ID": " ", "AWS_SECRET_ACCESS_KEY": "s"}, "access_key_id"),
        ({"AWS_ACCESS_KEY_ID": "AKID\n", "AWS_SECRET_ACCESS_KEY": "s"}, "access_key_id"),
        ({"AWS_PROFILE": "nobody"}, "no AWS profile 'nobody'"),
    ],
)
@pytest.mark.parametrize("door", DOORS)
def test_unusable_environment(
    door: str, environment: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with Recorder() as server:
        refused(door, server, {}, dsql_fast.Error, words)
    for call in (dsql_fast.generate_token, lambda host: dsql_fast.TokenSource(host).token()):
        with pytest.raises(CredentialsError, match=words):
            call(HOST)


@pytest.mark.parametrize("door", DOORS)
def test_unknown_profile(door: str, aws_keys: Keys) -> None:
    with Recorder() as server:
        refused(door, server, {"profile": "nobody"}, dsql_fast.Error, "no AWS profile 'nobody'")
    with pytest.raises(CredentialsNotFound, match="nobody"):
        dsql_fast.TokenSource(HOST, profile="nobody").token()


@pytest.mark.parametrize("access_key", ["", " ", "\t", "AK\nID", "é"])
@pytest.mark.parametrize("secret_key", ["", " ", "s\0"])
def test_unusable_keys(access_key: str, secret_key: str) -> None:
    with pytest.raises(dsql_fast.Error, match="access_key"):
        dsql_fast.Credentials(access_key, "s" if access_key != "é" else secret_key)
    with pytest.raises(dsql_fast.Error, match="access_key"):
        dsql_fast.generate_token(HOST, credentials=ReadOnlyCredentials("AKID", secret_key, None))


def test_numeric_text_is_a_lifetime(aws_keys: Keys) -> None:
    assert "X-Amz-Expires=900&" in dsql_fast.TokenSource(HOST, token_duration_secs="900").token()
    assert "X-Amz-Expires=60&" in dsql_fast.TokenSource(HOST, token_duration_secs=" 60 ").token()
    whole: Any = 90.0
    assert "X-Amz-Expires=90&" in dsql_fast.generate_token(HOST, expires_in=whole)
