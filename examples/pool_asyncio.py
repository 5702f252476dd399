"""A pool that tasks share. See connect.py for how to run it."""
# ruff: noqa: INP001, T201

import asyncio
import os

import dsql_fast


async def square(pool: dsql_fast.AsyncConnectionPool, number: int) -> int:
    """Have the cluster do it."""
    async with pool.connection() as conn:
        cursor = await conn.execute("select %s::int * %s::int", (number, number))
        return (await cursor.fetchone())[0]


async def main() -> None:
    """Open the pool in the loop that uses it."""
    async with dsql_fast.AsyncConnectionPool(os.environ["CLUSTER_ENDPOINT"], min_size=2, max_size=4) as pool:
        print(await asyncio.gather(*(square(pool, number) for number in range(20))))
        print(pool.get_stats())


asyncio.run(main())
