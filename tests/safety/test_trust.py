"""Whose certificates are trusted: Amazon's roots, then the system's; or those that the caller names, alone."""

from __future__ import annotations

import logging
import ssl
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import dsql_fast
from dsql_fast import _config, _connecting, _system_roots
from safety.doors import DOORS, HOST, arguments, assert_nothing_secret
from safety.recorder import Recorder

if TYPE_CHECKING:
    from conftest import Keys
    from safety.conftest import Certificates


@pytest.mark.parametrize("door", DOORS)
def test_a_root_of_the_systems_is_trusted_at_the_second_try(
    door: str,
    certificates: Certificates,
    aws_keys: Keys,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ours.root))
    with Recorder(certificates.good) as server:
        DOORS[door](arguments(server))
        first = server.settle()
        assert (first.connections, len(first.passwords)) == (2, 1)
        # Remembered for the host, told once.
        DOORS[door](arguments(server))
        second = server.settle()
        assert (second.connections, len(second.passwords)) == (3, 2)
    assert dsql_fast.counters()["system_trust_used"] == 1
    told = [record for record in caplog.records if record.name == "dsql_fast"]
    assert [record.levelno for record in told] == [logging.WARNING]
    assert HOST in told[0].getMessage()
    assert "not signed by an Amazon root" in told[0].getMessage()


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("asked", [None, "system"])
def test_the_systems_roots_are_found_by_a_libpq_that_looks_elsewhere(
    door: str,
    asked: str | None,
    certificates: Certificates,
    aws_keys: Keys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The wheels of psycopg and psycopg2 bring an OpenSSL that looks for them where it was built."""
    monkeypatch.setattr(_system_roots, "_FILES", ("/nowhere.crt", str(certificates.ours.root)))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: ssl.DefaultVerifyPaths("", "", "", "", "", ""))
    with Recorder(certificates.good) as server:
        DOORS[door](arguments(server) if asked is None else {**arguments(server), "sslrootcert": asked})
        assert len(server.settle().passwords) == 1


def test_it_is_remembered_for_one_host_only(
    certificates: Certificates, aws_keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ours.root))
    other_host = "other" + HOST[5:]
    with Recorder(certificates.good) as server:
        DOORS["connect"](arguments(server))
    with Recorder(certificates.ours.issue(other_host)) as server:
        DOORS["connect"]({**arguments(server), "host": other_host})
        assert server.settle().connections == 2
    assert _connecting._system_trust == {HOST, other_host}


def test_what_was_remembered_is_given_up_when_it_no_longer_holds(
    certificates: Certificates, aws_keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The host went over to an Amazon root, and the system trusts it no more.
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.stranger.root))
    monkeypatch.setattr(_config, "AMAZON_ROOTS", str(certificates.ours.root))
    _connecting._system_trust.add(HOST)
    with Recorder(certificates.good) as server:
        DOORS["connect"](arguments(server))
        assert server.settle().connections == 2
        assert not _connecting._system_trust
        DOORS["connect"](arguments(server))
        assert server.settle().connections == 3


def test_nothing_is_remembered_of_a_failure(
    certificates: Certificates, aws_keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.stranger.root))
    with Recorder(certificates.good) as server:
        with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
            DOORS["connect"](arguments(server))
        assert_nothing_secret(server.settle(), aws_keys)
    assert not _connecting._system_trust
    assert not dsql_fast.counters()


def test_the_name_is_verified_at_the_second_try_too(
    certificates: Certificates, aws_keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ours.root))
    with Recorder(certificates.bad["wrong name"]) as server:
        with pytest.raises(psycopg.OperationalError, match="does not match host name"):
            DOORS["connect"](arguments(server))
        seen = server.settle()
        assert seen.connections == 2
        assert_nothing_secret(seen, aws_keys)


@pytest.mark.parametrize("named_by", ["keyword", "conninfo", "environment"])
def test_roots_that_the_caller_names_are_the_only_ones(
    named_by: str, certificates: Certificates, aws_keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system would trust the certificate; it is not asked."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ours.root))
    roots = str(certificates.stranger.root)
    further: dict[str, Any] = {}
    if named_by == "keyword":
        further["sslrootcert"] = roots
    elif named_by == "conninfo":
        further["conninfo"] = f"sslrootcert='{roots}'"
    else:
        monkeypatch.setenv("PGSSLROOTCERT", roots)
    with Recorder(certificates.good) as server:
        with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
            DOORS["connect"](arguments(server, **further))
        seen = server.settle()
        assert seen.connections == 1
        assert_nothing_secret(seen, aws_keys)


def test_the_system_can_be_named(
    certificates: Certificates, aws_keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ours.root))
    with Recorder(certificates.good) as server:
        DOORS["connect"](arguments(server, sslrootcert="system"))
        assert server.settle().connections == 1
    assert not dsql_fast.counters()
