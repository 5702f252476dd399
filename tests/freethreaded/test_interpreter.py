"""The script that builds the interpreter: what it refuses, what it does not do twice."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "freethreaded" / "interpreter.py"


def run(cache: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments],
        env={**os.environ, "XDG_CACHE_HOME": str(cache), **environment},
        check=False,
        capture_output=True,
        text=True,
    )


def test_what_is_built_is_not_built_again(tmp_path: Path) -> None:
    prefix = tmp_path / "dsql-fast" / "python-3.14t"
    prefix.mkdir(parents=True)
    (prefix / ".built").write_text("3.14.0-1\n")
    for arguments in ((), ("--only-if-built",)):
        done = run(tmp_path, *arguments, PATH="")  # neither apt nor a compiler is called
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"{prefix}/bin/python3.14t\n"


def test_half_a_build_is_none(tmp_path: Path) -> None:
    interpreter = tmp_path / "dsql-fast" / "python-3.14t" / "bin" / "python3.14t"
    interpreter.parent.mkdir(parents=True)
    interpreter.touch()
    done = run(tmp_path, "--only-if-built")
    assert done.returncode == 1
    assert "make python-freethreaded" in done.stderr


def test_a_machine_without_apt(tmp_path: Path) -> None:
    done = run(tmp_path, PATH="")
    assert done.returncode == 1
    assert "there is no apt-get" in done.stderr
    assert not list(tmp_path.iterdir())


def test_missing_packages_are_named_with_the_command(tmp_path: Path) -> None:
    for name in ("apt-get", "dpkg-query"):
        program = tmp_path / name
        program.write_text('#!/bin/sh\ncase "$*" in *libssl-dev*) exit 1;; esac\necho installed\n')
        program.chmod(0o755)
    done = run(tmp_path / "cache", PATH=f"{tmp_path}:{os.defpath}")
    assert done.returncode == 1
    assert done.stderr == "No free-threaded Python: packages are missing: apt-get install libssl-dev\n"


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt-get here")
def test_a_source_that_cannot_be_reached(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        mirror = f"http://127.0.0.1:{closed.getsockname()[1]}/debian"
        done = run(tmp_path, DEBIAN_MIRROR=mirror)
    if "packages are missing" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 1
    assert "the source of python3.14 in Debian's unstable suite cannot be reached" in done.stderr
    assert f"{mirror}: E: " in done.stderr
    assert not list((tmp_path / "dsql-fast").iterdir())  # nothing is left behind
