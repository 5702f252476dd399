"""``connect_host`` leads to a server; that it is the right one is for the certificate to say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

import dsql_fast
from safety.doors import HOST, assert_nothing_secret
from safety.recorder import Recorder

if TYPE_CHECKING:
    from conftest import Keys
    from safety.conftest import Certificates


def test_another_certificate_is_refused_over_it_too(certificates: Certificates, aws_keys: Keys) -> None:
    with Recorder(certificates.bad["wrong name"]) as server:
        with pytest.raises(psycopg.OperationalError, match="host name"):
            dsql_fast.connect(
                HOST, connect_host="localhost", port=server.port, sslrootcert=str(certificates.ours.root)
            )
        seen = server.settle()
    assert set(seen.sni) == {HOST}
    assert_nothing_secret(seen, aws_keys)


def test_the_host_is_sent_as_sni_and_signed(certificates: Certificates, aws_keys: Keys) -> None:
    with Recorder(certificates.good) as server:
        dsql_fast.connect(
            HOST,
            connect_host="localhost",
            port=server.port,
            sslrootcert=str(certificates.ours.root),
            options="-c amzn-cluster-id=abc",
        ).close()
        seen = server.settle()
    assert seen.sni == [HOST]
    assert seen.passwords[0].startswith(f"{HOST}/")
    # What PrivateLink without private DNS needs (documented by AWS).
    assert seen.start_ups[0]["options"] == "-c amzn-cluster-id=abc"
