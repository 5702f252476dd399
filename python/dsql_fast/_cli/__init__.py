"""The command `dsql-fast`.

Each subcommand is a module with ``add_parser(subparsers)`` and ``run(args)``, which returns the exit status: 0 for
done, 1 for failed, 2 for a command that cannot be understood. What is wrong is said in words on stderr.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from . import _bench, _demo, _local, _token

if TYPE_CHECKING:
    from collections.abc import Sequence

_INTERRUPTED = 130  # what shells say of a program that Ctrl-C ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the arguments; default: the process's.

    Returns:
        The exit status.
    """
    args = _parser().parse_args(argv)
    try:
        status: int = args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`). Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dsql-fast",
        description="Tools for Amazon Aurora DSQL: tokens, a local cluster, a demo on it, and benches.",
    )
    parser.add_argument("--version", action=_PrintVersion)
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (_token, _local, _demo, _bench):
        command.add_parser(subparsers)
    return parser


class _PrintVersion(argparse.Action):
    """``--version``. Looking the version up takes longer than most commands: only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"dsql-fast {version('dsql-fast')}")
        parser.exit()
