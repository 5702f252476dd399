"""The peers that are installed on demand, each into an environment of its own."""

from __future__ import annotations

PEERS: dict[str, str] = {}
"""By name, what each is."""
