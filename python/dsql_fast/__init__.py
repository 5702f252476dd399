"""Connect Python to Amazon Aurora DSQL.

Names are bound when they are first used: `import dsql_fast` loads no driver and no AWS SDK, and a first token
from the environment's keys needs neither.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._credentials import Credentials
    from ._errors import (
        ConfigError,
        CredentialsError,
        CredentialsExpired,
        CredentialsNotFound,
        CredentialsTimeout,
        DriverError,
        Error,
    )
    from ._native import __version__
    from ._telemetry import counters
    from ._tokens import TokenSource, generate_token
    from .psycopg import (
        AsyncConnection,
        AsyncConnectionPool,
        Connection,
        ConnectionPool,
        PoolTimeout,
        connect,
        connect_async,
        pool_kwargs,
    )

__all__ = [
    "AsyncConnection",
    "AsyncConnectionPool",
    "ConfigError",
    "Connection",
    "ConnectionPool",
    "Credentials",
    "CredentialsError",
    "CredentialsExpired",
    "CredentialsNotFound",
    "CredentialsTimeout",
    "DriverError",
    "Error",
    "PoolTimeout",
    "TokenSource",
    "__version__",
    "connect",
    "connect_async",
    "counters",
    "generate_token",
    "pool_kwargs",
]

_ERRORS = (
    "ConfigError",
    "CredentialsError",
    "CredentialsExpired",
    "CredentialsNotFound",
    "CredentialsTimeout",
    "DriverError",
    "Error",
)
_HOMES = {
    "Credentials": "_credentials",
    "TokenSource": "_tokens",
    "__version__": "_native",
    "counters": "_telemetry",
    "generate_token": "_tokens",
    **dict.fromkeys(_ERRORS, "_errors"),
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Not importlib: it is one more import on the way to a first token.
    home = __import__(f"{__name__}.{_HOMES.get(name, 'psycopg')}", fromlist=(name,))
    value: object = getattr(home, name)
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
