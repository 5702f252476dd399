"""`dsql-fast bench asyncio`: every row is there, whatever the figures are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from bench.running import ran

if TYPE_CHECKING:
    from pathlib import Path

PSYCOPG, KEPT = "psycopg, fixed password", "psycopg + kept boto3 client"
GOALS = {
    ("rate", PSYCOPG): "at least 0.97 times",
    ("longest stall of the loop", PSYCOPG): "at most 0.15 times",
    ("most work between two ticks", PSYCOPG): None,
    ("CPU", PSYCOPG): None,
    ("rate", KEPT): None,
    ("longest stall of the loop", KEPT): None,
}


@pytest.mark.timeout(600)
def test_every_row_is_there(tmp_path: Path) -> None:
    bench = ran("asyncio", tmp_path)
    rows = {(figure["what"], figure["peer"]): figure for figure in bench["figures"]}
    # Fewer connects than in a full run.
    assert set(rows) == {
        (f"{number} connects at once, {latency} ms: {what}", peer)
        for number in (10, 30)
        for latency in (0, 100)
        for what, peer in GOALS
    }
    for (what, peer), row in rows.items():
        for number in (row["value"], row["peer_value"], row["ratio"], *row["interval"]):
            assert math.isfinite(number)
            assert number > 0
        assert (row["goal"] and row["goal"]["text"]) == GOALS[what.partition(": ")[2], peer]
    assert not bench["skipped"]
