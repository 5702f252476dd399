"""asyncpg comes in and works, by both negotiations."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from local.doors import token

if TYPE_CHECKING:
    from dsql_fast.local import LocalCluster


@pytest.mark.parametrize("direct", [False, True])
def test_asyncpg(cluster: LocalCluster, direct: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # asyncpg verifies the name that it dials and has no word for "dial there": a hosts entry.
    look_up = socket.getaddrinfo

    def hosts(host: object, *arguments: Any, **options: Any) -> Any:
        found = cluster.hostaddr if host == cluster.host else host
        return look_up(found, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", hosts)

    async def main() -> None:
        context = ssl.create_default_context(cafile=str(cluster.ca_file))
        context.set_alpn_protocols(["postgresql"])
        conn = await asyncpg.connect(
            host=cluster.host,
            port=cluster.port,
            user="admin",
            database="postgres",
            password=token(cluster),
            ssl=context,
            direct_tls=direct,
            server_settings={"application_name": "asyncpg"},
        )
        try:
            assert await conn.fetchval("select $1::int + 1", 41) == 42
            await conn.execute("create table by_asyncpg (id int)")
            await conn.copy_records_to_table("by_asyncpg", records=[(n,) for n in range(1000)])
            async with conn.transaction():
                assert len([row async for row in conn.cursor("select * from by_asyncpg")]) == 1000
            await conn.execute("drop table by_asyncpg")
        finally:
            await conn.close()

    asyncio.run(main())
