"""The session parameters that DSQL lets a client set."""

from __future__ import annotations

# Documented by AWS; names are case-insensitive, as all of PostgreSQL's settings are.
ACCEPTED = frozenset(
    {
        "application_name",
        "client_encoding",
        "datestyle",
        "extra_float_digits",
        "intervalstyle",
        "timezone",
        "search_path",
        "enable_bitmapscan",
        "enable_hashjoin",
        "enable_indexonlyscan",
        "enable_indexscan",
        "enable_material",
        "enable_mergejoin",
        "enable_nestloop",
        "enable_seqscan",
        "dsql.enable_batched_nestloop",
        "disable_sync_create_index",
    }
)
# DSQL's own, which the PostgreSQL behind does not know.
UNDOTTED = frozenset({"disable_sync_create_index"})
UNKNOWN_TO_POSTGRES = UNDOTTED | {"dsql.enable_batched_nestloop"}
# DSQL has one isolation level; these say which (the values are judged, not the names).
ISOLATION = frozenset({"transaction_isolation", "default_transaction_isolation"})
