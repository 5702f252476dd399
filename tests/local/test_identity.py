"""Who is who: keys with names, what they are denied, and whose the database roles are."""

from __future__ import annotations

import copy
import pickle
import secrets
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import dsql_fast
from dsql_fast.local import LocalCluster
from local.doors import connect, message, read_message, refused, settled, startup, tls, token

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dsql_fast.local._issued import IssuedCredentials

DENIED = "unable to accept connection, access denied"
ACCOUNT = "000000000000"


@pytest.fixture(scope="module")
def own() -> Iterator[LocalCluster]:
    """A cluster whose keys and policies these tests change."""
    with LocalCluster(rate=None) as running:
        yield running


@pytest.fixture
def role(own: LocalCluster) -> Iterator[str]:
    """A login role that is nobody's yet."""
    name = "role_" + secrets.token_hex(4)
    administer(own, f"create role {name} with login")
    yield name
    administer(own, f"drop role {name}")


def administer(cluster: LocalCluster, *statements: str) -> None:
    with connect(cluster) as conn:
        for statement in statements:
            conn.execute(statement)


def come_in(cluster: LocalCluster, credentials: IssuedCredentials, user: str = "admin") -> str:
    """Connect with these keys; who one is then."""
    given = {"user": user, "password": password(cluster, credentials, user)}
    with connect(cluster, **given) as conn:
        row = conn.execute("select current_user").fetchone()
    assert row is not None
    return str(row[0])


def turned_away(cluster: LocalCluster, credentials: IssuedCredentials, user: str = "admin") -> dict[str, str]:
    """Connect with these keys, which must fail; the fields of the error."""
    sock = tls(cluster)
    sock.sendall(startup(user=user))
    assert read_message(sock)[0] == b"R"
    sock.sendall(message(b"p", password(cluster, credentials, user).encode() + b"\0"))
    kind, body = read_message(sock)
    sock.close()
    assert kind == b"E", "let in"
    told = {part[:1].decode(): part[1:].decode() for part in body.split(b"\0") if part}
    assert told["M"] == DENIED
    return told


def password(cluster: LocalCluster, credentials: IssuedCredentials, user: str) -> str:
    action = "DbConnectAdmin" if user == "admin" else "DbConnect"
    return token(cluster, credentials=credentials, action=action)


def test_keys_have_names(own: LocalCluster) -> None:
    first = own.credentials
    assert (first.name, first.arn) == ("developer", f"arn:aws:iam::{ACCOUNT}:user/developer")
    worker = own.issue_credentials("worker")
    assert worker.arn == f"arn:aws:iam::{ACCOUNT}:user/worker"
    assert worker.token is None
    batch = own.issue_credentials("batch", temporary=True, session="monday")
    assert batch.arn == f"arn:aws:sts::{ACCOUNT}:assumed-role/batch/monday"
    assert batch.token
    nameless = [own.issue_credentials(), own.issue_credentials()]
    assert len({each.arn for each in nameless}) == 2
    for each in (first, worker, batch, *nameless):
        assert come_in(own, each) == "admin"


def test_keys_are_what_botocore_has(own: LocalCluster) -> None:
    from botocore.credentials import ReadOnlyCredentials

    key = own.issue_credentials("worker", temporary=True)
    assert isinstance(key, ReadOnlyCredentials)
    assert (key.access_key, key.secret_key, key.token) == key[:3]
    for same in (copy.copy(key), pickle.loads(pickle.dumps(key))):  # noqa: S301 - our own
        assert (same, same.arn, same.name) == (key, key.arn, "worker")
    given = {**own.connect_kwargs(), "credentials": key}
    with dsql_fast.connect(**given) as conn:
        assert conn.execute("select 1").fetchone() == (1,)


def test_a_key_shows_no_secret(own: LocalCluster) -> None:
    key = own.issue_credentials("worker", temporary=True)
    for text in (repr(key), str(key), f"{key}"):
        assert key.secret_key not in text
        assert key.token not in text
        assert key.arn in text
    told = repr((own.events(), own.stats()))
    assert key.secret_key not in told
    assert key.token not in told


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"name": ""}, "name must be"),
        ({"name": "with blanks"}, "name must be"),
        ({"name": "x" * 65}, "name must be"),
        ({"name": "a", "temporary": True, "session": "a/b"}, "session must be"),
        ({"account": "12"}, "account must be 12 digits"),
    ],
)
def test_names_have_a_form(own: LocalCluster, arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        own.issue_credentials(**arguments)


def test_temporary_credentials_have_a_token_and_an_end(own: LocalCluster) -> None:
    key = own.issue_credentials("batch", temporary=True, lifetime=600)
    assert come_in(own, key) == "admin"
    own.clock.skew(601)
    try:
        told = turned_away(own, key)
        # The token itself would still run: it is its keys that have ended.
        assert told["H"] == "The security token included in the request is expired"
    finally:
        own.clock.skew(-601)


def test_a_key_revoked_while_connected(own: LocalCluster) -> None:
    key = own.issue_credentials("worker")
    with connect(own, password=password(own, key, "admin")) as conn:
        own.revoke_credentials(key.access_key)
        assert turned_away(own, key)["H"] == "The security token included in the request is invalid."
        assert conn.execute("select 1").fetchone() == (1,)
    with pytest.raises(ValueError, match="no such access key"):
        own.revoke_credentials("AKIANOBODYSKEY")


# --- the stand-in for IAM ------------------------------------------------------------------------


def iam_hint(cluster: LocalCluster, arn: str, action: str) -> str:
    return (
        f"User: {arn} is not authorized to perform: dsql:{action} "
        f"on resource: arn:aws:dsql:us-east-1:{ACCOUNT}:cluster/{cluster.cluster_id} "
        f"because no identity-based policy allows the dsql:{action} action"
    )


def test_iam_permission_missing(own: LocalCluster) -> None:
    denied, other = own.issue_credentials("denied"), own.issue_credentials("other")
    with connect(own, password=password(own, denied, "admin")) as conn:
        own.deny("denied", "DbConnectAdmin")
        told = turned_away(own, denied)
        assert told["H"] == iam_hint(own, denied.arn, "DbConnectAdmin")
        assert told["C"] in ("08006", "28000")
        assert come_in(own, other) == "admin"
        assert conn.execute("select 1").fetchone() == (1,)  # an open session is not asked again
    assert ("refused", "admin", "iam-denied") in [(each.kind, each.user, each.reason) for each in own.events()]
    own.allow("denied", "DbConnectAdmin")
    assert come_in(own, denied) == "admin"


def test_iam_permission_missing_for_an_assumed_role(own: LocalCluster) -> None:
    key = own.issue_credentials("nightly", temporary=True)
    for who in (key.access_key, "nightly", key.arn, f"arn:aws:iam::{ACCOUNT}:role/nightly"):
        own.deny(who)
        assert turned_away(own, key)["H"] == iam_hint(own, key.arn, "DbConnectAdmin")
        own.allow(who)
        assert come_in(own, key) == "admin"


def test_a_denial_is_about_all_keys_of_a_user(own: LocalCluster) -> None:
    first = own.issue_credentials("two-keys")
    own.deny(first.access_key, "DbConnectAdmin")
    second = own.issue_credentials("two-keys")
    assert "is not authorized to perform" in turned_away(own, second)["H"]


def test_a_denial_is_about_one_action(own: LocalCluster, role: str) -> None:
    key = own.issue_credentials("one-action")
    administer(own, f"aws iam grant {role} to '{key.arn}'")
    own.deny("one-action", "DbConnectAdmin")
    assert come_in(own, key, role) == role
    own.deny("one-action", "DbConnect")
    assert turned_away(own, key, role)["H"] == iam_hint(own, key.arn, "DbConnect")
    administer(own, f"aws iam revoke {role} from '{key.arn}'")


def test_the_hint_reaches_the_text_of_a_driver(own: LocalCluster) -> None:
    key = own.issue_credentials("read-by-driver")
    own.deny("read-by-driver")
    text = refused(own, password=password(own, key, "admin"))
    assert DENIED in text
    assert iam_hint(own, key.arn, "DbConnectAdmin") in text


def test_other_account(own: LocalCluster) -> None:
    key = own.issue_credentials("stranger", account="111111111111")
    told = turned_away(own, key)
    assert told["C"] == "08006"
    assert told["H"] == "User: arn:aws:iam::111111111111:user/stranger is not authorized to access this resource"


def test_policies_are_about_those_who_are_known(own: LocalCluster) -> None:
    with pytest.raises(ValueError, match="no key of that id, name or ARN"):
        own.deny("nobody")
    with pytest.raises(ValueError, match="action must be one of DbConnect, DbConnectAdmin"):
        own.deny("developer", "DbDisconnect")
    with pytest.raises(ValueError, match="action must be one of"):
        own.allow("developer", "")


# --- database roles --------------------------------------------------------------------------------


def test_role_without_aws_iam_grant(own: LocalCluster, role: str) -> None:
    key = own.issue_credentials("worker")
    told = turned_away(own, key, role)
    assert told["C"] == "28000"
    assert "H" not in told
    administer(own, f"aws iam grant {role} to '{key.arn}'")
    assert come_in(own, key, role) == role
    # It is this user's, and nobody else's.
    assert turned_away(own, own.credentials, role)["C"] == "28000"
    with connect(own, user=role, password=password(own, key, role)) as conn:
        administer(own, f"aws iam revoke {role} from '{key.arn}'")
        assert turned_away(own, key, role)["C"] == "28000"
        assert conn.execute("select current_user").fetchone() == (role,)


def test_a_role_given_to_an_iam_role_is_all_its_sessions(own: LocalCluster, role: str) -> None:
    grantee = f"arn:aws:iam::{ACCOUNT}:role/batch"
    administer(own, f"aws iam grant {role} to '{grantee}'")
    for session in ("monday", "tuesday"):
        key = own.issue_credentials("batch", temporary=True, session=session)
        assert come_in(own, key, role) == role
    # A user of the role's name is another one.
    assert turned_away(own, own.issue_credentials("batch"), role)["C"] == "28000"
    administer(own, f"aws iam revoke {role} from '{grantee}'")


def test_a_grant_is_gone_with_its_role(own: LocalCluster) -> None:
    key = own.issue_credentials("worker")
    name = "role_" + secrets.token_hex(4)
    administer(own, f"create role {name} with login", f"aws iam grant {name} to '{key.arn}'")
    assert come_in(own, key, name) == name
    administer(own, f"drop role {name}", f"create role {name} with login")
    assert turned_away(own, key, name)["C"] == "28000"
    administer(own, f"drop role {name}")


def test_a_name_full_of_quotes(own: LocalCluster) -> None:
    key = own.issue_credentials("worker")
    name = """it's "quoted" \\ '; --"""
    quoted = '"' + name.replace('"', '""') + '"'
    administer(own, f"create role {quoted} with login")
    assert turned_away(own, key, name)["C"] == "28000"
    administer(own, f"aws iam grant {quoted} to '{key.arn}'")
    assert come_in(own, key, name) == name
    administer(own, f"drop role {quoted}")


def test_admin_needs_no_grant_and_can_have_none(own: LocalCluster) -> None:
    with connect(own) as conn, pytest.raises(psycopg.Error):
        conn.execute(f"aws iam grant admin to '{own.credentials.arn}'")


def test_those_turned_away_leave_nothing(own: LocalCluster, role: str) -> None:
    for _ in range(5):
        turned_away(own, own.credentials, role)
    stats = settled(own)
    assert stats["refused_by_reason"]["role"] >= 5
