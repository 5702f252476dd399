"""What the guard counts in Python: `python workloads.py hit N`, `python workloads.py connect N`.

One connect is all that the package itself does for one: psycopg's own `connect`, which it calls, is answered at
once here. The same psycopg would otherwise be most of what is counted, and its instructions are not ours.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import Any

_HOST = "foo0bar1baz2quux3quuux4q00.dsql.us-east-1.on.aws"


def hit(count: int) -> None:
    """Get the token of a source that has one."""
    import dsql_fast

    source = dsql_fast.TokenSource(_HOST, credentials=dsql_fast.Credentials("AKIAIOSFODNN7EXAMPLE", "made-up"))
    source.token()
    gc.disable()
    for _ in range(count):
        source.token()


def connect(count: int) -> None:
    """Connect as a program in a loop does: the same arguments, the environment's keys."""
    os.environ.update(AWS_ACCESS_KEY_ID="AKIAIOSFODNN7EXAMPLE", AWS_SECRET_ACCESS_KEY="made-up")
    import psycopg

    def answered(*_args: Any, **_kwargs: Any) -> None:
        return None

    psycopg.Connection.connect = classmethod(answered)  # type: ignore[method-assign, assignment]
    import dsql_fast

    for number in range(20 + count):
        if number == 20:
            gc.collect()
            gc.disable()
        dsql_fast.connect(_HOST, user="app", dbname="postgres", autocommit=True)


if __name__ == "__main__":
    {"hit": hit, "connect": connect}[sys.argv[1]](int(sys.argv[2]))
