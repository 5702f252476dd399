"""Fixtures: AWS's services on loopback, and a home with AWS's files."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tokens.aws import Services

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dsql_fast.local import LocalCluster


@pytest.fixture
def services(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    """The services, where botocore looks for them; the cluster admits whom they give keys to."""
    with Services(cluster.issue_credentials) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", running.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_SSO", running.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield running


class Home:
    """A home directory with AWS's files, rewritten as tests like."""

    def __init__(self, directory: Path) -> None:
        self.path = directory
        self.config = directory / ".aws" / "config"
        self.credentials = directory / ".aws" / "credentials"
        self.config.parent.mkdir()

    def profile(self, name: str, **settings: object) -> None:
        """Add a profile, or put another in its place."""
        section = name if name == "default" or name.startswith("sso-session ") else f"profile {name}"
        _write(self.config, section, settings)

    def static(self, name: str, keys: Any) -> None:
        """Keys in the credentials file."""
        settings = {"aws_access_key_id": keys.access_key, "aws_secret_access_key": keys.secret_key}
        if keys.token:
            settings["aws_session_token"] = keys.token
        _write(self.credentials, name, settings)

    def process(self, keys: Any, end: str | None = None) -> str:
        """A program that prints these keys; returns the command. A call with other keys changes what it prints."""
        output = {"Version": 1, "AccessKeyId": keys.access_key, "SecretAccessKey": keys.secret_key}
        further = {"SessionToken": keys.token, "Expiration": end}
        output.update((name, value) for name, value in further.items() if value)
        return self.program(f"print({json.dumps(output)!r})\n")

    def program(self, text: str) -> str:
        file = self.path / "process.py"
        _replace(file, text)
        return f"{sys.executable} -S {file}"


def _write(file: Path, section: str, settings: dict[str, Any]) -> None:
    from configparser import RawConfigParser

    parser = RawConfigParser()
    parser.read(file)
    parser[section] = {name: str(value) for name, value in settings.items()}
    lines = [f"[{each}]\n" + "".join(f"{k} = {v}\n" for k, v in parser.items(each)) for each in parser.sections()]
    _replace(file, "\n".join(lines))


def _replace(file: Path, text: str) -> None:
    # As careful tools write: whoever reads sees the old file or the new one.
    new = file.with_suffix(".new")
    new.write_text(text)
    os.replace(new, file)  # noqa: PTH105


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("AWS_CONFIG_FILE")
    monkeypatch.delenv("AWS_SHARED_CREDENTIALS_FILE")
    return Home(tmp_path)
