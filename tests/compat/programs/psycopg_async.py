"""Connect with psycopg and asyncio."""

import asyncio
import os

import aurora_dsql_psycopg as dsql

HOST = os.environ["CLUSTER_ENDPOINT"]


async def main():
    config = {"host": HOST, "region": os.environ["REGION"], "user": "admin", "token_duration_secs": "30"}
    conn = await dsql.DSQLAsyncConnection.connect(**config)
    async with conn.cursor() as cur:
        await cur.execute("SELECT current_user, 1")
        print(await cur.fetchone())
    await conn.close()

    conn = await dsql.DSQLAsyncConnection.connect(HOST, autocommit=True)
    print(isinstance(conn, dsql.DSQLAsyncConnection), conn.autocommit)
    await conn.close()


asyncio.run(main())
