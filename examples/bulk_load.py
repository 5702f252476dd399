"""Ten thousand rows, each of them once, whatever happens. See connect.py for how to run it."""
# ruff: noqa: INP001, T201

import os

import dsql_fast


def rows() -> object:
    """Make them one by one, the same each time."""
    for number in range(10_000):
        yield {"id": number, "body": f"row {number}"}


with dsql_fast.ConnectionPool(os.environ["CLUSTER_ENDPOINT"], min_size=1, max_size=4) as pool:
    dsql_fast.execute_ddl(pool, "CREATE TABLE example_rows (id int PRIMARY KEY, body text)")
    dsql_fast.create_ledger(pool, "example_ledger")
    result = None
    for _ in range(3):
        try:
            result = dsql_fast.bulk_insert(pool, "example_rows", rows(), ledger="example_ledger", resume=result)
            break
        except dsql_fast.BulkError as error:
            print(error)
            result = error.result  # what is committed stays so: only the rest is written
    print(result.rows, "rows, complete" if result.complete else "rows")
    dsql_fast.execute_ddl(pool, ["DROP TABLE example_rows", "DROP TABLE example_ledger"])
