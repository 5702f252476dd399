"""Write `python/dsql_fast/amazon-roots.pem`: the Amazon Trust Services roots, out of certifi's bundle.

    .venv/bin/python tools/amazon_roots.py

Amazon Trust Services lists five roots that its services' certificates lead to: Amazon Root CA 1 to 4, and
Starfield Services Root Certificate Authority - G2. `tests/test_amazon_roots.py` holds the file against certifi.
"""

from __future__ import annotations

import re
from pathlib import Path

import certifi

ROOTS = (
    "Amazon Root CA 1",
    "Amazon Root CA 2",
    "Amazon Root CA 3",
    "Amazon Root CA 4",
    "Starfield Services Root Certificate Authority - G2",
)
TARGET = Path(__file__).parent.parent / "python" / "dsql_fast" / "amazon-roots.pem"
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def amazon_roots() -> str:
    """Return the roots in PEM, each below its name.

    Raises:
        LookupError: certifi does not have one of them.
    """
    bundle = Path(certifi.where()).read_text(encoding="ascii")
    parts = ["# Amazon Trust Services roots, from certifi (MPL-2.0: these are data). See tools/amazon_roots.py\n"]
    for name in ROOTS:
        label = f'# Label: "{name}"'
        start = bundle.find(label)
        if start < 0:
            raise LookupError(f"certifi has no {name!r}")
        found = _PEM.search(bundle, start)
        if found is None:
            raise LookupError(f"certifi has no certificate below {label}")
        parts.append(f"# {name}\n{found.group()}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    TARGET.write_text(amazon_roots(), encoding="ascii")
