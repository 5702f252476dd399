"""The guard of instruction counts (`make bench-guard`) fails when it should, and never passes in silence."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
HOME = pwd.getpwuid(os.getuid()).pw_dir
NAMES = ("hit", "sign", "connect")

needs_valgrind = pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")


def guard(*arguments: object, path: str | None = None) -> subprocess.CompletedProcess[str]:
    # The toolchain is the developer's, whose home the other tests are not to see.
    environment = {**os.environ, "HOME": HOME, "PATH": path or os.environ["PATH"]}
    command = [sys.executable, str(ROOT / "benches" / "guard"), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def counted(file: Path) -> dict[str, Any]:
    (counts,) = json.loads(file.read_text()).values()
    return dict(counts)


def doctored(file: Path, name: str, factor: float) -> None:
    """As if the code had been smaller, or larger, when the baseline was written."""
    baselines = json.loads(file.read_text())
    for counts in baselines.values():
        counts[name] = round(counts[name] * factor)
    file.write_text(json.dumps(baselines))


def test_another_version_is_no_pass(tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    file.write_text(json.dumps({"CPython 2.7.0, rustc 1.0.0, vax": dict.fromkeys(NAMES, 10**9)}))
    for baseline in (file, tmp_path / "missing.json"):
        ran = guard("--baseline", baseline)
        assert ran.returncode == 2
        assert f"no baseline for hit, sign, connect with CPython {sys.version.split()[0]}, rustc " in ran.stderr
        assert "make bench-guard-update" in ran.stderr


def test_without_valgrind_it_says_what_to_install(tmp_path: Path) -> None:
    rustc = shutil.which("rustc")
    assert rustc is not None
    (tmp_path / "rustc").write_text(f'#!/bin/sh\nexec "{rustc}" "$@"\n')
    (tmp_path / "rustc").chmod(0o755)
    ran = guard("--update", "--only", "hit", "--baseline", tmp_path / "baseline.json", path=str(tmp_path))
    assert (ran.returncode, ran.stderr) == (
        2,
        "bench-guard: valgrind is not there: install it: apt-get install valgrind\n",
    )


@needs_valgrind
@pytest.mark.timeout(600)  # ten seconds, where nothing else runs
def test_it_fails_beyond_the_baseline(tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    written = guard("--update", "--only", "hit", "--baseline", file)
    assert written.returncode == 0, written.stderr
    doctored(file, "hit", 0.96)
    ran = guard("--only", "hit", "--baseline", file)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "TOO MANY" in ran.stdout


@pytest.mark.full
@pytest.mark.timeout(900)  # builds the core once more
@needs_valgrind
def test_counts_are_the_same_in_each_run(tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    runs = []
    for _ in range(3):
        written = guard("--update", "--baseline", file)
        assert written.returncode == 0, written.stderr
        runs.append(counted(file))
    for name in NAMES:
        counts = [run[name] for run in runs]
        assert max(counts) - min(counts) <= 0.001 * max(counts), (name, counts)
    for name in NAMES:
        doctored(file, name, 1.04)  # fewer than before is no failure, but said
    ran = guard("--baseline", file)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("fewer") == len(NAMES)
