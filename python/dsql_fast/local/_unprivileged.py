"""Runs a program as PostgreSQL wants to be run: not as root, and not longer than its parent.

Run as a script: `python -I -S _unprivileged.py PROGRAM ARGUMENT...`. It becomes the program by
exec. A process of its own, because what it does to itself must not be done in a process with
threads, nor to the gateway.
"""

from __future__ import annotations

import ctypes
import os
import sys

_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1
_SIGQUIT = 3  # PostgreSQL's immediate shutdown
EXIT_STILL_ROOT = 97
EXIT_NOT_RUN = 98


def _own_namespace(libc: ctypes.CDLL) -> bool:
    return hasattr(libc, "unshare") and libc.unshare(_CLONE_NEWUSER) == 0


def _drop_root(libc: ctypes.CDLL) -> bool:
    """Stop being root, by the way that leaves the least behind.

    PostgreSQL refuses to run with user id 0. In a user namespace without an id map every id reads
    as "nobody", while files still belong to whom they did: no system user is added, no ownership
    changed. Where that is forbidden, `nobody` himself: the caller has given him the directory.
    """
    if _own_namespace(libc):
        return True
    try:
        nobody = int(os.environ["DSQL_FAST_NOBODY"])
        os.setgroups([])
        os.setgid(nobody)
        os.setuid(nobody)
    except (KeyError, OSError):
        return False
    return True


def main() -> int:
    """Do it; returns only if it cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.argv[1:] == ["--probe"]:
        return 0 if _own_namespace(libc) else EXIT_STILL_ROOT
    if os.geteuid() == 0 and not _drop_root(libc):
        sys.stderr.write(
            "PostgreSQL does not run as root, and neither a user namespace nor the user "
            "'nobody' could be used instead\n"
        )
        return EXIT_STILL_ROOT
    if hasattr(libc, "prctl"):
        # After the change of user, which clears it. If the gateway is killed, so is PostgreSQL.
        libc.prctl(_PR_SET_PDEATHSIG, _SIGQUIT, 0, 0, 0)
    try:
        os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.stderr.write(f"{sys.argv[1]} cannot be run: {error.strerror}\n")
        return EXIT_NOT_RUN


if __name__ == "__main__":
    sys.exit(main())
