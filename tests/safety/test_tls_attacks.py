"""No server but the one whose certificate is verified ever sees a token, by any door, whatever it tries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from safety.doors import DOORS, HOST, REFUSED, arguments, assert_nothing_secret
from safety.recorder import CLEARTEXT, MD5, NO_AUTHENTICATION, SCRAM, Behaviour, Recorder

if TYPE_CHECKING:
    from conftest import Keys
    from safety.conftest import Certificates

# Pools connect by the same two functions, and are slow to give up: with the default negotiation only.
_SHORT = [
    *(
        (door, negotiation)
        for door in ("connect", "connect_async", "psycopg2", "asyncpg")
        for negotiation in (None, "postgres")
    ),
    ("pool", None),
    ("pool_async", None),
    ("psycopg2_threaded", None),
    ("asyncpg_pool", None),
]
_LONG = [(door, "direct") for door in DOORS] + [
    (door, "postgres") for door in ("pool", "pool_async", "psycopg2_threaded", "asyncpg_pool")
]
doors = pytest.mark.parametrize(
    ("door", "negotiation"),
    [*_SHORT, *(pytest.param(*ways, marks=pytest.mark.full) for ways in _LONG)],
)

PLAINTEXT: dict[str, Behaviour] = {
    "no TLS": Behaviour(answer=b"N"),
    "an error for an answer": Behaviour(answer=b"E"),
    "asks in clear for an answer": Behaviour(answer=CLEARTEXT),
    "asks in clear at once": Behaviour(greeting=CLEARTEXT, answer=b"N"),
    "authenticated at once": Behaviour(greeting=NO_AUTHENTICATION, answer=b"N"),
    "promises TLS, asks in clear": Behaviour(strip="start"),
}
OTHER_AUTHENTICATION = {"md5": MD5, "SCRAM": SCRAM, "none": NO_AUTHENTICATION}


@doors
def test_the_recorder_sees_the_token_behind_a_good_certificate(
    door: str, negotiation: str | None, certificates: Certificates, aws_keys: Keys
) -> None:
    """The control of all tests here: what they look for would be found."""
    with Recorder(certificates.good) as server:
        DOORS[door](
            arguments(server, sslrootcert=str(certificates.ours.root), sslnegotiation=negotiation),
        )
        seen = server.settle()
    assert [password[: len(HOST)] for password in seen.passwords] == [HOST]
    assert seen.passwords[0].encode() in seen.bytes
    with pytest.raises(AssertionError):
        assert_nothing_secret(seen, aws_keys)
    assert seen.gss == 0
    assert set(seen.sni) == {HOST}
    assert seen.direct == (0 if negotiation == "postgres" else 1)


@doors
@pytest.mark.parametrize("flaw", ["self-signed", "wrong name", "expired", "unknown authority"])
def test_a_bad_certificate_gets_no_token(
    door: str,
    negotiation: str | None,
    flaw: str,
    certificates: Certificates,
    aws_keys: Keys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Our authority is one that the system trusts: what is refused is refused for its flaw.
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ours.root))
    with Recorder(certificates.bad[flaw]) as server:
        with pytest.raises(REFUSED, match="certificate"):
            DOORS[door](arguments(server, sslnegotiation=negotiation))
        seen = server.settle()
    assert seen.connections >= 2, "the bundled roots, then the system's"
    assert not seen.start_ups
    assert_nothing_secret(seen, aws_keys)


@doors
@pytest.mark.parametrize("flaw", ["self-signed", "wrong name", "expired", "unknown authority"])
def test_a_bad_certificate_gets_no_token_with_roots_of_the_callers(
    door: str, negotiation: str | None, flaw: str, certificates: Certificates, aws_keys: Keys
) -> None:
    with Recorder(certificates.bad[flaw]) as server:
        with pytest.raises(REFUSED, match="certificate"):
            DOORS[door](
                arguments(server, sslnegotiation=negotiation, sslrootcert=str(certificates.ours.root)),
            )
        assert_nothing_secret(server.settle(), aws_keys)


@doors
@pytest.mark.parametrize("attack", PLAINTEXT)
def test_plaintext_gets_no_token(door: str, negotiation: str | None, attack: str, aws_keys: Keys) -> None:
    with Recorder(behaviour=PLAINTEXT[attack]) as server:
        with pytest.raises(REFUSED):
            DOORS[door](arguments(server, sslnegotiation=negotiation))
        seen = server.settle()
    assert seen.connections
    assert not seen.start_ups
    assert_nothing_secret(seen, aws_keys)


@doors
def test_tls_that_ends_in_the_middle_gets_no_token(
    door: str, negotiation: str | None, certificates: Certificates, aws_keys: Keys
) -> None:
    with Recorder(certificates.good, Behaviour(strip="end")) as server:
        with pytest.raises(REFUSED):
            DOORS[door](
                arguments(server, sslnegotiation=negotiation, sslrootcert=str(certificates.ours.root)),
            )
        seen = server.settle()
    assert seen.tls_versions
    assert_nothing_secret(seen, aws_keys)


@doors
@pytest.mark.parametrize("authentication", OTHER_AUTHENTICATION)
def test_only_a_cleartext_password_may_be_asked_for(
    door: str, negotiation: str | None, authentication: str, certificates: Certificates, aws_keys: Keys
) -> None:
    """A hash of the token would be no token, but the server that asks for one is not DSQL."""
    behaviour = Behaviour(authentication=OTHER_AUTHENTICATION[authentication])
    with Recorder(certificates.good, behaviour) as server:
        with pytest.raises(REFUSED):
            DOORS[door](
                arguments(server, sslnegotiation=negotiation, sslrootcert=str(certificates.ours.root)),
            )
        seen = server.settle()
    assert seen.start_ups
    if door.startswith("asyncpg") and authentication == "SCRAM":
        # It says that it would, with a nonce; of the token nothing goes into that.
        (first,) = seen.passwords
        assert first.startswith("SCRAM-SHA-256\0")
        seen.passwords.clear()
    assert_nothing_secret(seen, aws_keys)


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca"])
def test_less_than_verify_full_is_the_callers_own_word(
    mode: str, certificates: Certificates, aws_keys: Keys
) -> None:
    """What may be said by keyword does what it says: the tests above do not pass by accident."""
    wrong_name = certificates.bad["wrong name"]
    roots = {"sslrootcert": str(certificates.ours.root)} if mode == "verify-ca" else {}
    with Recorder(wrong_name) as server:
        DOORS["connect"](arguments(server, sslmode=mode, **roots))
        seen = server.settle()
    assert len(seen.passwords) == 1
    assert seen.gss == 0
    assert len(seen.tls_versions) == (mode not in ("disable", "allow"))
