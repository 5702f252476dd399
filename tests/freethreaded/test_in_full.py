"""The make targets, run: the tests on a free-threaded Python, its wheel, the bench."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VENV = ROOT / ".venv-freethreaded"


def environment() -> dict[str, str]:
    """Give the developer's home, where toolchain and caches are, and nothing of the run that this is part of."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "MAKE", "MFLAGS"))}
    return {**kept, "HOME": pwd.getpwuid(os.getuid()).pw_dir}


def run(*command: str | Path) -> str:
    done = subprocess.run(command, cwd=ROOT, env=environment(), check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-5_000:]}\n{done.stderr[-5_000:]}"
    return done.stdout


@pytest.fixture
def _interpreter() -> None:
    """Skips where there is no such Python; `make test-all` has tried to build one."""
    script = ROOT / "tools" / "freethreaded" / "interpreter.py"
    done = subprocess.run(
        [sys.executable, script, "--only-if-built"], env=environment(), check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        pytest.skip(done.stderr.strip())


@pytest.mark.full
@pytest.mark.timeout(3_600)
@pytest.mark.usefixtures("_interpreter")
def test_the_tests_pass_there() -> None:
    run("make", "test-freethreaded", "JOBS=1")


@pytest.mark.full
@pytest.mark.timeout(1_200)
@pytest.mark.usefixtures("_interpreter")
def test_the_bench_measures_both() -> None:
    run("make", f"{VENV.name}/.built")
    told = json.loads(run(sys.executable, "-m", "dsql_fast._bench.threads", "--with", VENV / "bin" / "python"))
    assert [each["gil"] for each in told["interpreters"]] == [True, False]


@pytest.mark.full
@pytest.mark.timeout(1_200)
def test_the_wheel_is_for_it_alone(tmp_path: Path) -> None:
    """Builds without such a Python."""
    wheel = built_wheel(tmp_path)
    assert wheel.name.split("-")[2:4] == ["cp314", "cp314t"]
    assert "manylinux_2_17" in wheel.name


@pytest.mark.full
@pytest.mark.timeout(1_200)
@pytest.mark.usefixtures("_interpreter")
def test_the_wheel_works_there(tmp_path: Path) -> None:
    run("make", f"{VENV.name}/.built")
    wheel = built_wheel(tmp_path)
    place = tmp_path / "installed"
    run(VENV / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--target", place, wheel)
    program = f"import sys; sys.path.insert(0, {str(place)!r}); import dsql_fast._native as native; "
    told = run(VENV / "bin" / "python", "-c", program + "print(native.__file__, sys._is_gil_enabled())")
    assert told.startswith(str(place))
    assert told.endswith(" False\n")


def built_wheel(directory: Path) -> Path:
    if shutil.which("cargo", path=environment()["PATH"]) is None:
        pytest.skip("no cargo here")
    run("make", "wheel-freethreaded", f"DIST={directory}")
    (wheel,) = directory.glob("*.whl")
    return wheel
