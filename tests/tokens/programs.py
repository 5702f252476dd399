"""Run a program in an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# Far more than any of them takes, and far less than their sources hang (600 s).
PATIENCE = 60.0

_BEGIN = """
import asyncio, os, sys, threading, time
import dsql_fast
from dsql_fast import Credentials, TokenSource, _tokens, _waiting

HOST = "cluster000000000000000000a.dsql.us-east-1.on.aws"
KEYS = Credentials("AKIDFAKE", "fake-secret")

def hang():
    hanging.set()
    time.sleep(600)

hanging = threading.Event()

def in_child(work):
    '''Fork; run `work` in the child, which ends as a program does; return how it ended.'''
    child = os.fork()
    if child == 0:
        work()
        sys.exit(0)
    ended, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)
"""


def run(program: str, directory: Path, *arguments: str) -> str:
    """Run a program, and see it end well and in silence. Returns what it printed."""
    file = directory / "program.py"
    file.write_text(_BEGIN + program)
    # Of fork() in a program with threads, Python 3.12 and later warn.
    ended = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", str(file), *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout
