"""The name by which a connection can be told among the cluster's sessions.

``[<prefix>:]dsql-fast-<driver>/<version>``, as the official connectors form theirs: the prefix is for an ORM or a
framework that brings the connection along. It is what is sent where nobody gave a name; one that the user gave
(``application_name=``, ``PGAPPNAME``) is sent as it is.
"""

from __future__ import annotations

from ._errors import ConfigError

LONGEST = 63
"""Bytes. PostgreSQL cuts what is longer, at its end, where the version stands."""


def application_name(driver: str, version: str, prefix: str | None = None) -> str:
    """Form the name of a connection, of at most 63 bytes in UTF-8.

    Args:
        driver: the driver's package.
        version: dsql-fast's.
        prefix: an ORM's or a framework's name. What does not fit is cut from its end, between two characters;
            driver and version are always whole.
    """
    own = f"dsql-fast-{driver}/{version}"
    room = LONGEST - len(own.encode()) - 1  # the colon
    # Half a character at the cut is dropped.
    cut = (prefix or "").strip().encode()[: max(room, 0)].decode(errors="ignore").rstrip()
    return f"{cut}:{own}" if cut else own


def checked_prefix(prefix: str | None) -> str | None:
    """Return a prefix without blanks around it; None if nothing is left.

    Raises:
        ConfigError: it has a ``/``, by which readers of the name tell the version from what is before it.
    """
    stripped = (prefix or "").strip()
    if "/" in stripped:
        raise ConfigError(f"orm_prefix must be a name without a slash, not {prefix!r}: the version is ours to add")
    return stripped or None
