"""`dsql-fast local`: a local cluster until Ctrl-C, which is told things on standard input."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import shlex
import signal
import sys
from typing import TYPE_CHECKING, Any

from . import _local_commands as local_commands

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from dsql_fast.local import LocalCluster

_INSTALL_HINT = "pip install 'dsql-fast[local]'"
_LOOK_SECONDS = 0.5
_LONGEST_LINE = 8 * 1024  # bytes
# What would be used along with the cluster's keys and spoil them.
_UNSET = ("AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_PROFILE")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the program's parser."""
    parser = subparsers.add_parser(
        "local",
        help="run a local cluster that behaves like Aurora DSQL",
        description="Run a local cluster that behaves like Aurora DSQL, until Ctrl-C or SIGTERM. "
        "It listens on 127.0.0.1 only; its access keys are random and work nowhere else. "
        "While it runs it takes commands on standard input, a line each; `help` lists them.",
    )
    parser.add_argument("--port", type=int, default=0, help="where to listen (default: any free)")
    parser.add_argument("--cluster-id", help="26 characters of a-z0-9 (default: random)")
    parser.add_argument("--region", default="us-east-1", help="default: %(default)s")
    parser.add_argument("--pg-bin", help="directory with initdb and postgres (default: found)")
    parser.add_argument(
        "--certificate", default="valid", help="valid, self-signed, expired, wrong-name or unknown-ca"
    )
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        type=_limit,
        metavar="NAME=VALUE",
        help="a limit: rate=5, session_seconds=off; a wrong name lists them all; may be repeated",
    )
    for what in ("connect", "commit"):
        parser.add_argument(
            f"--{what}-latency",
            type=local_commands.seconds,
            metavar="SECONDS",
            help=f"how much longer it takes to {what}: 0.1, or the least and the most: 0.005-0.03",
        )
    parser.add_argument(
        "--do",
        action="append",
        default=[],
        metavar="COMMAND",
        help="a command to begin with, as on standard input: 'fail-commits 3 OC000'; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print JSON objects, each on one line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)

    def asked_to_stop(_number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(wake, b"\0")

    # Kept until the end: a second Ctrl-C must not break into the cleaning up. SIGTTIN would stop a cluster that
    # runs in the background of a terminal when it looks for commands; ignored, the look fails.
    before = {number: signal.signal(number, asked_to_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    before[signal.SIGTTIN] = signal.signal(signal.SIGTTIN, signal.SIG_IGN)
    try:
        return _serve(args, woken)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(woken)
        os.close(wake)


def _serve(args: argparse.Namespace, woken: int) -> int:
    try:
        import botocore.credentials  # noqa: F401 - asked for here, to say what is missing
        import cryptography  # noqa: F401 - the same

        from dsql_fast.local import LocalCluster, LocalClusterError
    except ImportError as error:
        return _failed(f"the local cluster needs {error.name}: {_INSTALL_HINT}")
    try:
        cluster = LocalCluster(
            args.port,
            args.cluster_id,
            args.region,
            args.pg_bin,
            certificate=args.certificate,
            **dict(args.limit),
        )
        with cluster:
            cluster.faults.latency(connect=args.connect_latency, commit=args.commit_latency)
            told = [(line, local_commands.carry_out(cluster, line)) for line in args.do]
            _print(_as_json(cluster) if args.json else _as_text(cluster))
            for line, result in told:
                if result is not None:
                    _answer(line, result, in_json=args.json)
            for line in _lines(cluster, woken):
                _obey(cluster, line, in_json=args.json)
            if not cluster.alive:
                return _failed("the cluster has ended by itself")
    except (LocalClusterError, local_commands.BadCommand, ValueError, TypeError) as error:
        return _failed(str(error))
    return 0


def _lines(cluster: LocalCluster, woken: int) -> Iterator[str]:
    """The lines of standard input as they come; ends when told to stop, or with the cluster.

    Not with standard input: it may be closed, or /dev/null, and the cluster goes on.
    """
    source = _standard_input()
    cutter = _LineCutter()
    while cluster.alive:
        watched = [woken] if source is None else [woken, source]
        ready, _, _ = select.select(watched, [], [], _LOOK_SECONDS)
        if woken in ready:
            return
        if source is None or not ready:
            continue
        try:
            part = os.read(source, _LONGEST_LINE)
        except OSError:
            part = b""
        if not part:
            if os.isatty(source):  # Ctrl-D, or in the background: who types would wait for an answer
                print("no more commands are read; Ctrl-C or SIGTERM ends the cluster", file=sys.stderr, flush=True)
            source = None
        # The last line may lack its end.
        for line in cutter.feed(part or b"\n"):
            text = line.decode(errors="replace").strip()
            if text and not text.startswith("#"):
                yield text


class _LineCutter:
    """Cuts bytes into lines; of one that is too long nothing but a name is left, which is no command's."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, part: bytes) -> Iterator[bytes]:
        for piece in part.splitlines(keepends=True):
            if len(self._pending) <= _LONGEST_LINE:
                self._pending += piece
            if piece.endswith(b"\n"):
                yield bytes(self._pending) if len(self._pending) <= _LONGEST_LINE else b"too-long-a-line"
                self._pending.clear()


def _standard_input() -> int | None:
    try:
        return sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):  # closed, or replaced by what is no file
        return None


def _obey(cluster: LocalCluster, line: str, *, in_json: bool) -> None:
    """Carry out one line and answer it: on stderr for people, on stdout for programs."""
    from dsql_fast.local import LocalClusterError

    try:
        result = local_commands.carry_out(cluster, line)
    except (local_commands.BadCommand, LocalClusterError) as error:
        if in_json:
            _print(json.dumps({"command": line, "error": str(error)}))
        else:
            print(error, file=sys.stderr, flush=True)
        return
    _answer(line, result, in_json=in_json)


def _answer(line: str, result: Any, *, in_json: bool) -> None:
    if in_json:
        _print(local_commands.as_json(line, result))
    else:
        print(local_commands.as_text(result), file=sys.stderr, flush=True)


def _limit(text: str) -> tuple[str, float | None]:
    """Read `name=value`; what the limits are is not known here."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"NAME=VALUE is expected, not {text!r}")
    try:
        return name, local_commands.optional_number(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{name} must be a number or off, not {value!r}") from None


def _as_json(cluster: LocalCluster) -> str:
    return json.dumps(
        {
            "host": cluster.host,
            "hostaddr": cluster.hostaddr,
            "port": cluster.port,
            "region": cluster.region,
            "cluster_id": cluster.cluster_id,
            "ca_file": str(cluster.ca_file),
            "environment": cluster.environment(),
        }
    )


def _as_text(cluster: LocalCluster) -> str:
    exports = [f"export {name}={shlex.quote(value)}" for name, value in cluster.environment().items()]
    return "\n".join(
        [
            f"# {cluster.host} on {cluster.hostaddr} port {cluster.port}; Ctrl-C ends it, `help` lists commands",
            "# For any program, in another terminal:",
            f"unset {' '.join(_UNSET)}",
            *exports,
            "# then, with psql:",
            '#   PGPASSWORD="$(dsql-fast token)" psql',
            "# or in Python:",
            "#   import dsql_fast",
            f'#   with dsql_fast.connect("{cluster.host}") as conn:',
            '#       print(conn.execute("select current_user").fetchone())',
        ]
    )


def _print(text: str) -> None:
    # Flushed: whoever reads this through a pipe is waiting for it.
    print(text, flush=True)


def _failed(sentence: str) -> int:
    print(f"dsql-fast local: {sentence}", file=sys.stderr)
    return 1
