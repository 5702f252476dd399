"""Equal connects are put together once; whatever could change the outcome makes them unequal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

import dsql_fast
from dsql_fast._config import READ_ENVIRONMENT, parse_config
from dsql_fast.psycopg import _attempt
from dsql_fast.psycopg._attempt import begin

HOST = "abcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws"
ID = HOST.partition(".")[0]


class Recording(Mapping[str, str]):
    """An environment that remembers what was asked for."""

    def __init__(self, values: dict[str, str]) -> None:
        self.values_ = values
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return self.values_[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)


@pytest.mark.parametrize(
    ("conninfo", "values"),
    [
        ("", {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": ""}),
        ("user=x", {"AWS_PROFILE": "p", "AWS_DEFAULT_REGION": "us-east-1"}),
    ],
)
def test_the_list_of_variables_is_whole(conninfo: str, values: dict[str, str]) -> None:
    environ = Recording({**values, "AWS_DEFAULT_REGION": "us-east-1"})
    parse_config(conninfo, {"host": ID}, environ)
    assert environ.asked <= set(READ_ENVIRONMENT)
    assert {"PGUSER", "PGPORT", "AWS_REGION"} - {"PGUSER" if conninfo else ""} <= environ.asked


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAPLANS")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "made up")


def plan_of(conninfo: str = HOST, **keywords: Any) -> object:
    return begin(conninfo, keywords)._plan


@pytest.mark.usefixtures("keys")
def test_equal_connects_share_a_plan() -> None:
    assert plan_of(user="a") is plan_of(user="a")
    assert plan_of(user="a").source is plan_of(HOST, user="a", port=5433).source  # type: ignore[attr-defined]


@pytest.mark.usefixtures("keys")
def test_an_attempt_is_ones_own() -> None:
    assert begin(HOST, {}) is not begin(HOST, {})


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(
    "change",
    [
        {"user": "b"},
        {"port": 5433},
        {"connect_timeout": 3},
        {"credentials": dsql_fast.Credentials("AKIAOTHER", "x")},
    ],
)
def test_other_keywords_make_another(change: dict[str, Any]) -> None:
    assert plan_of() is not plan_of(**change)


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("name", sorted(set(READ_ENVIRONMENT) - {"PGGEQO", "PGSERVICE"}))
def test_another_environment_makes_another(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = plan_of()
    value = {
        "PGPORT": "5999",
        "PGHOSTADDR": "127.0.0.9",
        "PGSSLROOTCERT": "system",
        "AWS_CREDENTIAL_EXPIRATION": "2099-01-01T00:00:00Z",
    }
    monkeypatch.setenv(name, value.get(name, "other"))
    assert plan_of() is not before


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("name", ["PGGEQO", "PGSERVICE"])
def test_a_variable_that_is_refused_is_refused_the_second_time_too(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_of()
    monkeypatch.setenv(name, "x")
    for _ in range(2):
        with pytest.raises(dsql_fast.ConfigError, match=name):
            plan_of()


@pytest.mark.usefixtures("keys")
def test_types_count() -> None:
    plan_of(port=1)
    with pytest.raises(dsql_fast.ConfigError, match="port"):
        plan_of(port=True)


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


@pytest.mark.usefixtures("keys")
def test_the_number_of_plans_is_bounded() -> None:
    for number in range(3 * _attempt._MOST_PLANS):
        plan_of(application_name=str(number))
    assert 0 < len(_attempt._plans) <= _attempt._MOST_PLANS
