"""Transactions that conflict, run again by one of three: this package, the official connector, full jitter.

``transactions.py WHO`` with the cluster in the environment. A way is ``ROWS:WORKERS``, and the calls are
milliseconds. Only what WHO needs is imported: the official connector has an environment of its own.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import threading
import time
from statistics import quantiles

import psycopg
from serve import serve

WHO = sys.argv[1]
WORKERS = (1, 2, 8, 32)
ROWS = (1, 1_000)
TABLE = f"accounts_of_{WHO}"
UPDATE = f"UPDATE {TABLE} SET balance = balance + 1 WHERE id = %s"  # noqa: S608 (a name of ours)

# As AWS has it for all its clients ("Exponential Backoff And Jitter"): anything from nothing up to a bound that
# doubles. Its article leaves the numbers open.
JITTER_BASE, JITTER_CAP, JITTER_ATTEMPTS = 0.01, 1.0, 10

over = threading.Event()


class Over(Exception):  # noqa: N818 (what it is)
    """The window is over: the transaction is rolled back, and counts for nothing."""


def ours():
    import dsql_fast

    # Each transaction that is given up would be told: here the figures do that.
    logging.getLogger("dsql_fast").addHandler(logging.NullHandler())
    pool = dsql_fast.ConnectionPool(os.environ["CLUSTER_ENDPOINT"], min_size=max(WORKERS))
    return pool, pool.run_transaction


def official():
    import aurora_dsql_psycopg

    # `retry=True` for its own settings: left out, it would run nothing again.
    pool = aurora_dsql_psycopg.create_pool(os.environ["CLUSTER_ENDPOINT"], retry=True, min_size=max(WORKERS))
    pool.open()
    return pool, pool.run_transaction


def full_jitter():
    import dsql_fast

    pool = dsql_fast.ConnectionPool(os.environ["CLUSTER_ENDPOINT"], min_size=max(WORKERS))

    def run(transaction):
        for attempt in range(JITTER_ATTEMPTS):
            try:
                with pool.connection() as conn:  # commits
                    return transaction(conn)
            except psycopg.errors.SerializationFailure:
                if attempt == JITTER_ATTEMPTS - 1:
                    raise
            over.wait(random.uniform(0, min(JITTER_CAP, JITTER_BASE * 2**attempt)))  # noqa: S311
        raise AssertionError("not reached")

    return pool, run


class Worker(threading.Thread):
    """Runs one transaction after the other until the window is over, and keeps count."""

    def __init__(self, rows):
        super().__init__()
        self.rows = rows
        self.row = self.attempts = self.given_up = self.committed_late = 0
        self.took = []
        self.last = 0.0  # when the last one was committed
        self.error = None

    def run(self):
        """Work."""
        try:
            while not over.is_set():
                self.one()
        except Over:
            pass
        except BaseException as error:  # noqa: BLE001 (told by the one who waits)
            self.error = error

    def one(self):
        """Run one transaction, until it is committed or given up."""
        self.row = random.randrange(self.rows)  # noqa: S311
        began = time.perf_counter()
        try:
            run_transaction(self.transfer)
        except psycopg.errors.SerializationFailure:
            self.given_up += not over.is_set()
            self.attempts -= over.is_set()  # that was after the end
        else:
            if over.is_set():
                self.committed_late += 1
                self.attempts -= 1
            else:
                self.last = time.perf_counter()
                self.took.append(self.last - began)

    def transfer(self, conn):
        """Do what the transaction does: one attempt."""
        if over.is_set():
            raise Over
        self.attempts += 1
        conn.execute(UPDATE, (self.row,))


def window(rows, workers):
    """Make a way: so many workers at so many rows."""

    def way(milliseconds):
        before = balances()
        crowd = [Worker(rows) for _ in range(workers)]
        over.clear()
        began = time.perf_counter()
        for worker in crowd:
            worker.start()
        time.sleep(milliseconds / 1e3)
        over.set()
        for worker in crowd:
            worker.join()
        for worker in crowd:
            if worker.error is not None:
                raise worker.error
        took = [each for worker in crowd for each in worker.took]
        # Until the last commit: of forty in a window, one more or less would be two per cent.
        lasted = max(worker.last for worker in crowd) - began if took else milliseconds / 1e3
        told = len(took) + sum(worker.committed_late for worker in crowd)
        if balances() - before != told:
            raise AssertionError(f"{told} transactions were committed, and the sum says {balances() - before}")
        return {
            "rate": len(took) / lasted,
            "committed": len(took),
            "attempts": sum(worker.attempts for worker in crowd),
            "given up": sum(worker.given_up for worker in crowd),
            "p99": quantiles(took, n=100, method="inclusive")[98] if len(took) > 1 else lasted,
        }

    return way


def balances():
    with pool.connection() as conn:
        return int(conn.execute(f"SELECT sum(balance) FROM {TABLE}").fetchone()[0])  # noqa: S608 (as above)


pool, run_transaction = {"ours": ours, "official": official, "full_jitter": full_jitter}[WHO]()
with pool:
    pool.wait(120)
    serve({f"{rows}:{workers}": window(rows, workers) for rows in ROWS for workers in WORKERS})
