"""Other ways to connect to the same cluster, for comparisons."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from ..psycopg import connect
from ..psycopg._attempt import begin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dsql_fast.local import LocalCluster

    Connect = Callable[[], psycopg.Connection[Any]]

OURS = "dsql_fast.connect"
FLOOR = "psycopg, fixed password"
KEPT_CLIENT = "psycopg + kept boto3 client"
OFFICIAL = "official connector"
INSTALL_OFFICIAL = "pip install 'aurora-dsql-python-connector[psycopg]'"


def driver_only(keywords: dict[str, Any]) -> dict[str, Any]:
    """What ``psycopg.connect`` needs beside a password: the very arguments that dsql-fast gives it."""
    return begin("", keywords).arguments()


@contextmanager
def rivals(cluster: LocalCluster) -> Iterator[dict[str, Connect]]:
    """The ways to connect, by name, with the same TLS arguments all.

    - with dsql-fast;
    - with psycopg alone and a token signed once, passed as a fixed password: the floor;
    - with psycopg and one boto3 client that is kept, signing a token for each connection: what a good engineer
      writes in ten lines;
    - with the official connector, where it is installed.

    The environment holds the cluster's keys meanwhile: the cheapest place for boto3 to find them.
    """
    keywords = cluster.connect_kwargs()
    attempt = begin("", keywords)
    tls, fixed = attempt.arguments(), attempt.source.token()
    ways: dict[str, Connect] = {
        OURS: lambda: connect(**keywords),
        FLOOR: lambda: psycopg.connect(**tls, password=fixed),
    }
    with _keys_in_environment(cluster):
        sign = kept_client_signer(cluster.host, cluster.region)
        ways[KEPT_CLIENT] = lambda: psycopg.connect(**tls, password=sign())
        try:
            import aurora_dsql_psycopg
        except ImportError:
            pass
        else:
            # It names itself.
            theirs = {name: value for name, value in tls.items() if name != "fallback_application_name"}
            ways[OFFICIAL] = lambda: aurora_dsql_psycopg.connect(**theirs, region=cluster.region)
        yield ways


def timed(way: Connect) -> tuple[float, float]:
    """Time one connect: seconds of wall and of this process's CPU. Closing is not counted."""
    began, worked = time.perf_counter(), time.process_time()
    connection = way()
    took = time.perf_counter() - began, time.process_time() - worked
    connection.close()
    return took


def kept_client_signer(host: str, region: str) -> Callable[[], str]:
    """A boto3 client that is kept, with the environment's keys; each call signs a token."""
    import boto3

    client = boto3.Session().client("dsql", region_name=region)

    def sign() -> str:
        token: str = client.generate_db_connect_admin_auth_token(host, region, 900)
        return token

    return sign


@contextmanager
def _keys_in_environment(cluster: LocalCluster) -> Iterator[None]:
    keys = cluster.credentials
    changes = {
        "AWS_ACCESS_KEY_ID": keys.access_key,
        "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        "AWS_SESSION_TOKEN": None,
        "AWS_SECURITY_TOKEN": None,
        "AWS_PROFILE": None,
        "AWS_DEFAULT_PROFILE": None,
    }
    before = {name: os.environ.get(name) for name in changes}
    _set_environment(changes)
    try:
        yield
    finally:
        _set_environment(before)


def _set_environment(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
