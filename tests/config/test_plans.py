"""Equal calls are put together once. What makes them equal leaves nothing out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

import dsql_fast
from dsql_fast import ConfigError, _connecting
from dsql_fast._config import READ_ENVIRONMENT, parse_config
from dsql_fast._libpq import LIBPQ_ENVIRONMENT
from dsql_fast.psycopg._attempt import begin

if TYPE_CHECKING:
    from conftest import Keys

ID = "foo0bar1baz2quux3quuux4q00"
HOST = f"{ID}.dsql.us-east-1.on.aws"


class Watched(Mapping[str, str]):
    """An environment that notes what is asked of it."""

    def __init__(self, values: dict[str, str]) -> None:
        self.values_ = values
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return self.values_[name]

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("only single variables may be read")

    def __len__(self) -> int:
        raise AssertionError("only single variables may be read")


def test_every_variable_that_is_read_makes_a_difference() -> None:
    keys = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "fake-secret"}
    asked: set[str] = set()
    for conninfo, values in (
        (HOST, keys),
        (HOST, {"AWS_PROFILE": "p"}),
        (ID, {**keys, "AWS_DEFAULT_REGION": "us-east-1"}),
        (f"dsql://reader@{HOST}:1/db?sslrootcert=system", keys),
        ("user=reader", keys),
    ):
        environ = Watched(values)
        several = {"host": [HOST, HOST]} if conninfo.startswith("user") else {}
        parse_config(conninfo, several, environ)
        asked |= environ.asked
    # Where the system's roots are is asked when the arguments are written (`_system_roots`).
    assert asked | {"SSL_CERT_DIR", "SSL_CERT_FILE"} == set(READ_ENVIRONMENT)
    assert {name for name in READ_ENVIRONMENT if name.startswith("PG")} <= set(LIBPQ_ENVIRONMENT)


def test_equal_calls_share_a_plan(aws_keys: Keys) -> None:
    for _ in range(3):
        begin(HOST, {"port": 1, "user": "reader"})
    assert len(_connecting._plans) == 1
    assert begin(HOST, {"port": 1}).arguments() is begin(HOST, {"port": 1}).arguments()


@pytest.mark.parametrize(
    ("good", "bad"), [({"port": 1}, {"port": True}), ({"keepalives": 1}, {"keepalives": True})]
)
def test_equal_values_of_other_types_are_told_apart(
    good: dict[str, Any], bad: dict[str, Any], aws_keys: Keys
) -> None:
    begin(HOST, good)
    with pytest.raises(ConfigError):
        begin(HOST, bad)


@pytest.mark.parametrize(
    ("variable", "value", "name", "expected"),
    [
        ("PGUSER", "reader", "user", "reader"),
        ("PGDATABASE", "other", "dbname", "other"),
        ("PGPORT", "6000", "port", 6000),
        ("PGHOSTADDR", "127.0.0.1", "hostaddr", "127.0.0.1"),
        ("PGSSLROOTCERT", __file__, "sslrootcert", __file__),
        ("PGSSLMINPROTOCOLVERSION", "TLSv1.3", "ssl_min_protocol_version", "TLSv1.3"),
    ],
)
def test_a_change_of_the_environment_counts_at_once(
    variable: str, value: str, name: str, expected: object, aws_keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = begin(HOST, {}).arguments()
    monkeypatch.setenv(variable, value)
    assert begin(HOST, {}).arguments()[name] == expected
    monkeypatch.delenv(variable)
    assert begin(HOST, {}).arguments() == before


def test_the_plans_are_bounded(aws_keys: Keys) -> None:
    for number in range(1, 200):
        begin(HOST, {"port": number})
    assert len(_connecting._plans) <= _connecting._MOST_PLANS


def test_a_refusal_is_not_kept(aws_keys: Keys) -> None:
    for _ in range(2):
        with pytest.raises(ConfigError):
            begin(HOST, {"port": 0})
    assert not _connecting._plans


@pytest.mark.parametrize(
    "change",
    [
        {"user": "b"},
        {"connect_timeout": 3},
        {"credentials": dsql_fast.Credentials("AKIAOTHER", "x")},
    ],
)
def test_other_keywords_make_another_plan(change: dict[str, Any], aws_keys: Keys) -> None:
    assert begin(HOST, {})._plan is not begin(HOST, change)._plan


@pytest.mark.parametrize("name", ["PGGEQO", "PGSERVICE"])
def test_a_variable_that_is_refused_is_refused_the_second_time_too(
    name: str, aws_keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(HOST, {})
    monkeypatch.setenv(name, "x")
    for _ in range(2):
        with pytest.raises(ConfigError, match=name):
            begin(HOST, {})


def test_what_has_no_hash_is_put_together_anew() -> None:
    class Source:
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            return self is other

        def __call__(self) -> dsql_fast.Credentials:
            return dsql_fast.Credentials("AKIA", "x")

    source = Source()
    first, second = begin(HOST, {"credentials": source}), begin(HOST, {"credentials": source})
    assert first._plan is not second._plan
    assert first.source is second.source


def test_the_environment_is_read_from_where_cpython_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGUSER", "reader")
    assert type(getattr(os.environ, "_data", None)) is dict
    fast = _connecting._environment()
    monkeypatch.setattr(os, "environ", dict(os.environ))
    slow = _connecting._environment()
    position = READ_ENVIRONMENT.index("PGUSER")
    assert (fast[position], slow[position]) == (b"reader", "reader")
