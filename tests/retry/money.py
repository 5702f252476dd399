"""Transfers between shared accounts, and what became of them: told to the caller, and found in the database.

Two ways to keep the books. *Plain*: each application of a transfer writes a row of its own, so one that was applied
twice is seen twice. *Idempotent*: the transfer's number is the row's key, and one that is there is not done again.
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import psycopg2

import dsql_fast
import dsql_fast.asyncpg
import dsql_fast.psycopg2
from dsql_fast import CommitOutcomeUnknown, RetryPolicy
from retry.shells import execute

if TYPE_CHECKING:
    from dsql_fast.local import LocalCluster

ACCOUNTS = 12
BALANCE = 1000
POLICY = RetryPolicy(max_attempts=8, base_delay=0.002)
# Every so many transfers, the own session or all of them are killed within the transaction.
KILL_OWN = 37
KILL_ALL = 151

SCHEMA = (
    "CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL)",
    "CREATE TABLE ledger (entry uuid PRIMARY KEY DEFAULT gen_random_uuid(), transfer int, payer int, payee int)",
    "ALTER TABLE ledger ADD COLUMN amount int",
    "CREATE TABLE ledger_by_transfer (transfer int PRIMARY KEY, payer int, payee int, amount int)",
)


@dataclass
class Told:
    """What became of the transfers, as their callers were told."""

    applied: set[int] = field(default_factory=set)
    unknown: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)

    def tell(self, number: int, error: BaseException | None) -> None:
        """Sort one in."""
        if error is None:
            self.applied.add(number)
        elif isinstance(error, CommitOutcomeUnknown):
            self.unknown.add(number)
        elif isinstance(error, (psycopg.Error, psycopg2.Error, asyncpg.PostgresError, asyncpg.InterfaceError)):
            # psycopg_pool's PoolTimeout too
            self.failed.add(number)
        else:
            raise error


@dataclass(frozen=True)
class Transfer:
    """One of them."""

    number: int

    @property
    def payer(self) -> int:
        return self.number * 7 % ACCOUNTS

    @property
    def payee(self) -> int:
        return (self.payer + 1 + self.number * 5 % (ACCOUNTS - 1)) % ACCOUNTS

    @property
    def amount(self) -> int:
        return 1 + self.number % 9

    def statements(self, *, idempotent: bool) -> list[tuple[str, tuple[int, ...]]]:
        table = "ledger_by_transfer" if idempotent else "ledger"
        return [
            ("UPDATE accounts SET balance = balance - %s WHERE id = %s", (self.amount, self.payer)),
            ("UPDATE accounts SET balance = balance + %s WHERE id = %s", (self.amount, self.payee)),
            (
                f"INSERT INTO {table} (transfer, payer, payee, amount) VALUES (%s, %s, %s, %s)",
                (self.number, self.payer, self.payee, self.amount),
            ),
        ]


class Bank:
    """A cluster with accounts, and a crowd that moves money.

    Args:
        cluster: one with faults pending, or none.
        transfers: how many.
        idempotent: the way in which the books are kept.
    """

    def __init__(self, cluster: LocalCluster, transfers: int, *, idempotent: bool) -> None:
        self.cluster = cluster
        self.transfers = transfers
        self.idempotent = idempotent
        self.told = Told()
        self._lock = threading.Lock()
        self._numbers = iter(range(transfers))
        self._killed: set[int] = set()

    def open(self) -> None:
        """Make the tables, each DDL statement a transaction of its own."""
        with dsql_fast.connect(**self.cluster.connect_kwargs(), autocommit=True) as conn:
            for table in ("accounts", "ledger", "ledger_by_transfer"):
                conn.execute(f"DROP TABLE IF EXISTS {table}")
            for statement in SCHEMA:
                conn.execute(statement)
            with conn.transaction():
                for account in range(ACCOUNTS):
                    conn.execute("INSERT INTO accounts VALUES (%s, %s)", (account, BALANCE))

    def _next(self) -> Transfer | None:
        with self._lock:
            number = next(self._numbers, None)
        return None if number is None else Transfer(number)

    def _to_kill(self, transfer: Transfer, conn: Any) -> list[int | None]:
        """Which sessions to kill now: none, this one, or all; in a transfer's first attempt only."""
        number = transfer.number + 1
        if number in self._killed or (number % KILL_OWN and number % KILL_ALL):
            return []
        self._killed.add(number)
        pid = conn.info.backend_pid if hasattr(conn, "info") else conn.get_server_pid()
        return [None] if number % KILL_ALL == 0 else [pid]

    # In threads.

    def run_threads(self, workers: int) -> None:
        with dsql_fast.ConnectionPool(**self.cluster.connect_kwargs(), min_size=workers) as pool:
            pool.wait()
            self._share(pool, workers)

    def run_psycopg2(self, workers: int) -> None:
        pool = dsql_fast.psycopg2.ThreadedConnectionPool(workers, workers, **self.cluster.connect_kwargs())
        try:
            self._share(pool, workers)
        finally:
            pool.closeall()

    def _share(self, pool: Any, workers: int) -> None:
        threads = [threading.Thread(target=self._work, args=(pool,)) for _ in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self, pool: Any) -> None:
        while (transfer := self._next()) is not None:
            error: BaseException | None = None
            try:
                pool.run_transaction(
                    lambda conn, transfer=transfer: self._move(conn, transfer),
                    policy=POLICY,
                    idempotent=self.idempotent,
                )
            except Exception as caught:
                error = caught
            with self._lock:
                self.told.tell(transfer.number, error)

    def _move(self, conn: Any, transfer: Transfer) -> None:
        if self.idempotent:
            found = execute(conn, "SELECT FROM ledger_by_transfer WHERE transfer = %s", (transfer.number,))
            if found.fetchone() is not None:
                return
        for number, (statement, arguments) in enumerate(transfer.statements(idempotent=self.idempotent)):
            if number == 1:
                for pid in self._to_kill(transfer, conn):
                    self.cluster.kill_sessions(pid)
            execute(conn, statement, arguments)

    # In tasks.

    def run_tasks(self, workers: int) -> None:
        async def main() -> None:
            async with dsql_fast.AsyncConnectionPool(
                **self.cluster.connect_kwargs(), min_size=workers // 2
            ) as pool:
                await pool.wait()
                await asyncio.gather(*(self._work_async(pool) for _ in range(workers)))

        asyncio.run(main())

    async def _work_async(self, pool: dsql_fast.AsyncConnectionPool[Any]) -> None:
        while (transfer := self._next()) is not None:
            error: BaseException | None = None
            try:
                await pool.run_transaction(
                    lambda conn, transfer=transfer: self._move_async(conn, transfer),  # type: ignore[misc]
                    policy=POLICY,
                    idempotent=self.idempotent,
                )
            except Exception as caught:
                error = caught
            self.told.tell(transfer.number, error)

    async def _move_async(self, conn: psycopg.AsyncConnection[Any], transfer: Transfer) -> None:
        if self.idempotent:
            found = await conn.execute("SELECT FROM ledger_by_transfer WHERE transfer = %s", (transfer.number,))
            if await found.fetchone() is not None:
                return
        for number, (statement, arguments) in enumerate(transfer.statements(idempotent=self.idempotent)):
            if number == 1:
                for pid in self._to_kill(transfer, conn):
                    await asyncio.to_thread(self.cluster.kill_sessions, pid)
            await conn.execute(statement, arguments)

    # In tasks, with asyncpg.

    def run_asyncpg(self, workers: int) -> None:
        async def main() -> None:
            async with dsql_fast.asyncpg.create_pool(
                **self.cluster.connect_kwargs(), min_size=workers // 2, max_size=workers // 2
            ) as pool:
                await asyncio.gather(*(self._work_asyncpg(pool) for _ in range(workers)))

        asyncio.run(main())

    async def _work_asyncpg(self, pool: dsql_fast.asyncpg.Pool) -> None:
        while (transfer := self._next()) is not None:
            error: BaseException | None = None
            try:
                await pool.run_transaction(
                    lambda conn, transfer=transfer: self._move_asyncpg(conn, transfer),  # type: ignore[misc]
                    policy=POLICY,
                    idempotent=self.idempotent,
                )
            except Exception as caught:
                error = caught
            self.told.tell(transfer.number, error)

    async def _move_asyncpg(self, conn: Any, transfer: Transfer) -> None:
        async with conn.transaction():
            if self.idempotent and await conn.fetch(
                "SELECT 1 FROM ledger_by_transfer WHERE transfer = $1", transfer.number
            ):
                return
            for number, (statement, arguments) in enumerate(transfer.statements(idempotent=self.idempotent)):
                if number == 1:
                    for pid in self._to_kill(transfer, conn):
                        await asyncio.to_thread(self.cluster.kill_sessions, pid)
                await conn.execute(_numbered(statement), *arguments)

    # Afterwards.

    def audit(self) -> set[int]:
        """Compare what was told with what is in the database.

        Returns:
            The transfers that are there.
        """
        table = "ledger_by_transfer" if self.idempotent else "ledger"
        with dsql_fast.connect(**self.cluster.connect_kwargs()) as conn:
            rows = conn.execute(f"SELECT transfer, payer, payee, amount FROM {table}").fetchall()
            balances = dict(conn.execute("SELECT id, balance FROM accounts").fetchall())
        there = {row[0] for row in rows}
        assert len(rows) == len(there), "a transfer was applied twice"
        assert sum(balances.values()) == ACCOUNTS * BALANCE, "money was made or lost"
        expected = dict.fromkeys(range(ACCOUNTS), BALANCE)
        for _, payer, payee, amount in rows:
            expected[payer] -= amount
            expected[payee] += amount
        assert balances == expected, "the accounts are not what the ledger says"

        told = self.told
        assert told.applied | told.unknown | told.failed == set(range(self.transfers))
        assert len(told.applied) + len(told.unknown) + len(told.failed) == self.transfers
        assert told.applied <= there, "told as applied, and it is not"
        assert not told.failed & there, "told as failed, and it is applied"
        assert there <= told.applied | told.unknown
        return there


def _numbered(statement: str) -> str:
    """Write psycopg's placeholders as asyncpg's."""
    first, *others = statement.split("%s")
    return first + "".join(f"${number}{part}" for number, part in enumerate(others, start=1))
