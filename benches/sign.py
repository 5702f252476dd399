"""A token signed, beside a botocore client that is kept. Made-up keys; nothing is sent."""

from __future__ import annotations

from statistics import median

import boto3

import dsql_fast
from dsql_fast import _native

from ._timing import Figure, Goal, per_call, ratios

_HOST, _REGION = "foo0bar1baz2quux3quuux4q00.dsql.us-east-1.on.aws", "us-east-1"
_KEYS = ("AKIAIOSFODNN7EXAMPLE", "made-up")
_ROUNDS = 15
_GOAL = 25.0

_NATIVE = "sign_token, the native function"
_PUBLIC = "dsql_fast.generate_token()"
_PEER = "a kept boto3 client"


def measure() -> list[Figure]:
    credentials = dsql_fast.Credentials(*_KEYS)
    session = boto3.Session(aws_access_key_id=_KEYS[0], aws_secret_access_key=_KEYS[1], region_name=_REGION)
    client = session.client("dsql")
    functions = {
        _NATIVE: (lambda: _native.sign_token(credentials, _HOST, _REGION, "DbConnectAdmin", 900), 2_000),
        _PUBLIC: (lambda: dsql_fast.generate_token(_HOST, credentials=credentials), 2_000),
        _PEER: (lambda: client.generate_db_connect_admin_auth_token(_HOST, _REGION, 900), 100),
    }
    times = {name: [one * 1e6 for one in each] for name, each in per_call(functions, _ROUNDS).items()}
    figures = []
    for name in (_NATIVE, _PUBLIC):
        ratio = median(ratios(times[_PEER], times[name]))
        figures.append(
            Figure(
                name,
                median(times[name]),
                "us",
                peer=_PEER,
                peer_value=median(times[_PEER]),
                ratio=ratio,
                ratio_of="of the peer",
                goal=Goal(f"at least {_GOAL:g} times as fast", ratio >= _GOAL),
            )
        )
    return figures
