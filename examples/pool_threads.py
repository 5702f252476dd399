"""A pool that eight threads share. See connect.py for how to run it."""
# ruff: noqa: INP001, T201

import os
from concurrent.futures import ThreadPoolExecutor

import dsql_fast

pool = dsql_fast.ConnectionPool(os.environ["CLUSTER_ENDPOINT"], min_size=2, max_size=4, open=False)


def square(number: int) -> int:
    """Have the cluster do it."""
    with pool.connection() as conn:
        return conn.execute("select %s::int * %s::int", (number, number)).fetchone()[0]


with pool, ThreadPoolExecutor(8) as executor:
    print(list(executor.map(square, range(20))))
    print(pool.get_stats())
