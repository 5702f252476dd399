"""Which endpoint next, for how long, and when back to the first: decided without a clock or a socket."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsql_fast._failover import Preference, Route, may_move_on, preference_of


@pytest.mark.parametrize(
    ("text", "moves"),
    [
        # The way to it.
        ('connection to server at "10.0.0.1", port 5432 failed: Connection refused', True),
        ('connection to server at "10.0.0.1", port 5432 failed: Network is unreachable', True),
        ("connection timeout expired", True),
        ("failed to resolve host 'x': [Errno -2] Name or service not known", True),
        ("connection failed: server closed the connection unexpectedly", True),
        ("connection failed: SSL SYSCALL error: Connection reset by peer", True),
        ("connection failed: SSL error: unexpected eof while reading", True),
        # Its state and load.
        ("FATAL:  unable to accept connection, waking up cluster, please retry later", True),
        ("FATAL:  Unable to accept connection, too many open connections.", True),
        ("FATAL:  Unable to accept connection, rate exceeded.", True),
        ("FATAL:  server unavailable", True),
        # What another endpoint would say too.
        ("FATAL:  unable to accept connection, access denied", False),
        ("FATAL:  unable to accept connection, access denied\nHINT:  Signature expired: ...", False),
        ("unable to accept connection, access denied", False),  # as drivers without libpq tell it
        ("FATAL:  unable to accept connection, sni was not received", False),
        ("FATAL:  unable to accept connection, invalid sni", False),
        ('FATAL:  setting configuration parameter "geqo" not supported', False),
        ('FATAL:  database "x" does not exist', False),
        # What is no outage, but somebody in between, or a wrong setting.
        ("connection failed: SSL error: certificate verify failed", False),
        ('connection failed: server certificate for "x" does not match host name "y"', False),
        ("connection failed: server does not support SSL, but SSL was required", False),
        ("connection failed: SSL error: wrong version number", False),
        ('authentication method requirement "password" failed: server requested a hashed password', False),
    ],
)
def test_what_is_a_reason_to_ask_another_endpoint(text: str, moves: bool) -> None:
    assert may_move_on(text) is moves


def test_connects_begin_at_the_first_until_another_one_works() -> None:
    preference = Preference()
    assert preference.order(3, 0, 60) == (0, 1, 2)
    assert not preference.worked(0, 1, others_failed=False)
    assert preference.order(3, 1, 60) == (0, 1, 2)
    assert preference.worked(2, 10, others_failed=True)
    assert preference.order(3, 11, 60) == (2, 0, 1)
    assert not preference.worked(2, 12, others_failed=False)


def test_one_connect_in_each_period_looks_for_the_first() -> None:
    preference = Preference()
    preference.worked(1, 100, others_failed=True)
    assert preference.order(2, 159.9, 60) == (1, 0)
    assert preference.order(2, 160, 60) == (0, 1)
    # The others do not wait for what that one finds.
    assert preference.order(2, 160, 60) == (1, 0)
    # It found nothing: the next one looks a period later.
    assert not preference.worked(1, 161, others_failed=True)
    assert preference.order(2, 219.9, 60) == (1, 0)
    assert preference.order(2, 220, 60) == (0, 1)
    assert preference.worked(0, 221, others_failed=False)
    assert preference.order(2, 221, 60) == (0, 1)


def test_a_period_of_0_always_begins_at_the_first() -> None:
    preference = Preference()
    preference.worked(1, 5, others_failed=True)
    assert [preference.order(2, now, 0) for now in (5, 5, 6)] == [(0, 1)] * 3


def test_a_connect_that_comes_late_does_not_lead_away_from_the_first() -> None:
    preference = Preference()
    preference.worked(1, 0, others_failed=True)
    assert preference.worked(0, 70, others_failed=False)
    # It was sent to the second one before that, and saw nothing of the first.
    assert not preference.worked(1, 71, others_failed=False)
    assert preference.order(2, 72, 60) == (0, 1)


def test_equal_lists_share_a_preference_and_their_number_is_bounded() -> None:
    assert preference_of(("a", "b")) is preference_of(("a", "b"))
    assert preference_of(("a", "b")) is not preference_of(("b", "a"))
    kept = preference_of(("kept",))
    for number in range(200):
        preference_of((number,))
    assert preference_of(("kept",)) is not kept


def test_the_time_is_shared_out_among_what_is_left() -> None:
    route = Route((0, 1, 2), 30.0)
    assert (route.endpoint, route.address, route.seconds(0)) == (0, None, 10)
    route.found(["a", "b"])
    assert (route.address, route.seconds(0)) == ("a", 8)  # 30 seconds for two addresses and two endpoints
    assert route.go_on(7.5)
    assert (route.endpoint, route.address, route.seconds(7.5)) == (0, "b", 8)
    assert route.go_on(15)
    assert (route.endpoint, route.address, route.seconds(15)) == (1, None, 8)
    # One that fails at once leaves its time to the others.
    assert route.go_on(15)
    assert (route.endpoint, route.seconds(15)) == (2, 15)
    assert not route.go_on(16)


def test_what_is_silent_leaves_time_for_the_next() -> None:
    route = Route((0, 1), 4.0)
    assert route.seconds(0) == 2
    assert route.go_on(2.01)
    assert route.seconds(2.01) == 2
    late = Route((0, 1), 4.0)
    # Less than a try has at least: it would end after the deadline.
    assert not late.go_on(2.6)
    # Told less than that for all, the next is tried only where this one fails at once.
    hasty = Route((0, 1), 3.0)
    assert hasty.seconds(0) == 2
    assert not hasty.go_on(2.0)
    assert Route((0, 1), 3.0).go_on(0.1)


def test_no_deadline() -> None:
    route = Route((0, 1), None)
    assert route.seconds(1e9) is None
    assert route.go_on(1e9)


@given(
    st.integers(1, 6),
    st.lists(st.integers(1, 4), min_size=6, max_size=6),
    st.floats(0, 300),
    st.lists(st.floats(0, 1), min_size=40, max_size=40),
)
def test_a_route_ends_and_keeps_its_deadline(
    endpoints: int, addresses: list[int], total: float, used: list[float]
) -> None:
    """However much of its time each try takes: over it by libpq's least time and rounding at most."""
    route, now, tried = Route(range(endpoints), total), 0.0, []
    for share in used:
        if route.address is None:
            route.found([str(number) for number in range(addresses[route.endpoint])])
        seconds = route.seconds(now)
        assert seconds is not None
        assert seconds >= 2
        tried.append((route.endpoint, route.address))
        now += share * seconds
        if not route.go_on(now):
            break
    else:
        raise AssertionError("it goes on and on")
    assert now <= total + 2.0
    assert len(set(tried)) == len(tried)
    assert [endpoint for endpoint, _ in tried] == sorted(endpoint for endpoint, _ in tried)
