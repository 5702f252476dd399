"""`dsql-fast bench import`: every row is there; whether a goal is met is nothing for a test."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

import pytest

from bench.running import ran
from dsql_fast._bench import cold_start
from dsql_fast._bench._run import Run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(300)  # a process that starts others
def test_each_row_is_there(tmp_path: Path) -> None:
    bench = ran("import", tmp_path)
    rows = {(figure["what"], figure["peer"]): figure for figure in bench["figures"]}
    expected = {
        (f"{what}, {way}", peer)
        for what, peer in (
            ("a first token", "a bare interpreter"),
            ("a first row", "psycopg, fixed password"),
            ("memory after a first row", "psycopg, fixed password"),
        )
        for way in ("dsql-fast", "boto3")
        if what != "memory after a first row" or sys.platform.startswith("linux")
    }
    assert set(rows) == expected
    for (what, _), figure in rows.items():
        assert figure["value"] > 0
        assert figure["peer_value"] > 0
        assert math.isfinite(figure["ratio"])
        assert (figure["goal"] is not None) == what.endswith("dsql-fast")
    assert "the wheel" in {skip["what"] for skip in bench["skipped"]}


def test_a_wheel_is_weighed(tmp_path: Path) -> None:
    wheel = tmp_path / "made-up.whl"
    for size, met in ((600 * 1024, True), (600 * 1024 + 1, False)):
        wheel.write_bytes(b"\0" * size)
        run = Run()
        cold_start._weigh(run, wheel)
        (figure,) = run.figures
        assert figure.goal is not None
        assert (figure.unit, figure.goal.met) == ("KiB", met)
