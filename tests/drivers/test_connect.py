"""Connecting, by each driver: the same settings, tokens, verified TLS and errors."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

import dsql_fast
from connect.test_connect import put_expired_token, source_of
from dsql_fast import AccessDenied, Config, ConnectError
from errors.scenarios import SCENARIOS
from waiting import eventually

from .ways import ASYNCHRONOUS, connect, pool

if TYPE_CHECKING:
    from collections.abc import Callable

    from dsql_fast.local import LocalCluster

    from .ways import Way

WHO = "select current_user::text"


# Where to connect.

# What is passed in place of `host` and `port`, and the keywords beside it.
FORMS: dict[str, Callable[[LocalCluster], tuple[Any, dict[str, Any]]]] = {
    "host keyword": lambda cluster: ("", {"host": cluster.host, "port": cluster.port}),
    "host": lambda cluster: (cluster.host, {"port": cluster.port}),
    "cluster id": lambda cluster: (cluster.cluster_id, {"port": cluster.port}),
    "id keyword": lambda cluster: ("", {"host": cluster.cluster_id, "port": str(cluster.port)}),
    "postgresql URI": lambda cluster: (f"postgresql://admin@{cluster.host}:{cluster.port}/postgres", {}),
    "postgres URI": lambda cluster: (f"postgres://{cluster.host}:{cluster.port}", {}),
    "dsql URI": lambda cluster: (f"dsql://{cluster.cluster_id}:{cluster.port}/", {}),
    "pairs": lambda cluster: (f"host={cluster.host} port={cluster.port} user=admin", {}),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_way_to_say_where(way: Way, faulty: LocalCluster, form: str) -> None:
    where, more = FORMS[form](faulty)
    kwargs = faulty.connect_kwargs()
    del kwargs["host"], kwargs["port"]
    with connect(way, where, **{**kwargs, **more}) as session:
        assert session.one(WHO) == "admin"


def test_a_config(way: Way, faulty: LocalCluster) -> None:
    config = Config(**faulty.connect_kwargs(), application_name="billing")
    with connect(way, config) as session:
        assert session.one("show application_name") == "billing"
    with connect(way, config, application_name="keywords win") as session:
        assert session.one("show application_name") == "keywords win"
    with pool(way, 1, config) as of_config:
        assert of_config.one("show application_name") == "billing"


def test_the_environment_alone(way: Way, faulty: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in faulty.environment().items():
        monkeypatch.setenv(name, value)
    with connect(way, Config.from_env()) as session:
        assert session.one(WHO) == "admin"
    with connect(way, faulty.host) as session:
        assert session.one(WHO) == "admin"


def test_where_to_dial_is_another_matter_than_the_host(way: Way, faulty: LocalCluster) -> None:
    """The host is verified, sent and signed; no name server knows it."""
    kwargs = faulty.connect_kwargs()
    assert kwargs.pop("hostaddr") == "127.0.0.1"
    for dial in ({"hostaddr": "127.0.0.1"}, {"connect_host": "localhost"}):
        with connect(way, **kwargs, **dial) as session:
            assert session.one(WHO) == "admin"
        other = {**kwargs, **dial, "host": f"another0cluster00000000000.dsql.{faulty.region}.on.aws"}
        with pytest.raises(ConnectError) as caught:
            connect(way, **other)
        assert caught.value.kind == "certificate-of-another-name"


def test_the_second_endpoint_where_the_first_is_down(way: Way, faulty: LocalCluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()[1]
    kwargs = {
        **faulty.connect_kwargs(),
        "host": [f"another0cluster00000000000.dsql.{faulty.region}.on.aws", faulty.host],
        "port": [closed, faulty.port],
        "connect_timeout": 20,
    }
    with connect(way, **kwargs) as session:
        assert session.one(WHO) == "admin"
    assert dsql_fast.counters()["endpoint_failed_over"] == 1
    with pool(way, 2, **kwargs) as both:
        assert both.one(WHO) == "admin"


# Who one is.


def test_a_user_who_is_not_admin(way: Way, faulty: LocalCluster) -> None:
    """Signed for DbConnect, which the cluster tells from DbConnectAdmin."""
    with connect(way, **faulty.connect_kwargs()) as admin:
        admin.execute("create role reader with login")
        admin.execute(f"aws iam grant reader to '{faulty.credentials.arn}'")
        try:
            with connect(way, **faulty.connect_kwargs(), user="reader") as session:
                assert session.one(WHO) == "reader"
        finally:
            admin.execute("drop role reader")


def test_the_name_of_the_connection(way: Way, faulty: LocalCluster) -> None:
    own = f"dsql-fast-{way.driver}/{dsql_fast.__version__}"
    for said, expected in (
        ({}, own),
        ({"orm_prefix": "django"}, f"django:{own}"),
        ({"ormPrefix": "x" * 100}, f"{'x' * (62 - len(own))}:{own}"),
        ({"application_name": "mine", "orm_prefix": "django"}, "mine"),
    ):
        with connect(way, **faulty.connect_kwargs(), **said) as session:
            assert session.one("show application_name") == expected
            assert [each.application_name for each in faulty.sessions()] == [expected]


def test_a_custom_credentials_provider(way: Way, faulty: LocalCluster) -> None:
    kwargs = faulty.connect_kwargs()
    keys = kwargs.pop("credentials")
    asked: list[str] = []

    def load() -> Any:
        asked.append("keys")
        return keys

    for _ in range(3):
        with connect(way, **kwargs, custom_credentials_provider=load) as session:
            assert session.one(WHO) == "admin"
    assert asked == ["keys"]


def test_a_profile(way: Way, faulty: LocalCluster, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kwargs = faulty.connect_kwargs()
    keys = kwargs.pop("credentials")
    file = tmp_path / "credentials"
    file.write_text(f"[team]\naws_access_key_id = {keys.access_key}\naws_secret_access_key = {keys.secret_key}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    with connect(way, **kwargs, profile="team") as session:
        assert session.one(WHO) == "admin"


# Tokens.


def test_connects_share_a_token(way: Way, faulty: LocalCluster) -> None:
    kwargs = faulty.connect_kwargs()
    for _ in range(3):
        with connect(way, **kwargs):
            pass
    with pool(way, 3, **kwargs):
        pass
    assert source_of(kwargs).stats().issued == 1


def test_an_expired_token_is_renewed(way: Way, faulty: LocalCluster) -> None:
    kwargs = faulty.connect_kwargs()
    source = source_of(kwargs)
    expired = put_expired_token(source, kwargs)
    with connect(way, **kwargs) as session:
        assert session.one(WHO) == "admin"
    assert source.token() != expired
    assert dsql_fast.counters()["token_dropped"] == 1


def test_the_life_of_a_token(way: Way, faulty: LocalCluster) -> None:
    """What was asked for is what was signed: the cluster's clock an hour on, it is over or it is not."""
    kwargs = faulty.connect_kwargs()
    with connect(way, **kwargs, token_duration_secs=7200), connect(way, **kwargs, token_duration_secs="60"):
        pass
    faulty.clock.skew(3600)
    try:
        with connect(way, **kwargs, token_duration_secs=7200) as session:
            assert session.one(WHO) == "admin"
        with pytest.raises(dsql_fast.ClockSkew):
            connect(way, **kwargs, token_duration_secs="60")
    finally:
        faulty.clock.skew(-3600)


@pytest.mark.parametrize("way", ASYNCHRONOUS, indirect=True)
def test_credentials_that_take_their_time_do_not_stop_the_event_loop(way: Way, faulty: LocalCluster) -> None:
    kwargs = faulty.connect_kwargs()
    keys = kwargs.pop("credentials")
    asked, free = threading.Event(), threading.Event()

    def load() -> Any:
        asked.set()
        assert free.wait(30), "the loop stood still"
        return keys

    async def main() -> None:
        connecting = asyncio.ensure_future(way.open("", {**kwargs, "credentials": load}))
        assert await asyncio.to_thread(asked.wait, 30)
        assert not connecting.done()
        free.set()
        await way.close(await connecting)

    way.done(main())


# What keeps one from connecting.


@pytest.mark.parametrize("name", ["wrong secret", "denied by IAM", "role without a grant", "clock behind"])
def test_a_refusal_is_the_drivers_error_and_ours(way: Way, faulty: LocalCluster, name: str) -> None:
    expected = SCENARIOS[name]
    for caught_as in (way.Error, AccessDenied):
        with expected.provoke(faulty) as kwargs, pytest.raises(caught_as) as caught:
            connect(way, **kwargs)
        error = caught.value
        assert isinstance(error, AccessDenied)
        assert isinstance(error, expected.error)
        assert isinstance(error, way.Error)
        assert error.kind == expected.kind
        assert expected.words in f"{error.cause} {error.next_step}"


@pytest.mark.parametrize("kind", ["self-signed", "expired", "wrong-name", "unknown-ca"])
def test_a_bad_certificate_is_refused(way: Way, faulty: LocalCluster, kind: str) -> None:
    before = faulty.stats()
    faulty.set_certificate(kind)
    with pytest.raises(way.Error) as caught:
        connect(way, **faulty.connect_kwargs())
    assert isinstance(caught.value, ConnectError)
    assert caught.value.kind.startswith("certificate-")
    eventually(lambda: faulty.stats()["opening"] == 0)
    # All that the cluster saw is a client that went away, during the handshake or behind it: no token was judged.
    after = faulty.stats()
    assert after["admitted"] == before["admitted"]
    judged = {**after["refused_by_reason"], "tls-failed": 0, "client-gone": 0}
    assert judged == {**before["refused_by_reason"], "tls-failed": 0, "client-gone": 0}


def test_what_cannot_be_used_is_told_before_anything_is_sent(way: Way, faulty: LocalCluster) -> None:
    before = faulty.stats()["attempted"]
    for wrong in ({"region": "eu-west-1"}, {"host": "a,b"}, {"password": "mine"}, {"token_duration_secs": 0}):
        with pytest.raises(dsql_fast.ConfigError):
            connect(way, **{**faulty.connect_kwargs(), **wrong})
        with pytest.raises(dsql_fast.ConfigError):
            pool(way, 1, **{**faulty.connect_kwargs(), **wrong})
    assert faulty.stats()["attempted"] == before
