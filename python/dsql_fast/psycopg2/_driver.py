"""psycopg2's part in a connect: which libpq it found, how it takes its settings, and what its errors say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import _connecting
from .._config import driver_arguments
from .._errors import DriverError
from .._libpq import OLDEST_LIBPQ

try:
    import psycopg2
    import psycopg2.extensions
except ImportError as error:
    raise DriverError(
        "psycopg2 is missing, or found no libpq to work with: pip install 'dsql-fast[psycopg2]' brings both "
        f"(Python says: {str(error).splitlines()[0]})",
    ) from None

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._config import Config
    from .._connecting import Attempt

LIBPQ_VERSION: int = psycopg2.extensions.libpq_version()
"""As ``PQlibVersion()`` has it: 170011 is 17.11."""

# psycopg2-binary brings an OpenSSL that looks for the system's roots where it was built, and so finds none.
_IS_WHEEL = (Path(psycopg2.__file__).parent.parent / "psycopg2_binary.libs").is_dir()


class _Psycopg2:
    name = "psycopg2"

    def arguments(self, config: Config, *, system_trust: bool) -> dict[str, Any]:
        if LIBPQ_VERSION < OLDEST_LIBPQ:
            raise DriverError(
                f"psycopg2 works with libpq {LIBPQ_VERSION // 10000}, which is too old: DSQL needs SNI, which "
                "came with libpq 14. Install a newer one with: pip install 'dsql-fast[psycopg2]'",
            )
        arguments = driver_arguments(config, LIBPQ_VERSION, system_trust=system_trust, own_openssl=_IS_WHEEL)
        # As for psycopg: PGAPPNAME and application_name= beat it.
        arguments.setdefault("fallback_application_name", config.own_application_name(self.name))
        return arguments

    def refusal(self, error: BaseException) -> str | None:
        # libpq puts the hint into the message, and has no SQLSTATE for a failed connect.
        return str(error) if isinstance(error, psycopg2.OperationalError) else None

    def unreachable(self, text: str) -> Exception:
        return psycopg2.OperationalError(text)


DRIVER = _Psycopg2()


def begin(dsn: str | Config, keywords: Mapping[str, Any]) -> Attempt:
    """As `_connecting.begin`."""
    return _connecting.begin(DRIVER, dsn, keywords)
