"""Where the roots are that this system trusts, for an OpenSSL that does not find them by itself."""

from __future__ import annotations

import os
from pathlib import Path

from ._libpq import REQUIRE_AUTH_LIBPQ

# Where distributions keep them in one file: Debian and its kin, Fedora and RHEL, openSUSE, Alpine and macOS.
# (OpenSSL knows one place, the one that it was built with; these are the ones that Go's crypto/x509 looks in.)
_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def system_roots(libpq_version: int, *, own_openssl: bool) -> str:
    """Return what ``sslrootcert`` has to be for the roots that the system trusts.

    Args:
        libpq_version: as ``PQlibVersion()`` has it: 170002 is 17.2.
        own_openssl: libpq came in a wheel, with an OpenSSL that looks where it was built, and so finds none.

    Returns:
        ``system`` where libpq knows that word (from 16 on) and its OpenSSL finds them, or is told by
        ``SSL_CERT_FILE`` or ``SSL_CERT_DIR``; else a file. ``system`` too where there is none: then nothing is
        trusted.
    """
    told = os.environ.get("SSL_CERT_FILE")
    knows_the_word = libpq_version >= REQUIRE_AUTH_LIBPQ
    if knows_the_word and (not own_openssl or told or os.environ.get("SSL_CERT_DIR")):
        return "system"
    return told or _file() or "system"


def elsewhere() -> str | None:
    """Return the file of the system's roots where Python's own OpenSSL would find none; None where it finds some.

    A Python that was built on another system looks where that one has them.
    """
    import ssl

    paths = ssl.get_default_verify_paths()
    return None if paths.cafile or paths.capath else _file()


def _file() -> str | None:
    import ssl

    found = ssl.get_default_verify_paths().cafile
    return found or next((name for name in _FILES if Path(name).is_file()), None)
