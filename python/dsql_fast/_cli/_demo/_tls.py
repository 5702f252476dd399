"""What TLS a connection has negotiated, as libpq tells it.

psycopg has no call for ``PQsslAttribute``, but hands out the pointer to libpq's connection for such needs
(``pgconn_ptr``); what is missing is the library that it came from.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg import pq

if TYPE_CHECKING:
    import psycopg

_MAPS = Path("/proc/self/maps")


@dataclass(frozen=True)
class NegotiatedTls:
    """What was agreed on; None where libpq does not tell.

    Attributes:
        protocol: as ``TLSv1.3``.
        cipher: OpenSSL's name.
        alpn: the application protocol that the server agreed to; PostgreSQL's is ``postgresql``.
        direct: TLS from the first byte, without asking in clear before.
        verified_name: the name that the certificate was checked against, or None.
    """

    protocol: str | None
    cipher: str | None
    alpn: str | None
    direct: bool
    verified_name: str | None


def negotiated_tls(connection: psycopg.Connection[Any]) -> NegotiatedTls | None:
    """Ask libpq; None where the connection has no TLS."""
    pgconn = connection.pgconn
    if not pgconn.ssl_in_use:
        return None
    # Defaults are left out of these; libpq fills in nothing that was not agreed on: asked for direct TLS or
    # verify-full, it fails rather than connects otherwise.
    asked = connection.info.get_parameters()
    library = _loaded_libpq()
    pointer = getattr(pgconn, "pgconn_ptr", None)  # documented, but not in psycopg's types
    return NegotiatedTls(
        protocol=_attribute(library, pointer, b"protocol"),
        cipher=_attribute(library, pointer, b"cipher"),
        alpn=_attribute(library, pointer, b"alpn"),
        direct=asked.get("sslnegotiation") == "direct",
        verified_name=asked.get("host") if asked.get("sslmode") == "verify-full" else None,
    )


def _attribute(library: ctypes.CDLL | None, pointer: int | None, name: bytes) -> str | None:
    if library is None or pointer is None:
        return None
    function = library.PQsslAttribute
    function.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
    function.restype = ctypes.c_char_p
    value: bytes | None = function(pointer, name)
    return value.decode() if value else None


def _loaded_libpq() -> ctypes.CDLL | None:
    """Find the libpq that psycopg runs on. Another copy would misread the connection: only that one will do."""
    if _MAPS.exists():
        with _MAPS.open() as maps:
            found = {line.split(maxsplit=5)[-1].strip() for line in maps if "/libpq" in line}
        if len(found) > 1:  # psycopg2's wheel brings one too
            found = {path for path in found if ("psycopg_binary.libs" in path) == (pq.__impl__ == "binary")}
    else:
        found = {str(path) for path in _bundled_libraries()}
    return ctypes.CDLL(found.pop()) if len(found) == 1 else None


def _bundled_libraries() -> list[Path]:
    # macOS: delocate puts a wheel's libraries there.
    try:
        import psycopg_binary
    except ImportError:
        return []
    return list(Path(psycopg_binary.__path__[0]).glob(".dylibs/libpq.*"))
