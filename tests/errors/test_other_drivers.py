"""What keeps psycopg2 and asyncpg from connecting: their own error, ours beside it, and the same cause told."""

from __future__ import annotations

import asyncio
import pickle
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg2
import pytest

import dsql_fast
import dsql_fast.asyncpg
import dsql_fast.psycopg2
from dsql_fast import ClockSkew, ConnectError, RateExceeded
from errors.scenarios import SCENARIOS
from safety.leaks import assert_clean
from waiting import run_to_the_end

if TYPE_CHECKING:
    from collections.abc import Callable

    from dsql_fast.local import LocalCluster


def by_psycopg2(kwargs: dict[str, Any]) -> None:
    dsql_fast.psycopg2.connect(**kwargs).close()


def by_asyncpg(kwargs: dict[str, Any]) -> None:
    async def connect() -> None:
        await (await dsql_fast.asyncpg.connect(**kwargs)).close()

    run_to_the_end(connect())


def by_asyncpg_pool(kwargs: dict[str, Any]) -> None:
    async def connect() -> None:
        async with dsql_fast.asyncpg.create_pool(**kwargs, min_size=1, max_size=1):
            pass

    run_to_the_end(connect())


WAYS: dict[str, Callable[[dict[str, Any]], None]] = {
    "psycopg2": by_psycopg2,
    "asyncpg": by_asyncpg,
    "asyncpg_pool": by_asyncpg_pool,
}
# What programs catch that know the driver only. asyncpg has no class for the network's and TLS's failures.
THEIRS: dict[str, Any] = {
    "psycopg2": psycopg2.OperationalError,
    "asyncpg": (asyncpg.PostgresError, OSError, asyncio.TimeoutError),
    "asyncpg_pool": (asyncpg.PostgresError, OSError, asyncio.TimeoutError),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_what_failed_is_told(name: str, way: str, disturbed: LocalCluster) -> None:
    expected = SCENARIOS[name]
    with expected.provoke(disturbed) as kwargs, pytest.raises(ConnectError) as caught:
        WAYS[way](kwargs)
    error = caught.value
    assert isinstance(error, THEIRS[way])
    assert [cls for cls in type(error).__mro__ if cls.__module__ == "dsql_fast"][1] is expected.error
    assert (error.kind, error.permanent) == (expected.kind, expected.permanent)
    assert expected.words in error.cause + " " + error.next_step
    said = str(error)
    assert f"Likeliest cause: {error.cause}.\nNext step: {error.next_step}." in said
    assert said.endswith(f"\nMore: {error.docs}")
    assert (error.host, error.user) == (kwargs["host"], kwargs.get("user", "admin"))
    # Of a timeout, what asyncio cancelled with; without frames, as is looked after below.
    assert isinstance(error.__context__, (type(None), asyncio.CancelledError))
    assert_clean(error, [disturbed.credentials.secret_key, "X-Amz-S", "X-Amz-C"])


@pytest.mark.parametrize(("name", "ours"), [("rate", RateExceeded), ("clock behind", ClockSkew)])
def test_either_except_clause_sees_it(name: str, ours: type[ConnectError], disturbed: LocalCluster) -> None:
    for way, theirs in (("psycopg2", psycopg2.OperationalError), ("asyncpg", asyncpg.PostgresError)):
        for clause in (theirs, ours):
            with SCENARIOS[name].provoke(disturbed) as kwargs, pytest.raises(clause) as caught:
                WAYS[way](kwargs)
            assert isinstance(caught.value, ours)


@pytest.mark.parametrize("way", ["psycopg2", "asyncpg"])
def test_it_is_pickled_with_all_that_it_tells(way: str, disturbed: LocalCluster) -> None:
    for name in ("rate", "clock behind"):
        with SCENARIOS[name].provoke(disturbed) as kwargs, pytest.raises(ConnectError) as caught:
            WAYS[way](kwargs)
        copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 (our own)
        assert (str(copy), type(copy)) == (str(caught.value), type(caught.value))
