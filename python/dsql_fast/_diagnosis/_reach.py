"""Why a cluster is not reached, or lets nobody in just now: the likeliest cause, and the next step."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ._commands import address, get_cluster

if TYPE_CHECKING:
    from ._known import Known, Refusal, Said


# --- what the cluster does not admit ----------------------------------------------------------------


def rate_exceeded(refusal: Refusal, known: Known) -> Said:
    return (
        "all clients of the cluster together opened more than 100 connections a second, after a burst of 1,000",
        (
            "connect again in a second, with jitter (connect and pools do it by themselves, for as long as "
            "connect_timeout lets them); keep connections in a pool (ConnectionPool with min_size near max_size) "
            "instead of opening one for each piece of work, and do not start all processes at once, or say how "
            "many connections they want together (DSQL_FAST_FLEET). This quota cannot be raised"
        ),
    )


def too_many_connections(refusal: Refusal, known: Known) -> Said:
    return (
        "all clients of the cluster together have as many connections as it admits (10,000 unless it was raised)",
        "make max_size smaller, or have fewer processes with a pool; AWS Support can raise the quota",
    )


def waking_up(refusal: Refusal, known: Known) -> Said:
    return (
        "the cluster was idle for a while, and is waking up",
        (
            "connect again in a second or a few; connect and pools do so by themselves, for as long as "
            "connect_timeout lets them"
        ),
    )


def no_server_name(refusal: Refusal, known: Known) -> Said:
    if known.host and known.host.replace(".", "").isdigit():
        return (
            f"host is an address ({known.host}), and for an address no server name (SNI) is sent",
            "give the cluster's name as host=, and the address as hostaddr=",
        )
    return (
        (
            "no server name (SNI) arrived: something between here and the cluster took it away, or the driver's "
            "libpq is older than 14"
        ),
        "connect without the proxy; pip install 'dsql-fast[binary]' brings a new libpq",
    )


def wrong_server_name(refusal: Refusal, known: Known) -> Said:
    return (
        (
            f"there is no cluster called {known.host or 'so'} where it was dialled ({known.place}): misspelt, "
            "deleted, or another Region's"
        ),
        (
            f"compare with the cluster's endpoint: `{get_cluster(known)}`. Over PrivateLink without private DNS, "
            f"pass options='-c amzn-cluster-id={known.cluster_id or '<cluster id>'}'"
        ),
    )


def no_tls(refusal: Refusal, known: Known) -> Said:
    return "the connection was not encrypted: sslmode says so", "leave sslmode out; verify-full is the default"


def setting(refusal: Refusal, known: Known) -> Said:
    said = re.search(r'parameter "([\w.-]{1,63})" not supported', refusal.text)
    name = said[1] if said else "one of the settings"
    return (
        f"DSQL does not take {name} when a connection begins",
        (
            f"take {name} out of options=; limits of time belong in the client (connect_timeout=, "
            "RetryPolicy(deadline=...), asyncio.timeout)"
        ),
    )


def no_such_database(refusal: Refusal, known: Known) -> Said:
    return "a DSQL cluster has one database, postgres", "leave dbname out, and unset PGDATABASE"


# --- TLS ---------------------------------------------------------------------------------------------


def another_name(refusal: Refusal, known: Known) -> Said:
    return (
        f"what answered at {known.place} is not {known.host or 'the cluster'}, but has a certificate of its own",
        (
            "give the cluster's own name as host=, and only where to dial as hostaddr=; look at what the name "
            "resolves to (/etc/hosts, DNS, a proxy)"
        ),
    )


def not_trusted(refusal: Refusal, known: Known) -> Said:
    held = " and ".join(known.roots)
    return (
        "the server's certificate is signed by nobody who is trusted here"
        + (f" ({held})" if held else "")
        + ", or is not valid at the time that this machine's clock shows",
        (
            "if a proxy of your company's looks into TLS, pass its root as sslrootcert=<file> or SSL_CERT_FILE; "
            f"else compare the clock, and look who answers: `openssl s_client -connect {address(known)} "
            f"-servername {known.host or '<host>'} -alpn postgresql`"
        ),
    )


def no_roots(refusal: Refusal, known: Known) -> Said:
    return (
        "the file of trusted roots cannot be read",
        "check sslrootcert= and PGSSLROOTCERT, or leave both out: the Amazon roots come with this package",
    )


def no_dsql_there(refusal: Refusal, known: Known) -> Said:
    return (
        f"what answered at {known.place} does not speak PostgreSQL's protocol over TLS",
        (
            "check host, hostaddr and port (5432); if a proxy stands between that knows the older TLS negotiation "
            "only, sslnegotiation='postgres'"
        ),
    )


# --- the network ---------------------------------------------------------------------------------------

_NETWORK = (
    "inside a VPC without a way to the internet, use an interface endpoint (PrivateLink); its security group, and "
    "yours, must let TCP port 5432 through"
)


def host_not_found(refusal: Refusal, known: Known) -> Said:
    if "temporary failure" in refusal.text.lower():
        cause = f"no name server answered, for {known.host or 'the host'} or any other name"
        return cause, f"see whether this machine has a network and a name server; {_NETWORK}"
    if "connect_host=" in refusal.text:
        # The cluster's own name was not asked for: only the name that tells where to dial.
        return (
            "the name that connect_host= gives is misspelt, or known only where it belongs (a VPC's name server)",
            "compare with the endpoint's DNS names: `aws ec2 describe-vpc-endpoints`; or leave connect_host out",
        )
    return (
        f"there is no host {known.host or 'of this name'}: misspelt, of another Region, or the cluster is deleted",
        f"compare with the cluster's endpoint: `{get_cluster(known)}`",
    )


def refused(refusal: Refusal, known: Known) -> Said:
    return (
        f"nothing listens at {known.place}, or a firewall says so",
        f"check hostaddr= (PGHOSTADDR) and port= (PGPORT; DSQL's is 5432); {_NETWORK}",
    )


def timeout(refusal: Refusal, known: Known) -> Said:
    return (
        f"no answer from {known.place} in time: mostly a firewall or security group drops packets, or no route",
        f"{_NETWORK}. If the network is just slow, raise connect_timeout",
    )


def unreachable(refusal: Refusal, known: Known) -> Said:
    return f"this machine has no route to {known.place}", f"look at routes, VPN and IPv6; {_NETWORK}"


def closed(refusal: Refusal, known: Known) -> Said:
    return (
        (
            f"what answered at {known.place} ended the connection without a word: a proxy or firewall in between, "
            "or a cluster that restarts"
        ),
        (
            "connect again; if it lasts, check host, hostaddr and port, and try sslnegotiation='postgres' past a "
            "proxy"
        ),
    )


def unknown(refusal: Refusal, known: Known) -> Said:
    return (
        "not one that is known here",
        f"see what the text above says; the cluster's state: `{get_cluster(known)}`",
    )
