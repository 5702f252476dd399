"""Many connects at once by the official connector's own async connect, as it comes."""

from __future__ import annotations

import os

import aurora_dsql_psycopg
from connecting import arguments
from serve import serve
from together import together

# It names itself.
given = {name: value for name, value in arguments().items() if name != "fallback_application_name"}


async def official():
    return await aurora_dsql_psycopg.DSQLAsyncConnection.connect(**given, region=os.environ["AWS_REGION"])


serve({"official": together(official)}, ("aurora-dsql-python-connector", "psycopg"))
