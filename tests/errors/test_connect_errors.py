"""Each way in which a connect fails, provoked for real: which error comes, what it says, and what it keeps."""

from __future__ import annotations

import asyncio
import json
import pickle
import re
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import dsql_fast
from dsql_fast import AccessDenied, ClockSkew, ConnectError
from errors.scenarios import SCENARIOS, as_admin, denied_by_iam, role_without_grant, waking_up
from safety.leaks import assert_clean
from waiting import eventually, eventually_async

if TYPE_CHECKING:
    from collections.abc import Callable

    from dsql_fast.local import LocalCluster


def by_connect(kwargs: dict[str, Any]) -> None:
    dsql_fast.connect(**kwargs).close()


def by_connect_async(kwargs: dict[str, Any]) -> None:
    async def connect() -> None:
        await (await dsql_fast.connect_async(**kwargs)).close()

    asyncio.run(connect())


WAYS: dict[str, Callable[[dict[str, Any]], None]] = {"sync": by_connect, "async": by_connect_async}
ways = pytest.mark.parametrize("way", WAYS)


def failure(way: str, kwargs: dict[str, Any]) -> ConnectError:
    with pytest.raises(ConnectError) as caught:
        WAYS[way](kwargs)
    assert isinstance(caught.value, psycopg.OperationalError)
    return caught.value


@pytest.fixture
def refused(disturbed: LocalCluster) -> Callable[[str, str], ConnectError]:
    def refuse(name: str, way: str) -> ConnectError:
        with SCENARIOS[name].provoke(disturbed) as kwargs:
            return failure(way, kwargs)

    return refuse


@ways
@pytest.mark.parametrize("name", SCENARIOS)
def test_what_failed_is_told(name: str, way: str, disturbed: LocalCluster) -> None:
    expected = SCENARIOS[name]
    with expected.provoke(disturbed) as kwargs:
        error = failure(way, kwargs)
    # Both classes' own, and for each case the narrowest of ours.
    assert isinstance(error, psycopg.OperationalError)
    assert [cls for cls in type(error).__mro__ if cls.__module__ == "dsql_fast"][1] is expected.error
    assert (error.kind, error.permanent) == (expected.kind, expected.permanent)
    # The driver's text is first and whole, ours comes after it.
    said = str(error)
    (theirs,) = error.args
    assert said.startswith(f"{theirs}\nLikeliest cause: {error.cause}.\nNext step: {error.next_step}.")
    assert said.endswith(f"\nMore: {error.docs}")
    assert expected.words in error.cause + " " + error.next_step
    # What is known.
    assert (error.host, error.user) == (kwargs["host"], kwargs.get("user", "admin"))
    assert error.region == disturbed.region
    assert error.action == ("DbConnectAdmin" if error.user == "admin" else "DbConnect")
    assert error.credential_source == "credentials="
    assert error.token_age is not None
    assert error.token_expires_in is not None
    assert 899 < error.token_age + error.token_expires_in < 901
    # As the driver's other failures to connect: no SQLSTATE, no connection, nothing secret.
    assert (error.sqlstate, error.pgconn, error.__context__) == (None, None, None)
    keys = kwargs["credentials"]
    secrets = [disturbed.credentials.secret_key, "X-Amz-S", "X-Amz-C"]
    secrets += [keys.secret_key] if hasattr(keys, "secret_key") else ["w" * 40]
    assert_clean(error, secrets)


@pytest.mark.parametrize("name", SCENARIOS)
def test_it_is_pickled_with_all_that_it_tells(name: str, refused: Callable[[str, str], ConnectError]) -> None:
    if name == "silent":
        return  # takes its time, and is like the others
    error = refused(name, "sync")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own)
    assert (str(copy), copy.args, copy.sqlstate) == (str(error), error.args, None)
    assert type(copy) is type(error)
    assert {key: getattr(copy, key) for key in ConnectError.__annotations__} == {
        key: getattr(error, key) for key in ConnectError.__annotations__
    }


@ways
def test_the_clock_is_compared(way: str, refused: Callable[[str, str], ConnectError]) -> None:
    for name, word in (("clock behind", "behind"), ("clock ahead", "ahead")):
        error = refused(name, way)
        assert isinstance(error, ClockSkew)
        assert isinstance(error, AccessDenied)
        assert error.hint is not None
        assert error.hint.startswith("Signature")
        # Two hours, but for the seconds of the test itself.
        assert re.search(rf"clock is (2 h|2 h \d min|1 h 59 min) {word}", error.cause)


@ways
def test_the_policy_that_is_missing_is_written_out(way: str, disturbed: LocalCluster) -> None:
    with denied_by_iam(disturbed) as kwargs:
        error = failure(way, kwargs)
    statement = json.loads(error.next_step[error.next_step.index("{") :])
    cluster_id = disturbed.host.partition(".")[0]
    assert statement["Effect"] == "Allow"
    assert statement["Action"] == "dsql:DbConnectAdmin"
    assert statement["Resource"].endswith(f"cluster/{cluster_id}")
    assert "the IAM role reporter" in error.next_step
    assert "assumed-role/reporter/" in error.cause


@ways
def test_the_statements_that_are_told_help(way: str, disturbed: LocalCluster) -> None:
    """What the error says to run as admin is run, with the ARN filled in; then the connect succeeds."""
    with role_without_grant(disturbed) as kwargs:
        error = failure(way, kwargs)
        grant = next(
            part for part in re.findall(r"`([^`]*)`", error.next_step) if part.startswith("AWS IAM GRANT")
        )
        as_admin(disturbed, re.sub(r"'<.*>'", f"'{disturbed.credentials.arn}'", grant))
        WAYS[way](kwargs)


@ways
def test_the_source_and_the_end_of_the_credentials(
    way: str, disturbed: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = disturbed.issue_credentials(temporary=True)
    assert keys.token is not None
    disturbed.deny(keys.arn)
    kwargs = disturbed.connect_kwargs()
    del kwargs["credentials"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_key)
    monkeypatch.setenv("AWS_SESSION_TOKEN", keys.token)
    error = failure(way, kwargs)
    assert error.credential_source == "the environment's keys (AWS_ACCESS_KEY_ID)"
    assert error.credentials_expire_in is None
    assert "no end known" in str(error)
    monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", "2999-01-01T00:00:00Z")
    error = failure(way, kwargs)
    assert error.credentials_expire_in is not None
    assert error.credentials_expire_in > 86_400
    assert "ending in" in str(error)


@ways
def test_a_profile_is_named_in_the_commands(
    way: str, disturbed: LocalCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    keys = disturbed.issue_credentials()
    disturbed.revoke_credentials(keys.access_key)
    file = tmp_path / "credentials"
    file.write_text(f"[shop]\naws_access_key_id = {keys.access_key}\naws_secret_access_key = {keys.secret_key}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    kwargs = disturbed.connect_kwargs()
    del kwargs["credentials"]
    error = failure(way, {**kwargs, "profile": "shop"})
    assert error.credential_source == "profile 'shop'"
    assert "`aws sts get-caller-identity --profile shop`" in error.next_step
    assert "aws sso login --profile shop" in error.next_step


def test_a_pool_tells_the_same(disturbed: LocalCluster) -> None:
    for provoke in (denied_by_iam, waking_up):
        with provoke(disturbed) as kwargs:
            kind = failure("sync", kwargs).kind
            with dsql_fast.ConnectionPool(min_size=1, **kwargs) as pool:
                eventually(lambda: pool._trouble._failure is not None)
                with pytest.raises(dsql_fast.PoolTimeout) as caught:
                    pool.getconn(timeout=0.05)
        assert_tells_its_cause(caught.value, kind)


def test_an_asynchronous_pool_tells_the_same(disturbed: LocalCluster) -> None:
    async def tried(kwargs: dict[str, Any]) -> dsql_fast.PoolTimeout:
        async with dsql_fast.AsyncConnectionPool(min_size=1, **kwargs) as pool:
            await eventually_async(lambda: pool._trouble._failure is not None)
            with pytest.raises(dsql_fast.PoolTimeout) as caught:
                await pool.getconn(timeout=0.05)
            return caught.value

    for provoke in (denied_by_iam, waking_up):
        with provoke(disturbed) as kwargs:
            kind = failure("sync", kwargs).kind
            assert_tells_its_cause(asyncio.run(tried(kwargs)), kind)


def assert_tells_its_cause(timeout: dsql_fast.PoolTimeout, kind: str) -> None:
    cause = timeout.__cause__
    assert isinstance(cause, ConnectError)
    assert cause.kind == kind
    assert ("trying again does not help" in str(timeout)) is cause.permanent
    for part in (type(cause).__name__, cause.cause, cause.next_step, cause.docs):
        assert part in str(timeout)


def test_a_connect_of_the_users_own_is_judged_by_its_text(disturbed: LocalCluster) -> None:
    """A pool whose connection class connects in its own way, and fails in the driver's words only."""
    with denied_by_iam(disturbed) as kwargs:
        text = failure("sync", kwargs).args[0]

    class Own(dsql_fast.Connection[Any]):
        @classmethod
        def connect(cls, *_: Any, **__: Any) -> Any:
            raise psycopg.OperationalError(text)

    with (
        dsql_fast.ConnectionPool(min_size=1, connection_class=Own, **disturbed.connect_kwargs()) as pool,
        pytest.raises(dsql_fast.PoolTimeout, match="trying again does not help"),
    ):
        pool.getconn(timeout=20)


def test_what_is_no_failure_of_a_connect_stays_as_it_is(disturbed: LocalCluster) -> None:
    with pytest.raises(dsql_fast.ConfigError):
        dsql_fast.connect(**{**disturbed.connect_kwargs(), "port": 0})
    kwargs = {**disturbed.connect_kwargs(), "credentials": lambda: 1 / 0}
    with pytest.raises(dsql_fast.CredentialsError):
        dsql_fast.connect(**kwargs)
