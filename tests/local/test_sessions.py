"""Sessions: seen, aged, cut; limits and clocks moved while the cluster runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from local.doors import (
    authenticated,
    connect,
    message,
    read_message,
    refused,
    settled,
    stamp,
    token,
    wait_for,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dsql_fast.local import LocalCluster


@pytest.fixture(scope="module")
def own() -> Iterator[LocalCluster]:
    """A cluster whose clocks and limits these tests move about."""
    from dsql_fast.local import LocalCluster

    with LocalCluster(rate=None) as running:
        yield running


def test_sessions_tell_who_is_connected(own: LocalCluster) -> None:
    settled(own)
    with connect(own, application_name="first") as one, connect(own) as two:
        first, second = own.sessions()
        assert (first.pid, first.user, first.application_name) == (
            one.info.backend_pid,
            "admin",
            "first",
        )
        assert second.pid == two.info.backend_pid
        assert first.age >= second.age >= 0
        assert own.stats()["open"] == own.stats()["backends"] == 2
    settled(own)
    assert own.sessions() == []


def cut_without_a_word(conn: psycopg.Connection[Any]) -> None:
    with pytest.raises(psycopg.OperationalError) as caught:
        conn.execute("select 1")
    assert caught.value.sqlstate is None
    assert conn.broken


def test_kill_one_session(own: LocalCluster) -> None:
    with connect(own) as one, connect(own) as two:
        assert own.kill_sessions(one.info.backend_pid) == 1
        cut_without_a_word(one)
        assert two.execute("select 1").fetchone() == (1,)
        assert own.kill_sessions(one.info.backend_pid) == 0


def test_kill_all_sessions(own: LocalCluster) -> None:
    with connect(own) as one, connect(own) as two:
        assert own.kill_sessions() == 2
        cut_without_a_word(one)
        cut_without_a_word(two)


def test_a_killed_transaction_is_rolled_back(own: LocalCluster) -> None:
    with connect(own) as conn:
        conn.execute("create table killed (id int)")
        other = connect(own)
        other.execute("begin")
        other.execute("insert into killed values (1)")
        own.kill_sessions(other.info.backend_pid)
        other.close()
        wait_for(lambda: own.stats()["backends"] == 1, "the backend's end")
        assert conn.execute("select count(*) from killed").fetchone() == (0,)
        conn.execute("drop table killed")


def test_a_session_ends_after_an_hour(own: LocalCluster) -> None:
    with connect(own) as old:
        own.clock.advance(1800)
        with connect(own) as young:
            assert [round(session.age / 100) for session in own.sessions()] == [18, 0]
            own.clock.advance(1800)
            cut_without_a_word(old)
            assert young.execute("select 1").fetchone() == (1,)
            assert own.events()[-1].reason == "age"


def test_the_end_is_a_bare_close(own: LocalCluster) -> None:
    sock = authenticated(own)
    own.clock.advance(3600)
    assert read_message(sock) == (b"", b"")
    sock.close()


def test_the_end_comes_in_real_time_too(own: LocalCluster) -> None:
    own.set_limits(session_seconds=0.2)
    try:
        sock = authenticated(own)
        assert read_message(sock) == (b"", b"")
        sock.close()
    finally:
        own.set_limits(session_seconds=3600)


def test_a_lower_limit_holds_for_open_sessions(own: LocalCluster) -> None:
    with connect(own) as conn:
        own.clock.advance(60)
        own.set_limits(session_seconds=30)
        cut_without_a_word(conn)
        own.set_limits(session_seconds=None)
        with connect(own) as other:
            own.clock.advance(1_000_000)
            assert other.execute("select 1").fetchone() == (1,)
    own.set_limits(session_seconds=3600)


def test_advance_leaves_tokens_alone(own: LocalCluster) -> None:
    text = token(own)
    own.clock.advance(100_000)
    connect(own, password=text).close()


def test_skew_moves_the_judge_of_tokens_only(own: LocalCluster) -> None:
    text = token(own)
    with connect(own, password=text) as conn:
        own.clock.skew(1000)
        assert "Signature expired" in refused(own, password=text)
        assert conn.execute("select 1").fetchone() == (1,)
        own.clock.skew(-2000)
        assert "Signature not yet current" in refused(own, password=token(own))
        connect(own, password=token(own, at=stamp(-1000))).close()
        own.clock.skew(1000)
        connect(own, password=text).close()


def test_time_goes_forward_only(own: LocalCluster) -> None:
    for value in (-1, float("nan")):
        with pytest.raises(ValueError, match="forward"):
            own.clock.advance(value)


def test_bad_limits_change_nothing(own: LocalCluster) -> None:
    before = own.limits
    with pytest.raises(ValueError, match="rate"):
        own.set_limits(rate=-1)
    with pytest.raises(TypeError, match="is not a limit; the limits are session_seconds"):
        own.set_limits(sessions=1)
    assert own.limits == before


def test_a_message_over_the_limit_is_closed_without_an_error(own: LocalCluster) -> None:
    sock = authenticated(own)
    sock.sendall(message(b"Q", b"")[:1] + (10 * 1024 * 1024 + 5).to_bytes(4, "big"))
    assert read_message(sock) == (b"", b"")
    sock.close()
    with connect(own) as conn:
        own.set_limits(message_bytes=1000)
        with pytest.raises(psycopg.OperationalError):
            conn.execute("select %s", ["x" * 2000])
    own.set_limits(message_bytes=10 * 1024 * 1024)
    with connect(own) as conn:
        row = conn.execute("select length(%s)", ["x" * (10 * 1024 * 1024 - 200)]).fetchone()
        assert row == (10 * 1024 * 1024 - 200,)


def test_silent_clients_are_sent_away(fresh_cluster: Callable[..., LocalCluster]) -> None:
    cluster = fresh_cluster(handshake_seconds=0.3)
    from local.doors import dial, startup, tls

    silent, half, slow = dial(cluster), dial(cluster), tls(cluster)
    half.sendall(b"\0\0")
    slow.sendall(startup())
    assert read_message(slow)[0] == b"R"
    for sock in (silent, half, slow):
        assert read_message(sock) == (b"", b"")
        sock.close()
    assert cluster.stats()["refused_by_reason"] == {"timeout": 3}
    # A session is not held to it.
    with connect(cluster) as conn:
        conn.execute("select pg_sleep(0.5)")


def test_events_tell_what_was_tried(fresh_cluster: Callable[..., LocalCluster]) -> None:
    cluster = fresh_cluster()
    refused(cluster, password="no token")
    connect(cluster).close()
    stats = settled(cluster)
    seen = [(event.kind, event.user, event.reason) for event in cluster.events()]
    assert seen == [
        ("refused", "admin", "token-malformed"),
        ("admitted", "admin", ""),
        ("ended", "admin", "client"),
    ]
    counted = {name: stats[name] for name in ("attempted", "admitted", "refused", "ended")}
    assert counted == {"attempted": 2, "admitted": 1, "refused": 1, "ended": 1}


def test_events_are_bounded(own: LocalCluster) -> None:
    assert len(own.events()) <= 1_000
