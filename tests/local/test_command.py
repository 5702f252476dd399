"""`dsql-fast local`: what it prints and how it ends."""

from __future__ import annotations

import fcntl
import inspect
import json
import os
import pty
import re
import shlex
import signal
import socket
import subprocess
import sys
import termios
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import dsql_fast._cli._local as command
from dsql_fast._cli import _local_commands as local_commands
from dsql_fast._cli._local_commands import BadCommand, as_text, carry_out, commands
from dsql_fast.local import PendingFault
from local.doors import wait_for
from local.test_lifecycle import PYTHON_PATH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
def running(*arguments: str, stdin: int | None = None) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, *arguments],
        stdin=stdin,
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


# --- told things while it runs --------------------------------------------------------------------


@contextmanager
def listening(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, object]]]:
    """A cluster that takes commands on standard input and answers in JSON."""
    with running("--json", *arguments, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        yield process, told
        process.terminate()
        assert process.wait(30) == 0


def tell(process: subprocess.Popen[str], line: str) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()
    answer: dict[str, Any] = json.loads(process.stdout.readline())
    assert answer["command"] == line
    return answer


def test_commands_on_standard_input() -> None:
    with listening() as (process, _):
        assert tell(process, "fail-commits 3 OC001")["result"] is None
        tell(process, "cut-commits when=after share=0.5")
        tell(process, "refuse-connections 2 rate")
        pending = tell(process, "pending")["result"]
        assert [(each["at"], each["kind"], each["left"], each["share"]) for each in pending] == [
            ("connection", "rate", 2, 1.0),
            ("commit", "OC001", 3, 1.0),
            ("commit", "cut-after", None, 0.5),
        ]
        tell(process, "latency commit 0.005-0.03 connect=0.1")
        assert tell(process, "stats")["result"]["latency"] == {"connect": [0.1, 0.1], "commit": [0.005, 0.03]}
        tell(process, "clear")
        assert tell(process, "pending")["result"] == []
        assert tell(process, "limit rate=5 connections off")["result"]["rate"] == 5
        assert tell(process, "kill state=idle")["result"] == 0
        for line in ("advance 3600", "skew -400.5", "certificate expired", "kill"):
            assert "error" not in tell(process, line)
        key = tell(process, "issue worker temporary=yes lifetime=60")["result"]
        assert key["arn"].endswith(":assumed-role/worker/local")
        assert tell(process, "deny worker DbConnect")["result"] is None
        assert tell(process, f"revoke {key['AWS_ACCESS_KEY_ID']}")["result"] is None
        assert tell(process, "events")["result"] == tell(process, "sessions")["result"] == []


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("explode", "there is no 'explode'; there are fail-commits, "),
        ("fail-commits three", "count cannot be 'three'; usage: fail-commits [COUNT] [KIND] [when=...]"),
        ("fail-commits 1 OC002", "kind must be one of OC000, OC001, XX000"),
        ("fail-commits 1 OC000 1", "'1' is too much"),
        ("fail-commits 1 share=2", "share must be above 0"),
        ("fail-commits share=1 share=1", "share comes twice"),
        ("advance", "missing a required argument: 'seconds'; usage: advance SECONDS"),
        ("advance -1", "time goes forward only"),
        ("limit sessions=1", "is not a limit; the limits are session_seconds"),
        ("limit rate", "rate cannot be ''"),
        ("kill state=asleep", "'idle' or 'in-transaction'"),
        ("issue worker temporary=perhaps", "temporary cannot be 'perhaps'"),
        ("deny nobody", "no key of that id, name or ARN"),
        ("deny 'nobody", "No closing quotation"),
        ("'' 1", "there is no ''"),
        ("help explode", "there is no 'explode'; there are fail-commits, "),
    ],
)
def test_a_bad_line_says_what_is_possible(cluster: LocalCluster, line: str, text: str) -> None:
    before = (cluster.limits, cluster.faults.pending(), cluster.stats()["latency"])
    with pytest.raises(BadCommand) as caught:
        carry_out(cluster, line)
    assert text in str(caught.value)
    assert (cluster.limits, cluster.faults.pending(), cluster.stats()["latency"]) == before


def test_a_bad_line_is_answered_and_the_next_one_obeyed() -> None:
    with listening() as (process, _):
        assert "there is no 'explode'" in tell(process, "explode")["error"]
        assert process.stdin is not None
        process.stdin.write("# a remark\n\n" + "x" * 20_000 + "\n")
        process.stdin.flush()
        assert process.stdout is not None
        assert "there is no 'too-long-a-line'" in json.loads(process.stdout.readline())["error"]
        assert tell(process, "pending")["result"] == []


def test_every_command_is_in_the_help(cluster: LocalCluster) -> None:
    text = carry_out(cluster, "help")
    usages = [line for line in text.splitlines() if not line.startswith(" ")]
    assert [line.split()[0] for line in usages] == [*commands(cluster), "help"]
    assert all(line.strip() for line in text.splitlines())
    for name, method in commands(cluster).items():
        told = carry_out(cluster, f"help {name}")
        assert told.splitlines()[0] in usages
        # All of what the method says, and what its arguments may be.
        assert all(line.strip() in told for line in (inspect.getdoc(method) or "").splitlines())
        # Whatever a method takes can be read.
        for parameter in inspect.signature(method).parameters.values():
            assert str(parameter.annotation) in local_commands._READERS, (name, parameter)


def documented(language: str) -> list[str]:
    """The lines of the blocks of docs/local.md in a language."""
    page = (Path(__file__).parent.parent.parent / "docs" / "local.md").read_text()
    blocks: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return "".join(blocks).splitlines()


def test_the_documented_commands(fresh_cluster: Callable[..., LocalCluster]) -> None:
    lines = documented("text")
    own = fresh_cluster()
    assert {line.split()[0] for line in lines} == {*commands(own), "help"}
    for line in lines:
        carry_out(own, line.replace("ACCESS_KEY_ID", own.credentials.access_key))
    assert own.stats()["latency"] == {"connect": [0.0, 0.0], "commit": [0.0, 0.0]}


def test_the_documented_options() -> None:
    lines = documented("sh")
    assert len(lines) >= 5
    for line in lines:
        program, name, *arguments = shlex.split(line)
        assert (program, name) == ("dsql-fast", "local")
        # Somebody may have that port.
        if "--port" in arguments:
            arguments[arguments.index("--port") + 1] = "0"
        with running(*arguments) as process:
            assert process.stdout is not None
            assert process.stdout.readline()
            process.terminate()
            assert process.wait(30) == 0


def test_words_for_people(cluster: LocalCluster) -> None:
    assert as_text(None) == "done"
    assert as_text([]) == "none"
    # What is told can be typed.
    told = as_text({"rate": None, "burst": 5, "text": "plain", "pair": [0.1, 0.2]})
    assert told == "rate: off\nburst: 5\ntext: plain\npair: [0.1, 0.2]"
    assert as_text([PendingFault("commit", "OC000", None, 0.5)]) == "at=commit kind=OC000 left=off share=0.5"
    for temporary in ("yes", "no"):
        key = carry_out(cluster, f"issue temporary={temporary}")
        text = as_text(key)
        assert text.startswith(f"# {key.arn}\n")
        program = text + '\nprintf "%s " "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" "${AWS_SESSION_TOKEN-}"'
        environment = {**os.environ, "AWS_SESSION_TOKEN": "left-over"}
        shell = subprocess.run(["sh", "-c", program], capture_output=True, text=True, check=True, env=environment)
        assert shell.stdout == f"{key.access_key} {key.secret_key} {key.token or ''} "


def test_latency_that_is_switched_off(cluster: LocalCluster) -> None:
    carry_out(cluster, "latency connect=0.5 commit=0.005-0.03")
    carry_out(cluster, "latency connect=off commit off")
    assert carry_out(cluster, "stats")["latency"] == {"connect": [0.0, 0.0], "commit": [0.0, 0.0]}


def test_answers_for_people() -> None:
    with running(stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("#       print"):
            pass
        # The last line has no end.
        out, error = finish(process, "fail-commits\npending\nkill\nexplode\nlimit rate=1")
        assert out == ""
        lines = error.splitlines()
        assert lines[:3] == ["done", "at=commit kind=OC000 left=1 share=1.0", "0"]
        assert lines[3].startswith("there is no 'explode'; there are fail-commits, ")


def finish(process: subprocess.Popen[str], commands_: str) -> tuple[str, str]:
    """Say the last words, close standard input, and see that the cluster goes on until it is told to end."""
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(commands_)
    process.stdin.close()
    process.stdin = None
    told = ""
    while "rate" not in told.rpartition("\n")[2]:
        told += process.stderr.read(1)
    assert process.poll() is None
    process.terminate()
    out, rest = process.communicate(timeout=30)
    assert process.returncode == 0
    return out, told + rest


@pytest.mark.parametrize("how", ["closed", "nothing", "write-only"])
def test_standard_input_that_says_nothing(how: str) -> None:
    if how == "write-only":  # reading fails
        descriptor = os.open(os.devnull, os.O_WRONLY)
        with running("--json", stdin=descriptor) as process:
            os.close(descriptor)
            goes_on(process)
    elif how == "nothing":
        with running("--json", stdin=subprocess.DEVNULL) as process:
            goes_on(process)
    else:
        with running("--json", stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None
            goes_on(process)


def goes_on(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    told = json.loads(process.stdout.readline())
    # Longer than it takes to notice the end of standard input.
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    with socket.create_connection((told["hostaddr"], told["port"]), timeout=10):
        pass
    process.terminate()
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 0


def test_limits_faults_and_latency_to_begin_with() -> None:
    arguments = [
        *("--limit", "rate=off", "--limit", "transaction_rows=10", "--connect-latency", "0.1"),
        *("--commit-latency", "0.005-0.03", "--certificate", "expired"),
        *("--do", "fail-commits 3 OC001", "--do", "silence-connections"),
    ]
    with listening(*arguments) as (process, _):
        limits = tell(process, "limit")["result"]
        assert (limits["rate"], limits["transaction_rows"]) == (None, 10)
        assert [each["kind"] for each in tell(process, "pending")["result"]] == ["silent", "OC001"]
        assert tell(process, "stats")["result"]["latency"] == {"connect": [0.1, 0.1], "commit": [0.005, 0.03]}


def test_what_the_first_commands_tell() -> None:
    command_line = "issue worker temporary=yes"
    with running("--json", "--do", "fail-commits", "--do", command_line) as process:
        assert process.stdout is not None
        assert "environment" in json.loads(process.stdout.readline())
        answer = json.loads(process.stdout.readline())
        assert answer["command"] == command_line
        assert answer["result"]["arn"].endswith(":assumed-role/worker/local")
        process.terminate()
        assert process.communicate(timeout=30) == ("", "")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--limit", "sessions=1"], "'sessions' is not a limit"),
        (["--limit", "rate=-1"], "rate must be 0 or more"),
        (["--certificate", "forged"], "certificate must be one of valid, "),
        (["--connect-latency", "-1"], "0 or more"),
        (["--do", "explode"], "there is no 'explode'"),
    ],
)
def test_bad_things_to_begin_with(arguments: list[str], text: str) -> None:
    if arguments[0] == "--connect-latency":
        arguments = ["--connect-latency=-1"]
    assert text in failure(*arguments)


@pytest.mark.parametrize(
    "arguments", [["--limit", "rate"], ["--limit", "rate=fast"], ["--commit-latency", "soon"]]
)
def test_options_that_cannot_be_read(arguments: list[str]) -> None:
    with running(*arguments) as process:
        _, error = process.communicate(timeout=30)
        assert process.returncode == 2
        assert arguments[0] in error


def test_in_a_terminal() -> None:
    """What a person sees: answers, that Ctrl-D ends the commands and not the cluster, and a clean end."""
    terminal, other = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN],
        stdin=other,
        stdout=other,
        stderr=other,
        env={**os.environ, "PYTHONPATH": PYTHON_PATH},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no threads here
    )
    os.close(other)
    shown = ""

    def see(text: str) -> None:
        nonlocal shown
        while text not in shown:
            shown += os.read(terminal, 4096).decode()

    try:
        with process:
            see("print(conn.execute")
            os.write(terminal, b"fail-commits 2\npending\n")
            see("at=commit kind=OC000 left=2 share=1.0")
            os.write(terminal, b"\x04")
            see("no more commands are read; Ctrl-C or SIGTERM ends the cluster")
            assert process.poll() is None
            os.write(terminal, b"\x03")
            assert process.wait(30) == 0
    finally:
        os.close(terminal)
        if process.poll() is None:
            process.kill()
    assert "Traceback" not in shown


def test_in_the_background_of_a_terminal() -> None:
    """A look at standard input must not stop it, which is what a terminal does to those in the background."""
    terminal, other = pty.openpty()
    program = f"{shlex.quote(sys.executable)} -c {shlex.quote(MAIN)} --json"
    # A shell with job control, whose terminal this is.
    script = f"set -m; {program} & echo $!; wait $!"
    process = subprocess.Popen(
        ["sh", "-c", script],
        stdin=other,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": PYTHON_PATH},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no threads here
    )
    pid = 0
    try:
        with process:
            assert process.stdout is not None
            pid = int(process.stdout.readline())
            told = json.loads(process.stdout.readline())
            os.write(terminal, b"stats\n")
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1)
            with socket.create_connection((told["hostaddr"], told["port"]), timeout=10):
                pass
            state = subprocess.run(
                ["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True, check=True
            )
            assert state.stdout.strip()[0] != "T", "stopped"
            os.kill(pid, signal.SIGTERM)
            assert process.wait(30) == 0
    finally:
        os.close(terminal)
        os.close(other)
        if process.returncode != 0 and pid:
            os.kill(pid, signal.SIGKILL)
