"""Tokens by this package and by a boto3 client that is kept. Made-up keys; nothing is sent."""

from __future__ import annotations

import time

import boto3
from serve import serve, timed

import dsql_fast
from dsql_fast import _native

HOST, REGION = "foo0bar1baz2quux3quuux4q00.dsql.us-east-1.on.aws", "us-east-1"
KEYS = ("AKIAIOSFODNN7EXAMPLE", "made-up")

credentials = dsql_fast.Credentials(*KEYS)
source = dsql_fast.TokenSource(HOST, credentials=credentials)
client = boto3.Session(aws_access_key_id=KEYS[0], aws_secret_access_key=KEYS[1], region_name=REGION).client("dsql")


def loop(calls):
    repeated = [None] * calls
    began = time.perf_counter()
    for _ in repeated:
        pass
    return {"wall": time.perf_counter() - began}


serve(
    {
        "hit": timed(source.token),
        "empty": timed(source._noop),
        "loop": loop,
        "sign": timed(lambda: _native.sign_token(credentials, HOST, REGION, "DbConnectAdmin", 900)),
        "generate": timed(lambda: dsql_fast.generate_token(HOST, credentials=credentials)),
        "kept": timed(lambda: client.generate_db_connect_admin_auth_token(HOST, REGION, 900)),
    },
    ("dsql-fast", "boto3"),
)
