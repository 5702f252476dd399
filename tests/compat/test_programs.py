"""Programs as readers of the official connector's page write them run with ours: one line is another.

The same text runs with the official connector too, and prints the same: so it is a right program.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from dsql_fast.local import LocalCluster

PROGRAMS = sorted(Path(__file__).with_name("programs").glob("*.py"))
IMPORT = re.compile(r"^import (aurora_dsql_\w+) as dsql$", re.MULTILINE)

# asyncpg verifies the name that it dials, and the official connector has no word for "dial there": a hosts entry.
HOSTS = """
import os, socket
look_up = socket.getaddrinfo
def hosts(host, *arguments, **options):
    found = os.environ["PGHOSTADDR"] if host == os.environ["CLUSTER_ENDPOINT"] else host
    return look_up(found, *arguments, **options)
socket.getaddrinfo = hosts
"""


def with_ours(program: str) -> str:
    changed, count = IMPORT.subn(r"from dsql_fast.compat import \1 as dsql", program)
    assert count == 1
    return changed


@pytest.fixture
def environment(cluster: LocalCluster, tmp_path: Path) -> dict[str, str]:
    """Keys, a Region, and where the cluster is; nothing of what a connector is to decide."""
    told = cluster.environment()
    decided = ("PGHOST", "PGUSER", "PGDATABASE", "PGSSLMODE", "CLUSTER_USER")
    keys = cluster.credentials
    profiles = tmp_path / "credentials"
    profiles.write_text(
        "".join(
            f"[{name}]\naws_access_key_id = {keys.access_key}\naws_secret_access_key = {keys.secret_key}\n"
            for name in ("default", "other")
        )
    )
    (tmp_path / "root.pem").write_bytes(cluster.ca_file.read_bytes())
    return {
        **os.environ,
        **{name: value for name, value in told.items() if name not in decided},
        "AWS_SHARED_CREDENTIALS_FILE": str(profiles),
    }


def output(program: str, environment: dict[str, str], where: Path, *, warnings: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", warnings, "-c", f"exec({HOSTS!r})\n{program}"],
        env=environment,
        cwd=where,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if warnings == "error":  # one in a destructor is printed only
        assert "Warning" not in done.stderr
    return done.stdout


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_prints_what_it_prints_with_the_official_connector(
    path: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    program = path.read_text()
    ours = output(with_ours(program), environment, tmp_path, warnings="error")
    theirs = output(program, environment, tmp_path, warnings="default")
    assert ours
    assert ours == theirs


def test_there_are_programs_for_each_package() -> None:
    for package in ("psycopg", "psycopg2", "asyncpg"):
        using = [path for path in PROGRAMS if f"import aurora_dsql_{package} as dsql\n" in path.read_text()]
        assert len(using) >= 2
