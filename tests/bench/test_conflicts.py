"""`dsql-fast bench conflicts`: every row is there, whatever the figures are."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING

from bench.running import ran

if TYPE_CHECKING:
    from pathlib import Path

RACES = [
    f"{rows}, {workers} workers, {latency} ms"
    for rows, workers, latency in product(("one hot row", "1,000 rows"), (2, 8, 32), (5, 15, 30))
]


def test_every_row_is_there(tmp_path: Path) -> None:
    figures = ran("conflicts", tmp_path)["figures"]
    for race in RACES:
        (rate,) = [each for each in figures if each["what"] == f"committed, {race}" and each["goal"]]
        assert rate["peer"].startswith("full jitter")
        for number in (rate["value"], rate["peer_value"], rate["ratio"], *rate["interval"]):
            assert math.isfinite(number)
            assert number > 0
        for what in ("attempts for each", "p99 of a committed one", "given up"):
            (figure,) = [each for each in figures if each["what"] == f"  {what}, {race}"]
            assert math.isfinite(figure["value"])
            assert figure["value"] >= 0
            assert figure["peer_value"] >= 0
    alone = [each for each in figures if each["peer"] == "one worker alone"]
    assert len(alone) == 9
