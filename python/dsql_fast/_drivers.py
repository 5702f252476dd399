"""Which driver a pool or connection belongs to: the drivers' adapters tell.

Only the adapters of drivers that the program has imported are asked: nothing can be of another one, and no driver
is imported to ask whether a thing is its own.

An adapter has two modules for it: ``_sources`` (`source` and `async_source` return what is given as a source of
connections, or None if it is none of the driver's) and ``_execute`` (`Driver`, `AsyncDriver`, as `_statements` has
them). A driver that is synchronous only, or asynchronous only, has one of the two classes.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from ._errors import ConfigError

if TYPE_CHECKING:
    from ._statements import AsyncDriver, Driver
    from ._transactions import AsyncSource, Source

# By the names of their packages, which are those of the adapters in ours.
_DRIVERS = ("psycopg", "psycopg2", "asyncpg")


def source_of(given: object) -> Source[Any]:
    """Return what a pool or connection is as a source of connections.

    Raises:
        ConfigError: it is none that is known, or an asynchronous one.
    """
    source: Source[Any] = _known(given, "source")[1]
    return source


def async_source_of(given: object) -> AsyncSource[Any]:
    """As `source_of`, of asynchronous connections."""
    source: AsyncSource[Any] = _known(given, "async_source")[1]
    return source


def driver_of(given: object) -> Driver[Any]:
    """Return the driver of a pool or connection.

    Raises:
        ConfigError: it is none that is known, or an asynchronous one.
    """
    driver: Driver[Any] = _module(_known(given, "source")[0], "_execute").Driver()
    return driver


def async_driver_of(given: object) -> AsyncDriver[Any]:
    """As `driver_of`, of asynchronous pools and connections."""
    driver: AsyncDriver[Any] = _module(_known(given, "async_source")[0], "_execute").AsyncDriver()
    return driver


def is_asynchronous(given: object) -> bool:
    """Tell whether something is an asynchronous pool or connection."""
    return _find(given, "async_source") is not None


def _known(given: object, kind: Literal["source", "async_source"]) -> tuple[str, Any]:
    found = _find(given, kind)
    if found is not None:
        return found
    if kind == "source":
        wanted = "a connection or a pool of psycopg's or psycopg2's"
        hint = "; that is for run_transaction_async and its like" if _find(given, "async_source") else ""
    else:
        wanted = "an asynchronous psycopg connection, psycopg_pool pool, or asyncpg connection or pool"
        hint = "; that is for run_transaction and its like" if _find(given, "source") else ""
    raise ConfigError(f"{wanted} is needed, not {type(given).__name__}{hint}")


def _find(given: object, kind: Literal["source", "async_source"]) -> tuple[str, Any] | None:
    """Return the driver's name and the source."""
    for driver in _DRIVERS:
        if driver in sys.modules:
            found = getattr(_module(driver, "_sources"), kind)(given)
            if found is not None:
                return driver, found
    return None


@cache
def _module(driver: str, name: str) -> Any:
    return import_module(f"{__package__}.{driver}.{name}")
