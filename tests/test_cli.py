"""The command: its arguments, its exit status, and what is said when something is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from dsql_fast._cli import main

if TYPE_CHECKING:
    from conftest import Keys
    from dsql_fast.local import LocalCluster

HOST = "foo0bar1baz2quux3quuux4q00.dsql.us-east-1.on.aws"


def query_of(token: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(f"//{token}").query).items()}


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert not err
    assert out.endswith("\n")
    assert out.count("\n") == 1
    return out.strip()


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("dsql-fast token: ")
    assert "Traceback" not in err
    return err


def test_token_is_printed_and_nothing_else(aws_keys: Keys, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", HOST]) == 0
    token = printed(capsys)
    query = query_of(token)
    assert token.startswith(f"{HOST}/?")
    assert query["Action"] == "DbConnectAdmin"
    assert query["X-Amz-Expires"] == "900"
    assert query["X-Amz-Credential"].startswith(f"{aws_keys.access_key}/")
    assert "/us-east-1/dsql/" in query["X-Amz-Credential"]


@pytest.mark.usefixtures("aws_keys")
def test_token_options(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["token", HOST[:26], "--region", "eu-west-1", "--user", "app", "--expires-in", "60"]
    assert main(arguments) == 0
    token = printed(capsys)
    query = query_of(token)
    assert token.startswith(f"{HOST[:26]}.dsql.eu-west-1.on.aws/")
    assert query["Action"] == "DbConnect"
    assert query["X-Amz-Expires"] == "60"


@pytest.mark.usefixtures("aws_keys")
def test_token_goes_by_the_environment_that_psql_goes_by(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PGHOST", HOST)
    monkeypatch.setenv("PGUSER", "app")
    assert main(["token"]) == 0
    token = printed(capsys)
    assert token.startswith(HOST)
    assert query_of(token)["Action"] == "DbConnect"
    monkeypatch.setenv("CLUSTER_ENDPOINT", "other" + HOST[5:])
    assert main(["token", "--user", "admin"]) == 0
    token = printed(capsys)
    assert token.startswith("other")
    assert query_of(token)["Action"] == "DbConnectAdmin"


def test_a_cluster_takes_the_token(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in cluster.environment().items():
        monkeypatch.setenv(name, value)
    assert main(["token"]) == 0
    with psycopg.connect(password=printed(capsys)) as connection:  # all else is in the environment
        assert connection.execute("select current_user").fetchone() == ("admin",)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["token"], "no host"),
        (["token", "https://" + HOST], "colon"),
        (["token", "a,b"], "comma"),
        (["token", HOST[:26]], "needs a Region"),
        (["token", HOST, "--region", "eu-west-1"], "contradicts"),
        (["token", HOST, "--expires-in", "0"], "--expires-in"),
        (["token", HOST, "--expires-in", "604801"], "--expires-in"),
        (["token", HOST, "--expires-in", "soon"], "--expires-in"),
    ],
)
@pytest.mark.usefixtures("aws_keys")
def test_token_that_cannot_be_asked_for(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert words in complaint(capsys)


def test_token_without_credentials(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", HOST]) == 1
    assert "AWS_ACCESS_KEY_ID" in complaint(capsys)


def test_token_with_half_a_pair(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE0FAKE0000")
    assert main(["token", HOST]) == 1
    assert "AWS_SECRET_ACCESS_KEY" in complaint(capsys)


@pytest.mark.usefixtures("aws_keys")
def test_token_of_an_unknown_profile(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", HOST, "--profile", "nobody"]) == 1
    assert "nobody" in complaint(capsys)


@pytest.mark.parametrize("arguments", [[], ["no-such-command"], ["token", HOST, "--no-such-option"]])
def test_a_command_that_cannot_be_understood(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: dsql-fast" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert printed(capsys).startswith("dsql-fast 0.")


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in ("token", "local", "demo"))


@pytest.mark.usefixtures("aws_keys")
def test_token_loads_no_driver_and_no_sdk() -> None:
    program = (
        "import sys\n"
        "from dsql_fast._cli import main\n"
        f"main(['token', '{HOST}'])\n"
        "heavy = ('psycopg', 'boto3', 'botocore', 'rich', 'asyncio', 'dsql_fast.local')\n"
        "sys.exit(', '.join(name for name in heavy if name in sys.modules) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("aws_keys")
def test_a_reader_that_has_gone() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    program = f"import sys\nfrom dsql_fast._cli import main\nsys.exit(main(['token', '{HOST}']))\n"
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(writing)
    assert done.returncode == 1
    assert not done.stderr
