"""The official packages' public names and signatures are ours, parameter by parameter."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module
from typing import Any

import pytest

import dsql_fast

PACKAGES = ("aurora_dsql_asyncpg", "aurora_dsql_psycopg", "aurora_dsql_psycopg2")
# Beside their `__all__`: the DB-API's.
FURTHER = {
    "aurora_dsql_psycopg": ("apilevel", "threadsafety", "paramstyle"),
    "aurora_dsql_psycopg2": ("apilevel", "threadsafety", "paramstyle"),
}
# Where a default is another object here, and why.
OTHER_DEFAULTS = dict.fromkeys(
    (
        ("aurora_dsql_asyncpg", "connect(connection_class)"),
        ("aurora_dsql_asyncpg", "create_pool(connection_class)"),
    ),
    "a subclass, whose reset() sends what DSQL takes",
)


def both(package: str) -> tuple[Any, Any]:
    return import_module(f"dsql_fast.compat.{package}"), import_module(package)


def callables(package: str) -> list[str]:
    """Functions, classes (by what they are made with), and what of their methods is the connector's own."""
    theirs = import_module(package)
    found = []
    for name in theirs.__all__:
        value = getattr(theirs, name)
        if inspect.isclass(value):
            found.append(name)
            own = (each for each, member in vars(value).items() if callable(getattr(value, each)))
            found += [
                f"{name}.{each}" for each in own if not each.startswith("_") or each in {"__enter__", "__exit__"}
            ]
        elif callable(value):
            found.append(name)
    return found


CALLABLES = [(package, name) for package in PACKAGES for name in callables(package)]


def found(module: Any, name: str) -> Any:
    for part in name.split("."):
        module = getattr(module, part)
    return module


def test_what_is_compared() -> None:
    """The control: the look-up finds what the documentation names."""
    assert len(CALLABLES) >= 17
    assert ("aurora_dsql_psycopg", "DSQLConnection.connect") in CALLABLES
    assert ("aurora_dsql_psycopg2", "AuroraDSQLThreadedConnectionPool.run_transaction") in CALLABLES


@pytest.mark.parametrize("package", PACKAGES)
def test_names(package: str) -> None:
    ours, theirs = both(package)
    assert set(ours.__all__) == set(theirs.__all__)
    for name in FURTHER.get(package, ()):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.__version__ == dsql_fast.__version__


@pytest.mark.parametrize(("package", "name"), CALLABLES)
def test_signature(package: str, name: str) -> None:
    ours, theirs = (found(module, name) for module in both(package))
    if name.endswith("__exit__"):
        return  # the interpreter calls it
    assert ours.__doc__ or name.endswith("__enter__")
    assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(theirs)
    mine, other = (list(inspect.signature(each).parameters.values()) for each in (ours, theirs))
    if name == "is_occ_error":
        assert len(mine) == len(other) == 1
        assert mine[0].name == other[0].name
        return
    assert [(each.name, each.kind) for each in mine] == [(each.name, each.kind) for each in other]
    for my, their in zip(mine, other, strict=True):
        if (package, f"{name}({my.name})") not in OTHER_DEFAULTS:
            assert my.default == their.default, my.name


@pytest.mark.parametrize("package", PACKAGES)
def test_each_class_is_its_drivers(package: str) -> None:
    """Whoever asks `isinstance` for the driver's class is answered as there."""
    ours, theirs = both(package)
    for name in theirs.__all__:
        if not inspect.isclass(getattr(theirs, name)):
            continue
        drivers = [
            each for each in getattr(theirs, name).__mro__ if each.__module__.startswith(("psycopg", "asyncpg"))
        ]
        assert set(drivers) <= set(getattr(ours, name).__mro__)


def test_no_driver_is_loaded_before_its_module_is() -> None:
    program = """
import sys
import dsql_fast.compat
drivers = {"psycopg", "psycopg_pool", "psycopg2", "asyncpg", "boto3", "botocore"}
assert not drivers & set(sys.modules)
from dsql_fast.compat import aurora_dsql_psycopg2
assert drivers & set(sys.modules) == {"psycopg2"}, drivers & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_missing_driver_is_told_as_such(package: str) -> None:
    driver = package.removeprefix("aurora_dsql_")
    program = f"""
import sys
sys.modules["{driver}"] = None
import dsql_fast
try:
    import dsql_fast.compat.{package}
except dsql_fast.DriverError as error:
    assert "pip install 'dsql-fast[" in str(error), error
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
