"""Connect with psycopg2 in all the ways that the official connector's page has."""

import os

import aurora_dsql_psycopg2 as dsql
import psycopg2.extras
from botocore.credentials import CredentialProvider, Credentials

HOST = os.environ["CLUSTER_ENDPOINT"]
REGION = os.environ["REGION"]
CLUSTER_ID = HOST.partition(".")[0]


class Vault(CredentialProvider):
    METHOD = "vault"
    CANONICAL_NAME = "vault"

    def load(self):
        return Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])


def ask(conn):
    with conn.cursor() as cur:
        cur.execute("SELECT current_user, current_database(), 1")
        print(cur.fetchone())
    conn.close()


config = {"host": HOST, "region": REGION, "user": "admin"}
ask(dsql.connect(**config))
ask(dsql.connect(HOST))
ask(dsql.connect(CLUSTER_ID))
ask(dsql.connect(CLUSTER_ID, region=REGION))
ask(dsql.connect(f"postgresql://{HOST}/postgres?user=admin&token_duration_secs=15"))
ask(dsql.connect(dsn=f"postgresql://nobody@{HOST}/nowhere", user="admin", dbname="postgres"))
ask(dsql.connect(**config, profile="default", token_duration_secs="15", password="left-over"))
ask(dsql.connect(**config, custom_credentials_provider=Vault()))
ask(dsql.connect(**config, cursor_factory=psycopg2.extras.DictCursor))
ask(dsql.connect(**config, connection_factory=psycopg2.extras.DictConnection))
ask(dsql.connect(**config, sslmode="verify-full", sslrootcert="./root.pem"))
ask(dsql.connect(**config, sslmode="verify-full", sslrootcert="system"))
print(dsql.apilevel, dsql.threadsafety, dsql.paramstyle)
