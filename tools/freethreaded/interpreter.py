"""Build a CPython without the GIL out of Debian's source package, once, and print where its interpreter is.

    python tools/freethreaded/interpreter.py [--jobs N] [--only-if-built]

It comes from Debian's unstable suite by apt's own means: a `deb-src` entry in a directory of its own, on a mirror
that this machine's apt uses already (or `DEBIAN_MIRROR`), its signature checked with Debian's keyring. Nothing of
the system is changed, and it need not run as root. What is compiled is the upstream archive in that package:
Debian's patches move `site-packages` to where only Debian's own packages look.

It is installed into `${XDG_CACHE_HOME:-~/.cache}/dsql-fast/python-3.14t`. A stamp there, written last, makes a
second call do nothing; remove the directory to build anew.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

VERSION = "3.14"
_PACKAGE = f"python{VERSION}"
_SUITE = "unstable"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# Without these, `configure` goes on and leaves out ssl, ctypes or zlib; psycopg loads libpq at run time.
_NEEDED = (
    "build-essential",
    "ca-certificates",
    "debian-archive-keyring",
    "dpkg-dev",
    "libffi-dev",
    "libpq5",
    "libssl-dev",
    "xz-utils",
    "zlib1g-dev",
)
# What the build must have come out with: free of the GIL, and able to open a TLS connection through libpq.
_CHECK = """
import ctypes, ssl, sys, sysconfig, venv, zlib
assert sysconfig.get_config_var("Py_GIL_DISABLED") == 1
assert not sys._is_gil_enabled()
"""


class CannotBuild(Exception):  # noqa: N818 (as the package names its own)
    """This machine cannot build the interpreter; the text says why and what to do."""


def prefix() -> Path:
    """Return the directory that the interpreter is installed in, built or not."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "dsql-fast" / f"python-{VERSION}t"


def built() -> Path | None:
    """Return the interpreter; None where none was built to its end."""
    return _interpreter() if _stamp().exists() else None


def _interpreter() -> Path:
    return prefix() / "bin" / f"python{VERSION}t"


def _stamp() -> Path:
    return prefix() / ".built"


def build(jobs: int) -> Path:
    """Return the interpreter, which is fetched, compiled and installed unless it was before.

    Args:
        jobs: How many compilers run at a time.

    Raises:
        CannotBuild: This is no Debian, packages are missing, or the source cannot be reached.
        subprocess.CalledProcessError: The build itself failed; its output says why.
    """
    found = built()
    if found is not None:
        return found
    check_requirements()
    cache = prefix().parent
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=cache) as work:
        archive, version = _fetch(Path(work))
        _compile(_unpacked(archive, Path(work) / "source"), jobs)
    _run([_interpreter(), "-c", _CHECK])
    _stamp().write_text(version + "\n", encoding="ascii")
    return _interpreter()


def check_requirements() -> None:
    """Make sure that the build has what it needs.

    Raises:
        CannotBuild: It has not; the text names the command that installs what is missing.
    """
    for program in ("apt-get", "dpkg-query"):
        if shutil.which(program) is None:
            raise CannotBuild(f"there is no {program}: the interpreter is built from Debian's source package")
    missing = [package for package in _NEEDED if not _is_installed(package)]
    if missing:
        raise CannotBuild(f"packages are missing: apt-get install {' '.join(missing)}")


def _is_installed(package: str) -> bool:
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]
    done = subprocess.run(query, check=False, capture_output=True, text=True)
    return done.stdout.startswith("installed")


def _fetch(work: Path) -> tuple[Path, str]:
    """Download the source package: its upstream archive, and its Debian version."""
    refusals = []
    for number, mirror in enumerate(_mirrors()):
        place = work / f"mirror-{number}"
        place.mkdir()
        refusal = _download(mirror, place)
        if refusal is None:
            (archive,) = place.glob("*.orig.tar.*[!c]")  # not its detached signature, .asc
            (description,) = place.glob("*.dsc")
            return archive, description.stem.partition("_")[2]
        refusals.append(f"{mirror}: {refusal}")
    told = "\n  ".join(refusals) or "this machine's apt sources name no mirror of Debian's; set DEBIAN_MIRROR"
    raise CannotBuild(f"the source of {_PACKAGE} in Debian's {_SUITE} suite cannot be reached:\n  {told}")


def _mirrors() -> Iterator[str]:
    """Yield what may be Debian's archive: what is set, or each archive that apt has a source in.

    Which of those is Debian's need not be known: the others have no such suite that Debian's key signed.
    """
    given = os.environ.get("DEBIAN_MIRROR")
    if given:
        yield given
        return
    listed = subprocess.run(["apt-get", "update", "--print-uris"], check=False, capture_output=True, text=True)
    seen = set()
    for line in listed.stdout.splitlines():
        archive, suites, rest = line.partition(" ")[0].strip("'").partition("/dists/")
        if suites and rest.endswith("/InRelease") and archive not in seen:
            seen.add(archive)
            yield archive


def _download(mirror: str, place: Path) -> str | None:
    """Download by apt, with nothing of the system's own lists and caches; return why it failed."""
    for directory in ("lists/partial", "cache/archives/partial"):
        (place / directory).mkdir(parents=True)
    sources = place / "sources.list"
    sources.write_text(f"deb-src [signed-by={_KEYRING}] {mirror} {_SUITE} main\n", encoding="utf-8")
    options = [
        f"--option=Dir::Etc::SourceList={sources}",
        "--option=Dir::Etc::SourceParts=-",
        f"--option=Dir::State::Lists={place / 'lists'}",
        f"--option=Dir::Cache={place / 'cache'}",
        "--option=APT::Sandbox::User=",  # the directory is of whoever runs this
        "--option=APT::Update::Error-Mode=any",
        "--option=Acquire::Retries=3",
    ]
    for command in (["update"], ["source", "--download-only", _PACKAGE]):
        done = subprocess.run(
            ["apt-get", "--quiet", *options, *command], cwd=place, check=False, capture_output=True, text=True
        )
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if line.startswith("E:")]
            return " ".join(errors) or f"apt-get {command[0]} ended with {done.returncode}"
    return None


def _unpacked(archive: Path, into: Path) -> Path:
    with tarfile.open(archive) as opened:
        # Its content was signed for; the filter is there in every Python that had a security release since 2023.
        opened.extractall(into, filter="data")
    (top,) = into.iterdir()
    return top


def _compile(source: Path, jobs: int) -> None:
    shutil.rmtree(prefix(), ignore_errors=True)  # what an earlier call left unfinished
    configure = ["./configure", "--quiet", f"--prefix={prefix()}", "--disable-gil", "--disable-test-modules"]
    _run(configure, source)
    _run(["make", "--quiet", f"--jobs={jobs}"], source)
    _run(["make", "--quiet", "install"], source)


def _run(command: Sequence[str | Path], directory: Path | None = None) -> None:
    """Run a command; what it prints goes to standard error, for ours is the interpreter's path."""
    subprocess.run(command, cwd=directory, check=True, stdout=sys.stderr)


def main() -> int:
    """Build, or with `--only-if-built` look; print the interpreter's path."""
    parser = argparse.ArgumentParser(description="Build a CPython without the GIL from Debian's source package.")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="compilers at a time; default: all cores"
    )
    parser.add_argument("--only-if-built", action="store_true", help="build nothing; exit with 1 if there is none")
    args = parser.parse_args()
    try:
        interpreter = built() if args.only_if_built else build(args.jobs)
    except CannotBuild as error:
        print(f"No free-threaded Python: {error}", file=sys.stderr)
        return 1
    if interpreter is None:
        print("No free-threaded Python was built: make python-freethreaded", file=sys.stderr)
        return 1
    print(interpreter)
    return 0


if __name__ == "__main__":
    sys.exit(main())
