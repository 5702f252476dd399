"""What every test starts from: an empty environment, and a process in which nothing has happened yet."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from dsql_fast import _connecting, _endpoint, _failover, _telemetry, _tokens
from dsql_fast._botocore import _chains
from dsql_fast._credentials import _assume_role, _environment

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = ["clusters"]

# The same examples in each run; more of them, and other ones: --hypothesis-profile=default --hypothesis-seed=...
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")

_CLEARED = ("AWS_", "DSQL_FAST_", "PG", "SSL_CERT_")
# Not a setting of what is tested: which interpreter runs the local clusters (`make test-freethreaded`).
_KEPT = "DSQL_FAST_LOCAL_PYTHON"


# A shell's background jobs have Ctrl-C ignored, and so have the programs that they start: the tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A long form takes its time, on a busy machine more of it: a hang is still told, in a quarter of an hour."""
    for item in items:
        if item.get_closest_marker("full") is not None and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session", autouse=True)
def _empty_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No settings of the developer's: no keys, no profile, no libpq defaults, nobody's home.

    For the whole run, so that what a session-wide fixture starts has it too.
    """
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(_CLEARED) and name != _KEPT]:
            patch.delenv(name)
        patch.setenv("HOME", str(home))
        patch.setenv("AWS_CONFIG_FILE", str(home / "no-aws-config"))
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "no-aws-credentials"))
        # botocore's chain ends here instead of asking an address on the network.
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@pytest.fixture(autouse=True)
def _fresh_process() -> None:
    """Forget what the package remembers for a whole process: tokens, plans, trusted hosts, the
    endpoints that work, sessions, counters."""
    _tokens._shared.clear()
    _environment._last_environment = None
    _assume_role._held[1].clear()
    _chains._chains.clear()
    _endpoint._resolved.clear()
    _telemetry._counters.clear()
    _connecting._system_trust.clear()
    _connecting._plans.clear()
    _connecting._paces.clear()
    _failover._preferences.clear()


@pytest.fixture
def aws_keys(monkeypatch: pytest.MonkeyPatch) -> Keys:
    """AWS keys in the environment, and what they are."""
    keys = Keys()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_key)
    monkeypatch.setenv("AWS_SESSION_TOKEN", keys.session_token)
    return keys


class Keys:
    """Made-up AWS keys. The secret parts are findable in any text."""

    access_key = "AKIDEXAMPLE0FAKE0000"
    secret_key = "fakeSecretKeyNeverShown"
    session_token = "fakeSessionTokenNeverShown"
