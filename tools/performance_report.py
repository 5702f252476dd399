"""Write the figures of docs/performance.md and README.md, and the charts, from docs/performance/figures.json.

    make bench BENCH_ARGS="--json docs/performance/figures.json"
    make report

`tests/bench/test_report.py` holds what is committed against what this makes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from dsql_fast._bench._overview import overview
from dsql_fast._bench._report import filled
from dsql_fast._bench.fleet import run
from dsql_fast._bench.fleet._plot import plots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dsql_fast._bench.fleet._scenarios import Outcome

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "docs" / "performance" / "figures.json"
PAGES = (ROOT / "docs" / "performance.md", ROOT / "README.md")


def pages() -> dict[Path, str]:
    """Return the pages with their figures."""
    document = json.loads(FIGURES.read_text(encoding="utf-8"))
    return {page: filled(page.read_text(encoding="utf-8"), document) for page in PAGES}


def charts() -> dict[Path, str]:
    """Return README's chart and the fleet's, for light pages and for dark ones."""
    document = json.loads(FIGURES.read_text(encoding="utf-8"))
    drawn = {f"overview{suffix}.svg": text for suffix, text in overview(document).items()}
    drawn |= {f"fleet{suffix}.svg": text for suffix, text in plots(_fleet()).items()}
    return {FIGURES.with_name(name): text for name, text in drawn.items()}


def _fleet() -> Sequence[Outcome]:
    # In virtual time, so that it needs no figures of a machine: the same each time.
    return run(sizes=[10_000], shares=[100], scenarios=["all sessions cut"], seeds=1).outcomes


if __name__ == "__main__":
    for path, text in (pages() | charts()).items():
        path.write_text(text, encoding="utf-8")
