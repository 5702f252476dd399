"""`dsql-fast local`: what it prints and how it ends."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import dsql_fast._cli._local as command
from local.doors import wait_for
from local.test_lifecycle import PYTHON_PATH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dsql_fast.local import LocalCluster

# The command by itself, whatever else the program has.
MAIN = """
import argparse, sys
from dsql_fast._cli._local import add_parser
parser = argparse.ArgumentParser()
add_parser(parser.add_subparsers())
args = parser.parse_args(["local", *sys.argv[1:]])
sys.exit(args.run(args))
"""


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": PYTHON_PATH},
        start_new_session=True,
    )
    try:
        with process:
            yield process
    finally:
        if process.poll() is None:
            process.kill()


def children(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
    pairs = [tuple(map(int, line.split())) for line in listed.stdout.splitlines()]
    return [child for child, parent in pairs if parent == pid]


@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT] * 3])
def test_it_ends_cleanly(signals: list[signal.Signals]) -> None:
    with running("--json") as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        directory = Path(told["ca_file"]).parent
        assert directory.is_dir()
        for number in signals:
            os.killpg(process.pid, number)  # as a terminal does it: the whole group
        out, error = process.communicate(timeout=30)
        assert (process.returncode, out, error) == (0, "", "")
        assert not directory.exists()


def test_a_signal_while_it_starts() -> None:
    with running() as process:
        wait_for(lambda: bool(children(process.pid)), "the cluster's process")
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=30)
        assert (process.returncode, error) == (0, "")


def test_what_it_prints_for_people() -> None:
    with running("--cluster-id", "b" * 26, "--region", "eu-west-1") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        while not lines[-1].startswith("#       print"):
            lines.append(process.stdout.readline())
        host = "b" * 26 + ".dsql.eu-west-1.on.aws"
        assert lines[0].startswith(f"# {host} on 127.0.0.1 port ")
        exports = dict(shlex.split(line)[1].split("=", 1) for line in lines if line.startswith("export "))
        assert exports["CLUSTER_ENDPOINT"] == exports["PGHOST"] == host
        assert exports["AWS_REGION"] == "eu-west-1"
        # A shell takes it as it stands, comments and all.
        shell = subprocess.run(
            ["sh", "-c", "".join(lines) + 'echo "$PGPORT"'], capture_output=True, text=True, check=True
        )
        assert shell.stdout.strip() == exports["PGPORT"]
        process.terminate()
        assert process.wait(30) == 0


def test_the_json_is_one_line_with_the_environment() -> None:
    with running("--json") as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert told["environment"]["PGPORT"] == str(told["port"])
        assert told["host"] == f"{told['cluster_id']}.dsql.{told['region']}.on.aws"
        process.terminate()
        assert process.communicate(timeout=30) == ("", "")


def failure(*arguments: str) -> str:
    with running(*arguments) as process:
        out, error = process.communicate(timeout=30)
        assert (process.returncode, out) == (1, "")
        assert error.count("\n") == 1
        return error


def test_the_port_is_taken(cluster: LocalCluster) -> None:
    assert f"port {cluster.port} on 127.0.0.1 is taken" in failure("--port", str(cluster.port))


def test_no_postgresql(tmp_path: Path) -> None:
    assert "holds no executable 'initdb' and 'postgres'" in failure("--pg-bin", str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--cluster-id", "short"], "26 characters"),
        (["--region", "Mars"], "region must look like"),
        (["--port", "70000"], "port must be"),
    ],
)
def test_bad_arguments(arguments: list[str], text: str) -> None:
    assert text in failure(*arguments)


def test_a_missing_package_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import argparse

    monkeypatch.setitem(sys.modules, "cryptography", None)
    assert command.run(argparse.Namespace()) == 1
    assert "pip install 'dsql-fast[local]'" in capsys.readouterr().err


def test_it_tells_when_the_cluster_ends_by_itself() -> None:
    with running("--json") as process:
        assert process.stdout is not None
        process.stdout.readline()
        (gateway,) = children(process.pid)
        os.kill(gateway, signal.SIGTERM)
        _, error = process.communicate(timeout=30)
        assert process.returncode == 1
        assert "has ended by itself" in error
