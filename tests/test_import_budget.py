"""What `import dsql_fast` and a first token from the environment's keys load: no driver, no SDK, nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

# What a bare interpreter has loaded varies with its site; only what comes on top counts.
PROGRAM = """
import sys
before = set(sys.modules)
import dsql_fast
{call}
print(*sorted(set(sys.modules) - before))
"""
HOST = "cluster000000000000000000a.dsql.us-east-1.on.aws"
CALLS = {
    "import": "pass",
    "generate_token": f"dsql_fast.generate_token({HOST!r})",
    "TokenSource": f"source = dsql_fast.TokenSource({HOST!r}); source.token(); source.invalidate(); source.token()",
    "Credentials": f"dsql_fast.generate_token({HOST!r}, credentials=dsql_fast.Credentials('a', 'b'))",
}
# What every interpreter with a site has loaded by then.
STARTED = {"os", "stat", "_stat", "genericpath", "posixpath", "_collections_abc", "importlib", "_frozen_importlib"}
# Of the rest of the standard library, these and nothing else may be loaded for a token.
ALLOWED = {"dsql_fast", "__future__", "_contextvars", "contextvars", "warnings", "_warnings", "atexit"}
FORBIDDEN = {
    *("boto3", "botocore", "psycopg", "psycopg_pool"),
    *("asyncio", "dataclasses", "typing", "re", "logging", "concurrent", "threading", "inspect", "socket", "ssl"),
}

# Of our own, what a token from the environment's keys needs. A class more or less is what a millisecond is made of.
OURS = {
    *("_credentials", "_credentials._environment", "_credentials._provider", "_endpoint", "_errors", "_native"),
    *("_telemetry", "_token_request", "_tokens", "_unsent", "_waiting"),
}


def loaded(call: str, *, whole: bool = False) -> set[str]:
    ended = subprocess.run(
        # -I -S: neither the user's nor the environment's site, whose .pth files load what they like.
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path[:0] = {sys.path!r}\n" + PROGRAM.format(call=call),
        ],
        env={"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "fake-secret", "AWS_SESSION_TOKEN": "fake"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    names = set(ended.stdout.split())
    return names if whole else {name.partition(".")[0] for name in names} - STARTED


def test_the_import_alone_loads_nothing() -> None:
    assert loaded(CALLS["import"]) == {"dsql_fast", "__future__"}


@pytest.mark.parametrize("call", CALLS)
def test_a_first_token_loads_next_to_nothing(call: str) -> None:
    found = loaded(CALLS[call])
    assert not found & FORBIDDEN
    assert found <= ALLOWED


@pytest.mark.parametrize("call", ["TokenSource", "generate_token"])
def test_a_first_token_loads_no_more_of_ours(call: str) -> None:
    found = {name for name in loaded(CALLS[call], whole=True) if name.startswith("dsql_fast.")}
    assert found == {f"dsql_fast.{name}" for name in OURS}


def test_a_program_that_only_connects_loads_nothing_for_pools_transactions_and_failures() -> None:
    found = loaded("dsql_fast.connect", whole=True)
    ours = {name.removeprefix("dsql_fast.") for name in found if name.startswith("dsql_fast.")}
    assert {"psycopg._connection", "_connecting"} <= ours
    assert not ours & {
        "_attempts",
        "_diagnosis",
        "_retry",
        "_run",
        "_transactions",
        "psycopg._pool",
        "psycopg._sources",
    }
    assert not found & {"psycopg_pool", "difflib", "boto3", "botocore"}


def test_what_is_loaded_is_seen() -> None:
    """The control: a driver is noticed."""
    assert {"psycopg", "asyncio", "logging", "typing"} <= loaded("dsql_fast.connect")
