"""Many connects at once: by this package, by psycopg with a fixed password, and with a kept boto3 client."""

from __future__ import annotations

import psycopg
from connecting import arguments
from kept_client import sign
from serve import serve
from together import together

import dsql_fast

given = arguments()
where = {name: given[name] for name in ("host", "hostaddr", "port", "sslrootcert")}
token = dsql_fast.generate_token(given["host"])

serve(
    {
        "ours": together(lambda: dsql_fast.connect_async(**where)),
        "psycopg": together(lambda: psycopg.AsyncConnection.connect(**given, password=token)),
        "kept": together(lambda: psycopg.AsyncConnection.connect(**given, password=sign())),
    },
    ("dsql-fast", "psycopg", "boto3"),
)
