"""`dsql-fast demo`: what a busy worker does, on a local cluster, and whether all of it held."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the program's parser."""
    parser = subparsers.add_parser(
        "demo",
        help="show all of it on a local cluster",
        description="Start a local cluster and do with it what a busy worker does: connect, move money and retry "
        "the conflicts, open and close connections by the hundred, outlive a token, be refused. Takes about 20 "
        "seconds and needs no AWS account. The exit status is 0 when every check held.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document, and nothing else")
    parser.add_argument("--quick", action="store_true", help="do about a tenth of it")
    parser.add_argument("--plain", action="store_true", help="plain lines, in a terminal too")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    from ._program import run as run_program

    return run_program(args)
