"""``connect_host``: a name that says only where to dial. What is verified, sent as SNI and signed stays the host."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import dsql_fast
from dsql_fast import ConfigError
from dsql_fast.psycopg._attempt import begin, begin_async
from safety.doors import DOORS, HOST, REFUSED

if TYPE_CHECKING:
    from conftest import Keys
    from dsql_fast.local import LocalCluster


def arguments(cluster: LocalCluster, **changes: Any) -> dict[str, Any]:
    found = {**cluster.connect_kwargs(), "connect_host": "localhost", **changes}
    del found["hostaddr"]
    return found


@pytest.mark.parametrize("door", DOORS)
def test_connects_over_a_name_that_is_not_the_hosts(cluster: LocalCluster, door: str) -> None:
    DOORS[door](arguments(cluster))


def test_the_cluster_is_named_in_the_options_as_privatelink_needs_it(cluster: LocalCluster) -> None:
    options = f"-c amzn-cluster-id={cluster.cluster_id}"
    with dsql_fast.connect(**arguments(cluster, options=options)) as conn:
        assert conn.execute("select 1").fetchone() == (1,)


def test_the_host_stays_what_it_is(cluster: LocalCluster) -> None:
    with dsql_fast.connect(**arguments(cluster)) as conn:
        used = {option.keyword: option.val for option in conn.pgconn.info}
        assert used[b"host"] == cluster.host.encode()
        assert used[b"sslmode"] == b"verify-full"
        # Whichever of localhost's addresses answers: the cluster listens on this one only.
        assert used[b"hostaddr"] == b"127.0.0.1"


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", ["nowhere.invalid", "a" * 64 + ".invalid"])
def test_a_name_that_cannot_be_resolved(cluster: LocalCluster, door: str, name: str) -> None:
    keywords = arguments(cluster, connect_host=name)
    with pytest.raises(REFUSED) as caught:
        DOORS[door](keywords)
    failure: object = caught.value.__cause__ if isinstance(caught.value, dsql_fast.PoolTimeout) else caught.value
    assert isinstance(failure, dsql_fast.ConnectError)
    assert str(failure).startswith(f"connect_host={name} cannot be resolved: ")
    assert failure.kind == "host-not-found"
    assert "describe-vpc-endpoints" in (failure.next_step or "")


def test_it_is_resolved_at_each_connect(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server may give other addresses tomorrow; and those that it gives are tried in its order."""
    asked: list[Any] = []
    answers = [["127.0.0.9", "127.0.0.1"], ["127.0.0.1"]]

    def getaddrinfo(name: str, port: int, **_: Any) -> list[Any]:
        asked.append((name, port))
        found = answers.pop(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found * 2]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    for _ in range(2):
        with dsql_fast.connect(**arguments(cluster, connect_host="tunnel.example")) as conn:
            assert conn.info.hostaddr == "127.0.0.1"
    assert asked == [("tunnel.example", cluster.port)] * 2


def test_addresses_share_the_time(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(name: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{n}", port)) for n in (1, 2, 3)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    attempt = begin("", arguments(cluster, connect_timeout=9))
    assert (attempt.arguments()["hostaddr"], attempt.arguments()["connect_timeout"]) == ("127.0.0.1", "3")
    assert attempt.again(psycopg.OperationalError("Connection refused"))
    assert attempt.arguments()["hostaddr"] == "127.0.0.2"
    # An answer is an answer: the next address leads to the same cluster.
    assert not attempt.again(psycopg.OperationalError("FATAL:  unable to accept connection, access denied"))
    # Without a deadline the driver's own holds for each address.
    assert "connect_timeout" not in begin("", arguments(cluster)).arguments()


def test_a_name_server_that_hangs_blocks_no_loop(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        hangs = loop.create_future()

        async def getaddrinfo(*_: Any, **__: Any) -> Any:
            return await hangs

        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        attempt = await begin_async("", arguments(cluster, connect_timeout=2))
        with pytest.raises(psycopg.OperationalError, match="the name server did not answer in time"):
            await attempt.arguments_async()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"hostaddr": "127.0.0.1"}, "both hostaddr and connect_host"),
        ({"connect_host": "a b"}, "connect_host: .*space"),
        ({"connect_host": "a,b"}, "connect_host: .*comma"),
        ({"connect_host": 7}, "connect_host: .*text"),
    ],
)
def test_what_is_refused(keywords: dict[str, Any], words: str, aws_keys: Keys) -> None:
    with pytest.raises(ConfigError, match=words):
        dsql_fast.connect(**{"host": HOST, "connect_host": "localhost", **keywords})
