"""Every variable that libpq reads is decided on, and none of them brings a token to the wrong server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import psycopg2
import pytest

import dsql_fast
from dsql_fast._libpq import LIBPQ_ENVIRONMENT
from safety.doors import DOORS, HOST, arguments, assert_nothing_secret
from safety.recorder import Behaviour, Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Keys
    from safety.conftest import Certificates
    from safety.wire import Seen

# What libpq reads without a connection parameter of that name.
_ENVIRONMENT_ONLY = {
    *("PGDATESTYLE", "PGTZ", "PGGEQO"),  # start-up parameters
    *("PGSERVICEFILE", "PGSYSCONFDIR", "PGREQUIRESSL", "PGLOCALEDIR"),
    "PGOAUTHDEBUG",
}

# The worst that each can say; {ca} is our authority's root, {nowhere} a file that is not there.
HOSTILE: dict[str, tuple[str, ...]] = {
    "PGHOST": ("127.0.0.1", "/tmp", "a,b"),
    "PGHOSTADDR": ("127.0.0.1",),
    "PGPORT": ("1",),
    "PGDATABASE": ("host=127.0.0.1 sslmode=disable", "postgresql://127.0.0.1/?sslmode=disable"),
    "PGUSER": ("someone",),
    "PGPASSWORD": ("anything",),
    "PGPASSFILE": ("{nowhere}",),
    "PGREQUIREAUTH": ("none", "md5", "!password", "scram-sha-256"),
    "PGCHANNELBINDING": ("disable", "require"),
    "PGSERVICE": ("elsewhere",),
    "PGSERVICEFILE": ("{nowhere}",),
    "PGSYSCONFDIR": ("{nowhere}",),
    "PGOPTIONS": ("-c search_path=x",),
    "PGAPPNAME": ("an application",),
    "PGSSLMODE": ("disable", "allow", "prefer", "require", "verify-ca"),
    "PGREQUIRESSL": ("0", "1"),
    "PGSSLNEGOTIATION": ("postgres", "direct"),
    "PGSSLCOMPRESSION": ("1",),
    "PGSSLCERT": ("{nowhere}",),
    "PGSSLKEY": ("{nowhere}",),
    "PGSSLCERTMODE": ("require", "allow"),
    "PGSSLROOTCERT": ("system",),
    "PGSSLCRL": ("{nowhere}",),
    "PGSSLCRLDIR": ("{nowhere}",),
    "PGSSLSNI": ("0",),
    "PGSSLMINPROTOCOLVERSION": ("TLSv1", "TLSv1.3"),
    "PGSSLMAXPROTOCOLVERSION": ("TLSv1", "TLSv1.2"),
    "PGREQUIREPEER": ("root",),
    "PGGSSENCMODE": ("require", "prefer"),
    "PGKRBSRVNAME": ("other",),
    "PGGSSLIB": ("gssapi",),
    "PGGSSDELEGATION": ("1",),
    "PGCONNECT_TIMEOUT": ("20",),
    "PGCLIENTENCODING": ("LATIN1",),
    "PGTARGETSESSIONATTRS": ("read-only", "prefer-standby"),
    "PGLOADBALANCEHOSTS": ("random",),
    "PGMINPROTOCOLVERSION": ("3.0",),
    "PGMAXPROTOCOLVERSION": ("3.0", "latest"),
    "PGDATESTYLE": ("German",),
    "PGTZ": ("UTC",),
    "PGGEQO": ("off",),
    "PGLOCALEDIR": ("{nowhere}",),
    "PGOAUTHDEBUG": ("UNSAFE",),
}
CASES = [(name, value) for name, values in HOSTILE.items() for value in values]

ATTACKERS: dict[str, Behaviour | None] = {
    "self-signed": None,
    "no TLS": Behaviour(answer=b"N"),
}


def test_every_variable_of_libpq_is_decided_on() -> None:
    """A new libpq with a new variable fails here, until somebody decides."""
    defaults = psycopg.pq.Conninfo.get_defaults()
    read = {option.envvar.decode() for option in defaults if option.envvar}
    assert set(LIBPQ_ENVIRONMENT) == read | _ENVIRONMENT_ONLY
    assert set(HOSTILE) == set(LIBPQ_ENVIRONMENT)


@pytest.mark.parametrize("wheel", ["psycopg_binary", "psycopg2_binary"])
def test_no_variable_is_read_behind_the_table(wheel: str) -> None:
    """Some are in no table of libpq's, only in its code: all that looks like one is decided on."""
    libraries = Path(psycopg.__file__).parent.parent / f"{wheel}.libs"
    (library,) = libraries.glob("libpq*.so*")
    found = {name.decode() for name in re.findall(rb"\0(PG(?!RES_)[A-Z_]{2,})\0", library.read_bytes())}
    assert "PGREQUIRESSL" in found
    assert found <= set(LIBPQ_ENVIRONMENT)


@pytest.mark.parametrize(("name", "value"), CASES)
@pytest.mark.parametrize("attacker", ATTACKERS)
@pytest.mark.parametrize("door", ["connect", "connect_async", "psycopg2"])
@pytest.mark.parametrize("negotiation", [None, pytest.param("postgres", marks=pytest.mark.full)])
def test_no_variable_brings_a_token_to_an_attacker(
    name: str,
    value: str,
    attacker: str,
    door: str,
    negotiation: str | None,
    certificates: Certificates,
    aws_keys: Keys,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv(name, value.format(nowhere=tmp_path / "nowhere"))
    behaviour = ATTACKERS[attacker]
    with Recorder(certificates.bad["self-signed"] if behaviour is None else None, behaviour) as server:
        with pytest.raises((psycopg.OperationalError, psycopg2.OperationalError, dsql_fast.ConfigError)):
            DOORS[door](arguments(server, sslnegotiation=negotiation))
        seen = server.settle()
    assert seen.gss == 0
    assert not seen.start_ups
    assert set(seen.sni) <= {HOST}
    assert_nothing_secret(seen, aws_keys)


# Where a variable changes what the right server sees, and how. All others change nothing.
READ: dict[str, Callable[[dict[str, str], str], dict[str, str]]] = {
    "PGUSER": lambda start_up, value: {**start_up, "user": value},
    "PGDATABASE": lambda start_up, value: {**start_up, "database": value},
    "PGAPPNAME": lambda start_up, value: {**start_up, "application_name": value},
    "PGCLIENTENCODING": lambda start_up, value: {**start_up, "client_encoding": value},
    "PGDATESTYLE": lambda start_up, value: {**start_up, "datestyle": value},
    "PGTZ": lambda start_up, value: {**start_up, "timezone": value},
}
REFUSED = ("PGSERVICE", "PGGEQO")
# With a directory of revocation lists, one without a list for the issuer is a reason to refuse.
REFUSES_MORE = ("PGSSLCRLDIR",)


@pytest.mark.parametrize(("name", "value"), CASES)
def test_what_each_variable_does_with_the_right_server(
    name: str,
    value: str,
    certificates: Certificates,
    aws_keys: Keys,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    with Recorder(certificates.good) as server:
        keywords = arguments(server, sslrootcert=str(certificates.ours.root))
        DOORS["connect"](keywords)
        plain = server.settle()
    monkeypatch.setenv(name, value.format(nowhere=tmp_path / "nowhere"))
    with Recorder(certificates.good) as server:
        keywords["port"] = server.port
        if name in REFUSED:
            with pytest.raises(dsql_fast.ConfigError, match=f"^{name} is set"):
                DOORS["connect"](keywords)
            assert server.settle().connections == 0
            return
        if name in REFUSES_MORE:
            with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
                DOORS["connect"](keywords)
            assert_nothing_secret(server.settle(), aws_keys)
            return
        DOORS["connect"](keywords)
        seen = server.settle()
    change = READ.get(name)
    expected = plain.start_ups[0] if change is None else change(plain.start_ups[0], value)
    assert seen.start_ups == [expected]
    assert how(seen) == how(plain)
    assert len(seen.passwords) == 1
    assert seen.passwords[0].startswith(HOST)


def how(seen: Seen) -> tuple[Any, ...]:
    return seen.connections, seen.direct, seen.gss, seen.sni, seen.tls_versions


def test_where_to_dial_may_be_said_by_the_environment(
    certificates: Certificates, aws_keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PGHOSTADDR and PGPORT lead to a server; that it is the right one is for the certificate to say."""
    monkeypatch.setenv("PGHOSTADDR", "127.0.0.1")
    monkeypatch.setenv("PGSSLROOTCERT", str(certificates.ours.root))
    for certificate, is_right in ((certificates.good, True), (certificates.bad["wrong name"], False)):
        with Recorder(certificate) as server:
            monkeypatch.setenv("PGPORT", str(server.port))
            if is_right:
                dsql_fast.connect(HOST).close()
            else:
                with pytest.raises(psycopg.OperationalError, match="host name"):
                    dsql_fast.connect(HOST)
            seen = server.settle()
            assert len(seen.passwords) == is_right
    assert_nothing_secret(seen, aws_keys)


def test_tls_below_1_2_is_not_spoken(certificates: Certificates, aws_keys: Keys) -> None:
    for variable in ("", "TLSv1.2", "tlsv1.3"):
        with pytest.MonkeyPatch.context() as patch, Recorder(certificates.good) as server:
            if variable:
                patch.setenv("PGSSLMINPROTOCOLVERSION", variable)
            server.only_tls("TLSv1.2")
            keywords = arguments(server, sslrootcert=str(certificates.ours.root))
            if variable == "tlsv1.3":
                with pytest.raises(psycopg.OperationalError):
                    dsql_fast.connect(**keywords)
            else:
                dsql_fast.connect(**keywords).close()
            assert len(server.settle().passwords) == (variable != "tlsv1.3")
    with Recorder(certificates.good) as server:
        server.only_tls("TLSv1.1")
        with pytest.raises(psycopg.OperationalError):
            dsql_fast.connect(**arguments(server, sslrootcert=str(certificates.ours.root)))
        assert_nothing_secret(server.settle(), aws_keys)


def test_the_homes_files_are_not_read(
    certificates: Certificates, aws_keys: Keys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """libpq looks into ~/.pgpass, ~/.pg_service.conf and ~/.postgresql; nothing there changes a connection."""
    home = tmp_path / "home"
    (home / ".postgresql").mkdir(parents=True)
    (home / ".pgpass").write_text("*:*:*:*:from-pgpass")
    (home / ".pgpass").chmod(0o600)
    (home / ".pg_service.conf").write_text("[elsewhere]\nhost=127.0.0.1\nsslmode=disable\n")
    for name in ("postgresql.crt", "postgresql.key", "root.crt"):
        (home / ".postgresql" / name).write_text("not a certificate")
        (home / ".postgresql" / name).chmod(0o600)
    monkeypatch.setenv("HOME", str(home))
    with Recorder(certificates.good) as server:
        dsql_fast.connect(**arguments(server, sslrootcert=str(certificates.ours.root))).close()
        (password,) = server.settle().passwords
    assert password.startswith(HOST)
