"""`dsql-fast bench bulk`: every row is there, whatever the figures are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bench.running import ran

if TYPE_CHECKING:
    from pathlib import Path


def test_every_row_is_there(tmp_path: Path) -> None:
    figures = ran("bulk", tmp_path)["figures"]
    for commit in ("COMMIT without latency", "COMMIT 15 ms"):
        rows = [each for each in figures if each["what"] == f"rows, {commit}"]
        assert [each["peer"].partition(",")[0] for each in rows] == ["executemany", "INSERT of 1"]
        assert [each["goal"] is not None for each in rows] == [True, False]
        for row in rows:
            for number in (row["value"], row["peer_value"], row["ratio"], *row["interval"]):
                assert math.isfinite(number)
                assert number > 0
        memory = [
            each for each in figures if each["what"].startswith("  memory") and each["what"].endswith(commit)
        ]
        assert len(memory) == 3
