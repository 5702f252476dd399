"""Other ways to sign a token in Python: each function makes a signer, a function without arguments.

Each keeps what a program that knows its tool well would keep. Keys are the environment's; nothing is sent. The
tools are imported by the functions: they are in different environments.
"""

from __future__ import annotations

import os

LIFETIME = 900


def kept():
    """A boto3 client that is kept."""
    import boto3

    host, region = where()
    client = boto3.Session().client("dsql", region_name=region)
    return lambda: client.generate_db_connect_admin_auth_token(host, region, LIFETIME)


def session():
    """A new boto3 session and client for each token."""
    import boto3

    host, region = where()

    def sign():
        client = boto3.Session().client("dsql", region_name=region)
        return client.generate_db_connect_admin_auth_token(host, region, LIFETIME)

    return sign


def official():
    """The official connector's own function, which it calls for each connection."""
    from dsql_core.token_manager import TokenManager

    host, region = where()
    parameters = {"host": host, "region": region, "user": "admin", "token_duration_secs": LIFETIME}
    return lambda: TokenManager.get_token(parameters)


def awscrt():
    """AWS's C runtime, its provider of credentials kept."""
    from awscrt.auth import (
        AwsCredentialsProvider,
        AwsSignatureType,
        AwsSignedBodyValue,
        AwsSigningConfig,
        aws_sign_request,
    )
    from awscrt.http import HttpRequest

    host, region = where()
    provider = AwsCredentialsProvider.new_static(
        os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    )

    def sign():
        request = HttpRequest("GET", "/?Action=DbConnectAdmin")
        request.headers.add("host", host)
        config = AwsSigningConfig(
            signature_type=AwsSignatureType.HTTP_REQUEST_QUERY_PARAMS,
            credentials_provider=provider,
            region=region,
            service="dsql",
            signed_body_value=AwsSignedBodyValue.EMPTY_SHA256,
            omit_session_token=False,
            expiration_in_seconds=LIFETIME,
        )
        return host + aws_sign_request(request, config).result().path

    return sign


def where():
    """Host and Region."""
    return os.environ["CLUSTER_ENDPOINT"], os.environ["AWS_REGION"]


SIGNERS = {"kept": kept, "session": session, "official": official, "awscrt": awscrt}
PACKAGES = {
    "kept": ("boto3",),
    "session": ("boto3",),
    "official": ("aurora-dsql-python-connector", "boto3"),
    "awscrt": ("awscrt",),
}
