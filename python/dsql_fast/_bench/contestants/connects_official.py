"""Connects by the official connector, as it comes."""

from __future__ import annotations

import os

import aurora_dsql_psycopg
from connecting import alone, arguments, in_threads
from serve import serve

# It names itself.
given = {name: value for name, value in arguments().items() if name != "fallback_application_name"}


def official():
    return aurora_dsql_psycopg.connect(**given, region=os.environ["AWS_REGION"])


serve(
    {"official": alone(official), **{f"official-{number}": in_threads(number, official) for number in (1, 8)}},
    ("aurora-dsql-python-connector", "psycopg"),
)
