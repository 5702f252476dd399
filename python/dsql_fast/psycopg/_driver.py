"""The driver that is there: psycopg, and which libpq it found."""

from __future__ import annotations

try:
    import psycopg
except ImportError as error:
    from .._errors import DriverError  # with it come all that a program raises once something was sent

    raise DriverError(
        "psycopg found no libpq to work with: pip install 'dsql-fast[binary]' brings one "
        f"(psycopg says: {str(error).splitlines()[0]})",
    ) from None

LIBPQ_VERSION: int = psycopg.pq.version()
"""As ``PQlibVersion()`` has it: 170002 is 17.2."""

OWN_OPENSSL: bool = psycopg.pq.__impl__ == "binary"
"""libpq is psycopg-binary's: its OpenSSL looks for the system's roots where it was built, and finds none."""
