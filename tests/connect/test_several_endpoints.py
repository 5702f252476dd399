"""Several endpoints: two local clusters, one of which cannot be reached in one way or another."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import psycopg
import psycopg2
import pytest

import dsql_fast
import dsql_fast.asyncpg
import dsql_fast.psycopg2
from dsql_fast import Config, _failover
from dsql_fast.asyncpg._attempt import begin as begin_asyncpg
from dsql_fast.local import LocalCluster
from dsql_fast.psycopg._attempt import begin, begin_async
from waiting import eventually, eventually_async, run_to_the_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from botocore.credentials import ReadOnlyCredentials


class Pair:
    """Two clusters as one list of endpoints.

    Each has keys of its own: a token that were signed for the other would be refused for two reasons.
    """

    def __init__(self, first: LocalCluster, second: LocalCluster, roots: Path) -> None:
        self.first, self.second = first, second
        roots.write_bytes(first.ca_file.read_bytes() + second.ca_file.read_bytes())
        self._roots = str(roots)

    def arguments(self, **changes: Any) -> dict[str, Any]:
        keys = iter((self.first.credentials, self.second.credentials))

        def in_turn() -> ReadOnlyCredentials:
            # Loaded once for each endpoint, the first one first.
            return next(keys)

        return {
            "host": [self.first.host, self.second.host],
            "port": [self.first.port, self.second.port],
            "hostaddr": "127.0.0.1",
            "sslrootcert": self._roots,
            "credentials": in_turn,
            "connect_timeout": 20,
            "return_to_first_secs": 3600,
            **changes,
        }


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with LocalCluster(rate=None) as first, LocalCluster(rate=None, region="us-west-2") as second:
        yield Pair(first, second, tmp_path_factory.mktemp("roots") / "both.pem")


@pytest.fixture
def pair(clusters: Pair) -> Iterator[Pair]:
    yield clusters
    for cluster in (clusters.first, clusters.second):
        cluster.faults.clear()
        cluster.set_certificate("valid")


def by_connect(arguments: dict[str, Any]) -> str:
    with dsql_fast.connect(**arguments) as conn:
        assert conn.execute("select 1").fetchone() == (1,)
        return conn.info.host


def by_connect_async(arguments: dict[str, Any]) -> str:
    async def main() -> str:
        async with await dsql_fast.connect_async(**arguments) as conn:
            assert await (await conn.execute("select 1")).fetchone() == (1,)
            return conn.info.host

    return asyncio.run(main())


def by_pool(arguments: dict[str, Any]) -> str:
    pool: Any = dsql_fast.ConnectionPool(min_size=2, num_workers=1, **arguments)
    with pool, pool.connection() as conn:
        return str(conn.info.host)


def by_pool_async(arguments: dict[str, Any]) -> str:
    async def main() -> str:
        pool: Any = dsql_fast.AsyncConnectionPool(min_size=2, num_workers=1, **arguments)
        async with pool, pool.connection() as conn:
            return str(conn.info.host)

    return asyncio.run(main())


def by_config(arguments: dict[str, Any]) -> str:
    with dsql_fast.connect(Config(**arguments)) as conn:
        return conn.info.host


def by_psycopg2(arguments: dict[str, Any]) -> str:
    conn = dsql_fast.psycopg2.connect(**arguments)
    try:
        return str(conn.info.host)
    finally:
        conn.close()


def by_asyncpg(arguments: dict[str, Any]) -> str:
    async def main() -> str:
        conn = await dsql_fast.asyncpg.connect(**arguments)
        try:
            assert await conn.fetchval("select 1") == 1
            return host_of(conn)
        finally:
            await conn.close()

    return run_to_the_end(main())


def by_asyncpg_pool(arguments: dict[str, Any]) -> str:
    async def main() -> str:
        config = Config(**arguments)
        async with (
            dsql_fast.asyncpg.create_pool(config, min_size=2, max_size=2) as pool,
            pool.acquire() as conn,
        ):
            return host_of(conn)

    return run_to_the_end(main())


def host_of(conn: Any) -> str:
    return str(conn._transport.get_extra_info("ssl_object").server_hostname)


# What is raised when no endpoint lets one in.
FAILED = (psycopg.OperationalError, psycopg2.OperationalError, dsql_fast.PoolTimeout, dsql_fast.ConnectError)

DOORS: dict[str, Callable[[dict[str, Any]], str]] = {
    "connect": by_connect,
    "connect_async": by_connect_async,
    "pool": by_pool,
    "pool_async": by_pool_async,
    "config": by_config,
    "psycopg2": by_psycopg2,
    "asyncpg": by_asyncpg,
    "asyncpg_pool": by_asyncpg_pool,
}
doors = pytest.mark.parametrize("door", DOORS)


def closed_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@doors
def test_the_first_is_taken_where_it_answers(pair: Pair, door: str) -> None:
    assert DOORS[door](pair.arguments()) == pair.first.host
    assert "endpoint_failed_over" not in dsql_fast.counters()


@doors
def test_a_port_that_refuses(pair: Pair, door: str) -> None:
    arguments = pair.arguments(port=[closed_port(), pair.second.port])
    assert DOORS[door](arguments) == pair.second.host
    assert dsql_fast.counters()["endpoint_failed_over"] >= 1


@doors
@pytest.mark.parametrize("reason", ["waking-up", "rate", "connections"])
def test_a_cluster_that_refuses_for_now(pair: Pair, door: str, reason: str) -> None:
    pair.first.faults.refuse_connections(50, reason)
    assert DOORS[door](pair.arguments()) == pair.second.host


@pytest.mark.parametrize("door", ["connect", "connect_async", "asyncpg"])
def test_a_cluster_that_says_nothing_leaves_time_for_the_next(pair: Pair, door: str) -> None:
    pair.first.faults.silence_connections(5)
    assert DOORS[door](pair.arguments(connect_timeout=4)) == pair.second.host


def test_one_deadline_over_all(pair: Pair) -> None:
    pair.first.faults.silence_connections(5)
    pair.second.faults.silence_connections(5)
    with pytest.raises(psycopg.errors.ConnectionTimeout) as caught:
        dsql_fast.connect(**pair.arguments(connect_timeout=4))
    assert caught.value.__notes__ == [f"tried before: {pair.first.host}: connection timeout expired"]
    pair.first.faults.silence_connections(5)
    pair.second.faults.silence_connections(5)
    with pytest.raises(asyncio.TimeoutError) as of_asyncpg:
        by_asyncpg(pair.arguments(connect_timeout=4))
    assert isinstance(of_asyncpg.value, dsql_fast.ConnectError)
    assert of_asyncpg.value.kind == "timeout"
    assert of_asyncpg.value.__notes__ == [f"tried before: {pair.first.host}: connection timeout expired"]
    # Each was asked once, for its half of the time.
    attempt = begin("", pair.arguments(connect_timeout=4))
    assert attempt.arguments()["connect_timeout"] == "2"


@doors
def test_an_outage_of_all_is_the_last_ones_error(pair: Pair, door: str) -> None:
    arguments = pair.arguments(port=[closed_port(), closed_port()])
    if door in ("pool", "pool_async"):
        arguments["timeout"] = 0.5
        with pytest.raises(dsql_fast.PoolTimeout, match="refused"):
            DOORS[door](arguments)
        return
    with pytest.raises(dsql_fast.ConnectError, match=r"refused|Connect call failed") as caught:
        DOORS[door](arguments)
    assert caught.value.kind == "connection-refused"
    (note,) = caught.value.__notes__
    assert note.startswith(f"tried before: {pair.first.host}: ")
    assert caught.value.__context__ is None


@doors
def test_access_denied_is_told_and_not_asked_elsewhere(pair: Pair, door: str) -> None:
    tried = pair.second.stats()["attempted"]
    wrong = dsql_fast.Credentials("AKIAWRONG", "wrong")
    with pytest.raises(FAILED, match="access denied"):
        DOORS[door](pair.arguments(credentials=wrong))
    assert pair.second.stats()["attempted"] == tried


@doors
@pytest.mark.parametrize("kind", ["wrong-name", "unknown-ca"])
def test_a_certificate_that_is_not_the_hosts_is_told_and_not_passed_over(pair: Pair, door: str, kind: str) -> None:
    pair.first.set_certificate(kind)
    tried = pair.second.stats()["attempted"]
    words = "does not match host name|not valid for" if kind == "wrong-name" else "certificate verify failed"
    with pytest.raises(FAILED, match=words):
        DOORS[door](pair.arguments())
    assert pair.second.stats()["attempted"] == tried


@doors
def test_the_second_ones_refusal_is_told_with_the_first_ones_outage(pair: Pair, door: str) -> None:
    wrong = dsql_fast.Credentials("AKIAWRONG", "wrong")
    with pytest.raises(FAILED, match="access denied"):
        DOORS[door](pair.arguments(port=[closed_port(), pair.second.port], credentials=wrong))


def test_an_unknown_host_is_passed_over(pair: Pair) -> None:
    """Nobody knows the names of local clusters: without hostaddr the first cannot be resolved."""
    arguments = pair.arguments(hostaddr=[None, "127.0.0.1"])
    assert by_connect(arguments) == pair.second.host
    assert by_connect_async(arguments) == pair.second.host
    assert by_asyncpg(arguments) == pair.second.host


def test_asyncpgs_timeout_is_the_time_for_all(pair: Pair) -> None:
    arguments = pair.arguments()
    del arguments["connect_timeout"]
    pair.first.faults.silence_connections(1)
    assert by_asyncpg({**arguments, "timeout": 4}) == pair.second.host

    async def shares(timeout: float | None, **said: Any) -> float:
        attempt = await begin_asyncpg("", {**arguments, **said})
        attempt.end_within(timeout)
        return float((await attempt.arguments_async())["timeout"])

    for timeout, said, seconds in ((8, {}, 4), (60, {}, 15), (None, {}, 15), (8, {"connect_timeout": 12}, 6)):
        assert asyncio.run(shares(timeout, **said)) == seconds


# Staying, and coming back.


def test_it_stays_with_the_one_that_works(pair: Pair) -> None:
    arguments = pair.arguments()
    pair.first.faults.refuse_connections(1, "waking-up")
    assert by_connect(arguments) == pair.second.host
    tried = pair.first.stats()["attempted"]
    # The first would answer again. An equal list, whoever has it, begins at the second all the same.
    assert by_connect(arguments) == pair.second.host
    assert by_connect_async({**arguments, "host": tuple(arguments["host"])}) == pair.second.host
    assert by_config(arguments) == pair.second.host
    assert pair.first.stats()["attempted"] == tried
    assert dsql_fast.counters()["endpoint_failed_over"] == 1


@doors
def test_it_returns_to_the_first_after_its_time(pair: Pair, door: str) -> None:
    arguments = pair.arguments(return_to_first_secs=0)
    pair.first.faults.refuse_connections(1, "waking-up")
    assert by_connect(arguments) == pair.second.host
    assert DOORS[door](arguments) == pair.first.host
    assert dsql_fast.counters()["endpoint_returned"] == 1
    assert by_connect({**arguments, "return_to_first_secs": 3600}) == pair.first.host


def test_where_the_second_goes_too_the_first_is_asked_again(pair: Pair) -> None:
    arguments = pair.arguments()
    pair.first.faults.refuse_connections(1, "waking-up")
    assert by_connect(arguments) == pair.second.host
    pair.second.faults.refuse_connections(1, "waking-up")
    assert by_connect(arguments) == pair.first.host
    assert by_connect(arguments) == pair.first.host


def test_another_list_is_another_matter(pair: Pair) -> None:
    arguments = pair.arguments()
    pair.first.faults.refuse_connections(1, "waking-up")
    assert by_connect(arguments) == pair.second.host
    only_first = {
        **arguments,
        "host": [pair.first.host],
        "port": [pair.first.port],
        "credentials": pair.first.credentials,
    }
    assert by_connect(only_first) == pair.first.host
    assert len(_failover._preferences) >= 1


def test_a_pool_goes_over_and_its_connections_too(pair: Pair) -> None:
    arguments = pair.arguments()
    with dsql_fast.ConnectionPool(min_size=1, num_workers=1, **arguments) as pool:
        with pool.connection() as conn:
            assert conn.info.host == pair.first.host
        pair.first.faults.refuse_connections(100, "waking-up")
        pair.first.kill_sessions()
        found: list[str] = []

        def goes_over() -> bool:
            with contextlib.suppress(psycopg.OperationalError), pool.connection() as again:
                again.execute("select 1")
                found.append(again.info.host)
            return found[-1:] == [pair.second.host]

        eventually(goes_over)


# Each is signed for itself.


def test_each_has_a_token_of_its_own(pair: Pair) -> None:
    arguments = pair.arguments()
    attempt = begin("", arguments)
    first = attempt.source.token()
    assert attempt.again(psycopg.OperationalError("Connection refused"))
    second = attempt.source.token()
    assert first.startswith(f"{pair.first.host}/")
    assert second.startswith(f"{pair.second.host}/")
    assert ("us-east-1" in first, "us-west-2" in second) == (True, True)
    assert attempt.arguments()["host"] == pair.second.host
    assert not attempt.again(psycopg.OperationalError("Connection refused"))


def test_what_is_no_failure_of_a_connect_moves_nothing(pair: Pair) -> None:
    for failure in (
        dsql_fast.CredentialsNotFound("none"),
        psycopg.ProgrammingError("Connection refused"),
        KeyboardInterrupt(),
    ):
        attempt = begin("", pair.arguments())
        assert not attempt.again(failure)


def test_a_cancelled_connect_goes_nowhere_else(pair: Pair) -> None:
    pair.first.faults.silence_connections(1)
    tried = pair.second.stats()["attempted"]

    async def main() -> None:
        connecting = asyncio.create_task(dsql_fast.connect_async(**pair.arguments()))
        await eventually_async(lambda: pair.first.stats()["opening"] > 0)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting

    asyncio.run(main())
    assert pair.second.stats()["attempted"] == tried


def test_nothing_is_read_from_files_for_hosts_that_tell_their_region(pair: Pair) -> None:
    async def main() -> str:
        return str((await begin_async("", pair.arguments())).source)

    assert pair.first.host in asyncio.run(main())
