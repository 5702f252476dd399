"""Tokens by one of the other signers in Python, in the environment that it needs. Argument: its name."""

from __future__ import annotations

import sys

from serve import serve, signing
from signers import PACKAGES, SIGNERS

name = sys.argv[1]
serve(signing(name, SIGNERS[name]()), PACKAGES[name])
