"""Say how the cluster's certificate is verified; the roots lie in the working directory."""

import os

import aurora_dsql_psycopg as dsql

HOST = os.environ["CLUSTER_ENDPOINT"]

for tls in (
    {"sslmode": "verify-full", "sslrootcert": "./root.pem"},
    {"sslmode": "verify-full", "sslrootcert": "system"},
    {"sslmode": "verify-ca", "sslrootcert": "./root.pem"},
    {"sslmode": "require"},
    {"sslmode": "verify-full", "sslrootcert": "./root.pem", "sslnegotiation": "direct"},
):
    with dsql.connect(host=HOST, **tls) as conn:
        print(tls, conn.execute("SELECT 1").fetchone(), conn.pgconn.ssl_in_use)

conn = dsql.connect(f"postgresql://{HOST}/postgres?sslmode=verify-full&sslrootcert=./root.pem")
print(conn.execute("SELECT 2").fetchone())
conn.close()
