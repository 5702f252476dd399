"""A pool of asyncpg connections that tasks share, and a transaction. See connect.py for how to run it."""
# ruff: noqa: INP001, T201

import asyncio
import os

import dsql_fast.asyncpg


async def square(pool: dsql_fast.asyncpg.Pool, number: int) -> int:
    """Have the cluster do it."""
    async with pool.acquire() as conn:
        return await conn.fetchval("select $1::int * $1::int", number)


async def twice(conn: dsql_fast.asyncpg.Connection) -> int:
    """May be called several times, each time in a transaction of its own: the block is that transaction."""
    async with conn.transaction():
        return await conn.fetchval("select 2 * $1::int", 21)


async def main() -> None:
    """Open the pool in the loop that uses it."""
    async with dsql_fast.asyncpg.create_pool(os.environ["CLUSTER_ENDPOINT"], min_size=2, max_size=4) as pool:
        print(await asyncio.gather(*(square(pool, number) for number in range(20))))
        print(await pool.run_transaction(twice))


asyncio.run(main())
