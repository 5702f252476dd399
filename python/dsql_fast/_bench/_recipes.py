"""How the peers' environments are made: with the ordinary tools, from the registries that those are set up for.

Everything is pinned, what comes along too: a figure is worth something only with the versions it belongs to.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Protocol

from ._contest import CONTESTANTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# What would have a tool put things elsewhere, or hold it to other versions than the recipe's.
_NOT_FOR_TOOLS = (
    "CARGO_BUILD_TARGET",
    "CARGO_TARGET_DIR",
    "PIP_CONSTRAINT",
    "PIP_PREFIX",
    "PIP_REQUIRE_VIRTUALENV",
    "PIP_TARGET",
    "PIP_USER",
    "PYTHONHOME",
    "PYTHONPATH",
    "VIRTUAL_ENV",
)
# Seconds for one call of a tool: a build from nothing on a slow machine.
_PATIENCE = 1_800
_LAST_LINES, _LONGEST = 4, 600


class UnavailableError(Exception):
    """A peer cannot be had; the message has the reason, and what would help."""


class Recipe(Protocol):
    """How an environment is made."""

    def pins(self) -> str:
        """Write all that an environment is made of: another text, another environment.

        Raises:
            UnavailableError: a tool is missing.
        """

    def make(self, directory: Path) -> None:
        """Make it in a directory, which is there and empty, and may be moved later.

        Raises:
            UnavailableError: it failed, with what the tool said.
        """

    def command(self, directory: Path) -> tuple[str, ...]:
        """Return what runs in the environment that a directory holds; its first word is a file."""


@dataclass(frozen=True)
class PythonPackages:
    """A virtual environment. Its command is its interpreter.

    Attributes:
        pinned: packages and their versions.
        as_here: packages in the version that is installed here.
        following: packages in the version that another one has here, where they are not installed here.
    """

    pinned: Mapping[str, str]
    as_here: Sequence[str] = ()
    following: Mapping[str, str] | None = None

    def pins(self) -> str:
        return "\n".join([sys.version, sys.base_prefix, *self._requirements()])

    def make(self, directory: Path) -> None:
        run_tool([sys.executable, "-m", "venv", str(directory)])
        (python,) = self.command(directory)
        # It may be moved all the same: what knows the directory it was made in are scripts, and none is run.
        run_tool([python, "-m", "pip", "install", "--no-input", *self._requirements()])

    def command(self, directory: Path) -> tuple[str, ...]:
        return (str(directory / "bin" / "python"),)

    def _requirements(self) -> list[str]:
        versions = dict(self.pinned)
        for package in self.as_here:
            if (found := _version(package)) is not None:
                versions[package] = found
        for package, other in (self.following or {}).items():
            if (found := _version(package) or _version(other)) is not None:
                versions[package] = found
        return [f"{package}=={number}" for package, number in sorted(versions.items())]


@dataclass(frozen=True)
class GoProgram:
    """A program in Go. go.sum pins its modules."""

    folder: str

    def pins(self) -> str:
        return _sources(self.folder) + tool_version("go", "version", needs="Go 1.24 or newer")

    def make(self, directory: Path) -> None:
        shutil.copytree(CONTESTANTS / self.folder, directory / "source")
        run_tool(["go", "build", "-mod=readonly", "-o", "../contestant", "."], directory / "source")

    def command(self, directory: Path) -> tuple[str, ...]:
        return (str(directory / "contestant"),)


@dataclass(frozen=True)
class JavaScriptProgram:
    """A program for Node.js. package.json pins its packages, those that come along as overrides."""

    folder: str

    def pins(self) -> str:
        node = tool_version("node", "--version", needs="Node.js 20 or newer")
        return _sources(self.folder) + node + tool_version("npm", "--version", needs="npm")

    def make(self, directory: Path) -> None:
        shutil.copytree(CONTESTANTS / self.folder, directory, dirs_exist_ok=True)
        # A lock file would name the registry.
        quiet = ("--no-audit", "--no-fund", "--no-package-lock", "--no-update-notifier")
        run_tool(["npm", "install", "--ignore-scripts", *quiet], directory)

    def command(self, directory: Path) -> tuple[str, ...]:
        return (shutil.which("node") or "node", str(directory / "main.mjs"))


@dataclass(frozen=True)
class RustProgram:
    """A program in Rust. Cargo.lock pins its crates."""

    folder: str

    def pins(self) -> str:
        return _sources(self.folder) + tool_version("cargo", "--version", needs="Rust 1.94.1 or newer")

    def make(self, directory: Path) -> None:
        shutil.copytree(CONTESTANTS / self.folder, directory / "source")
        target = directory / "target"
        run_tool(["cargo", "build", "--release", "--locked", "--target-dir", str(target)], directory / "source")
        shutil.move(target / "release" / "contestant", directory / "contestant")
        shutil.rmtree(target)  # some hundred MB

    def command(self, directory: Path) -> tuple[str, ...]:
        return (str(directory / "contestant"),)


def run_tool(command: Sequence[str], directory: Path | None = None) -> str:
    """Run a tool to its end, and return what it printed; nothing of it is shown.

    Raises:
        UnavailableError: it failed, or is not there; with the last lines of what it said.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_TOOLS}
    name = f"{command[0]} {command[1]}" if not command[0].endswith("python") else " ".join(command[1:4])
    try:
        done = subprocess.run(
            command,
            check=False,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"`{name}` did not end within {_PATIENCE} s") from None
    except OSError as error:
        raise UnavailableError(f"`{name}` cannot be run: {error.strerror}") from None
    if done.returncode:
        raise UnavailableError(f"`{name}` failed with status {done.returncode}: {last_lines(done.stdout)}")
    return done.stdout


def last_lines(text: str) -> str:
    """Return the end of what a tool said, in one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-_LAST_LINES:])[-_LONGEST:] or "it said nothing"


def tool_version(tool: str, *arguments: str, needs: str) -> str:
    """Return what a tool says of its version.

    Args:
        tool: its name.
        *arguments: that ask for its version.
        needs: what to install where it is missing.

    Raises:
        UnavailableError: it is missing.
    """
    if shutil.which(tool) is None:
        raise UnavailableError(f"there is no `{tool}` here: install {needs}, and run again")
    return run_tool([tool, *arguments])


def _sources(folder: str) -> str:
    files = sorted(path for path in (CONTESTANTS / folder).rglob("*") if path.is_file())
    return "\n".join(f"{path.name}\n{path.read_text(encoding='utf-8')}" for path in files)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
