"""Pools of this package and psycopg_pool's own, with the same connections: a checkout, and retiring under load."""

from __future__ import annotations

import asyncio
import gc
import threading
import time

import psycopg_pool
from connecting import arguments
from serve import serve, timed

import dsql_fast

SIZE = 4
BUSY = 8  # connections, each of them always wanted by a thread
LIFETIME = 2.0  # seconds; ours go after three quarters of it, at the earliest

given = arguments()
where = {name: given[name] for name in ("host", "hostaddr", "port", "sslrootcert")}
fixed = {**given, "password": dsql_fast.generate_token(given["host"])}


def ours(**settings):
    return dsql_fast.ConnectionPool(**where, **settings)


def theirs(**settings):
    return psycopg_pool.ConnectionPool(kwargs=fixed, **settings)


def checkout(make):
    """Make a way out of a pool: a connection is taken out and given back. The pool is made in the first turn."""
    made = []

    def way(calls):
        if not made:
            made.append(make(min_size=SIZE, open=True))
            made[0].wait()
        connection = made[0].connection

        def once():
            with connection():
                pass

        return timed(once)(calls)

    return way


def async_checkout(make):
    """As `checkout`; a pool for each turn, since it belongs to a loop."""

    async def run(calls):
        async with make(min_size=SIZE, open=False) as pool:
            await pool.wait()
            repeated = [None] * calls
            gc.collect()
            worked, began = time.process_time(), time.perf_counter()
            for _ in repeated:
                async with pool.connection():
                    pass
            return {"wall": time.perf_counter() - began, "cpu": time.process_time() - worked}

    return lambda calls: asyncio.run(run(calls))


def under_load(make, **settings):
    """Make a way out of a pool: a thread for each of its connections uses one after the other.

    As many tenths of a second as calls are asked for. It answers with what the pool counts of those who had to
    wait for a connection, and how many connections it opened meanwhile.
    """

    def way(tenths):
        with make(min_size=BUSY, max_size=BUSY, open=True, **settings) as pool:
            pool.wait()
            pool.pop_stats()
            until = time.monotonic() + tenths / 10

            def work():
                while time.monotonic() < until:
                    with pool.connection() as connection:
                        connection.execute("select 1")
                        time.sleep(0.002)

            threads = [threading.Thread(target=work) for _ in range(BUSY)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            counted = pool.pop_stats()
        return {
            "queued": counted.get("requests_queued", 0),
            "wait_ms": counted.get("requests_wait_ms", 0),
            "opened": counted.get("connections_num", 0),
            "requests": counted.get("requests_num", 0),
        }

    return way


serve(
    {
        "ours": checkout(ours),
        "theirs": checkout(theirs),
        "ours-async": async_checkout(lambda **settings: dsql_fast.AsyncConnectionPool(**where, **settings)),
        "theirs-async": async_checkout(
            lambda **settings: psycopg_pool.AsyncConnectionPool(kwargs=fixed, **settings)
        ),
        "ours-kept": under_load(ours),
        "ours-retired": under_load(ours, max_lifetime=LIFETIME, health_check_period=LIFETIME / 8),
        "theirs-retired": under_load(theirs, max_lifetime=LIFETIME),
    },
    ("dsql-fast", "psycopg", "psycopg-pool"),
)
