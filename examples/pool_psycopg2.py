"""psycopg2's pool, shared by four threads, transactions run again. See connect.py for how to run it."""
# ruff: noqa: INP001, T201

import os
from concurrent.futures import ThreadPoolExecutor

import dsql_fast
import dsql_fast.psycopg2

VISITS = 20
POLICY = dsql_fast.RetryPolicy(max_attempts=VISITS)  # all write one row: see transactions.py

pool = dsql_fast.psycopg2.ThreadedConnectionPool(2, 4, os.environ["CLUSTER_ENDPOINT"], connect_timeout=10)


def count(conn):  # noqa: ANN001, ANN201 (a psycopg2 connection; a number)
    """Add one to what is there. May be called several times, each time in a transaction of its own."""
    with conn.cursor() as cursor:
        cursor.execute("select visits from example_psycopg2_pages where id = 1")
        (visits,) = cursor.fetchone()
        cursor.execute("update example_psycopg2_pages set visits = %s where id = 1", (visits + 1,))
    return visits + 1


def visit(_number: int) -> int:
    """Return the visitor's number: no two get the same."""
    return pool.run_transaction(count, policy=POLICY)


with pool.connection() as conn, conn.cursor() as cursor:
    cursor.execute("create table if not exists example_psycopg2_pages (id int primary key, visits int not null)")
with pool.connection() as conn, conn.cursor() as cursor:
    cursor.execute("insert into example_psycopg2_pages values (1, 0)")
with ThreadPoolExecutor(4) as executor:
    print(sorted(executor.map(visit, range(VISITS))))
with pool.connection() as conn, conn.cursor() as cursor:
    cursor.execute("drop table example_psycopg2_pages")
pool.closeall()
