"""A host or cluster id, and a Region, become one endpoint; nothing is guessed."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsql_fast import ConfigError
from dsql_fast._endpoint import Endpoint, is_cluster_id, region_of_host, resolve_endpoint

ID = "foo0bar1baz2quux3quuux4q00"
HOST = f"{ID}.dsql.us-east-1.on.aws"


@pytest.mark.parametrize(
    ("host", "region", "environ", "expected"),
    [
        (HOST, None, {}, (HOST, "us-east-1")),
        (HOST.upper(), None, {}, (HOST, "us-east-1")),
        (HOST, "us-east-1", {}, (HOST, "us-east-1")),
        (HOST, "US-EAST-1", {}, (HOST, "us-east-1")),
        (HOST, None, {"AWS_REGION": "eu-west-1"}, (HOST, "us-east-1")),
        (ID, "eu-west-1", {}, (f"{ID}.dsql.eu-west-1.on.aws", "eu-west-1")),
        (ID.upper(), "eu-west-1", {}, (f"{ID}.dsql.eu-west-1.on.aws", "eu-west-1")),
        (ID, "eu-west-1", {"AWS_REGION": "eu-west-2"}, (f"{ID}.dsql.eu-west-1.on.aws", "eu-west-1")),
        (
            ID,
            None,
            {"AWS_REGION": "eu-west-2", "AWS_DEFAULT_REGION": "x"},
            (f"{ID}.dsql.eu-west-2.on.aws", "eu-west-2"),
        ),
        (ID, None, {"AWS_DEFAULT_REGION": "eu-west-3"}, (f"{ID}.dsql.eu-west-3.on.aws", "eu-west-3")),
        (
            ID,
            None,
            {"AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-west-3"},
            (f"{ID}.dsql.eu-west-3.on.aws", "eu-west-3"),
        ),
        # PrivateLink
        (f"{ID}.dsql-fnh4.us-east-2.on.aws", None, {}, (f"{ID}.dsql-fnh4.us-east-2.on.aws", "us-east-2")),
        # a host of which nothing is known is used as it is
        ("db.example", "us-east-1", {}, ("db.example", "us-east-1")),
        ("localhost", None, {"AWS_REGION": "us-east-1"}, ("localhost", "us-east-1")),
        ("a", "us-east-1", {}, ("a", "us-east-1")),
        ("a" * 253, "us-east-1", {}, ("a" * 253, "us-east-1")),
    ],
)
def test_endpoints(host: str, region: str | None, environ: dict[str, str], expected: tuple[str, str]) -> None:
    assert resolve_endpoint(host, region, environ=environ) == Endpoint(*expected)


def test_the_profile_is_asked_last() -> None:
    asked = 0

    def profile() -> str:
        nonlocal asked
        asked += 1
        return "eu-west-9"

    for host, region, environ in (
        (HOST, None, {}),
        (ID, "eu-west-1", {}),
        (ID, None, {"AWS_REGION": "eu-west-1"}),
    ):
        resolve_endpoint(host, region, environ=environ, profile_region=profile)
    assert asked == 0
    assert resolve_endpoint(ID, environ={}, profile_region=profile).region == "eu-west-9"
    for nothing in (None, ""):
        with pytest.raises(ConfigError, match="needs a Region"):
            resolve_endpoint(ID, environ={}, profile_region=lambda given=nothing: given)  # type: ignore[misc]


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_a_bad_region_in_the_environment_is_told_by_its_variable(variable: str) -> None:
    with pytest.raises(ConfigError, match=f"^{variable}: 'us east' is not a Region"):
        resolve_endpoint(ID, environ={variable: "us east"})


@pytest.mark.parametrize(
    "region", ["", " ", "us east", "us-east-1/", "-us", "us-", "ü", "us\n", "\u212a", 7, b"us-east-1"]
)
def test_bad_regions(region: Any) -> None:
    with pytest.raises(ConfigError, match=r"(?i)region"):
        resolve_endpoint(HOST, region, environ={})


@pytest.mark.parametrize(
    ("text", "is_id"),
    [
        (ID, True),
        ("a" * 26, True),
        ("0" * 26, True),
        ("a" * 25, False),
        ("a" * 27, False),
        ("a" * 25 + "-", False),
        ("a" * 25 + "A", False),
        ("a" * 12 + "." + "a" * 13, False),
        ("a" * 12 + "-" + "a" * 13, False),
        ("a" * 12 + "é" + "a" * 13, False),
        ("", False),
    ],
)
def test_cluster_ids(text: str, is_id: bool) -> None:
    assert is_cluster_id(text) is is_id


@pytest.mark.parametrize(
    ("host", "region"),
    [
        (HOST, "us-east-1"),
        (f"{ID}.dsql-fnh4.us-east-2.on.aws", "us-east-2"),
        (f"{ID}.dsqlx.us-east-2.on.aws", None),
        (f"{ID}.rds.us-east-2.on.aws", None),
        (f"x.{HOST}", None),
        (f"{HOST}.evil.example", None),
        (f"{ID}.dsql.us-east-1.on.awsx", None),
        ("localhost", None),
    ],
)
def test_the_region_of_a_host(host: str, region: str | None) -> None:
    assert region_of_host(host) == region


@given(st.text(max_size=60))
def test_only_names_come_through(text: str) -> None:
    """Whatever is let in is one name of the allow-list, lower-cased, and nothing else."""
    try:
        endpoint = resolve_endpoint(text, "us-east-1", environ={})
    except ConfigError:
        return
    inner = string.ascii_lowercase + string.digits + ".-"
    assert endpoint.host
    assert not endpoint.host.strip(inner)
    assert endpoint.host[0] not in ".-"
    assert endpoint.host[-1] not in ".-"
    assert text.isascii()
    assert endpoint.host.startswith(text.lower())


def test_endpoints_are_values() -> None:
    one = Endpoint(HOST, "us-east-1")
    assert one == Endpoint(HOST, "us-east-1")
    assert hash(one) == hash(Endpoint(HOST, "us-east-1"))
    assert one != Endpoint(HOST, "us-east-2")
    assert one != (HOST, "us-east-1")
    with pytest.raises(AttributeError, match="cannot be changed"):
        one.host = "other"
