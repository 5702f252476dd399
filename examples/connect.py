"""One connection. The cluster's endpoint is in CLUSTER_ENDPOINT, AWS credentials are where AWS has them.

To try it without AWS: `dsql-fast local` in another terminal, and the lines that it prints in this one.
"""
# ruff: noqa: INP001, T201

import os

import dsql_fast

with dsql_fast.connect(os.environ["CLUSTER_ENDPOINT"]) as conn:
    user, now = conn.execute("select current_user, now()").fetchone()
    print(f"connected as {user} at {now}")
