"""Fixtures of the safety tests: certificates, and the ways to connect."""

from __future__ import annotations

import pytest

from safety.certificates import Authority, Certificate
from safety.doors import HOST


class Certificates:
    """One authority, and what it, or somebody else, has issued."""

    def __init__(self, ours: Authority, stranger: Authority) -> None:
        self.ours = ours
        self.stranger = stranger
        self.good = ours.issue(HOST)
        self.bad: dict[str, Certificate] = {
            "self-signed": ours.issue(HOST, self_signed=True),
            "wrong name": ours.issue("another" + HOST[7:]),
            "expired": ours.issue(HOST, expired=True),
            "unknown authority": stranger.issue(HOST),
        }


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    directory = tmp_path_factory.mktemp("certificates")
    return Certificates(Authority(directory, "ours"), Authority(directory, "stranger"))
