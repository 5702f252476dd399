"""A migration: a table and two indexes, waited for. See connect.py for how to run it."""
# ruff: noqa: INP001, T201

import os

import dsql_fast

STATEMENTS = """
CREATE TABLE IF NOT EXISTS example_people (id int PRIMARY KEY, name text, mail text);
CREATE INDEX ASYNC IF NOT EXISTS example_by_name ON example_people (name);
CREATE UNIQUE INDEX ASYNC IF NOT EXISTS example_by_mail ON example_people (mail);
"""


def show(statement: dsql_fast.DDLStatement) -> None:
    """Tell what changed."""
    print(statement.index, statement.status, statement.job.status if statement.job else "")


with dsql_fast.ConnectionPool(os.environ["CLUSTER_ENDPOINT"], min_size=1, max_size=2) as pool:
    report = dsql_fast.execute_ddl(pool, STATEMENTS, idempotent=True, on_progress=show)
    print("complete" if report.complete else report.jobs)
    dsql_fast.execute_ddl(pool, "DROP TABLE example_people")
