"""No token, key or refused password in any error, its causes, the locals of its frames, or a log record."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from botocore.credentials import ReadOnlyCredentials

import dsql_fast
from dsql_fast import _tokens
from safety.doors import DOORS, HOST, arguments
from safety.leaks import assert_clean, assert_records_clean, chain, texts_of
from safety.recorder import Behaviour, Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Keys
    from safety.conftest import Certificates

doors = pytest.mark.parametrize("door", DOORS)

PASSWORD = "hunter2NeverShown"

# Of the bad input that carries a password: what is wrong, the connection string, the keywords.
PASSWORD_GIVEN: dict[str, tuple[str, dict[str, Any]]] = {
    "keyword": ("", {"host": HOST, "password": PASSWORD}),
    "pairs": (f"host={HOST} password={PASSWORD}", {}),
    "URI": (f"postgresql://admin:{PASSWORD}@{HOST}/postgres", {}),
    "URI of a scheme that is not ours": (f"mysql://admin:{PASSWORD}@{HOST}/postgres", {}),
    "URI parameter": (f"postgresql://{HOST}/postgres?password={PASSWORD}", {}),
    "URI without its slashes": (f"postgresql:admin:{PASSWORD}@{HOST}/postgres", {}),
    "URI with one slash, and parameters": (f"postgresql:/admin:{PASSWORD}@{HOST}/postgres?sslmode=require", {}),
    "URI without a scheme, and parameters": (f"admin:{PASSWORD}@{HOST}/postgres?sslmode=require", {}),
    "bare host with user information": (f"admin:{PASSWORD}@{HOST}", {}),
    "password with a slash": (f"postgresql://{HOST}:{PASSWORD}/x@y/postgres", {}),
    "password with a question mark": (f"postgresql://admin:a?{PASSWORD}=1@{HOST}/postgres", {}),
    "password with a wrong percent sign": (f"postgresql://admin:{PASSWORD}%zz@{HOST}/postgres", {}),
    "password that is not UTF-8": (f"postgresql://admin:{PASSWORD}%ff@{HOST}/postgres", {}),
    "password with a lone surrogate": (f"postgresql://admin:{PASSWORD}\udc80@{HOST}/postgres", {}),
    "password with a space": (f"host={HOST} user=admin  {PASSWORD} x", {}),
    "quoted value that does not end": (f"host={HOST} options='{PASSWORD}", {}),
    "host keyword with user information": ("", {"host": f"admin:{PASSWORD}@{HOST}"}),
    "host keyword is a URI": ("", {"host": f"postgresql://admin:{PASSWORD}@{HOST}/"}),
    "another error comes first": (f"host={HOST} nonsense=1 password={PASSWORD}", {}),
    "another keyword's error comes first": (f"postgresql://{HOST}", {"password": PASSWORD, "port": "x"}),
    "sslpassword": ("", {"host": HOST, "sslpassword": PASSWORD}),
}


@pytest.fixture
def debug_logs(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """All that is logged, down to DEBUG (psycopg's logger has a level of its own)."""
    for name in (None, "dsql_fast", "psycopg", "psycopg.pool", "botocore"):
        caplog.set_level(logging.DEBUG, name)
    return caplog


def secrets_of(keys: Keys) -> list[str]:
    """What must not be found: the keys, and the signature of each token that was made."""
    tokens = [source.token() for source in _tokens._shared.values()]
    return [
        keys.secret_key,
        keys.session_token,
        "X-Amz-",
        *(token.rpartition("X-Amz-Signature=")[2] for token in tokens),
    ]


def failure_of(call: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as caught:
        call()
    return caught.value


def read_only(keys: Keys) -> ReadOnlyCredentials:
    credentials = ReadOnlyCredentials(keys.access_key, keys.secret_key, keys.session_token)
    assert keys.secret_key in repr(credentials)
    return credentials


def test_the_search_finds_what_is_there() -> None:
    """The control of all tests here."""
    error = failure_of(lambda: psycopg.connect("host=127.0.0.1 port=1", password=PASSWORD))
    assert any(link.__traceback__ for link in chain(error))
    assert PASSWORD in "".join(text for _, text in texts_of(error))


@doors
@pytest.mark.parametrize("given", PASSWORD_GIVEN)
def test_a_refused_password_is_not_repeated(
    door: str, given: str, aws_keys: Keys, debug_logs: pytest.LogCaptureFixture
) -> None:
    conninfo, keywords = PASSWORD_GIVEN[given]
    error = failure_of(lambda: DOORS[door]({"conninfo": conninfo, **keywords}))
    assert isinstance(error, dsql_fast.ConfigError)
    assert_clean(error, [PASSWORD, PASSWORD[:12], *secrets_of(aws_keys)])
    assert_records_clean(debug_logs.records, [PASSWORD])


@pytest.mark.parametrize("given", PASSWORD_GIVEN)
def test_a_refused_password_is_not_repeated_by_pool_kwargs(given: str) -> None:
    conninfo, keywords = PASSWORD_GIVEN[given]
    error = failure_of(lambda: dsql_fast.pool_kwargs(conninfo, **keywords))
    assert isinstance(error, dsql_fast.ConfigError)
    assert_clean(error, [PASSWORD])


@doors
@pytest.mark.parametrize("given_as", ["environment", "keyword", "kwargs"])
@pytest.mark.parametrize("trouble", ["refused TCP", "TLS", "access denied", "bad keyword", "port"])
def test_no_failure_of_a_connect_shows_a_secret(
    door: str,
    given_as: str,
    trouble: str,
    certificates: Certificates,
    aws_keys: Keys,
    monkeypatch: pytest.MonkeyPatch,
    debug_logs: pytest.LogCaptureFixture,
) -> None:
    behaviour = Behaviour(refuse_password=trouble == "access denied")
    bad = trouble == "TLS"
    with Recorder(certificates.bad["self-signed"] if bad else certificates.good, behaviour) as server:
        keywords = arguments(server, sslrootcert=str(certificates.ours.root))
        if trouble == "refused TCP":
            keywords["port"] = 1
        elif trouble == "bad keyword":
            keywords["nonsense"] = 1
        elif trouble == "port":
            keywords["port"] = 70000
        if given_as != "environment":
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
                monkeypatch.delenv(name)
            credentials = read_only(aws_keys)
            if given_as == "keyword" or "pool" not in door:
                keywords["credentials"] = credentials
            else:
                keywords["kwargs"] = {"credentials": credentials}
        error = failure_of(lambda: DOORS[door](keywords))
        seen = server.settle()
    assert len(seen.passwords) == 0 or trouble == "access denied"
    secrets = secrets_of(aws_keys)
    assert_clean(error, secrets)
    assert_records_clean(debug_logs.records, secrets)
    assert not [secret for secret in secrets if secret in debug_logs.text]


def test_a_successful_connect_logs_no_secret(
    certificates: Certificates, aws_keys: Keys, debug_logs: pytest.LogCaptureFixture
) -> None:
    with Recorder(certificates.good) as server:
        for connect in DOORS.values():
            connect(arguments(server, sslrootcert=str(certificates.ours.root)))
        assert len(server.settle().passwords) == len(DOORS)
    assert {"psycopg", "psycopg.pool"} <= {record.name for record in debug_logs.records}
    assert_records_clean(debug_logs.records, secrets_of(aws_keys))


class SilentServer(Recorder):
    """A recorder that never answers what follows the password, and tells when it has got that far."""

    def __init__(self, certificates: Certificates) -> None:
        super().__init__(certificates.good, Behaviour(silent=True))


def test_a_cancelled_connect_shows_no_secret(certificates: Certificates, aws_keys: Keys) -> None:
    async def cancelled() -> BaseException:
        task = asyncio.ensure_future(
            dsql_fast.connect_async(**arguments(server, sslrootcert=str(certificates.ours.root)))
        )
        await asyncio.to_thread(server.password_came.wait, 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return caught.value

    with SilentServer(certificates) as server:
        failure = asyncio.run(cancelled())
    assert_clean(failure, secrets_of(aws_keys))


def test_an_interrupted_connect_shows_no_secret(certificates: Certificates, aws_keys: Keys) -> None:
    with SilentServer(certificates) as server:
        main = threading.main_thread().ident
        assert main is not None

        def interrupt() -> None:
            server.password_came.wait(20)
            signal.pthread_kill(main, signal.SIGINT)

        # A run in the background may have been started with the signal ignored.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        thread = threading.Thread(target=interrupt)
        thread.start()
        error = failure_of(lambda: dsql_fast.connect(**arguments(server, sslrootcert=str(certificates.ours.root))))
        thread.join(20)
        signal.signal(signal.SIGINT, before)
    assert isinstance(error, KeyboardInterrupt)
    assert_clean(error, secrets_of(aws_keys))


def test_a_failure_within_a_handler_leaves_the_handled_error_alone(aws_keys: Keys) -> None:
    """The caller's own error, in flight when connect is called, keeps its traceback."""

    def own() -> None:
        raise LookupError("the caller's own")

    for call in (
        lambda: DOORS["connect"]({"host": HOST, "hostaddr": "127.0.0.1", "port": 1}),
        lambda: DOORS["connect"]({"host": ""}),
        lambda: dsql_fast.generate_token(HOST, credentials=lambda: 1 / 0),
        lambda: dsql_fast.generate_token(""),
        lambda: dsql_fast.TokenSource(""),
        lambda: dsql_fast.TokenSource(HOST, credentials=lambda: 1 / 0).token(),
        lambda: dsql_fast.ConnectionPool(""),
    ):
        try:
            own()
        except LookupError as handled:
            before = handled.__traceback__
            assert before is not None
            frames = before.tb_next
            error = failure_of(call)
            assert not isinstance(error, LookupError)
            assert handled.__traceback__ is before
            assert before.tb_next is frames
            assert frames is not None
