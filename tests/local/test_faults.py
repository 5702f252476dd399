"""Faults on demand: the orders by themselves, and each of them met on a real cluster."""

from __future__ import annotations

import time
from random import Random
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from dsql_fast.local import LocalCluster, NotRunning, PendingFault
from dsql_fast.local._faults import Faults
from local.doors import (
    authenticated,
    connect,
    dial,
    message,
    read_message,
    refused,
    settled,
    startup,
    tls,
    wait_for,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

# --- the orders -----------------------------------------------------------------------------------


def test_nothing_is_ordered() -> None:
    faults = Faults()
    assert [faults.commit(), faults.connection(), faults.statement(in_transaction=True)] == [None] * 3
    assert faults.connect_delay() == faults.commit_delay() == 0
    assert faults.pending() == []


@pytest.mark.parametrize(
    ("order", "kind", "takes_effect", "sqlstate"),
    [
        (lambda faults: faults.fail_commits(), "OC000", False, "40001"),
        (lambda faults: faults.fail_commits(kind="OC001"), "OC001", False, "40001"),
        (lambda faults: faults.fail_commits(kind="XX000"), "XX000", False, "XX000"),
        (lambda faults: faults.fail_commits(kind="XX000", when="after"), "XX000-after", True, "XX000"),
        (lambda faults: faults.cut_commits(), "cut-before", False, None),
        (lambda faults: faults.cut_commits(when="after"), "cut-after", True, None),
    ],
)
def test_what_becomes_of_a_commit(
    order: Callable[[Faults], None], kind: str, takes_effect: bool, sqlstate: str | None
) -> None:
    faults = Faults()
    order(faults)
    fault = faults.commit()
    assert fault is not None
    assert (fault.kind, fault.takes_effect, fault.error and fault.error.sqlstate) == (kind, takes_effect, sqlstate)
    assert faults.commit() is None


def test_orders_are_taken_off_in_their_order() -> None:
    faults = Faults()
    faults.fail_commits(2)
    faults.cut_commits()
    assert faults.pending() == [
        PendingFault("commit", "OC000", 2, 1.0),
        PendingFault("commit", "cut-before", 1, 1.0),
    ]
    met = [faults.commit() for _ in range(4)]
    assert [fault and fault.kind for fault in met] == ["OC000", "OC000", "cut-before", None]
    assert faults.pending() == []


def test_a_cut_in_a_transaction_waits_for_one() -> None:
    faults = Faults()
    faults.cut_transactions()
    faults.fail_statements(kind="OC001")
    outside, inside = faults.statement(in_transaction=False), faults.statement(in_transaction=True)
    assert outside is not None
    assert inside is not None
    assert (outside.kind, inside.kind) == ("OC001", "cut")


def drawn(faults: Faults, count: int = 1000) -> list[str]:
    met = [faults.commit() for _ in range(count)]
    return [fault.kind if fault else "" for fault in met]


def test_a_share_is_drawn_until_cleared() -> None:
    faults = Faults(Random(1))
    faults.fail_commits(share=0.25)
    assert 200 < drawn(faults).count("OC000") < 300
    assert faults.pending() == [PendingFault("commit", "OC000", None, 0.25)]
    faults.clear()
    assert faults.pending() == []
    assert drawn(faults) == [""] * 1000


def test_a_share_of_a_count() -> None:
    faults = Faults(Random(1))
    faults.fail_commits(10, share=0.5)
    met = drawn(faults, 100)
    assert met.count("OC000") == 10
    assert "" in met[:20]


def test_a_seed_makes_the_draws_the_same() -> None:
    def run(seed: int) -> list[str]:
        faults = Faults()
        faults.fail_commits(share=0.3, seed=seed)
        faults.cut_commits(share=0.3, seed=seed + 1)
        return drawn(faults)

    assert run(1) == run(1) != run(2)


def test_latency_is_fixed_or_between_two() -> None:
    faults = Faults(Random(1))
    faults.latency(connect=0.1, commit=(0.005, 0.03))
    assert faults.connect_delay() == 0.1
    delays = [faults.commit_delay() for _ in range(200)]
    assert 0.005 <= min(delays) < 0.01
    assert 0.025 < max(delays) <= 0.03
    faults.latency(connect=0)
    assert (faults.connect_delay(), faults.latencies()["commit"]) == (0, (0.005, 0.03))
    faults.clear()
    assert faults.latencies() == {"connect": (0, 0), "commit": (0, 0)}


def test_a_seeded_latency() -> None:
    def run() -> list[float]:
        faults = Faults()
        faults.latency(commit=(0, 1), seed=7)
        return [faults.commit_delay() for _ in range(20)]

    assert run() == run()


BAD: list[tuple[str, tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    ("fail_commits", (0,), {}, ValueError, "count must be 1 or more"),
    ("fail_commits", (1.5,), {}, TypeError, "count must be a whole number"),
    ("fail_commits", (True,), {}, TypeError, "count must be a whole number"),
    ("fail_commits", (1, "OC002"), {}, ValueError, "kind must be one of OC000, OC001, XX000"),
    ("fail_commits", (1, "OC000"), {"when": "after"}, ValueError, "only XX000 can come after"),
    ("fail_commits", (), {"share": 0}, ValueError, "share must be above 0"),
    ("fail_commits", (), {"share": 1.5}, ValueError, "share must be above 0"),
    ("fail_commits", (), {"share": "half"}, TypeError, "share must be a number"),
    ("fail_commits", (), {"seed": "x"}, TypeError, "seed must be a whole number"),
    ("cut_commits", (), {"when": "while"}, ValueError, "when must be one of before, after"),
    ("fail_statements", (1, "OC000"), {}, ValueError, "kind must be one of XX000, OC001"),
    ("cut_transactions", (-1,), {}, ValueError, "count"),
    ("refuse_connections", (1, "mood"), {}, ValueError, "reason must be one of waking-up, rate, connections"),
    ("slow_connections", (0,), {}, ValueError, "bytes_per_second must be above 0"),
    ("slow_connections", (float("inf"),), {}, ValueError, "must be finite"),
    ("latency", (), {"connect": -0.1}, ValueError, "0 or more"),
    ("latency", (), {"commit": (2, 1)}, ValueError, "least before the most"),
    ("latency", (), {"commit": (1, 2, 3)}, ValueError, "least and the most"),
    ("latency", (), {"commit": "fast"}, TypeError, "must be seconds"),
]


@pytest.mark.parametrize(("name", "given", "by_name", "error", "text"), BAD)
def test_a_bad_order_changes_nothing(
    name: str, given: tuple[Any, ...], by_name: dict[str, Any], error: type[Exception], text: str
) -> None:
    faults = Faults()
    with pytest.raises(error, match=text):
        getattr(faults, name)(*given, **by_name)
    assert faults.pending() == []
    # The owner's side says the same, before there is anything to send it to.
    with pytest.raises(error, match=text):
        getattr(LocalCluster().faults, name)(*given, **by_name)


def test_a_bad_latency_leaves_the_other_alone() -> None:
    faults = Faults()
    with pytest.raises(ValueError, match="commit"):
        faults.latency(connect=1, commit=-1)
    assert faults.connect_delay() == 0


def test_a_cluster_that_does_not_run_takes_no_orders() -> None:
    with pytest.raises(NotRunning):
        LocalCluster().faults.fail_commits()


# --- met on a cluster -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running() -> Iterator[LocalCluster]:
    with LocalCluster(rate=None) as cluster:
        yield cluster


@pytest.fixture
def own(running: LocalCluster) -> Iterator[LocalCluster]:
    """A cluster whose faults these tests order; none is left for the next one."""
    yield running
    running.faults.clear()
    settled(running)


@pytest.fixture
def table(own: LocalCluster) -> Iterator[None]:
    with connect(own) as conn:
        conn.execute("create table met (id int primary key)")
    yield
    own.faults.clear()
    with connect(own) as conn:
        conn.execute("drop table met")


def faults_met(cluster: LocalCluster) -> dict[str, int]:
    counted: dict[str, int] = cluster.stats()["happened"].get("fault", {})
    return counted


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("waking-up", "unable to accept connection, waking up cluster, please retry later"),
        ("rate", "Unable to accept connection, rate exceeded."),
        ("connections", "Unable to accept connection, too many open connections."),
    ],
)
def test_refused_connections(own: LocalCluster, reason: str, text: str) -> None:
    before = faults_met(own).get(reason, 0)
    own.faults.refuse_connections(2, reason)
    for _ in range(2):
        assert text in refused(own)
    connect(own).close()
    assert faults_met(own)[reason] == before + 2
    seen = [(event.kind, event.user, event.reason) for event in own.events()]
    assert ("fault", "", reason) in seen
    assert ("refused", "admin", reason) in seen


def test_a_silent_connection_outlasts_the_clients_patience(own: LocalCluster) -> None:
    own.faults.silence_connections()
    sock = tls_hello(own)
    sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        sock.recv(1)
    connect(own).close()  # the others do not notice
    sock.close()
    wait_for(lambda: own.stats()["refused_by_reason"].get("silent") == 1, "its end")


def test_a_silent_connection_ends_at_the_limit(own: LocalCluster) -> None:
    own.set_limits(handshake_seconds=0.2)
    try:
        own.faults.silence_connections()
        sock = tls_hello(own)
        assert sock.recv(1) == b""
        sock.close()
    finally:
        own.set_limits(handshake_seconds=10)


def tls_hello(cluster: LocalCluster) -> socket.socket:
    """A connection that has asked for TLS, and may wait for the answer."""
    sock = dial(cluster)
    sock.sendall(b"\0\0\0\x08\x04\xd2\x16\x2f")
    return sock


def test_a_half_open_connection_never_answers(own: LocalCluster) -> None:
    own.faults.half_open_connections()
    sock = authenticated(own)
    sock.sendall(message(b"Q", b"select 1\0"))
    sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        sock.recv(1)
    with connect(own) as conn:
        assert conn.execute("select 1").fetchone() == (1,)
    sock.close()
    assert faults_met(own)["half-open"] == 1


def test_a_slow_connection_trickles(own: LocalCluster) -> None:
    own.faults.slow_connections(20_000)
    with connect(own) as conn:
        began = time.monotonic()
        assert conn.execute("select repeat('x', 10000)").fetchone() == ("x" * 10_000,)
        # It cannot be faster; how much slower it is is the machine's business.
        assert time.monotonic() - began > 0.3
    with connect(own) as conn:
        assert conn.execute("select 1").fetchone() == (1,)


def test_connect_latency(own: LocalCluster) -> None:
    own.faults.latency(connect=0.3)
    began = time.monotonic()
    connect(own).close()
    assert time.monotonic() - began >= 0.3
    assert own.stats()["latency"]["connect"] == [0.3, 0.3]


def test_commit_latency_is_for_those_that_wrote(own: LocalCluster, table: None) -> None:
    with connect(own) as conn:
        own.faults.latency(commit=0.3)
        began = time.monotonic()
        conn.execute("insert into met values (1)")
        assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize("autocommit", [False, True])
@pytest.mark.parametrize(
    ("kind", "error", "text"),
    [
        ("OC000", psycopg.errors.SerializationFailure, "change conflicts with another transaction (OC000)"),
        ("OC001", psycopg.errors.SerializationFailure, "schema has been updated by another transaction (OC001)"),
        ("XX000", psycopg.errors.InternalError_, "server unavailable"),
    ],
)
def test_commits_that_fail(
    own: LocalCluster, table: None, autocommit: bool, kind: str, error: type[psycopg.Error], text: str
) -> None:
    with connect(own) as conn:
        conn.autocommit = autocommit
        own.faults.fail_commits(kind=kind)
        with pytest.raises(error) as caught:
            write(conn)
        assert caught.value.diag.message_primary == text
        assert caught.value.diag.severity == "ERROR"
        conn.rollback()
        assert rows(own) == 0
        write(conn)  # the next one, on the same connection
        assert rows(own) == 1
    assert ("fault", "admin", kind) in [(event.kind, event.user, event.reason) for event in own.events()]


def test_a_commit_that_took_effect_and_says_unavailable(own: LocalCluster, table: None) -> None:
    with connect(own) as conn:
        own.faults.fail_commits(kind="XX000", when="after")
        with pytest.raises(psycopg.errors.InternalError_):
            write(conn)
        assert rows(own) == 1
        assert conn.execute("select 1").fetchone() == (1,)  # the connection stays usable


@pytest.mark.parametrize(("when", "count"), [("before", 0), ("after", 1)])
@pytest.mark.parametrize("autocommit", [False, True])
def test_connections_cut_at_commit(
    own: LocalCluster, table: None, when: str, count: int, autocommit: bool
) -> None:
    with connect(own) as conn:
        conn.autocommit = autocommit
        own.faults.cut_commits(when=when)
        with pytest.raises(psycopg.OperationalError) as caught:
            write(conn)
        assert caught.value.sqlstate is None
        assert conn.broken
    # The backend may end a moment after the client's connection.
    wait_for(lambda: own.stats()["backends"] == 0, "the backend's end")
    assert rows(own) == count


def test_reading_takes_no_fault_of_commits(own: LocalCluster, table: None) -> None:
    own.faults.fail_commits()
    with connect(own) as conn:
        conn.autocommit = False
        conn.execute("select * from met")
        conn.commit()
    assert [order.left for order in own.faults.pending()] == [1]


def test_statements_that_fail(own: LocalCluster, table: None) -> None:
    with connect(own) as conn:
        own.faults.fail_statements(2)
        for _ in range(2):
            with pytest.raises(psycopg.errors.InternalError_, match="server unavailable"):
                conn.execute("select 1")
        assert conn.execute("select 1").fetchone() == (1,)
        own.faults.fail_statements(kind="OC001")
        with pytest.raises(psycopg.errors.SerializationFailure, match="OC001"):
            conn.execute("select * from met")


def test_a_statement_that_fails_fails_its_transaction(own: LocalCluster) -> None:
    with connect(own) as conn:
        conn.autocommit = False
        conn.execute("select 1")
        own.faults.fail_statements()
        with pytest.raises(psycopg.errors.InternalError_):
            conn.execute("select 2")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            conn.execute("select 3")
        conn.rollback()
        assert conn.execute("select 4").fetchone() == (4,)


def test_transactions_are_cut(own: LocalCluster, table: None) -> None:
    own.faults.cut_transactions()
    with connect(own) as idle, connect(own) as conn:
        assert idle.execute("select 1").fetchone() == (1,)
        conn.autocommit = False
        with pytest.raises(psycopg.OperationalError) as caught:
            write(conn)
        assert caught.value.sqlstate is None
        assert conn.broken
    assert rows(own) == 0


def test_a_share_of_all_commits(own: LocalCluster, table: None) -> None:
    with connect(own) as conn:
        own.faults.fail_commits(share=0.5, seed=1)
        lost = 0
        for _ in range(40):
            try:
                write(conn)
            except psycopg.errors.SerializationFailure:
                lost += 1
        assert 8 < lost < 32
        assert rows(own) == 40 - lost


def test_sessions_are_killed_by_their_state(own: LocalCluster) -> None:
    with connect(own) as idle, connect(own) as busy:
        busy.autocommit = False
        busy.execute("select 1")
        assert own.kill_sessions(idle.info.backend_pid, state="in-transaction") == 0
        assert own.kill_sessions(state="in-transaction") == 1
        with pytest.raises(psycopg.OperationalError):
            busy.execute("select 2")
        assert idle.execute("select 1").fetchone() == (1,)
        assert own.kill_sessions(state="idle") == 1
        with pytest.raises(psycopg.OperationalError):
            idle.execute("select 1")
    with pytest.raises(ValueError, match="'idle' or 'in-transaction'"):
        own.kill_sessions(state="asleep")


def test_another_certificate_for_those_who_come(own: LocalCluster) -> None:
    with connect(own) as before:
        try:
            own.set_certificate("self-signed")
            assert "certificate verify failed" in refused(own)
            own.set_certificate("wrong-name")
            assert "does not match host name" in refused(own)
            assert before.execute("select 1").fetchone() == (1,)
            with pytest.raises(ValueError, match="certificate must be one of valid, self-signed"):
                own.set_certificate("forged")
        finally:
            own.set_certificate("valid")
    # The authority is still the one that clients were given at the start.
    connect(own).close()


def test_what_sessions_meet_is_counted_and_told(own: LocalCluster, table: None) -> None:
    before = own.stats()["happened"]
    with connect(own) as conn, connect(own) as other:
        write(conn)
        for each in (conn, other):
            each.autocommit = False
            each.execute("update met set id = id + 1")
        conn.commit()
        with pytest.raises(psycopg.errors.SerializationFailure):
            other.commit()
    after = own.stats()["happened"]
    assert after["commit"][""] >= before.get("commit", {}).get("", 0) + 2
    assert after["conflict"]["OC000"] == before.get("conflict", {}).get("OC000", 0) + 1
    seen = {(event.kind, event.user, event.reason) for event in own.events()}
    assert ("conflict", "admin", "OC000") in seen
    assert "commit" not in {kind for kind, _, _ in seen}  # too many to be noted


def test_pending_orders_are_told(own: LocalCluster) -> None:
    own.faults.refuse_connections(3)
    own.faults.fail_commits(share=0.5)
    assert own.faults.pending() == [
        PendingFault("connection", "waking-up", 3, 1.0),
        PendingFault("commit", "OC000", None, 0.5),
    ]
    own.faults.clear()
    assert own.faults.pending() == []
    connect(own).close()


def test_a_plain_connection_takes_its_fault_too(own: LocalCluster) -> None:
    own.faults.refuse_connections()
    with dial(own) as sock:
        sock.sendall(startup())
        assert read_message(sock)[0] == b"E"
    assert own.faults.pending() == []
    tls(own).close()


def write(conn: psycopg.Connection[Any]) -> None:
    conn.execute("insert into met select coalesce(max(id), 0) + 1 from met")
    if not conn.autocommit:
        conn.commit()


def rows(cluster: LocalCluster) -> int:
    with connect(cluster) as conn:
        row = conn.execute("select count(*) from met").fetchone()
    assert row is not None
    return int(row[0])
