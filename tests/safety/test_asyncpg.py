"""What asyncpg would do by itself with the token, and does not: variables, files, hashes, what objects hold."""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

import dsql_fast
import dsql_fast.asyncpg
from dsql_fast.asyncpg import _tls
from dsql_fast.asyncpg._attempt import ENVIRONMENT
from safety.doors import DOORS, HOST, REFUSED, arguments, assert_nothing_secret
from safety.recorder import CLEARTEXT, MD5, NO_AUTHENTICATION, SCRAM, Behaviour, Recorder
from waiting import run_to_the_end

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Keys
    from safety.certificates import Certificate
    from safety.conftest import Certificates
    from safety.wire import Seen, Wire

# The worst that each can say; {nowhere} is a file that is not there.
HOSTILE: dict[str, tuple[str, ...]] = {
    "PGHOST": ("127.0.0.1", "/tmp", "a,b"),
    "PGPORT": ("1",),
    "PGUSER": ("someone",),
    "PGDATABASE": ("postgresql://127.0.0.1/?sslmode=disable",),
    "PGPASSWORD": ("anything",),
    "PGPASSFILE": ("{nowhere}",),
    "PGSERVICE": ("elsewhere",),
    "PGSERVICEFILE": ("{nowhere}",),
    "PGSSLMODE": ("disable", "allow", "prefer", "require", "verify-ca"),
    "PGSSLNEGOTIATION": ("postgres", "direct", "nonsense"),
    "PGSSLROOTCERT": ("system",),
    "PGSSLCRL": ("{nowhere}",),
    "PGSSLCERT": ("{nowhere}",),
    "PGSSLKEY": ("{nowhere}",),
    "PGSSLMINPROTOCOLVERSION": ("TLSv1", "TLSv1.3"),
    "PGSSLMAXPROTOCOLVERSION": ("TLSv1", "TLSv1.2"),
    "PGTARGETSESSIONATTRS": ("read-only", "standby", "nonsense"),
    "PGKRBSRVNAME": ("other",),
    "PGGSSLIB": ("sspi", "nonsense"),
    "SSLKEYLOGFILE": ("{nowhere}",),
}
CASES = [(name, value) for name, values in HOSTILE.items() for value in values]
ATTACKERS: dict[str, Behaviour | None] = {"self-signed": None, "no TLS": Behaviour(answer=b"N")}

READ: dict[str, Callable[[dict[str, str], str], dict[str, str]]] = {
    "PGUSER": lambda start_up, value: {**start_up, "user": value},
    "PGDATABASE": lambda start_up, value: {**start_up, "database": value},
}
REFUSED_BY_US = ("PGSERVICE", "PGSSLCRL")


def test_every_variable_that_asyncpg_reads_is_decided_on() -> None:
    """A new asyncpg with a new variable fails here, until somebody decides."""
    sources = [
        path
        for path in Path(asyncpg.__file__).parent.rglob("*.py*")
        if path.suffix in {".py", ".pyx"} and path.name != "cluster.py" and "_testbase" not in path.parts
    ]
    text = "\n".join(path.read_text() for path in sources)
    read = re.findall(r"""(?:environ(?:\.get\(|\[)|getenv\()\s*["'](\w+)["']""", text)
    assert len(re.findall(r"\benviron\b(?!ment)|\bgetenv\b", text)) == len(read)
    assert set(ENVIRONMENT) == set(read)
    assert set(HOSTILE) == set(ENVIRONMENT)


@pytest.mark.parametrize(("name", "value"), CASES)
@pytest.mark.parametrize("attacker", ATTACKERS)
@pytest.mark.parametrize("negotiation", [None, pytest.param("postgres", marks=pytest.mark.full)])
def test_no_variable_brings_a_token_to_an_attacker(
    name: str,
    value: str,
    attacker: str,
    negotiation: str | None,
    certificates: Certificates,
    aws_keys: Keys,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv(name, value.format(nowhere=tmp_path / "nowhere"))
    behaviour = ATTACKERS[attacker]
    with Recorder(certificates.bad["self-signed"] if behaviour is None else None, behaviour) as server:
        with pytest.raises((*REFUSED, dsql_fast.ConfigError)):
            DOORS["asyncpg"](arguments(server, sslnegotiation=negotiation))
        seen = server.settle()
    assert not seen.start_ups
    assert set(seen.sni) <= {HOST}
    assert_nothing_secret(seen, aws_keys)


@pytest.mark.parametrize(("name", "value"), CASES)
def test_what_each_variable_does_with_the_right_server(
    name: str,
    value: str,
    certificates: Certificates,
    aws_keys: Keys,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    roots = str(certificates.ours.root)
    with Recorder(certificates.good) as server:
        DOORS["asyncpg"](arguments(server, sslrootcert=roots))
        plain = server.settle()
    monkeypatch.setenv(name, value.format(nowhere=tmp_path / "nowhere"))
    with Recorder(certificates.good) as server:
        keywords = arguments(server, sslrootcert=roots)
        if name in REFUSED_BY_US:
            with pytest.raises(dsql_fast.ConfigError):
                DOORS["asyncpg"](keywords)
            assert server.settle().connections == 0
            return
        DOORS["asyncpg"](keywords)
        seen = server.settle()
    change = READ.get(name)
    assert seen.start_ups == [plain.start_ups[0] if change is None else change(plain.start_ups[0], value)]
    assert how(seen) == how(plain)
    assert len(seen.passwords) == 1
    assert seen.passwords[0].startswith(HOST)
    assert not (tmp_path / "nowhere").exists()


def how(seen: Seen) -> tuple[Any, ...]:
    return seen.connections, seen.direct, seen.sni, seen.tls_versions


def test_the_homes_files_are_not_read(
    certificates: Certificates, aws_keys: Keys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    (home / ".postgresql").mkdir(parents=True)
    (home / ".pgpass").write_text("*:*:*:*:from-pgpass")
    (home / ".pgpass").chmod(0o600)
    (home / ".pg_service.conf").write_text("[elsewhere]\nhost=127.0.0.1\nsslmode=disable\n")
    for name in ("postgresql.crt", "postgresql.key", "root.crt", "root.crl"):
        (home / ".postgresql" / name).write_text("not a certificate")
    monkeypatch.setenv("HOME", str(home))
    with Recorder(certificates.good) as server:
        DOORS["asyncpg"](arguments(server, sslrootcert=str(certificates.ours.root)))
        (password,) = server.settle().passwords
    assert password.startswith(HOST)


# TLS, by the caller's own words.


@pytest.mark.parametrize("said", [{"sslmode": "disable"}, {"ssl": False}, {"ssl": "disable"}])
def test_tls_can_be_put_off_by_keyword_only(
    said: dict[str, Any], certificates: Certificates, aws_keys: Keys
) -> None:
    with Recorder(certificates.good) as server:
        DOORS["asyncpg"](arguments(server, **said))
        seen = server.settle()
    assert (len(seen.passwords), seen.tls_versions) == (1, [])


@pytest.mark.parametrize("mode", ["allow", "prefer", "require"])
@pytest.mark.parametrize("negotiation", ["direct", "postgres"])
def test_less_than_verify_full_is_the_callers_own_word(
    mode: str, negotiation: str, certificates: Certificates, aws_keys: Keys
) -> None:
    with Recorder(certificates.bad["self-signed"]) as server:
        DOORS["asyncpg"](arguments(server, sslmode=mode, sslnegotiation=negotiation))
        seen = server.settle()
    assert (len(seen.passwords), len(seen.tls_versions)) == (1, 1)
    # And never in clear: DSQL has no such connections.
    with Recorder(behaviour=Behaviour(answer=b"N")) as server:
        with pytest.raises(OSError, match="SSL"):
            DOORS["asyncpg"](arguments(server, sslmode=mode, sslnegotiation="postgres"))
        assert_nothing_secret(server.settle(), aws_keys)


@pytest.mark.parametrize("mode", ["verify-ca", "require"])
def test_roots_that_are_named_are_used(mode: str, certificates: Certificates, aws_keys: Keys) -> None:
    roots = str(certificates.ours.root)
    with Recorder(certificates.bad["wrong name"]) as server:
        DOORS["asyncpg"](arguments(server, sslmode=mode, sslrootcert=roots))
        assert len(server.settle().passwords) == 1
    with Recorder(certificates.bad["unknown authority"]) as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            DOORS["asyncpg"](arguments(server, sslmode=mode, sslrootcert=roots))
        assert_nothing_secret(server.settle(), aws_keys)


def test_a_wrong_name_is_not_tried_again_with_other_roots(
    certificates: Certificates, aws_keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsql_fast._config.AMAZON_ROOTS", str(certificates.ours.root))
    with Recorder(certificates.bad["wrong name"]) as server:
        with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
            DOORS["asyncpg"](arguments(server))
        assert server.settle().connections == 1


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"ssl": ssl.create_default_context()}, "sslrootcert"),
        ({"ssl": "verify-ca", "sslmode": "verify-full"}, "differ"),
        ({"direct_tls": True, "sslnegotiation": "postgres"}, "differ"),
        ({"ssl": "nonsense"}, "sslmode must be one of"),
        ({"sslnegotiation": "nonsense"}, "sslnegotiation must be"),
        ({"ssl_min_protocol_version": "TLSv9"}, "TLSv1.2 or TLSv1.3"),
        ({"ssl_max_protocol_version": "TLSv1.1"}, "TLSv1.2 or TLSv1.3"),
        ({"sslcrl": "/nowhere/crl.pem"}, "cannot read"),
        ({"connect_timeout": "soon"}, "number of seconds"),
        ({"keepalives": 1}, "keepalives cannot be used with asyncpg"),
        ({"client_encoding": "LATIN1"}, "UTF-8"),
        ({"target_session_attrs": "read-only"}, "writable"),
        ({"gsslib": "sspi"}, "GSS"),
        ({"dsn": b"x"}, "dsn must be text"),
    ],
)
def test_what_cannot_be_used_is_told_before_anything_is_sent(
    said: dict[str, Any], words: str, aws_keys: Keys
) -> None:
    with Recorder() as server:
        with pytest.raises(dsql_fast.ConfigError, match=words):
            run_to_the_end(dsql_fast.asyncpg.connect(**{**arguments(server), **said}))
        assert server.settle().connections == 0


def test_tls_below_1_2_is_not_spoken(certificates: Certificates, aws_keys: Keys) -> None:
    roots = str(certificates.ours.root)
    for least in ("TLSv1", "TLSv1.2", "TLSv1.3"):
        with Recorder(certificates.good) as server:
            server.only_tls("TLSv1.2")
            keywords = arguments(server, sslrootcert=roots, ssl_min_protocol_version=least)
            if least == "TLSv1.3":
                with pytest.raises(REFUSED):
                    DOORS["asyncpg"](keywords)
            else:
                DOORS["asyncpg"](keywords)
            assert len(server.settle().passwords) == (least != "TLSv1.3")
    with Recorder(certificates.good) as server:
        server.only_tls("TLSv1.1")
        with pytest.raises(REFUSED):
            DOORS["asyncpg"](arguments(server, sslrootcert=roots))
        assert_nothing_secret(server.settle(), aws_keys)


# Contexts.


def context_of(roots: Path, host: str = HOST) -> _tls.ClusterContext:
    tls = _tls.Tls(host, "verify-full", str(roots), ssl.TLSVersion.TLSv1_2, None, (None, None), None)
    return asyncio.run(tls.context())


def test_contexts_are_kept_and_read_again_when_their_file_changes(
    certificates: Certificates, tmp_path: Path
) -> None:
    roots = tmp_path / "roots.pem"
    roots.write_bytes(certificates.ours.root.read_bytes())
    first = context_of(roots)
    assert context_of(roots) is first
    assert context_of(roots, "other.example") is not first
    roots.write_bytes(certificates.ours.root.read_bytes() + certificates.stranger.root.read_bytes())
    second = context_of(roots)
    assert second is not first
    assert (len(first.get_ca_certs()), len(second.get_ca_certs())) == (1, 2)


def test_a_herd_loads_a_context_once(certificates: Certificates, tmp_path: Path) -> None:
    roots = tmp_path / "roots.pem"
    roots.write_bytes(certificates.ours.root.read_bytes())
    tls = _tls.Tls(HOST, "verify-full", str(roots), ssl.TLSVersion.TLSv1_2, None, (None, None), None)

    async def main() -> list[Any]:
        return await asyncio.gather(*(tls.context() for _ in range(50)))

    assert len(set(map(id, run_to_the_end(main())))) == 1


# The token.


class Challenging(Recorder):
    """Asks for SCRAM in earnest: for the proof that it derives from the password."""

    def __init__(self, certificate: Certificate) -> None:
        super().__init__(certificate, Behaviour(authentication=SCRAM))
        self.proofs: list[bytes] = []

    def _talk(self, wire: Wire) -> None:
        assert self._context is not None
        wire.peek()
        wire.start_tls(self._context)
        self._start_up(wire)
        wire.write(SCRAM)
        body = self._message(wire)
        nonce = body.rpartition(b"r=")[2].decode()
        salt = base64.b64encode(b"salt" * 4).decode()
        challenge = f"r={nonce}more,s={salt},i=4096".encode()
        wire.write(b"R" + struct.pack("!II", 8 + len(challenge), 11) + challenge)
        self.proofs.append(self._message(wire))

    def _message(self, wire: Wire) -> bytes:
        wire.read(1)
        return wire.read(struct.unpack("!I", wire.read(4))[0] - 4)


def test_no_proof_of_the_token_is_made(certificates: Certificates, aws_keys: Keys) -> None:
    """Who has it could try tokens against it."""
    with Challenging(certificates.good) as server:
        with pytest.raises(asyncpg.InterfaceError, match="no Aurora DSQL cluster"):
            DOORS["asyncpg"](arguments(server, sslrootcert=str(certificates.ours.root)))
        assert_nothing_secret(server.settle(), aws_keys)
    assert server.proofs == []


def test_the_connection_and_the_pool_hold_no_token_in_sight(certificates: Certificates, aws_keys: Keys) -> None:
    async def main(keywords: dict[str, Any]) -> list[str]:
        conn = await dsql_fast.asyncpg.connect(**keywords)
        shown = [repr(conn), repr(conn._params), repr(conn._params.password), str(conn._params.password)]
        shown.append(repr(getattr(conn._params.password, "_given", "nothing")))
        conn.terminate()
        credentials = dsql_fast.Credentials("AKID", aws_keys.secret_key)
        pool = dsql_fast.asyncpg.create_pool(**keywords, credentials=credentials, min_size=0)
        shown += [repr(pool), repr(vars(pool)), repr(pool._connect_kwargs), repr(pool._connect_args)]
        return shown

    with Recorder(certificates.good) as server:
        texts = run_to_the_end(main(arguments(server, sslrootcert=str(certificates.ours.root))))
        (token,) = server.settle().passwords
    assert token.startswith(HOST)
    for secret in ("X-Amz", token, aws_keys.secret_key):
        assert not [text for text in texts if secret in text]


def test_a_cancelled_connect_shows_no_secret(certificates: Certificates, aws_keys: Keys) -> None:
    from safety.leaks import assert_clean
    from safety.test_no_leaks import secrets_of

    async def cancelled() -> BaseException:
        task = asyncio.ensure_future(
            dsql_fast.asyncpg.connect(**arguments(server, sslrootcert=str(certificates.ours.root)))
        )
        await asyncio.to_thread(server.password_came.wait, 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return caught.value

    with Recorder(certificates.good, Behaviour(silent=True)) as server:
        failure = run_to_the_end(cancelled())
    assert_clean(failure, secrets_of(aws_keys))


# An ordinary PostgreSQL, with a password that is no token.


def with_password(server: Recorder, host: str = HOST, **keywords: Any) -> dsql_fast.Config:
    environ = {"DB_USE_IAM": "false", "DB_PASSWORD": "a secret", "DB_HOST": host, "DB_PORT": str(server.port)}
    return dsql_fast.Config.from_env(environ, **keywords)


async def come_in(config: dsql_fast.Config) -> None:
    await (await dsql_fast.asyncpg.connect(config)).close()


@pytest.mark.parametrize(
    ("asked", "given"),
    [(CLEARTEXT, "a secret"), (MD5, "md5"), (NO_AUTHENTICATION, None)],
    ids=["as it is", "a hash", "nothing"],
)
def test_a_password_goes_to_a_verified_server_as_that_asks(
    asked: bytes, given: str | None, certificates: Certificates
) -> None:
    with Recorder(certificates.good, Behaviour(authentication=asked)) as server:
        config = with_password(server, hostaddr="127.0.0.1", sslrootcert=str(certificates.ours.root))
        run_to_the_end(come_in(config))
        seen = server.settle()
    assert [password[: len(given or "")] for password in seen.passwords] == ([] if given is None else [given])
    assert seen.direct == 0


def test_a_password_goes_to_no_server_that_is_not_verified(certificates: Certificates) -> None:
    with Recorder(certificates.good) as server:
        for config in (
            with_password(server, hostaddr="127.0.0.1"),  # not an authority that the system knows
            with_password(server, "db.example", sslmode="require"),
            with_password(server, "db.example", sslmode="disable"),
            with_password(server, "db.example", connect_host="127.0.0.2.example", sslmode="disable"),
        ):
            with pytest.raises((OSError, dsql_fast.ConfigError)):
                run_to_the_end(come_in(config))
        assert not server.settle().passwords
        # On this machine, as for trying things out.
        run_to_the_end(come_in(with_password(server, "127.0.0.1", sslmode="require")))
        assert server.settle().passwords == ["a secret"]
