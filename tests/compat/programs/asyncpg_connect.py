"""Connect with asyncpg in all the ways that the official connector's page has."""

import asyncio
import os

import aurora_dsql_asyncpg as dsql
from botocore.credentials import CredentialProvider, Credentials

HOST = os.environ["CLUSTER_ENDPOINT"]
REGION = os.environ["REGION"]
CLUSTER_ID = HOST.partition(".")[0]


class Vault(CredentialProvider):
    METHOD = "vault"
    CANONICAL_NAME = "vault"

    def load(self):
        return Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])


async def ask(connecting):
    conn = await connecting
    print(tuple(await conn.fetchrow("SELECT current_user::text, current_database()::text, 1")))
    await conn.close()


async def main():
    config = {"host": HOST, "region": REGION, "user": "admin"}
    await ask(dsql.connect(**config))
    await ask(dsql.connect(HOST))
    await ask(dsql.connect(CLUSTER_ID))
    await ask(dsql.connect(CLUSTER_ID, region=REGION))
    await ask(dsql.connect(f"postgresql://{HOST}/postgres?user=admin&token_duration_secs=15"))
    await ask(dsql.connect(f"postgresql://nobody@{HOST}/nowhere", user="admin", database="postgres"))
    await ask(dsql.connect(**config, profile="default", token_duration_secs="15", password="left-over"))
    await ask(dsql.connect(**config, custom_credentials_provider=Vault()))
    await ask(dsql.connect(**config, ssl="verify-full", sslrootcert="./root.pem"))
    await ask(dsql.connect(**config, sslmode="verify-full", sslrootcert="./root.pem"))
    await ask(dsql.connect(f"postgresql://{HOST}/postgres?sslmode=verify-full&sslrootcert=./root.pem"))
    await ask(dsql.connect(**config, ssl="require", timeout=30, command_timeout=30, statement_cache_size=0))
    await ask(dsql.connect(**config, server_settings={"search_path": "public"}, application_name="shop"))


asyncio.run(main())
