"""What was found, as JSON."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from psycopg import pq

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._run import Run

_PACKAGES = ("dsql-fast", "psycopg", "psycopg-pool", "psycopg-binary", "asyncpg", "boto3", "botocore")


def document(runs: Mapping[str, Run], command: str) -> dict[str, Any]:
    """Return everything as JSON has it.

    Args:
        runs: by the bench's name.
        command: that was run.
    """
    return {
        "command": command,
        "machine": machine(),
        "benches": {
            name: {
                "figures": [asdict(figure) for figure in run.figures],
                "skipped": [asdict(skip) for skip in run.skips],
                "versions": {
                    contestant: samples.versions for contestant, samples in run.samples.items() if samples.versions
                },
            }
            for name, run in runs.items()
        },
    }


def machine() -> dict[str, str | int | None]:
    """Return what a figure depends on."""
    found: dict[str, str | int | None] = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "processors": os.cpu_count(),
        "load": f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else None,
        "python": platform.python_version() + ("" if _gil() else " without the GIL"),
        "libpq": pq.version_pretty(pq.version()),
    }
    found.update((package, _version(package)) for package in _PACKAGES)
    return found


def _gil() -> bool:
    enabled: bool = getattr(sys, "_is_gil_enabled", lambda: True)()
    return enabled


def _processor() -> str | None:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:  # noqa: PTH123 (a line at a time)
            return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)
    except OSError:
        return platform.processor() or None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
