"""An asyncio pool of psycopg connections, and transactions that are run again."""

import asyncio
import os

import aurora_dsql_psycopg as dsql
import psycopg

conn_params = {"host": os.environ["CLUSTER_ENDPOINT"], "region": os.environ["REGION"], "user": "admin"}


async def main():
    outside = await dsql.DSQLAsyncConnection.connect(**conn_params, autocommit=True)
    await outside.execute("DROP TABLE IF EXISTS compat_psycopg_async")
    await outside.execute("CREATE TABLE compat_psycopg_async (id int PRIMARY KEY, n int)")
    await outside.execute("INSERT INTO compat_psycopg_async VALUES (1, 0)")
    attempts = 0

    async def add(conn):
        nonlocal attempts
        attempts += 1
        n = (await (await conn.execute("SELECT n FROM compat_psycopg_async")).fetchone())[0]
        if attempts == 1:
            await outside.execute("UPDATE compat_psycopg_async SET n = n + 100")
        await conn.execute("UPDATE compat_psycopg_async SET n = %s", (n + 1,))
        return n + 1

    pool = dsql.create_async_pool("", retry=True, kwargs=conn_params, min_size=1, max_size=4)
    async with pool:
        print(await pool.run_transaction(add), attempts)
        attempts = 0
        try:
            await pool.run_transaction(add, retry=False)
        except psycopg.errors.SerializationFailure as error:
            print("lost", attempts, dsql.is_occ_error(error))
        await pool.run_transaction(lambda conn: conn.execute("INSERT INTO compat_psycopg_async VALUES (2, 2)"))

        async def count():
            async with pool.connection() as conn:
                return (await (await conn.execute("SELECT count(*) FROM compat_psycopg_async")).fetchone())[0]

        print(await asyncio.gather(*(count() for _ in range(8))))

    pool = dsql.create_async_pool(conn_params["host"], min_size=1)
    await pool.open(wait=True)
    async with pool.connection() as conn:
        print(isinstance(conn, dsql.DSQLAsyncConnection), isinstance(pool, dsql.AuroraDSQLAsyncPool))
    await pool.close()
    try:
        dsql.create_async_pool(connection_class=dsql.DSQLConnection)
    except TypeError:
        print("not a class for asyncio")
    await outside.execute("DROP TABLE compat_psycopg_async")
    await outside.close()


asyncio.run(main())
