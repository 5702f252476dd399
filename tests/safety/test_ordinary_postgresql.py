"""DB_USE_IAM=false: a password to an ordinary PostgreSQL, over TLS that is verified as ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psycopg
import pytest

import dsql_fast
from dsql_fast import Config
from safety.leaks import assert_clean
from safety.recorder import Behaviour, Recorder

if TYPE_CHECKING:
    from safety.conftest import Certificates

HOST = "cluster000000000000000000a.dsql.us-east-1.on.aws"  # as the certificates have it; any name would do
PASSWORD = "hunter2NeverShown"


def config_for(server: Recorder, certificates: Certificates, **environ: str) -> Config:
    return Config.from_env(
        {
            "DB_USE_IAM": "false",
            "DB_HOST": HOST,
            "DB_PORT": str(server.port),
            "DB_USER": "app",
            "DB_NAME": "things",
            "DB_PASSWORD": PASSWORD,
            "PGHOSTADDR": "127.0.0.1",
            "PGSSLROOTCERT": str(certificates.ours.root),
            "PGCONNECT_TIMEOUT": "20",
            **environ,
        }
    )


def test_the_password_goes_over_verified_tls(certificates: Certificates) -> None:
    with Recorder(certificates.good) as server:
        config = config_for(server, certificates)
        dsql_fast.connect(config).close()

        async def main() -> None:
            await (await dsql_fast.connect_async(config)).close()

        asyncio.run(main())
        with dsql_fast.ConnectionPool(config, min_size=1, num_workers=1) as pool:
            pool.wait()
        seen = server.settle()
    assert seen.passwords == [PASSWORD] * 3
    assert seen.direct == 0
    assert {(one["user"], one["database"]) for one in seen.start_ups} == {("app", "things")}


@pytest.mark.parametrize("bad", ["self-signed", "wrong name", "no TLS"])
def test_it_does_not_go_elsewhere(certificates: Certificates, bad: str) -> None:
    certificate = None if bad == "no TLS" else certificates.bad[bad]
    with Recorder(certificate, Behaviour(answer=b"N") if bad == "no TLS" else None) as server:
        with pytest.raises(psycopg.OperationalError) as caught:
            dsql_fast.connect(config_for(server, certificates))
        seen = server.settle()
    assert not seen.passwords
    assert PASSWORD.encode() not in seen.bytes
    assert_clean(caught.value, [PASSWORD])


@pytest.mark.parametrize("mode", ["disable", "require"])
def test_a_server_that_nobody_verified_does_not_get_it_as_it_is(certificates: Certificates, mode: str) -> None:
    """The server asks for the password in clear; SCRAM or MD5 it would get."""
    with Recorder(certificates.bad["self-signed"] if mode == "require" else None) as server:
        with pytest.raises(psycopg.OperationalError, match="authentication method requirement"):
            dsql_fast.connect(config_for(server, certificates, PGSSLMODE=mode, PGSSLROOTCERT=""))
        seen = server.settle()
    assert not seen.passwords


def test_a_refusal_shows_no_password(certificates: Certificates) -> None:
    with Recorder(certificates.good, Behaviour(refuse_password=True)) as server:
        with pytest.raises(psycopg.OperationalError) as caught:
            dsql_fast.connect(config_for(server, certificates))
        assert server.settle().passwords == [PASSWORD]
    assert_clean(caught.value, [PASSWORD])
