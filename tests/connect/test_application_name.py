"""What a connection is called: by the function that forms the name, and at the server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dsql_fast
from dsql_fast import ConfigError
from dsql_fast._application_name import LONGEST, application_name

if TYPE_CHECKING:
    from dsql_fast.local import LocalCluster

OWN = f"dsql-fast-psycopg/{dsql_fast.__version__}"

# Prefix, and what becomes of it beside "dsql-fast-asyncpg/1.2.3" (23 bytes, and the colon): 39 bytes are left.
NAMES = {
    "none": (None, ""),
    "empty": ("", ""),
    "blanks": (" \t", ""),
    "a name": ("django", "django:"),
    "blanks around": (" django ", "django:"),
    "just fits": ("x" * 39, "x" * 39 + ":"),
    "one too many": ("x" * 39 + "y", "x" * 39 + ":"),
    "far too many": ("x" * 1000, "x" * 39 + ":"),
    "two bytes, even": ("é" * 30, "é" * 19 + ":"),
    "two bytes, just fits": ("x" + "é" * 19, "x" + "é" * 19 + ":"),
    "four bytes": ("🐘" * 30, "🐘" * 9 + ":"),
    "the cut is at a blank": ("x" * 38 + " y", "x" * 38 + ":"),
    "a colon": ("a:b", "a:b:"),
}


@pytest.mark.parametrize(("prefix", "expected"), NAMES.values(), ids=NAMES)
def test_the_name(prefix: str | None, expected: str) -> None:
    assert application_name("asyncpg", "1.2.3", prefix) == f"{expected}dsql-fast-asyncpg/1.2.3"


def test_a_long_version_takes_the_prefixs_room() -> None:
    version = "1.0.0+" + "f" * 39
    assert application_name("psycopg", version, "django") == f"dsql-fast-psycopg/{version}"
    assert application_name("psycopg", version[:-2], "django") == f"d:dsql-fast-psycopg/{version[:-2]}"


@given(
    st.text(st.characters(codec="utf-8"), max_size=80),
    st.sampled_from(["psycopg", "psycopg2", "asyncpg"]),
    st.from_regex(r"[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}(rc[0-9]{1,2})?", fullmatch=True),
)
def test_every_name_fits_ends_in_ours_and_begins_with_the_prefix(prefix: str, driver: str, version: str) -> None:
    name = application_name(driver, version, prefix)
    own = f"dsql-fast-{driver}/{version}"
    assert len(name.encode()) <= LONGEST
    assert name.endswith(own)
    before = name[: -len(own)]
    assert prefix.strip().startswith(before[:-1])
    assert before == "" or before.endswith(":")
    # No more is cut than must be, but for a blank at the cut.
    if before[:-1] != prefix.strip():
        following = prefix.strip()[len(before[:-1]) :]
        room = LONGEST - len(name.encode()) - (not before)
        assert following[0].isspace() or room < len(following[0].encode())


# By setting: what the server is told.
SENT: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, OWN),
    "a prefix": ({"orm_prefix": "django"}, f"django:{OWN}"),
    "the other connectors' spelling": ({"ormPrefix": "django"}, f"django:{OWN}"),
    "an empty prefix": ({"orm_prefix": ""}, OWN),
    "a long prefix": ({"orm_prefix": "x" * 100}, f"{'x' * (62 - len(OWN))}:{OWN}"),
    "the user's own": ({"application_name": "mine"}, "mine"),
    "the user's own, with ours in it": ({"application_name": OWN + "x"}, OWN + "x"),
    "the user's own beside a prefix": ({"application_name": " m/i:n\\e'", "orm_prefix": "django"}, " m/i:n\\e'"),
    "the user's own of 63 bytes": ({"application_name": "y" * 63}, "y" * 63),
    "the user's own empty one": ({"application_name": ""}, ""),
    "the user's own fallback": ({"fallback_application_name": "theirs", "orm_prefix": "django"}, "theirs"),
}


@pytest.mark.parametrize(("settings", "expected"), SENT.values(), ids=SENT)
def test_what_the_server_is_told(cluster: LocalCluster, settings: dict[str, Any], expected: str) -> None:
    kwargs = {**cluster.connect_kwargs(), **settings}
    with dsql_fast.connect(**kwargs) as conn:
        assert conn.execute("select current_setting('application_name')").fetchone() == (expected,)
        assert seen(cluster, conn.info.backend_pid) == expected

    async def main() -> str:
        async with await dsql_fast.connect_async(**kwargs) as conn:
            return seen(cluster, conn.info.backend_pid)

    assert asyncio.run(main()) == expected


def seen(cluster: LocalCluster, pid: int) -> str:
    (session,) = [session for session in cluster.sessions() if session.pid == pid]
    return session.application_name


def test_a_prefix_of_several_bytes_a_character_arrives_in_characters(cluster: LocalCluster) -> None:
    """PostgreSQL itself shows such a name escaped; what was sent is what the gateway saw."""
    with dsql_fast.connect(**cluster.connect_kwargs(), orm_prefix="é" * 40) as conn:
        name = seen(cluster, conn.info.backend_pid)
    assert name == f"{'é' * ((62 - len(OWN)) // 2)}:{OWN}"


def test_the_users_name_of_the_environment(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGAPPNAME", "from the environment")
    with dsql_fast.connect(**cluster.connect_kwargs(), orm_prefix="django") as conn:
        assert seen(cluster, conn.info.backend_pid) == "from the environment"


def test_in_a_connection_string_and_in_a_pool(cluster: LocalCluster) -> None:
    kwargs = cluster.connect_kwargs()
    host = kwargs.pop("host")
    for conninfo in (f"host={host} orm_prefix=django", f"postgresql://{host}/?ormPrefix=django"):
        with dsql_fast.connect(conninfo, **kwargs) as conn:
            assert seen(cluster, conn.info.backend_pid) == f"django:{OWN}"
    with (
        dsql_fast.ConnectionPool(host, **kwargs, orm_prefix="flask", min_size=1) as pool,
        pool.connection() as conn,
    ):
        assert seen(cluster, conn.info.backend_pid) == f"flask:{OWN}"


@pytest.mark.parametrize("prefix", ["a/b", "/", "django/5.2 "])
def test_a_slash_in_a_prefix_is_refused(prefix: str, aws_keys: object) -> None:
    with pytest.raises(ConfigError, match="orm_prefix must be a name without a slash"):
        dsql_fast.connect("cluster.dsql.us-east-1.on.aws", orm_prefix=prefix)


def test_two_spellings_that_differ_are_refused(aws_keys: object) -> None:
    both: dict[str, Any] = {"orm_prefix": "a", "ormPrefix": "b"}
    with pytest.raises(ConfigError, match="they differ"):
        dsql_fast.connect("cluster.dsql.us-east-1.on.aws", **both)
