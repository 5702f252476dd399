"""Count the instructions of a hit, a signature and a connect, and hold them against those committed.

`python benches/guard [--update] [--only NAME ...] [--baseline FILE]`, or `make bench-guard`. Counts are valgrind's
(callgrind): of two runs the difference, so that what is done once falls out, and the same in each run to a
part in a thousand. They say nothing about time, but what a change adds shows, however busy the machine.

- hit: ``TokenSource.token()``, with the interpreter's own share of a call.
- sign: one token checked and signed by the core, without Python and without the hash: valgrind knows no SHA
  instructions, and the software that stands in for them would be nine tenths of it all.
- connect: what the package does for one connect, without psycopg's own part.

Exits with 0 when all hold, 1 when one needs more than it may, 2 when nothing can be said: no valgrind, or no
baseline for this Python and this rustc, whose code is part of what is counted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
NAMES = ("hit", "sign", "connect")
TOLERANCE = 0.03
_CALLS = {"hit": 20_000, "sign": 2_000, "connect": 1_000}
_NO_ANSWER = 2


class NoAnswer(Exception):  # noqa: N818 (nothing went wrong with the code that is counted)
    """Nothing can be said; the text tells what to do about it."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-guard", description="Count instructions.")
    parser.add_argument("--update", action="store_true", help="write the baseline instead")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help="of all counts")
    parser.add_argument("--baseline", type=Path, default=HERE / "baseline.json", metavar="FILE")
    chosen = parser.parse_args()
    try:
        return _update(chosen.baseline, chosen.only) if chosen.update else _check(chosen.baseline, chosen.only)
    except NoAnswer as reason:
        print(f"bench-guard: {reason}", file=sys.stderr)
        return _NO_ANSWER


def _update(path: Path, names: Sequence[str]) -> int:
    versions = _versions()
    baselines = json.loads(path.read_text()) if path.exists() else {}
    baselines[versions] = {**baselines.get(versions, {}), **_counts(names)}
    path.write_text(json.dumps(baselines, indent=2, sort_keys=True) + "\n")
    print(f"{path}: {versions}: {baselines[versions]}")
    return 0


def _check(path: Path, names: Sequence[str]) -> int:
    versions = _versions()
    baseline = json.loads(path.read_text()).get(versions, {}) if path.exists() else {}
    lacking = [name for name in names if name not in baseline]
    if lacking:
        raise NoAnswer(
            f"no baseline for {', '.join(lacking)} with {versions}: check out the commit to compare with, "
            "run `make bench-guard-update` there, and commit what it writes"
        )
    return max(_judged(name, count, baseline[name]) for name, count in _counts(names).items())


def _counts(names: Sequence[str]) -> dict[str, int]:
    valgrind = _found("valgrind", "install it: apt-get install valgrind")
    return {name: _count(valgrind, name) for name in names}


def _judged(name: str, count: int, before: int) -> int:
    """Print one count beside its baseline; 1 if it is too large."""
    change = count / before - 1
    verdict = "ok"
    if change > TOLERANCE:
        verdict = f"TOO MANY: at most {TOLERANCE:.0%} more is let pass"
    elif change < -TOLERANCE:
        verdict = "fewer: `make bench-guard-update` keeps what was won"
    print(f"{name:8} {count:8,} instructions, baseline {before:8,} ({change:+.1%}): {verdict}")
    return int(change > TOLERANCE)


def _versions() -> str:
    rustc = _output([_found("rustc", "install Rust"), "--version"], dict(os.environ)).split()
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python}, rustc {rustc[1]}, {platform.machine()}"


def _count(valgrind: str, name: str) -> int:
    """Return the instructions of one call."""
    if name == "sign":
        command = [_native(), "sign"]
    else:
        command = [sys.executable, str(HERE / "workloads.py"), name]
    calls = _CALLS[name]
    # Python compiles what was not compiled yet, and keeps it: not in one of the two runs.
    _output([*command, "1"], _environment())
    fewer, more = (_instructions(valgrind, [*command, str(times * calls)]) for times in (1, 2))
    return round((more - fewer) / calls)


def _native() -> str:
    """Build the core's program, with the names of its functions, and return where it is."""
    # Beside the ordinary build: with other flags in the same place each would undo the other.
    command = ["build", "--release", "--locked", "--no-default-features", "--bench", "native"]
    place = ["--target-dir", str(ROOT / "target" / "guard"), "--message-format", "json"]
    environment = {**os.environ, "CARGO_PROFILE_RELEASE_STRIP": "none"}
    built = _output([_found("cargo", "install Rust"), *command, *place], environment)
    messages = map(json.loads, built.splitlines())
    return next(
        str(message["executable"])
        for message in messages
        if message.get("executable") and message["target"]["name"] == "native"
    )


def _instructions(valgrind: str, command: list[str]) -> int:
    """Run a program and return its instructions, without those of SHA-256's compression."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        tool = [valgrind, "--tool=callgrind", "--compress-strings=no", f"--callgrind-out-file={out}"]
        _output([*tool, *command], _environment())
        return _total(out.read_text(), without="sha2::sha256::compress256")


def _environment() -> dict[str, str]:
    # Nothing of the caller's: it is read at each connect. And hashes are to be the same in each run.
    return {"PATH": os.environ["PATH"], "PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT / "python")}


def _total(callgrind: str, without: str) -> int:
    """Add up what each function itself executed."""
    total = 0
    counts = is_call = False
    for line in callgrind.splitlines():
        if line.startswith("fn="):
            counts = without not in line
        elif line.startswith("calls="):
            is_call = True  # the line after it is what the callee executed
        elif line[:1].isdigit() or line[:1] in {"+", "-", "*"}:
            if counts and not is_call:
                total += int(line.split()[1])
            is_call = False
    return total


def _output(command: list[str], environment: dict[str, str]) -> str:
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise NoAnswer(f"{' '.join(command)} failed:\n{ran.stderr}")
    return ran.stdout


def _found(program: str, advice: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise NoAnswer(f"{program} is not there: {advice}")
    return path


if __name__ == "__main__":
    sys.exit(main())
