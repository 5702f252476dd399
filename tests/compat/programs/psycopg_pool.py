"""Pools of psycopg connections: psycopg_pool's own with a connection class, and the connector's."""

import os

import aurora_dsql_psycopg as dsql
from psycopg_pool import ConnectionPool

conn_params = {
    "host": os.environ["CLUSTER_ENDPOINT"],
    "region": os.environ["REGION"],
    "user": "admin",
    "dbname": "postgres",
    "token_duration_secs": "60",
    "application_name": "shop",
    "password": "left-over",
}

with ConnectionPool(
    "", connection_class=dsql.DSQLConnection, kwargs=conn_params, min_size=2, max_size=8, max_lifetime=3300
) as pool:
    pool.wait(30)
    with pool.connection() as conn, pool.connection() as other:
        print(type(conn) is dsql.DSQLConnection, conn is not other, conn.execute("SELECT 1").fetchone())

pool = dsql.create_pool(kwargs=conn_params, min_size=1, max_size=4, max_lifetime=3300, name="shop")
with pool:
    with pool.connection() as conn:
        print(type(conn) is dsql.DSQLConnection, conn.execute("SELECT 2").fetchone())
    print(pool.name, isinstance(pool, dsql.AuroraDSQLPool), isinstance(pool, ConnectionPool))

pool = dsql.create_pool(f"postgresql://{conn_params['host']}/postgres?user=admin", open=False)
pool.open(wait=True)
print(pool.get_stats()["pool_size"])
pool.close()

with dsql.AuroraDSQLPool(conn_params["host"], connection_class=dsql.DSQLConnection, min_size=1) as pool:
    with pool.connection() as conn:
        print(conn.execute("SELECT 3").fetchone())


class Mine(dsql.DSQLConnection):
    pass


with dsql.create_pool(connection_class=Mine, kwargs=lambda: conn_params, min_size=1) as pool:
    with pool.connection() as conn:
        print(type(conn).__name__, conn.execute("SELECT 4").fetchone())

try:
    dsql.create_pool(connection_class=object, kwargs=conn_params)
except TypeError:
    print("not a class of theirs")
