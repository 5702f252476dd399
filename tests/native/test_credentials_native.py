"""The native `Credentials` value: identity, and that it keeps its secrets."""

from __future__ import annotations

import copy
import pickle
from datetime import datetime, timedelta, timezone
from itertools import combinations
from typing import Any

import pytest

from dsql_fast._errors import ConfigError, CredentialsError
from dsql_fast._native import Credentials

KEY, SECRET, SESSION = "AKIAIOSFODNN7EXAMPLE", "hush-hush", "whisper"
END = datetime(2026, 11, 21, 12, 30, 15, 123456, tzinfo=timezone.utc)


def test_equal_and_hashed_by_every_field() -> None:
    made = [
        Credentials(KEY, SECRET),
        Credentials(KEY, SECRET + "!"),
        Credentials(KEY + "X", SECRET),
        Credentials(KEY, SECRET, SESSION),
        Credentials(KEY, SECRET, SESSION + "!"),
        Credentials(KEY, SECRET, SESSION, END),
        Credentials(KEY, SECRET, SESSION, END + timedelta(microseconds=1)),
    ]
    for one, two in combinations(made, 2):
        assert one != two
        assert hash(one) != hash(two)
    same = Credentials(KEY, SECRET, session_token=SESSION, expires_at=END)
    assert same == made[5]
    assert hash(same) == hash(made[5])
    elsewhere = END.astimezone(timezone(timedelta(hours=9)))
    assert Credentials(KEY, SECRET, SESSION, elsewhere) == same
    assert Credentials(KEY, SECRET, "") == made[0]
    assert made[0] != (KEY, SECRET)


def test_what_can_be_read() -> None:
    credentials = Credentials(KEY, SECRET, SESSION, END)
    assert credentials.access_key_id == KEY
    assert credentials.expires_at == END
    assert credentials.expires_at is not None
    assert credentials.expires_at.tzinfo is timezone.utc
    assert Credentials(KEY, SECRET).expires_at is None
    readable = [name for name in dir(credentials) if not name.startswith("_")]
    assert readable == ["access_key_id", "expires_at"]
    with pytest.raises(AttributeError):
        credentials.access_key_id = "other"  # type: ignore[misc]


def test_reveals_what_was_given_to_the_request_for_a_role() -> None:
    session = "to/ken+%7E== \u00fc\U0001f600"
    assert Credentials(KEY, SECRET, session)._reveal() == (KEY, SECRET, session)
    assert Credentials(KEY, SECRET, "")._reveal() == (KEY, SECRET, None)


def test_shows_no_secret() -> None:
    for shown in (repr(Credentials(KEY, SECRET, SESSION, END)), str(Credentials(KEY, SECRET, SESSION))):
        assert "AKIA****" in shown
        for secret in (SECRET, SESSION, KEY[4:]):
            assert secret not in shown
    assert "akid" not in repr(Credentials("akid", SECRET))


def test_is_not_pickled_but_copied() -> None:
    credentials = Credentials(KEY, SECRET, SESSION)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(credentials, protocol)
    assert copy.copy(credentials) is credentials
    assert copy.deepcopy({"keys": [credentials]})["keys"][0] is credentials


@pytest.mark.parametrize("bad", ["", " ", "\t", "\n", " key", "key\n", "k\x00ey", "k\x7fey", "\u2003key"])
@pytest.mark.parametrize("field", ["access_key_id", "secret_access_key", "session_token"])
def test_refuses_keys_that_cannot_be_any(field: str, bad: str) -> None:
    fields: dict[str, Any] = {"access_key_id": KEY, "secret_access_key": SECRET, field: bad}
    if (field, bad) == ("session_token", ""):
        assert Credentials(**fields) == Credentials(KEY, SECRET)
        return
    with pytest.raises(CredentialsError, match=field) as refused:
        Credentials(**fields)
    assert SECRET not in str(refused.value)


def test_refuses_a_naive_end() -> None:
    with pytest.raises(ConfigError, match="timezone-aware"):
        Credentials(KEY, SECRET, None, datetime(2026, 11, 21))  # noqa: DTZ001
    with pytest.raises(TypeError):
        Credentials(KEY, SECRET, None, 1.0)  # type: ignore[arg-type]
