"""A bench, run as a program."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def ran(name: str, directory: Path) -> dict[str, Any]:
    """Run a bench quickly, with nothing that has to be installed; returns what it found."""
    found = directory / "found.json"
    program = (sys.executable, "-c", "import sys; from dsql_fast._cli import main; sys.exit(main())")
    command = [*program, "bench", name, "--quick", "--compare", "none", "--json", str(found)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    bench: dict[str, Any] = json.loads(found.read_text())["benches"][name]
    return bench
