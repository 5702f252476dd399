"""Each row of what DSQL says while connecting, as this cluster says it, by its name."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import psycopg
import pytest

from local.doors import (
    connect,
    dial,
    fields,
    message,
    parameters,
    read_message,
    refused,
    stamp,
    startup,
    tls,
    token,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from dsql_fast.local import LocalCluster

DENIED = "unable to accept connection, access denied"


def last_words(sock: ssl.SSLSocket) -> dict[str, str]:
    """The error that the server ends with; nothing may follow it."""
    kind, body = read_message(sock)
    assert kind == b"E"
    assert read_message(sock) == (b"", b"")
    sock.close()
    told = fields(body)
    assert told["S"] == told["V"] == "FATAL"
    return told


def told_after_startup(cluster: LocalCluster, **settings: str) -> dict[str, str]:
    sock = tls(cluster)
    sock.sendall(startup(settings))
    return last_words(sock)


def told_after_password(cluster: LocalCluster, text: str, user: str = "admin") -> dict[str, str]:
    sock = tls(cluster)
    sock.sendall(startup(user=user))
    assert read_message(sock) == (b"R", struct.pack("!I", 3))
    sock.sendall(message(b"p", text.encode() + b"\0"))
    return last_words(sock)


def test_token_expired(cluster: LocalCluster) -> None:
    told = told_after_password(cluster, token(cluster, at=stamp(-902)))
    assert told["M"] == DENIED
    assert told["C"] in ("08006", "28000")
    assert told["H"].startswith("Signature expired: ")
    assert " is now earlier than " in told["H"]
    assert told["H"].endswith(" - 15 min.)")


def test_client_clock_ahead(cluster: LocalCluster) -> None:
    told = told_after_password(cluster, token(cluster, at=stamp(900)))
    assert told["M"] == DENIED
    assert told["H"].startswith("Signature not yet current: ")


@pytest.mark.parametrize(("user", "action"), [("admin", "DbConnect"), ("nobody_at_all", "DbConnectAdmin")])
def test_wrong_action_for_the_user(cluster: LocalCluster, user: str, action: str) -> None:
    # Also for a user who does not exist: it is decided before that.
    told = told_after_password(cluster, token(cluster, action=action), user)
    assert told["M"] == DENIED
    assert told["H"] == f"Wrong user to action mapping. user: {user}, action: {action}"


def test_the_hint_reaches_the_text_of_a_driver(cluster: LocalCluster) -> None:
    text = refused(cluster, password=token(cluster, action="DbConnect"))
    assert DENIED in text
    assert "Wrong user to action mapping. user: admin, action: DbConnect" in text


def test_role_that_does_not_exist(cluster: LocalCluster) -> None:
    told = told_after_password(cluster, token(cluster, action="DbConnect"), "nobody_at_all")
    assert (told["M"], told["C"]) == (DENIED, "28000")
    assert "H" not in told


def test_role_that_may_not_log_in(cluster: LocalCluster) -> None:
    with connect(cluster) as conn:
        conn.execute("create role no_login")
        try:
            told = told_after_password(cluster, token(cluster, action="DbConnect"), "no_login")
        finally:
            conn.execute("drop role no_login")
    assert told["M"] == DENIED


def test_wrong_region_bad_signature_cut_token(cluster: LocalCluster) -> None:
    for text in (token(cluster, region="eu-west-1"), token(cluster)[:-1] + "!", token(cluster)[:90]):
        assert told_after_password(cluster, text)["M"] == DENIED


def test_lifetime_over_a_week(cluster: LocalCluster) -> None:
    told = told_after_password(cluster, token(cluster, expires=604_801))
    text = " ".join(told.values())
    assert "X-Amz-Expires must be less than a week (in seconds)" in text


def test_plaintext_startup(cluster: LocalCluster) -> None:
    with dial(cluster) as sock:
        sock.sendall(startup())
        kind, body = read_message(sock)
        assert kind == b"E"
        assert "SSL is mandatory" in fields(body)["M"]
        assert fields(body)["C"] == "08P01"
        assert read_message(sock) == (b"", b"")


def test_plaintext_startup_by_libpq(cluster: LocalCluster) -> None:
    text = refused(cluster, sslmode="disable", sslnegotiation=None, sslrootcert=None)
    assert "SSL is mandatory" in text


@pytest.mark.parametrize("direct", [False, True])
def test_no_sni(cluster: LocalCluster, direct: bool) -> None:
    sock = tls(cluster, direct=direct, name=None)
    sock.sendall(startup())
    assert last_words(sock)["M"] == "unable to accept connection, sni was not received"


@pytest.mark.parametrize("direct", [False, True])
def test_sni_is_not_a_cluster(cluster: LocalCluster, direct: bool) -> None:
    sock = tls(cluster, direct=direct, name="a" * 26 + ".dsql.us-east-1.on.aws")
    sock.sendall(startup())
    assert last_words(sock)["M"] == "unable to accept connection, invalid sni"


def test_sni_ignores_case(cluster: LocalCluster) -> None:
    sock = tls(cluster, name=cluster.host.upper())
    sock.sendall(startup())
    assert read_message(sock)[0] == b"R"
    sock.close()


def test_cluster_id_in_options_stands_for_the_name(cluster: LocalCluster) -> None:
    options = f"-c amzn-cluster-id={cluster.cluster_id}"
    address = {"host": None, "sslmode": "verify-ca"}
    with connect(cluster, options=options, **address) as conn:
        assert conn.execute("select 1").fetchone() == (1,)
    assert "sni was not received" in refused(cluster, **address)
    wrong = "-c amzn-cluster-id=" + "a" * 26
    assert DENIED in refused(cluster, options=wrong, **address)


def test_over_the_connections(fresh_cluster: Callable[..., LocalCluster]) -> None:
    cluster = fresh_cluster(connections=1)
    with connect(cluster):
        told = told_after_startup(cluster)
        assert told["M"] == "Unable to accept connection, too many open connections."
        assert told["C"] == "53300"
    cluster.set_limits(connections=None)
    with connect(cluster), connect(cluster):
        pass


def test_over_the_rate(fresh_cluster: Callable[..., LocalCluster]) -> None:
    # One in a thousand seconds: the bucket does not fill while the test runs.
    cluster = fresh_cluster(rate=0.001, burst=2)
    for _ in range(2):
        connect(cluster).close()
    told = told_after_startup(cluster)
    assert told["M"] == "Unable to accept connection, rate exceeded."
    assert told["C"] == "53400"
    assert cluster.stats()["refused_by_reason"] == {"rate": 1}
    cluster.set_limits(rate=None)
    connect(cluster).close()


@pytest.mark.parametrize(
    "name",
    [
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
        "client_min_messages",
        "default_transaction_read_only",
        "role",
        "replication",
        "default_transaction_isolation",
        "session_preload_libraries",
    ],
)
def test_startup_parameter_outside_the_list(cluster: LocalCluster, name: str) -> None:
    told = told_after_startup(cluster, **{name: "1"})
    assert told["M"] == f'setting configuration parameter "{name}" not supported'
    assert told["C"] == "0A000"
    told = told_after_startup(cluster, options=f"-c {name}=1")
    assert told["M"] == f'setting configuration parameter "{name}" not supported'


def test_startup_parameters_on_the_list(cluster: LocalCluster) -> None:
    given = {
        "application_name": "somebody",
        "DateStyle": "German",
        "extra_float_digits": "2",
        "IntervalStyle": "iso_8601",
        "TimeZone": "Asia/Tokyo",
        "search_path": "other",
        "enable_seqscan": "off",
        "dsql.enable_batched_nestloop": "on",
        "disable_sync_create_index": "on",
    }
    sock = tls(cluster)
    sock.sendall(startup(given))
    assert read_message(sock)[0] == b"R"
    sock.sendall(message(b"p", token(cluster).encode() + b"\0"))
    told = {}
    while (received := read_message(sock))[0] != b"Z":
        assert received[0] in b"RSK", received
        if received[0] == b"S":
            name, value, _ = received[1].split(b"\0")
            told[name.decode()] = value.decode()
    sock.close()
    assert told["application_name"] == "somebody"
    assert told["TimeZone"] == "Asia/Tokyo"
    assert told["DateStyle"].startswith("German")
    assert told["IntervalStyle"] == "iso_8601"


def test_settings_in_options(cluster: LocalCluster) -> None:
    with connect(cluster, options=r"-c search_path=a,\ b --enable-seqscan=off") as conn:
        row = conn.execute("select current_setting('search_path'), current_setting('enable_seqscan')")
        assert row.fetchone() == ("a, b", "off")


def test_a_bad_value_is_refused_in_postgresqls_words(cluster: LocalCluster) -> None:
    assert 'invalid value for parameter "TimeZone"' in refused(cluster, options="-c timezone=nowhere")


@pytest.mark.parametrize("name", ["template1", "Postgres", "admin", "other"])
def test_only_the_database_postgres(cluster: LocalCluster, name: str) -> None:
    assert f'database "{name}" does not exist' in refused(cluster, dbname=name)


def test_a_newer_protocol_is_negotiated_down(cluster: LocalCluster) -> None:
    sock = tls(cluster)
    sock.sendall(startup({"_pq_.extension": "1"}, version=(3 << 16) + 2))
    kind, body = read_message(sock)
    assert kind == b"v"
    assert struct.unpack_from("!II", body) == (3 << 16, 1)
    assert body[8:] == b"_pq_.extension\0"
    assert read_message(sock) == (b"R", struct.pack("!I", 3))
    sock.close()
    given = parameters(cluster, max_protocol_version="latest", min_protocol_version="3.0")
    with psycopg.connect(**given) as conn:
        assert conn.execute("select 1").fetchone() == (1,)


@pytest.mark.parametrize("version", [2 << 16, 4 << 16, 80877103, 0])
def test_another_protocol(cluster: LocalCluster, version: int) -> None:
    sock = tls(cluster)
    sock.sendall(startup(version=version))
    assert last_words(sock)["M"].startswith("unsupported frontend protocol ")
