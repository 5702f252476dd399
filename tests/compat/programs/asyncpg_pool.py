"""The pool of asyncpg connections, and transactions that are run again."""

import asyncio
import os

import asyncpg
import aurora_dsql_asyncpg as dsql

conn_params = {"host": os.environ["CLUSTER_ENDPOINT"], "user": "admin", "token_duration_secs": "30"}


async def main():
    outside = await dsql.connect(**conn_params)
    await outside.execute("DROP TABLE IF EXISTS compat_asyncpg")
    await outside.execute("CREATE TABLE compat_asyncpg (id int PRIMARY KEY, n int)")
    await outside.execute("INSERT INTO compat_asyncpg VALUES (1, 0)")

    pool_params = {**conn_params, "min_size": 2, "max_size": 5}
    pool = await dsql.create_pool(**pool_params)
    print(isinstance(pool, asyncpg.Pool), isinstance(pool, dsql.AuroraDSQLPool), pool.get_size())

    async def work():
        async with pool.acquire() as conn:
            await conn.execute("SET search_path TO public")
            return await conn.fetchval("SELECT n FROM compat_asyncpg")

    print(await asyncio.gather(*(work() for _ in range(8))))
    print(await pool.fetchval("SELECT current_setting('search_path')"))
    await pool.close()

    class Adding:
        def __init__(self, conflicts):
            self.attempts, self.conflicts = 0, conflicts

        async def __call__(self, conn):
            self.attempts += 1
            n = await conn.fetchval("SELECT n FROM compat_asyncpg WHERE id = 1")
            if self.attempts <= self.conflicts:
                await outside.execute("UPDATE compat_asyncpg SET n = n + 100 WHERE id = 1")
            await conn.execute("UPDATE compat_asyncpg SET n = $1 WHERE id = 1", n + 1)
            return n + 1

    async def tell(pool, conflicts, **retry):
        adding = Adding(conflicts)
        try:
            result = await pool.run_transaction(adding, **retry)
        except asyncpg.SerializationError as error:
            result = ("lost", error.sqlstate, dsql.is_occ_error(error))
        print(adding.attempts, result)

    for default in (None, True, dsql.OCCRetryConfig(max_retries=1)):
        async with await dsql.create_pool(retry=default, **pool_params) as pool:
            for conflicts in (0, 1, 2, 4):
                await tell(pool, conflicts)
            await tell(pool, 1, retry=False)
            await tell(pool, 3, retry=True)

    seen = []

    async def note(conn):
        seen.append(conn)

    pool = await dsql.create_pool(retry=True, init=note, setup=note, **{**pool_params, "min_size": 1})
    await pool.run_transaction(lambda conn: conn.execute("INSERT INTO compat_asyncpg VALUES (2, 2)"))

    async def fail(conn):
        await conn.execute("INSERT INTO compat_asyncpg VALUES (3, 3)")
        raise LookupError("out")

    try:
        await pool.run_transaction(fail)
    except LookupError:
        print("rolled back")
    print(await pool.fetchval("SELECT count(*) FROM compat_asyncpg"), len(seen))
    await pool.close()
    await outside.execute("DROP TABLE compat_asyncpg")
    await outside.close()


asyncio.run(main())
