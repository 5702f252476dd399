"""The peers that are installed on demand, each into an environment of its own."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._run import Run

PEERS: dict[str, str] = {
    "official": "the official connector, aurora-dsql-python-connector 0.2.7, with psycopg",
}
"""By name, what each is."""


def had(run: Run, peer: str, what: str | None = None) -> tuple[str, ...] | None:
    """Return what runs in a peer's environment.

    Args:
        run: that may want it, and is told why it does without.
        peer: its name, of `PEERS`.
        what: name of what is skipped without it; default: what the peer is.
    """
    if not run.wants(peer):
        return None
    if find_spec("aurora_dsql_psycopg") is not None:
        return (sys.executable,)
    run.skipped(what or PEERS[peer], "it is not installed")
    return None
