"""The threaded pool of psycopg2 connections, and transactions that are run again."""

import os
import threading

import aurora_dsql_psycopg2 as dsql
import psycopg2
import psycopg2.pool

conn_params = {
    "host": os.environ["CLUSTER_ENDPOINT"],
    "region": os.environ["REGION"],
    "user": "admin",
    "dbname": "postgres",
    "token_duration_secs": "15",
}


def one(conn, statement, *arguments):
    with conn.cursor() as cur:
        cur.execute(statement, arguments)
        return cur.fetchone()[0] if cur.description else None


outside = dsql.connect(**conn_params)
outside.autocommit = True
one(outside, "DROP TABLE IF EXISTS compat_psycopg2")
one(outside, "CREATE TABLE compat_psycopg2 (id int PRIMARY KEY, n int)")
one(outside, "INSERT INTO compat_psycopg2 VALUES (1, 0)")

pool = dsql.AuroraDSQLThreadedConnectionPool(minconn=2, maxconn=8, **conn_params)
print(isinstance(pool, psycopg2.pool.ThreadedConnectionPool))
values = []


def work():
    conn = pool.getconn()
    values.append(one(conn, "SELECT n FROM compat_psycopg2"))
    pool.putconn(conn)


threads = [threading.Thread(target=work) for _ in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(values)
pool.closeall()


class Adding:
    def __init__(self, conflicts):
        self.attempts, self.conflicts = 0, conflicts

    def __call__(self, conn):
        self.attempts += 1
        n = one(conn, "SELECT n FROM compat_psycopg2 WHERE id = 1")
        if self.attempts <= self.conflicts:
            one(outside, "UPDATE compat_psycopg2 SET n = n + 100 WHERE id = 1")
        one(conn, "UPDATE compat_psycopg2 SET n = %s WHERE id = 1", n + 1)
        return n + 1


def tell(pool, conflicts, **retry):
    adding = Adding(conflicts)
    try:
        result = pool.run_transaction(adding, **retry)
    except psycopg2.errors.SerializationFailure as error:
        result = ("lost", error.pgcode, dsql.is_occ_error(error))
    print(adding.attempts, result)


for default in (None, True, dsql.OCCRetryConfig(max_retries=1)):
    with dsql.AuroraDSQLThreadedConnectionPool(1, 4, retry=default, **conn_params) as pool:
        for conflicts in (0, 1, 2, 4):
            tell(pool, conflicts)
        tell(pool, 1, retry=False)
        tell(pool, 3, retry=True)
    print(pool.closed)

with dsql.AuroraDSQLThreadedConnectionPool(minconn=1, maxconn=2, retry=True, **conn_params) as pool:
    result = pool.run_transaction(lambda conn: conn.cursor().execute("INSERT INTO compat_psycopg2 VALUES (2, 2)"))
    print(result)

    def fail(conn):
        one(conn, "INSERT INTO compat_psycopg2 VALUES (3, 3)")
        raise LookupError("out")

    try:
        pool.run_transaction(fail)
    except LookupError:
        print("rolled back")
print(one(outside, "SELECT count(*) FROM compat_psycopg2"))
one(outside, "DROP TABLE compat_psycopg2")
outside.close()
