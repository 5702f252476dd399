"""Write the figures of docs/performance.md and README.md, and README's chart, from docs/performance/figures.json.

    make bench BENCH_ARGS="--json docs/performance/figures.json"
    make report

`tests/bench/test_report.py` holds what is committed against what this makes.
"""

from __future__ import annotations

import json
from pathlib import Path

from dsql_fast._bench._overview import overview
from dsql_fast._bench._report import filled

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "docs" / "performance" / "figures.json"
PAGES = (ROOT / "docs" / "performance.md", ROOT / "README.md")


def pages() -> dict[Path, str]:
    """Return the pages with their figures."""
    document = json.loads(FIGURES.read_text(encoding="utf-8"))
    return {page: filled(page.read_text(encoding="utf-8"), document) for page in PAGES}


def charts() -> dict[Path, str]:
    """Return README's chart, for light pages and for dark ones."""
    document = json.loads(FIGURES.read_text(encoding="utf-8"))
    return {FIGURES.with_name(f"overview{suffix}.svg"): text for suffix, text in overview(document).items()}


if __name__ == "__main__":
    for path, text in (pages() | charts()).items():
        path.write_text(text, encoding="utf-8")
