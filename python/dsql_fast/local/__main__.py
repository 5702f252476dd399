"""`python -m dsql_fast.local`: the process that `LocalCluster` starts for itself."""

from __future__ import annotations

import socket
import sys

from dsql_fast.local._service import serve


def main(arguments: list[str]) -> int:
    """Serve the program that holds the other end of the given descriptor."""
    if len(arguments) != 1 or not arguments[0].isdigit():
        sys.stderr.write("this is a part of LocalCluster; to run a cluster by hand, use: dsql-fast local\n")
        return 2
    return serve(socket.socket(fileno=int(arguments[0])))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
