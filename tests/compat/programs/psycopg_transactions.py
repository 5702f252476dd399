"""Transactions that are run again: `retry=` of the pool, and of the call."""

import os

import aurora_dsql_psycopg as dsql
import psycopg

conn_params = {"host": os.environ["CLUSTER_ENDPOINT"], "region": os.environ["REGION"], "user": "admin"}

outside = dsql.connect(**conn_params, autocommit=True)
outside.execute("DROP TABLE IF EXISTS compat_psycopg")
outside.execute("CREATE TABLE compat_psycopg (id int PRIMARY KEY, n int)")
outside.execute("INSERT INTO compat_psycopg VALUES (1, 0)")


class Adding:
    """Adds one; in its first attempts somebody else is faster."""

    def __init__(self, conflicts):
        self.attempts, self.conflicts = 0, conflicts

    def __call__(self, conn):
        self.attempts += 1
        n = conn.execute("SELECT n FROM compat_psycopg WHERE id = 1").fetchone()[0]
        if self.attempts <= self.conflicts:
            outside.execute("UPDATE compat_psycopg SET n = n + 100 WHERE id = 1")
        conn.execute("UPDATE compat_psycopg SET n = %s WHERE id = 1", (n + 1,))
        return n + 1


def tell(pool, conflicts, **retry):
    adding = Adding(conflicts)
    try:
        result = pool.run_transaction(adding, **retry)
    except psycopg.errors.SerializationFailure as error:
        result = ("lost", error.sqlstate, dsql.is_occ_error(error))
    print(adding.attempts, result)


config = dsql.OCCRetryConfig(max_retries=5, base_delay_ms=1, max_delay_ms=2)
for default in (None, False, True, config):
    pool = dsql.create_pool("", retry=default, kwargs=conn_params, min_size=1, max_size=2)
    with pool:
        for conflicts in (0, 1, 3, 4):
            tell(pool, conflicts)
        tell(pool, 1, retry=False)
        tell(pool, 4, retry=True)
        tell(pool, 2, retry=dsql.OCCRetryConfig(max_retries=1, base_delay_ms=5))
        tell(pool, 1, retry=dsql.OCCRetryConfig(max_retries=0))

with dsql.create_pool("", retry=True, kwargs=conn_params, min_size=1) as pool:
    pool.run_transaction(lambda conn: conn.execute("INSERT INTO compat_psycopg VALUES (2, 2)"))

    def fail(conn):
        conn.execute("INSERT INTO compat_psycopg VALUES (3, 3)")
        raise LookupError("out")

    try:
        pool.run_transaction(fail)
    except LookupError:
        print("rolled back")
    with pool.connection() as conn:
        print(conn.execute("SELECT id FROM compat_psycopg ORDER BY id").fetchall())

try:
    dsql.OCCRetryConfig(max_retries=101)
except ValueError:
    print("out of range")
print(dsql.is_occ_error(ValueError()), dsql.is_occ_error(psycopg.errors.SerializationFailure()))
outside.execute("DROP TABLE compat_psycopg")
outside.close()
