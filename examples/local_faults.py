"""A local cluster that misbehaves on order: conflicts, a lost answer, an hour that passes, a silent server.

It starts a cluster of its own: `pip install 'dsql-fast[binary,local]'`, and run it.
"""
# ruff: noqa: INP001, T201

import logging
import sys

import psycopg

import dsql_fast
from dsql_fast.local import LocalCluster

# What psycopg's pool and dsql-fast warn of is shown among the rest.
logging.basicConfig(stream=sys.stdout, level=logging.WARNING, format="    (%(name)s: %(message)s)")


def deposit(conn: dsql_fast.Connection, amount: int) -> int:
    """Add to the one account there is; returns the new balance."""
    return conn.execute("update account set balance = balance + %s returning balance", (amount,)).fetchone()[0]


with LocalCluster() as cluster, dsql_fast.ConnectionPool(**cluster.connect_kwargs(), min_size=1) as pool:
    with pool.connection() as conn:
        conn.execute("create table account (id int primary key, balance int not null)")
    pool.run_transaction(lambda conn: conn.execute("insert into account values (1, 0)"))

    # The next three COMMITs lose to somebody: the transaction is run four times, and is applied once.
    cluster.faults.fail_commits(3)
    balance = pool.run_transaction(lambda conn: deposit(conn, 10))
    print("after three conflicts:", balance, cluster.stats()["happened"]["fault"])

    # COMMIT takes effect, and its answer is lost. Whether it did is for the program to find out.
    cluster.faults.cut_commits(when="after")
    try:
        pool.run_transaction(lambda conn: deposit(conn, 10))
    except dsql_fast.CommitOutcomeUnknown:
        with pool.connection() as conn:
            print("the outcome was unknown; it is", conn.execute("select balance from account").fetchone()[0])

    # Half of all COMMITs conflict, the same ones in each run of this program.
    cluster.faults.fail_commits(share=0.5, seed=7)
    patient = dsql_fast.RetryPolicy(max_attempts=20)
    for _ in range(10):
        balance = pool.run_transaction(lambda conn: deposit(conn, 10), policy=patient)
    cluster.faults.clear()
    print("after ten more:", balance, "with", cluster.stats()["happened"]["conflict"]["OC000"], "conflicts in all")

    # An hour passes: every session is cut. The pool has another connection for whoever asks.
    cluster.clock.advance(3600)
    print("open after an hour:", len(cluster.sessions()))
    print("and then:", pool.run_transaction(lambda conn: deposit(conn, 10)))

    # The network swallows the next connection. A client that is in a hurry does not wait for it.
    cluster.faults.silence_connections()
    try:
        dsql_fast.connect(**cluster.connect_kwargs(), connect_timeout=2)
    except psycopg.OperationalError as error:
        print("a silent server:", type(error).__name__)
