"""New keys give new tokens without a restart: when, for each kind; and what the cluster's refusals change."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import dsql_fast
from dsql_fast import AssumeRole, CredentialsError, CredentialsTimeout, TokenSource
from dsql_fast._botocore import _chains
from tokens import programs
from tokens.sources import HOST, Clock
from tokens.test_kinds import (
    SSO,
    WHO,
    Scene,
    container,
    instance,
    role_of_profile,
    role_over_two_profiles,
    sign_in,
    web_identity,
    where,
)
from waiting import eventually, eventually_async

if TYPE_CHECKING:
    from collections.abc import Callable

    from dsql_fast.local import LocalCluster
    from tokens.aws import Services
    from tokens.conftest import Home


@pytest.fixture
def scene(services: Services, home: Home, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(services, home, monkeypatch)


def key_of(token: str) -> str:
    return token.partition("X-Amz-Credential=")[2].partition("%2F")[0]


def in_environment(scene: Scene, keys: Any) -> None:
    scene.in_env("AWS_ACCESS_KEY_ID", keys.access_key)
    scene.in_env("AWS_SECRET_ACCESS_KEY", keys.secret_key)


class Renewing:
    """A source whose clock is moved from renewal to renewal."""

    def __init__(self, **settings: Any) -> None:
        self.clock = Clock(time.time())
        self.source = TokenSource(HOST, clock=self.clock, **settings)

    def key(self) -> str:
        """The key of its token now."""
        return key_of(self.source.token())

    def next_key(self) -> str:
        """The key after the token was renewed, at 80 % of its life."""
        before = self.source.stats()
        self.clock.move(720)
        self.source.token()
        eventually(lambda: self.source.stats().issued > before.issued)
        return self.key()


# Sources that do not say when their keys end: looked up at each renewal.


def test_new_keys_in_a_profile(scene: Scene) -> None:
    old, new = scene.keys(), scene.keys()
    scene.home.static("app", old)
    renewing = Renewing(profile="app")
    assert renewing.key() == old.access_key
    scene.home.static("app", new)
    assert renewing.key() == old.access_key, "the token holds until it is renewed"
    assert renewing.next_key() == new.access_key


def test_new_keys_in_the_configuration_file(scene: Scene) -> None:
    old, new = scene.keys(), scene.keys()
    renewing = Renewing(profile="app")
    for keys in (old, new):
        scene.home.profile("app", aws_access_key_id=keys.access_key, aws_secret_access_key=keys.secret_key)
        assert (renewing.key() if keys is old else renewing.next_key()) == keys.access_key


def test_a_profile_that_becomes_another_kind(scene: Scene) -> None:
    keys = scene.keys()
    scene.home.profile("app", aws_access_key_id=keys.access_key, aws_secret_access_key=keys.secret_key)
    renewing = Renewing(profile="app")
    assert renewing.key() == keys.access_key
    role_of_profile(scene)
    assert renewing.next_key().startswith("ASIA")


def test_another_aws_profile(scene: Scene) -> None:
    one, two = scene.keys(), scene.keys()
    scene.home.static("one", one)
    scene.home.static("two", two)
    scene.in_env("AWS_PROFILE", "one")
    renewing = Renewing()
    assert renewing.key() == one.access_key
    scene.in_env("AWS_PROFILE", "two")
    assert renewing.next_key() == two.access_key


def test_a_process_that_prints_new_keys(scene: Scene) -> None:
    old, new = scene.keys(), scene.keys()
    scene.home.profile("app", credential_process=scene.home.process(old))
    renewing = Renewing(profile="app")
    assert renewing.key() == old.access_key
    scene.home.process(new)
    assert renewing.next_key() == new.access_key


def test_new_keys_in_the_environment(scene: Scene, cluster: LocalCluster) -> None:
    old, new = scene.keys(), scene.keys()
    in_environment(scene, old)
    renewing = Renewing()
    assert renewing.key() == old.access_key
    dsql_fast.connect(**where(cluster)).close()
    in_environment(scene, new)
    cluster.revoke_credentials(old.access_key)
    dsql_fast.connect(**where(cluster)).close()  # at once
    assert renewing.next_key() == new.access_key


# Sources that do: kept until a quarter of an hour before their end, then asked again.


def end(seconds: float) -> str:
    return (dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=seconds)).isoformat()


def test_a_process_that_says_when_its_keys_end(scene: Scene) -> None:
    keys = [scene.keys(temporary=True) for _ in range(3)]
    source = TokenSource(HOST, profile="app")

    def key() -> str:
        source.invalidate()
        return key_of(source.token())

    scene.home.profile("app", credential_process=scene.home.process(keys[0], end(3600)))
    assert key() == keys[0].access_key
    scene.home.process(keys[1], end(60))
    assert key() == keys[0].access_key, "they last for an hour"
    scene.home.profile("other", region="eu-west-1")  # the files change: looked up anew
    assert key() == keys[1].access_key
    scene.home.process(keys[2], end(3600))
    assert key() == keys[2].access_key, "the others end in a minute"


@pytest.mark.parametrize("kind", [web_identity, container, role_of_profile])
@pytest.mark.parametrize(("life", "asked"), [(3600, 1), (600, 3)])
def test_short_ones_are_asked_for_again(
    kind: Callable[[Scene], dict[str, Any]], life: int, asked: int, scene: Scene
) -> None:
    scene.services.life = life
    source = TokenSource(HOST, **kind(scene))
    found = set()
    for _ in range(3):
        found.add(key_of(source.token()))
        source.invalidate()
    assert len(found) == asked


@pytest.mark.parametrize("kind", [web_identity, container, role_of_profile])
def test_their_end_is_the_tokens(kind: Callable[[Scene], dict[str, Any]], scene: Scene) -> None:
    scene.services.life = 300
    source = TokenSource(HOST, **kind(scene))
    life = int(source.token().partition("X-Amz-Expires=")[2].partition("&")[0])
    assert 200 < life <= 300


def test_an_instance_whose_keys_are_about_to_end(scene: Scene) -> None:
    """As botocore has it: it goes on with them when there are no newer ones, and asks again (static stability)."""
    scene.services.life = 3600
    given = instance(scene)
    first = TokenSource(HOST, **given).token()
    assert key_of(TokenSource(HOST, **given).token()) == key_of(first)
    _chains._chains.clear()
    assert key_of(TokenSource(HOST, **given).token()) != key_of(first)


# Failures, and what comes after.


def test_a_process_that_works_again(scene: Scene) -> None:
    keys = scene.keys()
    scene.home.profile("app", credential_process=scene.home.program("raise SystemExit('not signed in')"))
    source = TokenSource(HOST, profile="app")
    with pytest.raises(CredentialsError, match="credential_process for profile 'app' failed: not signed in"):
        source.token()
    scene.home.process(keys)
    assert key_of(source.token()) == keys.access_key


def test_a_new_sign_in_counts_at_once(scene: Scene) -> None:
    program = """
import logging, pathlib
logging.disable()
source = TokenSource(HOST, profile="app")
try:
    source.token()
except dsql_fast.CredentialsExpired:
    cache = pathlib.Path(sys.argv[1])
    cache.with_suffix(".later").rename(cache)
print(source.token().partition("X-Amz-Credential=")[2][:4], end="")
"""
    scene.home.profile("app", **SSO, **WHO)
    sign_in(scene.home, scene.services, SSO["sso_start_url"])
    (file,) = (scene.home.path / ".aws" / "sso" / "cache").iterdir()
    file.rename(file.with_suffix(".later"))
    assert programs.run(program, scene.home.path, str(file)) == "ASIA"


def test_a_process_that_hangs_does_not_hold_up_the_next(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_chains, "_PATIENCE", 0.01)
    keys = scene.keys()
    started, go = (scene.home.path / name for name in ("started", "go"))
    hanging = f"""
import pathlib, time
pathlib.Path({str(started)!r}).touch()
while not pathlib.Path({str(go)!r}).exists():
    time.sleep(0.01)
"""
    scene.home.profile("app", credential_process=scene.home.program(hanging))
    source = TokenSource(HOST, profile="app", credentials_timeout=0.05)
    try:
        with pytest.raises(CredentialsTimeout):
            source.token()
        eventually(started.exists)
        scene.home.process(keys)
        assert key_of(TokenSource(HOST, profile="app").token()) == keys.access_key
        assert source._renewals()
    finally:
        go.touch()
    eventually(lambda: not source._renewals())


def test_many_at_once_over_a_chain_of_roles(scene: Scene) -> None:
    """One walk of botocore's chain is not disturbed by another."""
    given = role_over_two_profiles(scene)
    scene.services.opened.clear()
    sources = [TokenSource(HOST, token_duration_secs=60 + number, **given) for number in range(6)]
    tokens: list[str] = []
    threads = [threading.Thread(target=lambda each=each: tokens.append(each.token())) for each in sources]
    for thread in threads:
        thread.start()
    assert scene.services.entered.acquire(timeout=30)
    scene.services.opened.set()
    for thread in threads:
        thread.join(30)
    assert len(tokens) == 6
    assert scene.services.count("AssumeRole") == 2, "each role once"


@pytest.mark.parametrize("kind", [web_identity, container, role_of_profile])
def test_the_event_loop_goes_on_while_a_source_does_not_answer(
    kind: Callable[[Scene], dict[str, Any]], scene: Scene, cluster: LocalCluster
) -> None:
    given = kind(scene)

    async def main() -> None:
        scene.services.opened.clear()
        waiting = asyncio.ensure_future(dsql_fast.connect_async(**where(cluster), **given))
        await eventually_async(lambda: len(scene.services.requests) == 1)
        assert not waiting.done()
        scene.services.opened.set()  # by the loop, which is free
        await (await waiting).close()

    asyncio.run(main())


# What the cluster refuses.


def refused(cluster: LocalCluster, **settings: Any) -> str:
    with pytest.raises(psycopg.OperationalError) as caught:
        dsql_fast.connect(**where(cluster), **settings)
    return str(caught.value)


def test_a_revoked_key_is_refused_until_the_token_is_renewed(scene: Scene, cluster: LocalCluster) -> None:
    """A refusal drops no token: one that is not let in must not flush everybody's. Renewal finds the new keys."""
    old, new = scene.keys(), scene.keys()
    scene.home.static("app", old)
    dsql_fast.connect(**where(cluster), profile="app").close()
    scene.home.static("app", new)
    cluster.revoke_credentials(old.access_key)
    for _ in range(2):
        assert "security token included in the request is invalid" in refused(cluster, profile="app")
    assert dsql_fast.counters() == {}

    def admitted() -> bool:
        try:
            dsql_fast.connect(**where(cluster), profile="app", token_duration_secs=2).close()
        except psycopg.OperationalError:
            return False
        return True

    assert admitted(), "another lifetime is another token, and that is signed with the new keys"
    newest = scene.keys()
    scene.home.static("app", newest)
    cluster.revoke_credentials(new.access_key)
    eventually(admitted)  # a token of two seconds is renewed in less


def test_a_session_that_has_ended(fresh_cluster: Callable[..., LocalCluster], home: Home) -> None:
    """Its tokens end with it, whatever they say: told by the cluster, unless the source said when."""
    cluster = fresh_cluster(rate=None)
    keys = cluster.issue_credentials(temporary=True, lifetime=60)
    home.static("app", keys)
    dsql_fast.connect(**where(cluster), profile="app").close()
    cluster.clock.skew(61)
    assert "security token included in the request is expired" in refused(cluster, profile="app")
    assert dsql_fast.counters() == {}, "it is not the token that expired"


def test_a_role_that_was_revoked_and_is_assumed_again(scene: Scene, cluster: LocalCluster) -> None:
    user = scene.keys()
    role = AssumeRole(scene.services.trust("app", user.arn), source=lambda: user)
    source = TokenSource(HOST, credentials=role)
    first = key_of(source.token())
    cluster.revoke_credentials(first)
    assert "security token included in the request is invalid" in refused(cluster, credentials=role)
    assert scene.services.count("AssumeRole") == 1, "what was given lasts for an hour"
    scene.services.life = 120
    again = AssumeRole(role.role_arn, source=role.source, session_name="another")
    dsql_fast.connect(**where(cluster), credentials=again).close()
