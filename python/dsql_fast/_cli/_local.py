"""`dsql-fast local`: a local cluster until Ctrl-C."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from types import FrameType

    from dsql_fast.local import LocalCluster

_INSTALL_HINT = "pip install 'dsql-fast[local]'"
_LOOK_SECONDS = 0.5
# What would be used along with the cluster's keys and spoil them.
_UNSET = ("AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_PROFILE")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the program's parser."""
    parser = subparsers.add_parser(
        "local",
        help="run a local cluster that behaves like Aurora DSQL",
        description="Run a local cluster that behaves like Aurora DSQL, until Ctrl-C or SIGTERM. "
        "It listens on 127.0.0.1 only; its access keys are random and work nowhere else.",
    )
    parser.add_argument("--port", type=int, default=0, help="where to listen (default: any free)")
    parser.add_argument("--cluster-id", help="26 characters of a-z0-9 (default: random)")
    parser.add_argument("--region", default="us-east-1", help="default: %(default)s")
    parser.add_argument("--pg-bin", help="directory with initdb and postgres (default: found)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on one line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    stop = threading.Event()

    def asked_to_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    # Kept until the end: a second Ctrl-C must not break into the cleaning up.
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, asked_to_stop) for number in signals}
    try:
        return _serve(args, stop)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _serve(args: argparse.Namespace, stop: threading.Event) -> int:
    try:
        import botocore.credentials  # noqa: F401 - asked for here, to say what is missing
        import cryptography  # noqa: F401 - the same

        from dsql_fast.local import LocalCluster, LocalClusterError
    except ImportError as error:
        return _failed(f"the local cluster needs {error.name}: {_INSTALL_HINT}")
    try:
        cluster = LocalCluster(args.port, args.cluster_id, args.region, args.pg_bin)
        with cluster:
            _print(_as_json(cluster) if args.json else _as_text(cluster))
            while not stop.wait(_LOOK_SECONDS):
                if not cluster.alive:
                    return _failed("the cluster has ended by itself")
    except (LocalClusterError, ValueError) as error:
        return _failed(str(error))
    return 0


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
            f"# {cluster.host} on {cluster.hostaddr} port {cluster.port}; Ctrl-C ends it",
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
