"""Which driver a pool or connection belongs to.

By the modules of its class and of those that it derives from, so that no driver is imported to ask whether a
thing is its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._errors import ConfigError

if TYPE_CHECKING:
    from ._statements import AsyncDriver, Driver

_PSYCOPG = ("psycopg", "psycopg_pool")


def driver_of(given: object) -> Driver[Any]:
    """Return the driver of a pool or connection.

    Raises:
        ConfigError: it is none that is known.
    """
    if _belongs_to(given, _PSYCOPG):
        from .psycopg._execute import Driver

        return Driver()
    raise _unknown(given)


def async_driver_of(given: object) -> AsyncDriver[Any]:
    """As `driver_of`, for asynchronous pools and connections."""
    if _belongs_to(given, _PSYCOPG):
        from .psycopg._execute import AsyncDriver

        return AsyncDriver()
    raise _unknown(given)


def _belongs_to(given: object, packages: tuple[str, ...]) -> bool:
    return any(each.__module__.partition(".")[0] in packages for each in type(given).__mro__)


def _unknown(given: object) -> ConfigError:
    return ConfigError(f"a psycopg connection or psycopg_pool pool is needed, not {type(given).__name__}")
