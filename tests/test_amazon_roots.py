"""The bundled roots are Amazon's five, as certifi has them."""

from __future__ import annotations

import ssl
import sys
import time
from hashlib import sha256
from importlib import import_module
from pathlib import Path

from dsql_fast._config import AMAZON_ROOTS

TOOLS = Path(__file__).parent.parent / "tools"
# SHA-256 of the certificates, as https://www.amazontrust.com/repository/ lists them.
FINGERPRINTS = {
    "8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e",
    "1ba5b2aa8c65401a82960118f80bec4f62304d83cec4713a19c39c011ea46db4",
    "18ce6cfe7bf14e60b2e347b8dfe868cb31d02ebb3ada271569f50343b46db3a4",
    "e35d28419ed02025cfa69038cd623962458da5c695fbdea3c22b0bfb25897092",
    "568d6905a2c88708a4b3025190edcfedb1974a606a13c6e5290fcb2ae63edab5",
}


def test_the_file_is_what_the_tool_makes() -> None:
    sys.path.insert(0, str(TOOLS))
    try:
        amazon_roots = import_module("amazon_roots")
    finally:
        sys.path.remove(str(TOOLS))
    assert Path(AMAZON_ROOTS).read_text(encoding="ascii") == amazon_roots.amazon_roots()
    assert Path(AMAZON_ROOTS).samefile(amazon_roots.TARGET)


def test_the_roots_are_the_five_and_hold_for_years() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(AMAZON_ROOTS)
    roots = context.get_ca_certs(binary_form=True)
    assert {sha256(root).hexdigest() for root in roots} == FINGERPRINTS
    a_year = time.time() + 365 * 86400
    for root in context.get_ca_certs():
        assert ssl.cert_time_to_seconds(str(root["notAfter"])) > a_year
        assert root["issuer"] == root["subject"]
