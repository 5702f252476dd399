"""libpq: its parameters, the variables that it reads, and the versions that brought what is needed here.

The settings of a connection are held against these tables (`_config`); `_config.driver_arguments` writes them
for libpq.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# SNI came with libpq 14; DSQL refuses a connection without it.
OLDEST_LIBPQ = 140000
DIRECT_TLS_LIBPQ = 170000
REQUIRE_AUTH_LIBPQ = 160000

# libpq's connection parameters (PostgreSQL 18) that go through as the caller gives them.
PASSED = (
    "application_name",
    "client_encoding",
    "connect_timeout",
    "fallback_application_name",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "options",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcrl",
    "sslcrldir",
    "sslkeylogfile",
    "sslmode",
    "sslnegotiation",
    "sslrootcert",
    "tcp_user_timeout",
)
# Those that have no place in a connection to DSQL, and why.
REFUSED: Mapping[str, str] = MappingProxyType(
    {
        "password": "the token is the password: drop it (sslpassword, passfile too)",
        "passfile": "the token is the password",
        "sslpassword": "DSQL takes no client certificates",
        "sslcert": "DSQL takes no client certificates",
        "sslkey": "DSQL takes no client certificates",
        "sslcertmode": "DSQL takes no client certificates",
        "service": "a service file could name another host: pass what it holds as keywords",
        "servicefile": "a service file could name another host: pass what it holds as keywords",
        "gssencmode": "GSS encryption would bypass TLS; it is always off",
        "krbsrvname": "DSQL does not use GSS",
        "gsslib": "DSQL does not use GSS",
        "gssdelegation": "DSQL does not use GSS",
        "sslcompression": "TLS compression leaks what it compresses; it is always off",
        "sslsni": "DSQL needs SNI; it is always on",
        "channel_binding": "DSQL asks for a cleartext password inside TLS; channel binding needs SCRAM",
        "require_auth": "DSQL asks for a cleartext password inside TLS; nothing else is let through",
        "requiressl": "outdated; say sslmode=",
        "requirepeer": "it is about Unix sockets",
        "replication": "DSQL has no replication protocol",
        "target_session_attrs": "every DSQL endpoint is writable",
        "scram_client_key": "the token is the password",
        "scram_server_key": "the token is the password",
        "oauth_issuer": "the token is the password",
        "oauth_client_id": "the token is the password",
        "oauth_client_secret": "the token is the password",
        "oauth_scope": "the token is the password",
    },
)

LIBPQ_ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "PGHOST": "not read: a host is always passed",
        "PGHOSTADDR": "read: says only where to dial, verify-full still holds",
        "PGPORT": "read",
        "PGDATABASE": "read",
        "PGUSER": "read",
        "PGPASSWORD": "not read: the token is passed",
        "PGPASSFILE": "not read: the token is passed",
        "PGREQUIREAUTH": "overruled: require_auth=password",
        "PGCHANNELBINDING": "overruled: channel_binding=prefer",
        "PGSERVICE": "refused: a service could name another host",
        "PGSERVICEFILE": "without PGSERVICE of no effect",
        "PGSYSCONFDIR": "without PGSERVICE of no effect",
        "PGOPTIONS": "overruled: DSQL refuses nearly all options; pass options=",
        "PGAPPNAME": "read",
        "PGSSLMODE": "overruled: verify-full, or what the caller says",
        "PGREQUIRESSL": "overruled by sslmode",
        "PGSSLNEGOTIATION": "overruled: direct from libpq 17 on",
        "PGSSLCOMPRESSION": "overruled: off",
        "PGSSLCERT": "overruled: no client certificate is sent",
        "PGSSLKEY": "overruled: no client certificate is sent",
        "PGSSLCERTMODE": "overruled: no client certificate is sent",
        "PGSSLROOTCERT": "read: replaces the bundled roots",
        "PGSSLCRL": "read: can only refuse more",
        "PGSSLCRLDIR": "read: can only refuse more",
        "PGSSLSNI": "overruled: on",
        "PGSSLMINPROTOCOLVERSION": "read, but never below TLSv1.2",
        "PGSSLMAXPROTOCOLVERSION": "overruled: no maximum",
        "PGREQUIREPEER": "of no effect on TCP",
        "PGGSSENCMODE": "overruled: disable",
        "PGKRBSRVNAME": "of no effect: GSS is off",
        "PGGSSLIB": "of no effect: GSS is off",
        "PGGSSDELEGATION": "of no effect: GSS is off",
        "PGCONNECT_TIMEOUT": "read",
        "PGCLIENTENCODING": "read",
        "PGTARGETSESSIONATTRS": "overruled: any",
        "PGLOADBALANCEHOSTS": "read",
        "PGMINPROTOCOLVERSION": "read",
        "PGMAXPROTOCOLVERSION": "read",
        "PGDATESTYLE": "read: DSQL accepts it",
        "PGTZ": "read: DSQL accepts it",
        "PGOAUTHDEBUG": "of no effect: require_auth lets no OAuth through",
        "PGGEQO": "refused: DSQL refuses the connection for it",
        "PGLOCALEDIR": "of no effect on the connection",
    },
)

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
