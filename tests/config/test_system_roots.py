"""What sslrootcert is written as, for the roots that the system trusts."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from dsql_fast import DriverError, _system_roots
from dsql_fast._config import Config, driver_arguments
from dsql_fast._system_roots import system_roots

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Keys

HOST = "foo0bar1baz2quux3quuux4q00.dsql.us-east-1.on.aws"


@pytest.fixture
def nothing_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_system_roots, "_FILES", ())
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: ssl.DefaultVerifyPaths("", "", "", "", "", ""))


@pytest.fixture
def file(nothing_found: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    path = tmp_path / "roots.crt"
    path.touch()
    monkeypatch.setattr(_system_roots, "_FILES", (str(tmp_path / "none.crt"), str(path)))
    return str(path)


def test_the_word_where_it_is_known_and_means_something(file: str) -> None:
    assert system_roots(160000, own_openssl=False) == "system"
    assert system_roots(180000, own_openssl=False) == "system"


def test_a_file_for_a_wheels_openssl_and_for_an_old_libpq(file: str) -> None:
    assert system_roots(180000, own_openssl=True) == file
    assert system_roots(150000, own_openssl=False) == file


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_openssl_reads_the_variables_by_itself(file: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "/mine")
    assert system_roots(180000, own_openssl=True) == "system"


def test_an_old_libpq_is_given_the_file_that_the_variable_names(
    file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/mine")
    assert system_roots(150000, own_openssl=True) == "/mine"


@pytest.mark.usefixtures("nothing_found", "aws_keys")
def test_nothing_is_found() -> None:
    assert system_roots(180000, own_openssl=True) == "system"  # and nothing is trusted
    with pytest.raises(DriverError, match=r"pass sslrootcert="):
        driver_arguments(Config(HOST), 150000, system_trust=True)


def test_this_systems(aws_keys: Keys) -> None:
    """Where the system has roots, they are in a file that can be read."""
    roots = system_roots(180000, own_openssl=True)
    if roots != "system":
        assert ssl.create_default_context(cafile=roots).cert_store_stats()["x509_ca"] > 0
