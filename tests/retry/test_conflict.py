"""Which errors are conflicts: by what drivers, ORMs and groups make of them."""

from __future__ import annotations

import asyncio
import importlib
import sys
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import pytest

import dsql_fast
from dsql_fast import conflict_kind, is_conflict, is_occ_error
from dsql_fast._conflict import is_unavailable, refuses_commit, reports
from retry.scripted import SCHEMA as OC001
from retry.scripted import ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = "change conflicts with another transaction (OC000)"
EARLIER = "change conflicts with another transaction, please retry: (OC000)"
SCHEMA = "schema has been updated by another transaction (OC001)"


class Psycopg2Error(Exception):
    """What psycopg2's errors look like: another attribute."""

    def __init__(self, pgcode: str | None, text: str = "") -> None:
        super().__init__(text)
        self.pgcode = pgcode


class SqlalchemyError(Exception):
    """What SQLAlchemy's DBAPIError looks like: the driver's error in `orig`."""

    def __init__(self, orig: BaseException) -> None:
        super().__init__(f"({type(orig).__name__}) {orig}")
        self.orig = orig


def of_psycopg(text: str) -> psycopg.Error:
    return psycopg.errors.SerializationFailure(text)


def of_asyncpg(text: str) -> Exception:
    made: Exception = asyncpg.exceptions.SerializationError(text)
    return made


def of_psycopg2(text: str) -> Exception:
    return Psycopg2Error("40001", text)


def raised_from(error: Exception, cause: BaseException) -> Exception:
    try:
        raise error from cause
    except type(error) as caught:
        return caught


def raised_while_handling(error: Exception, handled: BaseException) -> Exception:
    try:
        try:
            raise handled
        except type(handled):
            raise error  # noqa: B904 (that is the point)
    except type(error) as caught:
        return caught


@pytest.mark.parametrize("make", [of_psycopg, of_asyncpg, of_psycopg2])
@pytest.mark.parametrize(("text", "kind"), [(NOW, "data"), (EARLIER, "data"), (SCHEMA, "schema"), ("", "data")])
def test_of_each_driver(make: Callable[[str], Exception], text: str, kind: str) -> None:
    assert conflict_kind(make(text)) == kind
    assert is_conflict(make(text))


def test_of_asyncpg_at_a_real_commit() -> None:
    async def main(server: ScriptedServer) -> None:
        conn = await asyncpg.connect(host="127.0.0.1", port=server.port, user="u", database="d", ssl=False)
        try:
            async with conn.transaction():
                await conn.execute("UPDATE t SET a = 1")
        finally:
            await conn.close()

    with ScriptedServer(COMMIT=[OC001]) as server, pytest.raises(asyncpg.PostgresError) as caught:
        asyncio.run(main(server))
    assert conflict_kind(caught.value) == "schema"


@pytest.mark.parametrize(("state", "kind"), [("OC000", "data"), ("OC001", "schema"), ("40001", "data")])
def test_by_sqlstate_alone(state: str, kind: str) -> None:
    assert conflict_kind(Psycopg2Error(state)) == kind


@pytest.mark.parametrize(
    "error",
    [
        ValueError(NOW),  # the words alone are nobody's
        psycopg.OperationalError(NOW),
        psycopg.errors.UniqueViolation("duplicate key (OC000)"),
        psycopg.errors.DeadlockDetected(),
        psycopg.errors.InFailedSqlTransaction(),
        Psycopg2Error("XX000"),
        Psycopg2Error(None),
        KeyboardInterrupt(),
        dsql_fast.CommitOutcomeUnknown(),
    ],
    ids=repr,
)
def test_other_errors_are_none(error: BaseException) -> None:
    assert conflict_kind(error) is None
    assert not is_conflict(error)


def test_the_official_connectors_name() -> None:
    assert is_occ_error is is_conflict


def test_seen_through_what_it_was_raised_from() -> None:
    wrapped = raised_from(RuntimeError("the ORM says"), raised_from(LookupError(), of_psycopg(SCHEMA)))
    assert conflict_kind(wrapped) == "schema"


def test_seen_through_sqlalchemys_orig() -> None:
    assert conflict_kind(SqlalchemyError(of_psycopg2(NOW))) == "data"
    assert conflict_kind(raised_from(ValueError(), SqlalchemyError(of_asyncpg(SCHEMA)))) == "schema"
    assert conflict_kind(SqlalchemyError(ValueError())) is None


def test_not_what_merely_happened_while_a_conflict_was_handled() -> None:
    assert not is_conflict(raised_while_handling(ValueError("another"), of_psycopg(NOW)))


def test_the_outermost_sqlstate_counts() -> None:
    assert not is_conflict(raised_from(psycopg.errors.UniqueViolation(), of_psycopg(NOW)))


def test_nothing_behind_an_unknown_outcome_counts() -> None:
    assert not is_conflict(raised_from(dsql_fast.CommitOutcomeUnknown(), of_psycopg(NOW)))
    assert not is_unavailable(raised_from(dsql_fast.CommitOutcomeUnknown(), Psycopg2Error("XX000")))


def test_a_chain_in_a_circle_ends() -> None:
    one, other = ValueError(), KeyError()
    one.__cause__, other.__cause__ = other, one
    assert not is_conflict(one)


def groups(*members: Exception) -> Any:
    """A group: Python's own, or what its backport makes before 3.11 (anyio's task groups raise it)."""
    made: Any = importlib.import_module("builtins" if sys.version_info >= (3, 11) else "exceptiongroup")
    return made.ExceptionGroup("g", list(members))


def test_a_group_with_a_conflict_and_what_follows_from_it() -> None:
    follows = psycopg.errors.InFailedSqlTransaction()
    assert conflict_kind(groups(of_psycopg(SCHEMA))) == "schema"
    assert conflict_kind(groups(of_psycopg(NOW), follows, of_psycopg(SCHEMA))) == "data"
    assert conflict_kind(groups(follows, groups(of_asyncpg(SCHEMA)))) == "schema"
    assert conflict_kind(raised_from(RuntimeError(), groups(of_psycopg(NOW)))) == "data"


def test_a_group_with_another_error_is_none() -> None:
    assert not is_conflict(groups(of_psycopg(NOW), ValueError()))
    assert not is_conflict(groups(psycopg.errors.InFailedSqlTransaction()))


def test_what_an_error_is_about() -> None:
    inner = of_psycopg(NOW)
    assert reports(raised_from(ValueError(), inner)) == [inner]
    lost = psycopg.OperationalError("server closed the connection unexpectedly")
    assert reports(raised_from(ValueError(), lost)) == [lost]
    mine = ValueError()
    assert reports(mine) == [mine]


def test_unavailable() -> None:
    unavailable = psycopg.errors.InternalError_("server unavailable")
    assert is_unavailable(unavailable)
    assert is_unavailable(groups(unavailable, psycopg.errors.InFailedSqlTransaction()))
    assert not is_unavailable(groups(unavailable, ValueError()))
    assert not is_unavailable(ValueError())


@pytest.mark.parametrize("state", ["40001", "OC000", "54000", "23503", "0A000", "25P02", "57014", "40P01"])
def test_refusals_of_commit(state: str) -> None:
    assert refuses_commit(state)


@pytest.mark.parametrize("state", [None, "XX000", "XX001", "08006", "08P01", "57P01", "57P02", "40003", "58030"])
def test_answers_to_commit_that_leave_it_open(state: str | None) -> None:
    assert not refuses_commit(state)
