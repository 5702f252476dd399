"""How connects are counted and timed. It needs Python alone: it runs in the peers' environments, too."""

from __future__ import annotations

import gc
import json
import os
import threading
import time


def arguments():
    """Return what psycopg is given by everybody: where, whom to trust, and how; no password."""
    return json.loads(os.environ["DSQL_FAST_BENCH_ARGUMENTS"])


def alone(connect):
    """Make a way out of a connect: one after the other, each timed; closing is not."""

    def way(calls):
        wall = cpu = 0.0
        gc.collect()
        for _ in range(calls):
            began, worked = time.perf_counter(), time.process_time()
            connection = connect()
            cpu += time.process_time() - worked
            wall += time.perf_counter() - began
            connection.close()
        return {"wall": wall, "cpu": cpu}

    return way


def in_threads(number, connect):
    """Make a way out of a connect: so many threads open and close, all together as many times as is asked for."""

    def way(calls):
        failures = []
        left = iter(range(calls))
        lock = threading.Lock()

        def work():
            try:
                while True:
                    with lock:
                        if next(left, None) is None:
                            return
                    connect().close()
            except Exception as error:  # noqa: BLE001 (raised below)
                failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(number)]
        gc.collect()
        began, worked = time.perf_counter(), time.process_time()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = {"wall": time.perf_counter() - began, "cpu": time.process_time() - worked}
        if failures:
            raise failures[0]
        return took

    return way
