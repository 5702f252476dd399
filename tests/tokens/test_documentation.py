"""docs/credentials.md: the tests that it names exist."""

from __future__ import annotations

import re
from pathlib import Path

import dsql_fast

HERE = Path(__file__).parent
PAGE = (HERE.parent.parent / "docs" / "credentials.md").read_text()


def test_each_proof_is_a_test() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 15
    there = {name for file in HERE.glob("test_*.py") for name in re.findall(r"def (test_\w+)", file.read_text())}
    assert named <= there


def test_what_it_says_that_errors_say_stands_in_the_code() -> None:
    source = Path(dsql_fast.__file__).parent
    code = "".join(
        file.read_text() for folder in ("_botocore", "_credentials") for file in (source / folder).glob("*.py")
    )
    said = "there is no AWS profile", "has ended or was never made", "was not assumed with", "cannot be reached"
    for words in said:
        assert words in PAGE
        assert words in code
