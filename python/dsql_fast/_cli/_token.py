"""`dsql-fast token`: print one token."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

_FAILED = 1
_MISUSED = 2


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the program's parser."""
    parser = subparsers.add_parser(
        "token",
        help="print a token, to be used as a password",
        description="Print one freshly signed token, and nothing else: the password for psql and others. "
        'As in PGPASSWORD="$(dsql-fast token HOST)" psql -h HOST -U admin postgres. '
        "Whoever has it can connect until it ends.",
    )
    parser.add_argument(
        "host",
        nargs="?",
        metavar="HOST",
        help="the cluster's endpoint, or its id (then a Region is needed); default: CLUSTER_ENDPOINT, PGHOST",
    )
    parser.add_argument("--region", help="default: the endpoint's, AWS_REGION, AWS_DEFAULT_REGION, the profile's")
    parser.add_argument("--user", help="the database role; default: PGUSER, else admin")
    parser.add_argument("--expires-in", metavar="SECONDS", default="900", help="default: %(default)s")
    parser.add_argument("--profile", help="an AWS profile; beats the environment's keys")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    from .._errors import ConfigError, CredentialsError
    from .._token_request import DEFAULT_LIFETIME, lifetime_from
    from .._tokens import TokenSource

    host = args.host or os.environ.get("CLUSTER_ENDPOINT") or os.environ.get("PGHOST")
    try:
        lifetime = lifetime_from(args.expires_in or DEFAULT_LIFETIME, "--expires-in")
        token = TokenSource(
            host or "",
            args.region,
            # psql goes by PGUSER too, and a token is for one action, which the user decides.
            user=args.user or os.environ.get("PGUSER") or "admin",
            token_duration_secs=lifetime,
            profile=args.profile,
        ).token()
    except ConfigError as error:
        return _refused(error, _MISUSED)
    except CredentialsError as error:
        return _refused(error, _FAILED)
    print(token)
    return 0


def _refused(error: Exception, status: int) -> int:
    print(f"dsql-fast token: {error}", file=sys.stderr)
    return status
