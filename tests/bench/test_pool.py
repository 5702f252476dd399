"""`dsql-fast bench pool`: every row is there, whatever the figures are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from bench.running import ran

if TYPE_CHECKING:
    from pathlib import Path

OURS, THEIRS = "dsql_fast.ConnectionPool", "psycopg_pool.ConnectionPool"
RETIRED, KEPT = f"{OURS}, connections live 2 s", f"{OURS}, connections live 55 min"
THEIRS_RETIRED = f"{THEIRS}, connections live 2 s"


@pytest.mark.timeout(600)
def test_every_row_is_there(tmp_path: Path) -> None:
    bench = ran("pool", tmp_path)
    rows = {(figure["what"], figure["peer"]): figure for figure in bench["figures"]}
    waited = ("checkouts that waited", "time that they waited", "connections opened under load")
    checkouts = {
        (f"{OURS}, checkout", THEIRS),
        ("dsql_fast.AsyncConnectionPool, checkout", "psycopg_pool.AsyncConnectionPool"),
    }
    assert set(rows) == checkouts | {
        (f"{RETIRED}: {what}", peer) for what in waited for peer in (KEPT, THEIRS_RETIRED)
    }
    for key, row in rows.items():
        assert all(math.isfinite(number) for number in (row["ratio"], *row["interval"]))
        assert row["value"] >= 0
        if key in checkouts:
            assert row["value"] > 0
            assert row["goal"]["text"] == "at most 1.05 times"
    for what in waited[:2]:
        assert rows[f"{RETIRED}: {what}", KEPT]["goal"] is not None
    # They did go.
    assert rows[f"{RETIRED}: {waited[2]}", KEPT]["value"] > 0
    assert not bench["skipped"]
