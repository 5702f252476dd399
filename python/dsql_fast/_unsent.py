"""What is raised before anything is sent, and the base of all. The whole tree is drawn in `_errors`."""

from __future__ import annotations


class Error(Exception):
    """The base of all exceptions that are dsql-fast's own."""

    __module__ = "dsql_fast"


class ConfigError(Error, ValueError):
    """What the caller gave cannot be used. Raised before anything is sent or changed."""

    __module__ = "dsql_fast"


class CredentialsError(Error):
    """There are no usable AWS credentials. Raised before anything is sent to the cluster."""

    __module__ = "dsql_fast"


class CredentialsNotFound(CredentialsError):  # noqa: N818 (the field's word, as in botocore)
    """No source of credentials has any."""

    __module__ = "dsql_fast"


class CredentialsExpired(CredentialsError):  # noqa: N818
    """The credentials that were found have ended, or end within a second."""

    __module__ = "dsql_fast"


class CredentialsTimeout(CredentialsError):  # noqa: N818
    """The source of the credentials did not answer within its time, cannot be reached, or has too much to do."""

    __module__ = "dsql_fast"
