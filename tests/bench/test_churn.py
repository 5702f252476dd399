"""`dsql-fast bench churn`: every row is there; whether a goal is met is nothing for a test."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from bench.running import ran
from dsql_fast._bench.churn import ANEW, CPU, KEPT, RATE, SESSION, SHARE, THREADS, _threads

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(300)  # a process that starts others
def test_each_row_is_there(tmp_path: Path) -> None:
    bench = ran("churn", tmp_path)
    rows = {(figure["what"], figure["peer"]): figure for figure in bench["figures"]}
    labels = [_threads(number) for number in THREADS]
    goals = {(f"{label}: {SHARE}", "") for label in labels}
    assert set(rows) == goals | {
        (f"{label}: {what}", peer)
        for label in labels
        for what in (SHARE, RATE, CPU)
        for peer in (ANEW, KEPT, SESSION)
    }
    for (what, peer), figure in rows.items():
        assert math.isfinite(figure["value"])
        if SHARE not in what:  # a hit takes a ten-thousandth of a connect: less than a clock in two turns can tell
            assert figure["value"] > 0
        if peer:
            assert math.isfinite(figure["ratio"])
            assert figure["peer_value"] > 0
        else:
            assert figure["goal"]["text"] == "under 0.5 %"
