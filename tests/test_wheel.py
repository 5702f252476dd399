"""The wheel, built and installed as a user would, in an environment of its own."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import dsql_fast

ROOT = Path(__file__).parent.parent
SMOKE = """
import dsql_fast
from dsql_fast.local import LocalCluster

with LocalCluster() as cluster, dsql_fast.connect(**cluster.connect_kwargs()) as conn:
    print(dsql_fast.__version__, conn.execute("select current_user").fetchone()[0])
"""


@pytest.mark.full
@pytest.mark.timeout(600)
def test_the_wheel_works_where_nothing_else_is(tmp_path: Path) -> None:
    # The tests run in an empty home; the toolchain and pip's settings are in the real one.
    environment = {**os.environ, "HOME": pwd.getpwuid(os.getuid()).pw_dir}
    maturin = Path(sys.executable).with_name("maturin")
    subprocess.run(
        [maturin, "build", "--release", "--locked", "--quiet", "--out", tmp_path],
        cwd=ROOT,
        env=environment,
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    assert "-cp310-abi3-" in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in ("amazon-roots.pem", "py.typed", "_native.pyi"):
        assert f"dsql_fast/{wanted}" in names
    assert not [name for name in names if {"test", "tests", "conftest.py"} & set(name.lower().split("/"))]
    # What the peers' programs are made of, wherever `dsql-fast bench` runs.
    for wanted in ("go/go.sum", "javascript/package.json", "rust/Cargo.lock", "rust/src/main.rs"):
        assert f"dsql_fast/_bench/contestants/{wanted}" in names

    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", f"{wheel}[binary,local]"],
        env={**environment, "PIP_CONSTRAINT": str(ROOT / "constraints.txt")},
        check=True,
    )
    done = subprocess.run([python, "-c", SMOKE], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout.split() == [dsql_fast.__version__, "admin"]
