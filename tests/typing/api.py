"""The types that users see. Never run: mypy and pyright check it."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Literal

import botocore.session
import psycopg
import psycopg2.extensions
import psycopg2.pool
import psycopg_pool
from botocore.credentials import ReadOnlyCredentials
from psycopg.rows import DictRow, TupleRow, class_row, dict_row
from typing_extensions import assert_type

import dsql_fast
import dsql_fast.asyncpg
import dsql_fast.psycopg2
from dsql_fast import (
    AssumeRole,
    AsyncConnection,
    AsyncConnectionPool,
    Connection,
    ConnectionPool,
    Credentials,
    RetryPolicy,
    RetryState,
    TokenSource,
)
from dsql_fast.compat import aurora_dsql_psycopg as compat_psycopg

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Thing:
    name: str


class OwnConnection(psycopg.Connection[DictRow]):
    pass


# Pacing.

assert_type(dsql_fast.Pacing(fleet=10_000, rate=50.5, burst=100).spread, float)
assert_type(dsql_fast.connect("host", pacing=dsql_fast.Pacing()), Connection[TupleRow])
dsql_fast.ConnectionPool("host", pacing=False, open=False)

# Tokens.

assert_type(dsql_fast.generate_token("host"), str)
assert_type(
    dsql_fast.generate_token(
        "host",
        "us-east-1",
        user="reader",
        expires_in=60,
        credentials=Credentials("a", "b", None, dt.datetime.now(dt.timezone.utc)),
        now=dt.datetime.now(dt.timezone.utc),
    ),
    str,
)
source = TokenSource("host", token_duration_secs="900", profile="p", credentials_timeout=1.5)
assert_type(source, TokenSource)
assert_type(source.token(), str)
assert_type(source.stats().issued, int)
assert_type(source.stats().expires_at, dt.datetime | None)
source.invalidate()


def load() -> Credentials:
    return Credentials("a", "b", session_token="c")


role = AssumeRole(
    "arn:aws:iam::123456789012:role/app", session_name="me", external_id="ex", duration=900, source=load
)
assert_type(role, AssumeRole)
assert_type(role.duration, int)
AssumeRole("arn:aws:iam::123456789012:role/app", source=role, region="eu-west-1")
TokenSource("host", credentials=role, profile="p")
dsql_fast.connect(host="host", credentials=role)
dsql_fast.connect(host="host", custom_credentials_provider=load, profile="p")


async def load_async() -> ReadOnlyCredentials:
    return ReadOnlyCredentials("a", "b", "c")


for given in (load, load_async, load(), ReadOnlyCredentials("a", "b", None), botocore.session.Session(), None):
    TokenSource("host", credentials=given)
    dsql_fast.connect("host", credentials=given)

assert_type(Credentials("a", "b").access_key_id, str)
assert_type(Credentials("a", "b").expires_at, dt.datetime | None)

# Descriptions of connections.

config = dsql_fast.Config("host", region="us-east-1", token_duration_secs=60, connect_host="a")
assert_type(config, dsql_fast.Config)
assert_type(config.replace(user=None), dsql_fast.Config)
assert_type(dsql_fast.Config.from_env(), dsql_fast.Config)
assert_type(dsql_fast.Config.from_env({"DB_HOST": "a"}, port=1), dsql_fast.Config)
assert_type(config.alternatives, tuple[dsql_fast.Config, ...])
dsql_fast.Config(host=["a", "b"], region=("us-east-1", None), port=[1, "2"], return_to_first_secs=1.5)
TokenSource(config)
dsql_fast.connect(config, user="reader")
dsql_fast.pool_kwargs(config)
ConnectionPool(config)
AsyncConnectionPool(config, min_size=1)

# Connections.

with dsql_fast.connect("host", user="reader", port=5432, connect_timeout=3) as conn:
    assert_type(conn, Connection[TupleRow])
    assert_type(conn.execute("select 1").fetchone(), TupleRow | None)

# In pyright's eyes a type variable with a default is decided before the call, for psycopg's own classes too: so the
# row's type is named at the class. mypy finds it by itself.
by_dict = Connection[DictRow].connect("host", row_factory=dict_row, autocommit=True)
assert_type(by_dict, Connection[DictRow])
assert_type(by_dict.execute("select 1").fetchone(), DictRow | None)
by_class = Connection[Thing].connect("host", row_factory=class_row(Thing))
assert_type(by_class.execute("select 1").fetchall(), list[Thing])
found = dsql_fast.connect("host", row_factory=dict_row)  # pyright: ignore[reportArgumentType]
assert_type(found, Connection[DictRow])  # pyright: ignore[reportAssertTypeFailure]
as_theirs: psycopg.Connection[TupleRow] = dsql_fast.connect("host")


async def main() -> None:
    assert_type(await source.token_async(), str)
    async with await dsql_fast.connect_async("host") as conn:
        assert_type(conn, AsyncConnection[TupleRow])
    by_dict = await AsyncConnection[DictRow].connect("host", row_factory=dict_row)
    assert_type(by_dict, AsyncConnection[DictRow])
    by_class = await AsyncConnection[Thing].connect("host", row_factory=class_row(Thing))
    assert_type(await (await by_class.execute("select 1")).fetchone(), Thing | None)

    async with AsyncConnectionPool("host", connection_class=AsyncConnection[TupleRow], min_size=1) as pool:
        assert_type(pool, AsyncConnectionPool[AsyncConnection[TupleRow]])
        async with pool.connection() as conn:
            assert_type(conn, AsyncConnection[TupleRow])


# Pools.

with ConnectionPool(
    "host", connection_class=Connection[TupleRow], min_size=1, max_size=4, region="us-east-1"
) as pool:
    assert_type(pool, ConnectionPool[Connection[TupleRow]])
    with pool.connection() as conn:
        assert_type(conn, Connection[TupleRow])
    assert_type(pool.getconn(), Connection[TupleRow])

own = ConnectionPool("host", connection_class=OwnConnection)
assert_type(own, ConnectionPool[OwnConnection])
rows = ConnectionPool("host", connection_class=Connection[DictRow], kwargs={"row_factory": dict_row})
assert_type(rows.getconn(), Connection[DictRow])
bare = psycopg_pool.ConnectionPool(**dsql_fast.pool_kwargs("host"))
assert_type(dsql_fast.pool_kwargs("host", asynchronous=True), dict[str, Any])
as_their_pool: psycopg_pool.ConnectionPool[Connection[DictRow]] = rows
# Without a class it is, to type checkers, psycopg's, as in psycopg_pool.
plain: ConnectionPool = ConnectionPool("host")
assert_type(plain.getconn().execute("select 1").fetchone(), TupleRow | None)

nulls = dsql_fast.NullConnectionPool("host", connection_class=Connection[TupleRow], max_size=3)
assert_type(nulls, dsql_fast.NullConnectionPool[Connection[TupleRow]])
assert_type(nulls.getconn(), Connection[TupleRow])
as_their_null_pool: psycopg_pool.NullConnectionPool[Connection[TupleRow]] = nulls
assert_type(rows.refresh(wait=False, timeout=1.5), None)
nulls.refresh()
dsql_fast.connect("host", orm_prefix="django")

# Transactions.


def count(conn: psycopg.Connection[Any]) -> int:
    return 1


def count_ours(conn: Connection[TupleRow]) -> int:
    return 1


async def count_async(conn: psycopg.AsyncConnection[Any]) -> int:
    return 1


policy = RetryPolicy(max_attempts=2, base_delay=0, max_delay=1, jitter=0.5, deadline=3, before_retry=print)
assert_type(policy.delay(1, lambda: 0.5), float)
assert_type(pool.run_transaction(count, policy=policy, idempotent=True), int)
assert_type(pool.run_transaction(count_ours), int)
assert_type(pool.run_transaction(lambda conn: conn.execute("select 1").fetchone()), TupleRow | None)
assert_type(dsql_fast.run_transaction(pool, count_ours), int)
assert_type(dsql_fast.run_transaction(bare, count), int)
with dsql_fast.connect("host") as conn:
    assert_type(dsql_fast.run_transaction(conn, count_ours), int)


async def transactions(
    conn: AsyncConnection[TupleRow], pool: AsyncConnectionPool[AsyncConnection[TupleRow]]
) -> None:
    assert_type(await dsql_fast.run_transaction_async(conn, count_async, policy=policy), int)
    assert_type(await dsql_fast.run_transaction_async(pool, count_async), int)
    assert_type(await pool.run_transaction(count_async), int)
    assert_type(await move_async(pool, "a"), bool)
    assert_type(await move_async(conn, to="a"), bool)
    async for attempt in dsql_fast.conflict_attempts(pool, policy=policy, idempotent=True):
        async with attempt as inside:
            assert_type(inside, AsyncConnection[TupleRow])
            await attempt.commit()
    async with dsql_fast.AsyncNullConnectionPool("host", connection_class=AsyncConnection[TupleRow]) as nulls:
        assert_type(await nulls.getconn(), AsyncConnection[TupleRow])
        await nulls.refresh()
    await pool.refresh(timeout=3)


@dsql_fast.retry_on_conflict
def move(conn: Connection[TupleRow], amount: int, *, to: str = "") -> str:
    return to


@dsql_fast.retry_on_conflict(policy=policy, idempotent=True)
async def move_async(conn: AsyncConnection[TupleRow], to: str) -> bool:
    return True


for attempt in dsql_fast.conflict_attempts(pool, policy=policy, idempotent=True):
    with attempt as inside:
        assert_type(inside, Connection[TupleRow])
        attempt.commit()
for on_one in dsql_fast.conflict_attempts(conn):
    with on_one as inside:
        assert_type(inside, Connection[TupleRow])


class Bank:
    @dsql_fast.retry_on_conflict(connection="conn", policy=policy)
    def transfer(self, amount: int, *, conn: Connection[TupleRow]) -> int:
        return amount * conn.info.backend_pid


assert_type(Bank().transfer(1, conn=pool), int)
assert_type(move(pool, 1, to="a"), str)
assert_type(move(conn, 1), str)


def hook(state: RetryState) -> None:
    assert_type(state.kind, Literal["data", "schema", "lost", "unavailable", "unknown"])


async def hook_async(state: RetryState) -> None: ...


RetryPolicy(before_retry=hook)
RetryPolicy(before_retry=hook_async)
assert_type(dsql_fast.conflict_kind(ValueError()), Literal["data", "schema"] | None)
assert_type(dsql_fast.is_conflict(ValueError()), bool)

move(pool, "1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
move(3, 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
pool.run_transaction(count, retries=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
policy.jitter = 0.5  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]

# psycopg2.


def count2(conn: psycopg2.extensions.connection) -> int:
    return 1


class OwnConnection2(psycopg2.extensions.connection):
    pass


@dsql_fast.retry_on_conflict
def move2(conn: psycopg2.extensions.connection, amount: int) -> str:
    return ""


conn2 = dsql_fast.psycopg2.connect("host", user="reader", credentials=load())
assert_type(conn2, psycopg2.extensions.connection)
assert_type(dsql_fast.psycopg2.connect("host", OwnConnection2), OwnConnection2)
assert_type(dsql_fast.psycopg2.connect(connection_factory=OwnConnection2, host="h"), OwnConnection2)
pool2 = dsql_fast.psycopg2.ThreadedConnectionPool(1, 2, "host", max_lifetime=60, max_idle=1.5, region="us-east-1")
assert_type(pool2.getconn("key"), psycopg2.extensions.connection)
pool2.putconn(conn2, key="key", close=True)
with pool2.connection() as conn2:
    assert_type(conn2, psycopg2.extensions.connection)
as_psycopg2s: psycopg2.pool.ThreadedConnectionPool = pool2
assert_type(pool2.run_transaction(count2, policy=policy, idempotent=True), int)
assert_type(dsql_fast.run_transaction(conn2, count2, policy=policy), int)
assert_type(dsql_fast.run_transaction(pool2, count2), int)
assert_type(dsql_fast.run_transaction(psycopg2.pool.SimpleConnectionPool(1, 2, "host=h"), count2), int)
assert_type(move2(conn2, 1), str)
assert_type(move2(pool2, amount=1), str)
move2(conn2, "1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

# asyncpg, which ships no types: only what is ours has some.


async def count_rows(conn: dsql_fast.asyncpg.Connection) -> int:
    return 1


@dsql_fast.retry_on_conflict
async def move_rows(conn: dsql_fast.asyncpg.Connection, to: str) -> bool:
    return True


async def by_asyncpg(own: dsql_fast.asyncpg.Connection) -> None:
    assert_type(await dsql_fast.asyncpg.connect("host", timeout=3, port=5432), dsql_fast.asyncpg.Connection)
    async with dsql_fast.asyncpg.create_pool("host", min_size=1, command_timeout=3) as pool:
        assert_type(await pool.run_transaction(count_rows, policy=policy), int)
        # In mypy's eyes a class whose base has no types may be psycopg's as well: no result is asserted.
        await dsql_fast.run_transaction_async(pool, count_rows)
    assert_type(await dsql_fast.asyncpg.create_pool("host"), dsql_fast.asyncpg.Pool)
    await dsql_fast.run_transaction_async(own, count_rows, idempotent=True)
    assert_type(await move_rows(own, to="a"), bool)
    await dsql_fast.asyncpg.connect("host", nonsense=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


# The rest.

assert_type(dsql_fast.counters(), dict[str, int])
assert_type(dsql_fast.__version__, str)
try:
    pool.getconn()
except dsql_fast.PoolTimeout as error:
    also_theirs: psycopg_pool.PoolTimeout = error
    also_ours: dsql_fast.Error = error

try:
    dsql_fast.connect("host")
except dsql_fast.AccessDenied as refusal:
    assert_type(refusal.kind, str)
    assert_type(refusal.permanent, bool)
    assert_type(refusal.hint, str | None)
    assert_type(refusal.token_age, float | None)
    connect_error: dsql_fast.ConnectError = refusal
except dsql_fast.ConflictRetriesExhausted as exhausted:
    assert_type(exhausted.attempts, int)
    assert_type(exhausted.kind, Literal["data", "schema"])

# What must be refused: an ignore that is not needed is an error.

dsql_fast.connect("host", nonsense=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
dsql_fast.connect("host", password="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
TokenSource("host", nonsense=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
dsql_fast.generate_token("host", now="today")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

# Work of several transactions.

assert_type(dsql_fast.execute_ddl(pool, ["create table t (id int)"], resume=None), dsql_fast.DDLReport)
assert_type(dsql_fast.wait_for_jobs(pool, ["job"]), tuple[dsql_fast.Job, ...])
assert_type(dsql_fast.bulk_insert(pool, "t", [(1,)], key=("id",), on_progress=print), dsql_fast.BulkResult)


async def several() -> None:
    async def rows() -> AsyncIterator[tuple[int]]:
        yield (1,)

    report = await dsql_fast.execute_ddl_async(pool, "create table t (id int)")
    assert_type(report, dsql_fast.DDLReport)
    result = await dsql_fast.bulk_insert_async(pool, "t", rows(), ledger="l", resume=None)
    assert_type(result, dsql_fast.BulkResult)


dsql_fast.bulk_insert(pool, "t", [(1,)], batch_rows="7")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

# The official connector's names.

assert_type(compat_psycopg.connect(host="host"), compat_psycopg.DSQLConnection[TupleRow])
with compat_psycopg.create_pool(host="host", retry=True) as compat_pool, compat_pool.connection() as compat_conn:
    compat_conn.execute("select 1")
assert_type(compat_psycopg.is_occ_error(ValueError()), bool)
compat_psycopg.OCCRetryConfig(max_retries=3)
