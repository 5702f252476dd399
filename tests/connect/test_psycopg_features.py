"""What `psycopg.connect` takes works with ours, sync and async: each feature told once, and used on both."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.adapt import AdaptersMap, Dumper
from psycopg.rows import args_row, class_row, dict_row, kwargs_row, namedtuple_row, scalar_row, tuple_row

import dsql_fast
from waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from dsql_fast.local import LocalCluster


@dataclass
class Pair:
    a: int
    b: str


class Both:
    """A connection of either kind, awaited where that is needed."""

    def __init__(self, conn: Any) -> None:
        self.conn = conn
        self.is_async = isinstance(conn, psycopg.AsyncConnection)

    async def all(self, query: str, parameters: Any = None, cursor: Any = None) -> Any:
        cursor = await done((cursor or self.conn).execute(query, parameters))
        return await done(cursor.fetchall())


async def done(value: Any) -> Any:
    return await value if isawaitable(value) else value


@pytest.fixture(params=["sync", "async"])
def use(request: pytest.FixtureRequest, cluster: LocalCluster) -> Callable[..., Any]:
    """A function that connects with some arguments and runs an async body with the connection."""

    def use(body: Callable[[Both], Any], **arguments: Any) -> Any:
        async def main() -> Any:
            if request.param == "async":
                async with await dsql_fast.AsyncConnection.connect(
                    **cluster.connect_kwargs(), **arguments
                ) as conn:
                    return await body(Both(conn))
            with dsql_fast.Connection.connect(**cluster.connect_kwargs(), **arguments) as conn:
                return await body(Both(conn))

        return asyncio.run(main())

    return use


ROWS: dict[str, tuple[Any, Any]] = {
    "tuple": (tuple_row, (1, "x")),
    "dict": (dict_row, {"a": 1, "b": "x"}),
    "namedtuple": (namedtuple_row, (1, "x")),
    "class": (class_row(Pair), Pair(1, "x")),
    "args": (args_row(Pair), Pair(1, "x")),
    "kwargs": (kwargs_row(Pair), Pair(1, "x")),
    "scalar": (scalar_row, 1),
}


@pytest.mark.parametrize(("factory", "expected"), ROWS.values(), ids=list(ROWS))
def test_row_factories(use: Any, factory: Any, expected: Any) -> None:
    async def body(both: Both) -> None:
        assert await both.all("select 1 as a, 'x' as b") == [expected]

    use(body, row_factory=factory)


CURSORS: dict[str, tuple[Any, Any, str]] = {
    "client": (psycopg.ClientCursor, psycopg.AsyncClientCursor, "%s"),
    "raw": (psycopg.RawCursor, psycopg.AsyncRawCursor, "$1"),
    "plain": (psycopg.Cursor, psycopg.AsyncCursor, "%s"),
}


@pytest.mark.parametrize(("plain", "asynchronous", "mark"), CURSORS.values(), ids=list(CURSORS))
def test_cursor_factories(use: Any, plain: Any, asynchronous: Any, mark: str, request: Any) -> None:
    async def body(both: Both) -> None:
        cursor = both.conn.cursor()
        assert type(cursor) is (asynchronous if both.is_async else plain)
        assert await both.all(f"select {mark}::int + 1", (41,), cursor) == [(42,)]

    use(body, cursor_factory=asynchronous if "[async-" in request.node.name else plain)


def test_server_side_cursors_in_a_transaction(use: Any) -> None:
    async def body(both: Both) -> None:
        cursor = both.conn.cursor("numbers")
        await done(cursor.execute("select generate_series(1, 5)"))
        assert await done(cursor.fetchmany(2)) == [(1,), (2,)]
        assert await done(cursor.fetchall()) == [(3,), (4,), (5,)]
        await done(cursor.close())

    use(body)


def test_binary_results_and_streams(use: Any) -> None:
    async def body(both: Both) -> None:
        assert await both.all("select 7::int8, true", cursor=both.conn.cursor(binary=True)) == [(7, True)]
        stream = both.conn.cursor().stream("select generate_series(1, 3)")
        assert ([row async for row in stream] if both.is_async else list(stream)) == [(1,), (2,), (3,)]

    use(body)


def test_pipelines(use: Any) -> None:
    async def body(both: Both) -> None:
        if both.is_async:
            async with both.conn.pipeline():
                cursors = [await both.conn.execute("select %s::int", (number,)) for number in range(3)]
        else:
            with both.conn.pipeline():
                cursors = [both.conn.execute("select %s::int", (number,)) for number in range(3)]
        assert [await done(cursor.fetchone()) for cursor in cursors] == [(0,), (1,), (2,)]

    use(body, autocommit=True)


@pytest.mark.parametrize(("threshold", "prepared"), [(None, 0), (0, 1), (2, 1), (5, 0)])
def test_prepared_statements(use: Any, threshold: int | None, prepared: int) -> None:
    async def body(both: Both) -> None:
        assert both.conn.prepare_threshold == threshold
        for number in range(4):
            assert await both.all("select %s::int * 2", (number,)) == [(number * 2,)]
        found = await both.all("select count(*) from pg_prepared_statements where statement like '%%* 2'")
        assert found == [(prepared,)]

    use(body, prepare_threshold=threshold, autocommit=True)


@pytest.mark.parametrize("autocommit", [False, True])
def test_autocommit(use: Any, autocommit: bool) -> None:
    async def body(both: Both) -> None:
        await both.all("select 1")
        in_transaction = psycopg.pq.TransactionStatus.INTRANS
        assert (both.conn.info.transaction_status == in_transaction) is not autocommit
        await done(both.conn.rollback())

    use(body, autocommit=autocommit)


def test_a_context_of_adapters(use: Any) -> None:
    class AsText(Dumper):
        def dump(self, obj: Any) -> bytes:
            return f"a {obj.a}, b {obj.b}".encode()

    adapters = AdaptersMap(psycopg.adapters)
    adapters.register_dumper(Pair, AsText)

    class Context:
        connection = None

        def __init__(self) -> None:
            self.adapters = adapters

    async def body(both: Both) -> None:
        assert await both.all("select %s::text", (Pair(1, "x"),)) == [("a 1, b x",)]

    use(body, context=Context())


def test_a_transaction_of_psycopgs(use: Any) -> None:
    async def body(both: Both) -> None:
        if both.is_async:
            async with both.conn.transaction():
                await both.all("select 1")
        else:
            with both.conn.transaction():
                await both.all("select 1")
        assert both.conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE

    use(body)


def test_notices_come_and_notifications_are_not_there(use: Any) -> None:
    async def body(both: Both) -> None:
        told: list[str] = []
        both.conn.add_notice_handler(lambda diagnostic: told.append(diagnostic.message_primary))
        both.conn.add_notify_handler(lambda notify: told.append(notify.payload))
        await done(both.conn.execute("drop table if exists no_such_table"))
        assert told == ['table "no_such_table" does not exist, skipping']
        for statement in ("listen a", "notify a"):
            with pytest.raises(psycopg.errors.FeatureNotSupported):
                await done(both.conn.execute(statement))

    use(body, autocommit=True)


def test_copy(use: Any) -> None:
    async def body(both: Both) -> None:
        await done(both.conn.execute("drop table if exists copied"))
        await done(both.conn.execute("create table copied (id int primary key, t text)"))
        rows = [(1, "x"), (2, "a\tb\\")]
        cursor = both.conn.cursor()
        if both.is_async:
            async with cursor.copy("copy copied from stdin") as copy:
                for row in rows:
                    await copy.write_row(row)
            async with cursor.copy("copy copied to stdout") as copy:
                out = [row async for row in copy.rows()]
        else:
            with cursor.copy("copy copied from stdin") as copy:
                for row in rows:
                    copy.write_row(row)
            with cursor.copy("copy copied to stdout") as copy:
                out = list(copy.rows())
        assert await both.all("select * from copied order by id") == rows
        assert sorted(out) == [("1", "x"), ("2", "a\tb\\")]
        await done(both.conn.execute("drop table copied"))

    use(body, autocommit=True)


def test_info(use: Any, cluster: LocalCluster) -> None:
    async def body(both: Both) -> None:
        info = both.conn.info
        assert (info.host, info.hostaddr, info.port) == (cluster.host, cluster.hostaddr, cluster.port)
        assert (info.user, info.dbname, info.encoding) == ("admin", "postgres", "utf-8")
        assert info.server_version // 10000 == 16
        assert info.backend_pid in {session.pid for session in cluster.sessions()}
        # Not in what psycopg shows by default, though it is there (`info.password`).
        assert "password" not in info.get_parameters()
        assert "X-Amz-Signature" not in info.dsn + repr(both.conn)

    use(body)


def test_a_cancel_request_has_no_effect(cluster: LocalCluster) -> None:
    """As observed of DSQL: the statement goes on. Whether the request itself is answered is not known."""
    refused: list[BaseException] = []

    def cancel() -> None:
        eventually(lambda: conn.info.transaction_status == psycopg.pq.TransactionStatus.ACTIVE)
        try:
            conn.cancel_safe()
        except psycopg.OperationalError as error:
            refused.append(error)

    with dsql_fast.connect(**cluster.connect_kwargs(), autocommit=True) as conn:
        thread = threading.Thread(target=cancel)
        thread.start()
        assert conn.execute("select 7 from pg_sleep(1)").fetchone() == (7,)
        thread.join()
        assert all("cancellation failed" in str(error) for error in refused)
        assert conn.execute("select 1").fetchone() == (1,)
