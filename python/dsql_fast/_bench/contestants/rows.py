"""Many rows into a table, in one of three ways; ``rows.py WAY`` with the cluster in the environment."""

from __future__ import annotations

import os
import sys
import time
from itertools import islice
from pathlib import Path

from serve import serve

import dsql_fast

WAY = sys.argv[1]
TABLE = f"rows_by_{WAY}"
BATCH = 1_000  # rows of a transaction, as bulk_insert has it; DSQL takes 3,000
ONE = f"INSERT INTO {TABLE} VALUES (%s, %s, %s, %s)"  # noqa: S608 (a name of ours)
MANY = ONE + ", (%s, %s, %s, %s)" * (BATCH - 1)


def rows_from(first, number):
    """Give so many rows, from an iterator: nobody has all of them at once."""
    for key in range(first, first + number):
        yield key, key % 97, f"what is said of row {key:>12}, and some more", key / 7


def batches(rows):
    """Cut rows into lists."""
    while batch := list(islice(rows, BATCH)):
        yield batch


def bulk_insert(rows):
    result = dsql_fast.bulk_insert(pool, TABLE, rows)
    assert result.complete


def executemany(rows):
    for batch in batches(rows):
        pool.run_transaction(lambda conn, batch=batch: conn.cursor().executemany(ONE, batch))


def values(rows):
    for batch in batches(rows):
        flat = [value for row in batch for value in row]
        pool.run_transaction(lambda conn, flat=flat: conn.execute(MANY, flat))


def turn(number):
    with pool.connection() as conn:
        first = conn.execute(f"SELECT coalesce(max(id) + 1, 1000000) FROM {TABLE}").fetchone()[0]  # noqa: S608
    worked, began = time.process_time(), time.perf_counter()
    insert(rows_from(first, number))
    took, worked = time.perf_counter() - began, time.process_time() - worked
    with pool.connection() as conn:
        there = conn.execute(f"SELECT count(*) FROM {TABLE} WHERE id >= %s", (first,)).fetchone()[0]  # noqa: S608
    if there != number:
        raise AssertionError(f"{there} rows are there, not {number}")
    answer = {"wall": took, "cpu": worked}
    if STATUS.exists():
        answer["memory"] = status("VmHWM") - memory_at_first
    return answer


STATUS = Path("/proc/self/status")


def status(name):
    """Read a size that the system tells of this process, in KiB."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name + ":"))
    return int(line.split()[1])


insert = {"bulk_insert": bulk_insert, "executemany": executemany, "values": values}[WAY]
# As many connections for all; who takes one transaction after the other uses one.
with dsql_fast.ConnectionPool(os.environ["CLUSTER_ENDPOINT"], min_size=4) as pool:
    pool.wait(60)
    memory_at_first = status("VmRSS") if STATUS.exists() else 0
    serve({"insert": turn}, ("dsql-fast", "psycopg"))
