"""Transactions that are run again when they lose against another one. See connect.py for how to run it."""
# ruff: noqa: INP001, T201

import os
from concurrent.futures import ThreadPoolExecutor

import dsql_fast

VISITS = 20

# The default, 4 attempts, is for conflicts that are rare. Here all write one row; a transaction loses only to one
# that is committed meanwhile, so as many attempts as there are transactions always suffice.
POLICY = dsql_fast.RetryPolicy(
    max_attempts=VISITS,
    before_retry=lambda state: print(f"attempt {state.attempt} lost ({state.kind}): again in {state.delay:.4f} s"),
)

pool = dsql_fast.ConnectionPool(os.environ["CLUSTER_ENDPOINT"], min_size=4, open=False)


def count(conn: dsql_fast.Connection) -> int:
    """Add one to what is there. May be called several times, each time in a transaction of its own."""
    (visits,) = conn.execute("select visits from example_pages where id = 1").fetchone()
    conn.execute("update example_pages set visits = %s where id = 1", (visits + 1,))
    return visits + 1


def visit(_number: int) -> int:
    """Return the visitor's number: no two get the same."""
    return pool.run_transaction(count, policy=POLICY)


with pool, ThreadPoolExecutor(4) as executor:
    with pool.connection() as conn:
        conn.execute("create table if not exists example_pages (id int primary key, visits int not null)")
    pool.run_transaction(lambda conn: conn.execute("insert into example_pages values (1, 0)"))
    print(sorted(executor.map(visit, range(VISITS))))
    with pool.connection() as conn:
        conn.execute("drop table example_pages")
