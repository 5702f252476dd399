"""The peers that are installed on demand, each into an environment of its own.

The environments lie in ``DSQL_FAST_BENCH_HOME``, else in ``dsql-fast/bench`` in the user's cache directory
(``XDG_CACHE_HOME``, else ``~/.cache``). Each is named after all that it is made of, so that another version makes
another one, and nothing there is ever changed: it may be deleted at any time.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ._recipes import GoProgram, JavaScriptProgram, PythonPackages, Recipe, RustProgram, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._run import Run

HOME_VARIABLE = "DSQL_FAST_BENCH_HOME"

PEERS: dict[str, str] = {
    "boto3": "a boto3 client, kept or new for each token; it is here already",
    "official": "the official connector, aurora-dsql-python-connector 0.2.7, with psycopg",
    "awscrt": "AWS's C runtime for Python, awscrt 0.38.1",
    "go": "the AWS SDK for Go, feature/dsql/auth 1.1.37",
    "javascript": "the AWS SDK for JavaScript, @aws-sdk/dsql-signer 3.1142.0",
    "rust-sdk": "the AWS SDK for Rust, aws-sdk-dsql 1.79.0; and the floor, two bare hashes of the same crates",
}
"""By name, what each is."""

# What psycopg and boto3 come with: they are here, for us, and a peer gets them as we have them.
_PSYCOPG = ("psycopg", "psycopg-pool", "typing_extensions")
_BOTO3 = ("boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "six", "urllib3")
# Here psycopg may be one that was built against the system's libpq.
_BINARY = {"psycopg-binary": "psycopg"}

RECIPES: dict[str, Recipe] = {
    "official": PythonPackages({"aurora-dsql-python-connector": "0.2.7"}, (*_PSYCOPG, *_BOTO3), _BINARY),
    "awscrt": PythonPackages({"awscrt": "0.38.1"}, _PSYCOPG, _BINARY),
    "go": GoProgram("go"),
    "javascript": JavaScriptProgram("javascript"),
    "rust-sdk": RustProgram("rust"),
}

# Why a peer could not be had: a run tries once.
_failed: dict[str, str] = {}


def had(run: Run, peer: str, what: str | None = None) -> tuple[str, ...] | None:
    """Return what runs in a peer's environment, which is made if it is not there.

    Args:
        run: that may want it, and is told why it does without.
        peer: its name, of `RECIPES`.
        what: name of what is skipped without it; default: what the peer is.

    Returns:
        The interpreter, of peers in Python; the whole command, of others. None if the run does not want the peer,
        or it cannot be had: then the reason is noted in the run.
    """
    if not run.wants(peer):
        return None
    if peer not in _failed:
        try:
            return environment(RECIPES[peer], peer, run.progress)
        except UnavailableError as reason:
            _failed[peer] = str(reason)
    run.skipped(what or PEERS[peer], _failed[peer])
    return None


def environment(recipe: Recipe, name: str, tell: Callable[[str], object] = lambda _: None) -> tuple[str, ...]:
    """Return the command of an environment, which is made if it is not there.

    Safe against another run that wants the same at the same time, which waits for this one, and against an end at
    any moment: what lies under its final name is whole.

    Args:
        recipe: how it is made.
        name: how its directory's name begins.
        tell: told what is being done.

    Raises:
        UnavailableError: it cannot be had.
    """
    pins = f"{recipe.pins()}\n{platform.machine()}\n{platform.system()}"
    directory = home() / f"{name}-{hashlib.sha256(pins.encode()).hexdigest()[:16]}"
    if not _whole(recipe, directory):
        try:
            directory.parent.mkdir(parents=True, exist_ok=True)
            waiting = f"waiting for another run, which installs {name}"
            with _locked(directory.with_name(f"{directory.name}.lock"), lambda: tell(waiting)):
                if not _whole(recipe, directory):
                    tell(f"installing {name}, once")
                    _make(recipe, directory)
        except OSError as error:
            raise UnavailableError(f"{directory.parent}: {error.strerror}: set {HOME_VARIABLE}") from None
    return recipe.command(directory)


def home() -> Path:
    """Return the directory that the environments lie in."""
    if given := os.environ.get(HOME_VARIABLE):
        return Path(given).absolute()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "dsql-fast" / "bench"


def _whole(recipe: Recipe, directory: Path) -> bool:
    # A virtual environment's interpreter is a link: the one it points to may have gone.
    return directory.is_dir() and os.access(recipe.command(directory)[0], os.X_OK)


def _make(recipe: Recipe, directory: Path) -> None:
    """Make an environment aside and put it into its place. To be called with the lock held."""
    for left in directory.parent.glob(f"{directory.name}.making-*"):
        shutil.rmtree(left, ignore_errors=True)  # a run before this one was torn off
    aside = Path(tempfile.mkdtemp(prefix=f"{directory.name}.making-", dir=directory.parent))
    try:
        recipe.make(aside)
        if directory.exists():
            shutil.rmtree(directory)  # no longer whole
        aside.rename(directory)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _locked(path: Path, on_wait: Callable[[], object]) -> Iterator[None]:
    """Hold a lock between processes, which ends with its holder in whatever way."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
