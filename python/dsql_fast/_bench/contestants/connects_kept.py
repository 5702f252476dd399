"""Connects by psycopg with a token that a kept boto3 client signs for each."""

from __future__ import annotations

import psycopg
from connecting import alone, arguments, in_threads
from kept_client import sign
from serve import serve

given = arguments()


def kept():
    return psycopg.connect(**given, password=sign())


serve(
    {"kept": alone(kept), **{f"kept-{number}": in_threads(number, kept) for number in (1, 8)}},
    ("psycopg", "boto3"),
)
