"""An error that is a driver's and ours at once: the class, the object, pickles, whoever the driver is."""

from __future__ import annotations

import copy
import pickle
import socket
import ssl
from typing import Any

import asyncpg
import psycopg
import pytest

from dsql_fast import AccessDenied, ConnectError, WakingUp, is_conflict
from dsql_fast._both import as_both, narrow

FACTS = {"kind": "waking-up", "user": "admin", "_advice": "Next step: wait."}


def asyncpg_error() -> asyncpg.PostgresError:
    fields = {
        "S": "FATAL",
        "C": "28000",
        "M": "unable to accept connection, access denied",
        "H": "Signature expired",
    }
    return asyncpg.PostgresError.new(fields)


class SlottedError(Exception):
    __slots__ = ("held",)


ERRORS: dict[str, BaseException] = {
    "psycopg": psycopg.OperationalError("no"),
    "psycopg, of a SQLSTATE": psycopg.errors.SerializationFailure("no"),
    "asyncpg": asyncpg_error(),
    "asyncpg, InterfaceError": asyncpg.InterfaceError("no"),
    "a time-out": TimeoutError(),
    "refused": ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 1)"),
    "DNS": socket.gaierror(-2, "Name or service not known"),
    "TLS": ssl.SSLCertVerificationError(1, "certificate verify failed"),
    "with slots": SlottedError("no"),
    "one of Python's own": RuntimeError("no"),
}
errors = pytest.mark.parametrize("name", ERRORS)


def taken(name: str) -> Any:
    error = copy.copy(ERRORS[name])
    error.__cause__ = LookupError("why")
    return error


@errors
def test_it_is_both(name: str) -> None:
    plain = taken(name)
    said = str(plain)
    error = as_both(plain, WakingUp, FACTS)
    assert isinstance(error, type(ERRORS[name]))
    assert isinstance(error, WakingUp)
    assert isinstance(error, ConnectError)
    assert (type(error).__module__, type(error).__name__) == ("dsql_fast", "WakingUp")
    assert str(error) == f"{said}\nNext step: wait." if said else "Next step: wait."
    assert error.args == ERRORS[name].args
    assert (error.kind, error.user, error.host) == ("waking-up", "admin", None)
    assert str(error.__cause__) == "why"
    assert repr(error).startswith("WakingUp(")


@errors
def test_one_class_for_each_pair(name: str) -> None:
    first, second, other = (type(as_both(taken(name), ours, FACTS)) for ours in (WakingUp, WakingUp, AccessDenied))
    assert first is second
    assert first is not other


@errors
def test_again_it_is_what_it_was_made_last(name: str) -> None:
    """An error that is kept, or raised by a run inside of another run."""
    once = as_both(taken(name), WakingUp, FACTS)
    twice = as_both(once, AccessDenied, {**FACTS, "kind": "access-denied"})
    assert twice is once
    assert not isinstance(twice, WakingUp)
    assert type(twice) is type(as_both(taken(name), AccessDenied, FACTS))
    assert twice.kind == "access-denied"


@errors
def test_it_is_pickled_and_copied(name: str) -> None:
    error = as_both(taken(name), WakingUp, FACTS)
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301
        assert type(again) is type(error)
        assert (str(again), again.args, again.kind) == (str(error), error.args, error.kind)


def test_the_object_stays_where_python_lets_it() -> None:
    error = psycopg.OperationalError("no")
    assert as_both(error, WakingUp, FACTS) is error
    refused = ConnectionRefusedError(111, "no")
    made = as_both(refused, WakingUp, FACTS)
    assert made is not refused
    assert (made.errno, made.strerror) == (111, "no")
    assert type(refused) is ConnectionRefusedError
    assert not narrow(refused, WakingUp, FACTS)


def test_what_the_driver_keeps_in_it_stays() -> None:
    error: Any = as_both(asyncpg_error(), AccessDenied, {**FACTS, "hint": "Signature expired"})
    assert (error.sqlstate, error.severity) == ("28000", "FATAL")
    assert error.as_dict()["message"] == "unable to accept connection, access denied"
    assert str(error) == ("unable to accept connection, access denied\nHINT:  Signature expired\nNext step: wait.")
    conflict = psycopg.errors.SerializationFailure("no")
    assert narrow(conflict, WakingUp, FACTS)
    assert conflict.sqlstate == "40001"
    assert is_conflict(conflict)


def test_the_registries_of_the_drivers_are_left_alone() -> None:
    narrow(psycopg.errors.SerializationFailure("no"), WakingUp, FACTS)
    as_both(asyncpg.exceptions.SerializationError("no"), WakingUp, FACTS)
    assert psycopg.errors.lookup("40001") is psycopg.errors.SerializationFailure
    lookup = asyncpg.exceptions.PostgresError.get_message_class_for_sqlstate
    assert lookup("40001") is asyncpg.exceptions.SerializationError


def test_a_class_that_cannot_be_derived_from_leaves_the_error_as_it_is() -> None:
    class FinalError(Exception):
        def __init_subclass__(cls) -> None:
            raise TypeError("final")

    error = FinalError("no")
    assert not narrow(error, WakingUp, FACTS)
    assert as_both(error, WakingUp, FACTS) is error
    assert vars(error) == {}
