"""A cached token read by native threads: no Python, no lock, no count that they share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import dsql_fast

from ._recipes import UnavailableError, tool_version

if TYPE_CHECKING:
    from ._run import Run

WHAT = "cached token, native, 2 threads"


def native_threads(run: Run) -> None:
    """Compare two threads with one, by the crate's own example; from a source checkout alone."""
    root = Path(dsql_fast.__file__).parents[2]
    if not (root / "examples" / "hit_threads.rs").exists():
        run.skipped(WHAT, "it is an example of the Rust crate: run it from a source checkout that has it")
        return
    try:
        tool_version("cargo", "--version", needs="Rust 1.94.1 or newer")
    except UnavailableError as reason:
        run.skipped(WHAT, str(reason))
