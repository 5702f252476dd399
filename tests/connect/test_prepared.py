"""A connection string that is written once: libpq gets what it would get from psycopg, and psycopg is as expected."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import socket
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import _conninfo_attempts, _conninfo_attempts_async, _conninfo_utils
from psycopg.conninfo import conninfo_to_dict

import dsql_fast
from dsql_fast.psycopg import _connection
from dsql_fast.psycopg._attempt import begin
from dsql_fast.psycopg._connection import with_tokens
from dsql_fast.psycopg._prepared import METHODS, READ_BY_PSYCOPG, Prepared, has_methods

if TYPE_CHECKING:
    from collections.abc import Callable

    from dsql_fast.local import LocalCluster

BOTH = pytest.mark.parametrize("ours", [dsql_fast.Connection, dsql_fast.AsyncConnection])


def connected(ours: type[Any], use: Callable[[Any], Any], **keywords: Any) -> Any:
    """Connect with a class of either kind, and return what a function makes of the connection."""
    if issubclass(ours, psycopg.Connection):
        with ours.connect(**keywords) as conn:
            return use(conn)

    async def main() -> Any:
        async with await ours.connect(**keywords) as conn:
            return use(conn)

    return asyncio.run(main())


def told(conn: Any) -> dict[str, str]:
    """What libpq took for parameters, whoever told it."""
    return {option.keyword.decode(): option.val.decode() for option in conn.pgconn.info if option.val is not None}


@BOTH
@pytest.mark.parametrize(
    "further",
    [
        {},
        {"application_name": "a b'c\\d", "client_encoding": "utf8", "connect_timeout": 7},
        {"connect_host": "127.0.0.1", "hostaddr": None, "load_balance_hosts": "random"},
    ],
)
def test_libpq_gets_what_psycopg_would_give_it(
    ours: type[Any], further: dict[str, Any], cluster: LocalCluster
) -> None:
    keywords = {**cluster.connect_kwargs(), **further}
    attempt = begin("", keywords)
    password = attempt.token()
    with psycopg.connect(**attempt.arguments(), password=password) as plain:
        expected = told(plain)
    assert connected(ours, told, **keywords) == expected
    assert expected["password"] == password


@BOTH
def test_psycopg_writes_the_few_that_it_reads(
    ours: type[Any], cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def make_conninfo(conninfo: str, **parameters: Any) -> str:
        written.append(set(parameters))
        return original(conninfo, **parameters)

    original = psycopg.conninfo.make_conninfo
    for module in (psycopg.connection, psycopg.connection_async):
        monkeypatch.setattr(module, "make_conninfo", make_conninfo)
    connected(ours, told, **cluster.connect_kwargs())
    assert written == [{"host", "hostaddr", "port", "target_session_attrs"}]


@pytest.mark.parametrize("theirs", [psycopg.Connection, psycopg.AsyncConnection])
def test_psycopg_reads_no_others(theirs: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the others, it would see the environment's in the place of ours."""
    asked = set()

    def get_param(params: Any, name: str) -> str | None:
        asked.add(name)
        return original(params, name)

    original = _conninfo_utils.get_param
    for module in (_conninfo_utils, _conninfo_attempts, _conninfo_attempts_async):
        monkeypatch.setattr(module, "get_param", get_param)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # and does not listen
        keywords = {"host": "localhost", "port": silent.getsockname()[1]}
        with pytest.raises(psycopg.OperationalError):
            connected(theirs, told, **keywords)
    assert asked == set(READ_BY_PSYCOPG)
    # And where GSS was used, which `gssencmode=disable` keeps out.
    assert "gssencmode" in inspect.getsource(_conninfo_utils.gssapi_requested)


@pytest.mark.parametrize("theirs", [psycopg.Connection, psycopg.AsyncConnection])
def test_psycopg_has_the_methods_in_the_form_that_is_overridden(theirs: Any) -> None:
    assert has_methods(theirs)
    parameters = inspect.signature(theirs._get_connection_params).parameters
    assert [(name, each.kind.name) for name, each in parameters.items()] == [
        ("conninfo", "POSITIONAL_OR_KEYWORD"),
        ("kwargs", "VAR_KEYWORD"),
    ]
    assert list(inspect.signature(theirs._connect_gen).parameters) == ["conninfo"]
    source = inspect.getsource(theirs.connect)
    assert source.count("cls._get_connection_params(conninfo, **kwargs)") == 1
    assert source.count("cls._connect_gen(conninfo)") == 1


@BOTH
def test_without_the_methods_psycopg_is_given_everything(
    ours: type[Any], cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ours, "_takes_parts", has_methods(object))
    assert connected(ours, told, **cluster.connect_kwargs())["sslmode"] == "verify-full"


@BOTH
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("base", ["ours", "psycopg's"])
def test_a_callers_own_method_sees_everything(
    ours: type[Any], method: str, base: str, cluster: LocalCluster
) -> None:
    seen = []

    def seeing(cls: type[Any], /, conninfo: str = "", **keywords: Any) -> Any:
        seen.append({**conninfo_to_dict(conninfo), **keywords})
        return getattr(super(own, cls), method)(conninfo, **keywords)

    parent = ours if base == "ours" else ours.__mro__[1]
    own: type[Any] = type("Own", (parent,), {method: classmethod(seeing)})
    connected(with_tokens(own), told, **cluster.connect_kwargs())
    assert seen
    assert {"host", "password", "sslmode", "sslrootcert"} <= seen[0].keys()


@BOTH
def test_a_callers_class_without_them_is_no_exception(ours: type[Any]) -> None:
    own = with_tokens(type("Own", (ours.__mro__[1],), {}))
    assert own._takes_parts
    assert type("Own", (ours,), {})._takes_parts  # type: ignore[attr-defined]


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8")))
def test_any_password_is_read_as_it_is(password: str) -> None:
    prepared = Prepared({"host": "h", "user": "a b"})
    read = conninfo_to_dict(f"host=h {prepared.rest(password)}")
    assert read == {"host": "h", "user": "a b", "password": password}


@BOTH
def test_each_address_is_tried_with_all_of_it(
    ours: type[Any], cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def getaddrinfo(name: str, port: int, **_: Any) -> list[Any]:
        asked.append(name)
        # Nothing listens at the first.
        return [(2, 1, 6, "", (address, port)) for address in ("127.0.0.9", "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    async def resolved(_: Any, name: str, port: int, **__: Any) -> list[Any]:
        return getaddrinfo(name, port)

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolved)
    keywords = {**cluster.connect_kwargs(), "hostaddr": None}
    assert connected(ours, told, **keywords)["hostaddr"] == "127.0.0.1"
    assert asked == [cluster.host]


def test_a_connect_within_a_connect_has_its_own(cluster: LocalCluster) -> None:
    """psycopg logs while it connects, and a handler of the user's may connect."""
    inner: list[str] = []

    class Connecting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 (logging's)
            if inner:
                return
            inner.append("begun")
            with dsql_fast.connect(**cluster.connect_kwargs(), application_name="inner") as conn:
                inner.append(told(conn)["application_name"])
            # One whose method is its own gets nothing of the outer one's.
            with type("Own", (dsql_fast.Connection,), {}).connect(**cluster.connect_kwargs()) as conn:  # type: ignore[attr-defined]
                inner.append(told(conn).get("application_name", "none"))

    logger, handler = logging.getLogger("psycopg"), Connecting()
    logger.addHandler(handler)
    before = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        with dsql_fast.connect(**cluster.connect_kwargs(), application_name="outer") as conn:
            assert told(conn)["application_name"] == "outer"
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)
    assert inner == ["begun", "inner", "none"]


@pytest.mark.parametrize("port", ["the cluster's", 9])
def test_nothing_of_it_is_left(port: Any, cluster: LocalCluster) -> None:
    keywords = cluster.connect_kwargs()
    if port != "the cluster's":
        with pytest.raises(dsql_fast.ConnectError):
            dsql_fast.connect(**{**keywords, "port": port})
    else:
        dsql_fast.connect(**keywords).close()
    assert _connection._rest.get() is None


def test_the_password_never_goes_without_the_rest() -> None:
    """Where psycopg were to call one of the two methods elsewhere than expected."""
    prepared = Prepared({"host": "h", "sslmode": "verify-full"})
    given = {**prepared.parts, "password": "p"}
    params = asyncio.run(dsql_fast.AsyncConnection._get_connection_params("", **given))
    assert params == {"host": "h", "sslmode": "verify-full", "password": "p"}
    context = contextvars.copy_context()
    assert "password" not in context.run(lambda: dsql_fast.Connection._get_connection_params("", **given))
