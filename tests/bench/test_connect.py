"""`dsql-fast bench connect`: every row is there, whatever the figures are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from bench.running import ran

if TYPE_CHECKING:
    from pathlib import Path

FLOOR, SYSTEM = "psycopg, fixed password", "psycopg, fixed password, sslrootcert=system"
KEPT = "psycopg + kept boto3 client"
GOALS = {
    ("dsql_fast.connect, CPU", FLOOR): "at most 1.03 times",
    ("dsql_fast.connect, wall", FLOOR): "at most 1.03 times",
    ("dsql_fast.connect, CPU", SYSTEM): "at most 0.25 times",
    ("dsql_fast.connect: own Python time", ""): "at most 30 us",
    ("a wrapper that does nothing: the same", ""): None,
    ("dsql_fast.connect: the same in a loop, nothing in between", ""): None,
    ("dsql_fast.connect, connects per second, 1 thread", KEPT): "at least 1.05 times",
    ("dsql_fast.connect, connects per second, 8 threads", KEPT): "at least 1.1 times",
    (f"{KEPT}, CPU", FLOOR): None,
    (f"{KEPT}, wall", FLOOR): None,
}


@pytest.mark.timeout(600)
def test_every_row_is_there(tmp_path: Path) -> None:
    bench = ran("connect", tmp_path)
    rows = {(figure["what"], figure["peer"]): figure for figure in bench["figures"]}
    assert set(rows) == set(GOALS)
    for row, goal in GOALS.items():
        check(rows[row], goal)
    assert not bench["skipped"]


def check(row: dict[str, Any], goal: str | None) -> None:
    """Every number is one, and the goal stands beside it."""
    numbers = [row["value"], *row["interval"]]
    if row["peer"]:
        numbers += [row["peer_value"], row["ratio"]]
    assert all(math.isfinite(number) and number > 0 for number in numbers), row
    assert (row["goal"] and row["goal"]["text"]) == goal
