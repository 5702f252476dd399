"""Tokens by this package. Made-up keys; nothing is sent."""

from __future__ import annotations

import os
import time

from serve import serve, signing, timed
from signers import LIFETIME, where

import dsql_fast
from dsql_fast import _native

HOST, REGION = where()

credentials = dsql_fast.Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
source = dsql_fast.TokenSource(HOST, credentials=credentials)


def loop(calls):
    repeated = [None] * calls
    began = time.process_time()
    for _ in repeated:
        pass
    return {"cpu": time.process_time() - began}


def sign():
    return _native.sign_token(credentials, HOST, REGION, "DbConnectAdmin", LIFETIME)[0]


serve(
    {
        "hit": timed(source.token),
        "empty": timed(source._noop),
        "loop": loop,
        **signing("sign", sign),
        **signing("generate", lambda: dsql_fast.generate_token(HOST, credentials=credentials)),
    },
    ("dsql-fast",),
)
