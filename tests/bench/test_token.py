"""`dsql-fast bench token`: every row is there; whether a goal is met is nothing for a test."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from bench.running import ran
from dsql_fast import Credentials, generate_token
from dsql_fast._bench import token
from dsql_fast._bench._contest import Contestant, ContestantError, Program
from dsql_fast._bench._keys import HOST, KEY_ID, SECRET

if TYPE_CHECKING:
    from pathlib import Path


def test_each_row_is_there(tmp_path: Path) -> None:
    bench = ran("token", tmp_path)
    rows = {(figure["what"], figure["peer"]): figure for figure in bench["figures"]}
    assert {
        ("cached token from Python", "an empty method of the same native class"),
        ("signed token from Python, sign_token", "a kept boto3 client"),
        ("signed token from Python, generate_token", "a kept boto3 client"),
    } <= set(rows)
    for figure in rows.values():
        for number in (figure["value"], figure["peer_value"], figure["ratio"]):
            assert math.isfinite(number)
            assert number > 0
        assert figure["goal"]["text"]


class Answers:
    """A process that answers with one token."""

    def __init__(self, text: str) -> None:
        self.text = text

    def ask(self, way: str) -> dict[str, Any]:
        assert way == "sign:token"
        return {"token": self.text}


OURS = generate_token(HOST, credentials=Credentials(KEY_ID, SECRET))
SIGNER = Contestant("a signer", Program(("signer",)), "sign")


def test_a_signer_of_our_token_is_timed() -> None:
    token._check(SIGNER, Answers(OURS))  # type: ignore[arg-type]
    host, _, query = OURS.partition("/?")
    others_order = "&".join(reversed(query.split("&")))
    token._check(SIGNER, Answers(f"{host}?{others_order}"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nothing",
        OURS.replace("DbConnectAdmin", "DbConnect"),
        OURS.replace(HOST, HOST.replace("us-east-1", "us-east-2")),
        OURS[:-1] + ("0" if OURS[-1] != "0" else "1"),
        generate_token(HOST, credentials=Credentials(KEY_ID, "another")),
        generate_token(HOST, credentials=Credentials(KEY_ID, SECRET), expires_in=60),
    ],
)
def test_a_signer_of_anything_else_is_not(text: str) -> None:
    with pytest.raises(ContestantError):
        token._check(SIGNER, Answers(text))  # type: ignore[arg-type]
