"""What passes through a session: small and large, both ways, by every driver."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import select
import ssl
from typing import TYPE_CHECKING

import psycopg
import pytest

from local.doors import (
    authenticated,
    connect,
    message,
    parameters,
    read_message,
    settled,
    wait_for,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from dsql_fast.local import LocalCluster

MIB = 1024 * 1024


def test_a_large_result_flows_in_bounded_memory(fresh_cluster: Callable[..., LocalCluster]) -> None:
    cluster = fresh_cluster()
    with connect(cluster) as conn:
        conn.execute("select 1")
        before = cluster.stats()["memory_bytes"]
        highest = before
        size = 0
        sql = "select repeat('x', 1000) from generate_series(1, 50000)"
        for at, (text,) in enumerate(conn.cursor().stream(sql, size=100)):
            size += len(text)
            if at % 10_000 == 0:
                highest = max(highest, cluster.stats()["memory_bytes"])
        assert size == 50_000_000
        assert highest - before < 8 * MIB


def test_a_client_that_does_not_read_costs_a_bounded_buffer(
    fresh_cluster: Callable[..., LocalCluster],
) -> None:
    cluster = fresh_cluster()
    sock = authenticated(cluster)
    before = cluster.stats()["memory_bytes"]
    sock.sendall(message(b"Q", b"select repeat('x', 1000) from generate_series(1, 100000)\0"))
    with connect(cluster) as conn:
        # The others do not notice.
        for _ in range(50):
            assert conn.execute("select 1").fetchone() == (1,)
    assert cluster.stats()["memory_bytes"] - before < 8 * MIB
    # It wakes up and gets everything, in order.
    rows = 0
    while (received := read_message(sock))[0] != b"Z":
        rows += received[0] == b"D"
    assert rows == 100_000
    sock.close()
    settled(cluster)


def test_a_client_that_goes_while_it_does_not_read(cluster: LocalCluster) -> None:
    settled(cluster)
    sock = authenticated(cluster)
    sock.sendall(message(b"Q", b"select repeat('x', 1000) from generate_series(1, 100000)\0"))
    assert read_message(sock)[0] == b"T"
    sock.close()
    settled(cluster)


def test_a_client_that_goes_in_a_long_statement_frees_its_backend(cluster: LocalCluster) -> None:
    settled(cluster)
    sock = authenticated(cluster)
    sock.sendall(message(b"Q", b"select pg_sleep(1000)\0"))
    wait_for(lambda: cluster.stats()["backends"] == 1, "the statement")
    sock.close()
    settled(cluster)


def test_what_a_client_sent_before_it_went_is_done(cluster: LocalCluster) -> None:
    with connect(cluster) as conn:
        conn.execute("create table parting (id int)")
        sock = authenticated(cluster)
        sock.sendall(message(b"Q", b"insert into parting values (1)\0") + message(b"X"))
        sock.close()
        wait_for(lambda: conn.execute("select count(*) from parting").fetchone() == (1,), "the row")
        conn.execute("drop table parting")


def test_copy_in_and_out(cluster: LocalCluster) -> None:
    with connect(cluster) as conn:
        conn.execute("create table copied (id int, body text)")
        with conn.cursor().copy("copy copied from stdin") as copy:
            for number in range(1000):
                copy.write_row((number, "x" * 500))
        with conn.cursor().copy("copy copied to stdout") as copy:
            rows = list(copy.rows())
        assert len(rows) == 1000
        assert rows[7] == ("7", "x" * 500)
        with (  # noqa: PT012 - an error inside the block is the point
            pytest.raises(ZeroDivisionError),
            conn.cursor().copy("copy copied from stdin") as copy,
        ):
            copy.write_row((1, "y"))
            raise ZeroDivisionError
        assert conn.execute("select count(*) from copied").fetchone() == (1000,)
        conn.execute("drop table copied")


def test_pipelines_and_prepared_statements(cluster: LocalCluster) -> None:
    with connect(cluster) as conn:
        with conn.pipeline():
            cursors = [conn.execute("select %s::int", [number]) for number in range(200)]
        assert [cursor.fetchone() for cursor in cursors] == [(number,) for number in range(200)]
        for number in range(20):
            row = conn.execute("select %s::int", [number], prepare=True).fetchone()
            assert row == (number,)
        with conn.cursor("server_side") as cursor, conn.transaction():
            cursor.execute("select * from generate_series(1, 1000)")
            assert len(cursor.fetchall()) == 1000


def test_errors_leave_the_session_usable(cluster: LocalCluster) -> None:
    with connect(cluster) as conn:
        with pytest.raises(psycopg.errors.SyntaxError):
            conn.execute("selec 1")
        conn.execute("begin")
        with pytest.raises(psycopg.errors.DivisionByZero):
            conn.execute("select 1/0")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            conn.execute("select 1")
        conn.execute("rollback")
        assert conn.execute("select 1").fetchone() == (1,)


def test_async_psycopg(cluster: LocalCluster) -> None:
    async def use(number: int) -> int:
        given = parameters(cluster)
        async with await psycopg.AsyncConnection.connect(**given) as conn:
            row = await (await conn.execute("select %s::int", [number])).fetchone()
            assert row is not None
            return int(row[0])

    async def main() -> list[int]:
        return await asyncio.gather(*(use(number) for number in range(20)))

    assert asyncio.run(main()) == list(range(20))


def test_many_clients_at_once(cluster: LocalCluster) -> None:
    def use(number: int) -> int:
        with connect(cluster) as conn:
            row = conn.execute("select %s::int", [number]).fetchone()
            assert row is not None
            return int(row[0])

    with concurrent.futures.ThreadPoolExecutor(20) as threads:
        assert list(threads.map(use, range(100))) == list(range(100))


def test_both_directions_at_once(cluster: LocalCluster) -> None:
    # Forty large queries sent before one answer is read: each side waits for the other to drain. One thread
    # does both: before Python 3.13 two threads on one SSLSocket spoil OpenSSL's state.
    sock = authenticated(cluster)
    unsent = memoryview(message(b"Q", b"select '" + b"x" * 200_000 + b"'\0") * 40)
    received = bytearray()
    sock.setblocking(False)
    answers = idle = 0
    while answers < 40:
        moved = False
        if unsent:
            with contextlib.suppress(ssl.SSLWantWriteError, ssl.SSLWantReadError):
                unsent = unsent[sock.send(unsent[:65536]) :]
                moved = True
        with contextlib.suppress(ssl.SSLWantWriteError, ssl.SSLWantReadError):
            received += sock.recv(65536)
            moved = True
        while len(received) >= 5 and len(received) > (length := int.from_bytes(received[1:5], "big")):
            answers += received[0] == ord("Z")
            del received[: length + 1]
        if not moved:
            idle += 1
            assert select.select([sock], [sock] if unsent else [], [], 10) != ([], [], []), "nothing moves"
    assert idle  # the two did wait for each other
    sock.close()
