"""The driver that is there: asyncpg, of a version whose private parts are known."""

from __future__ import annotations

from .._errors import DriverError

try:
    import asyncpg
except ImportError as error:
    raise DriverError(f"asyncpg is missing: pip install 'dsql-fast[asyncpg]' brings it ({error})") from None

# Our pool is a subclass of asyncpg's and touches private parts of it, each held by a test.
OLDEST = (0, 32)

if tuple(map(int, asyncpg.__version__.split(".")[:2])) < OLDEST:
    raise DriverError(
        f"asyncpg {asyncpg.__version__} is too old: 0.32 is needed; pip install 'dsql-fast[asyncpg]' brings it",
    )
