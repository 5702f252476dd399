"""Threads that open and close connections to a local cluster, each connection with a token. Argument: the signer.

All connect by psycopg with the same arguments, those of dsql-fast: the signer alone makes the difference.
Its CPU time is that of the thread which calls it, less what reading the clock costs, which is measured each time,
between the same connects: where nothing is in the processor's caches.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
from serve import serve
from signers import PACKAGES, SIGNERS, where

THREADS = (1, 8, 32)


def ours():
    """What `dsql_fast.connect` takes its tokens from."""
    import dsql_fast

    return dsql_fast.TokenSource(where()[0]).token


def anew():
    """Each token signed, as if there were no cache."""
    import dsql_fast

    host = where()[0]
    return lambda: dsql_fast.generate_token(host)


name = sys.argv[1]
own = {"ours": ours, "anew": anew}
sign = {**own, **SIGNERS}[name]()
arguments = json.loads(os.environ["DSQL_FAST_BENCH_ARGUMENTS"])


def connects(number):
    """Connect so often; returns the nanoseconds of CPU that went into tokens."""
    clock, spent = time.thread_time_ns, 0
    for _ in range(number):
        before = clock()
        began = clock()
        token = sign()
        ended = clock()
        spent += (ended - began) - (began - before)
        psycopg.connect(password=token, **arguments).close()
    return spent


def churn(threads):
    pool = ThreadPoolExecutor(threads)

    def way(calls):
        least, more = divmod(calls, threads)
        shares = [least + (number < more) for number in range(threads)]
        gc.collect()
        worked, began = time.process_time(), time.perf_counter()
        spent = sum(pool.map(connects, shares))
        took, work = time.perf_counter() - began, time.process_time() - worked
        return {"wall": took, "cpu": work, "authentication": spent / 1e9 / calls}

    return way


serve(
    {str(threads): churn(threads) for threads in THREADS},
    ("dsql-fast", "psycopg") if name in own else ("psycopg", *PACKAGES[name]),
)
