"""Bring one's own credentials, name a profile, and have none."""

import os

import aurora_dsql_psycopg as dsql
from botocore.credentials import CredentialProvider, Credentials
from botocore.exceptions import BotoCoreError, NoCredentialsError

HOST = os.environ["CLUSTER_ENDPOINT"]
KEYS = os.environ.pop("AWS_ACCESS_KEY_ID"), os.environ.pop("AWS_SECRET_ACCESS_KEY")


class Vault(CredentialProvider):
    METHOD = "vault"
    CANONICAL_NAME = "vault"
    asked = 0

    def load(self):
        self.asked += 1
        return Credentials(*KEYS)


def ask(conn):
    print(conn.execute("SELECT current_user").fetchone())
    conn.close()


vault = Vault()
ask(dsql.connect(HOST, custom_credentials_provider=vault))
print(vault.asked > 0)

with dsql.create_pool(
    "", kwargs={"host": HOST, "custom_credentials_provider": vault}, min_size=1, max_size=1
) as pool:
    with pool.connection() as conn:
        print(conn.execute("SELECT 1").fetchone())

ask(dsql.connect(HOST, profile="default"))
ask(dsql.connect(HOST, profile="other"))
try:
    dsql.connect(HOST, profile="no-such-profile")
except BotoCoreError:
    print("no such profile")

os.environ["AWS_SHARED_CREDENTIALS_FILE"] = "no-such-file"
try:
    dsql.connect(HOST)
except NoCredentialsError:
    print("no credentials")
