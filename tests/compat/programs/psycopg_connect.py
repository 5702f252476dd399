"""Connect with psycopg in all the ways that the official connector's page has."""

import os

import aurora_dsql_psycopg as dsql

HOST = os.environ["CLUSTER_ENDPOINT"]
REGION = os.environ["REGION"]
CLUSTER_ID = HOST.partition(".")[0]


def ask(conn):
    with conn.cursor() as cur:
        cur.execute("SELECT current_user, current_database(), 1")
        print(cur.fetchone())
    conn.close()


config = {
    "host": HOST,
    "region": REGION,
    "user": "admin",
}
ask(dsql.connect(**config))
ask(dsql.connect(HOST))
ask(dsql.connect(CLUSTER_ID))
ask(dsql.connect(CLUSTER_ID, region=REGION))
ask(dsql.connect(host=CLUSTER_ID, region=REGION, dbname="postgres"))
ask(dsql.connect(f"postgresql://{HOST}/postgres?user=admin&token_duration_secs=15"))
ask(
    dsql.connect(
        f"postgresql://nobody@{HOST}/nowhere?token_duration_secs=x",
        user="admin",
        dbname="postgres",
        token_duration_secs="15",
    )
)
ask(dsql.connect(f"postgresql://admin:left-over@{HOST}/postgres"))
ask(dsql.connect(**config, profile="default", token_duration_secs="15"))
ask(
    dsql.connect(
        **config, token_duration_secs=3600, connect_timeout=10, application_name="shop", password="left-over"
    )
)

conn = dsql.DSQLConnection.connect(**config, autocommit=True)
print(conn.autocommit, isinstance(conn, dsql.DSQLConnection))
ask(conn)

for wrong in ({"token_duration_secs": "soon"}, {"host": None}):
    try:
        dsql.connect(**{**config, **wrong})
    except (ValueError, TypeError) as error:
        # The official connector trips over a host that is None by a TypeError.
        print("refused", wrong, isinstance(error, Exception))

print(dsql.apilevel, dsql.threadsafety, dsql.paramstyle)
