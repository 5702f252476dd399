"""The environment as a place that tells where to connect: libpq's variables and those of DSQL's sample programs.

For `Config.from_env` only. A plain connect takes neither the host nor anything of the samples from it.

The samples' variables (aws-samples/aurora-dsql-samples, go/pgx) mean here:

- ``DB_HOST``, else ``CLUSTER_ENDPOINT``: the host or the cluster's id. ``REGION``: the Region.
- ``DB_USER``, else ``CLUSTER_USER``: the role. ``DB_PORT``, ``DB_NAME``: port and database.
- ``TOKEN_REFRESH_INTERVAL``: a token's lifetime in seconds; the samples renew at three quarters of it.
- ``DB_REFRESH_TOKEN``: checked, and of no effect: nothing runs in the background that it could stop. A token is
  signed when a connect needs one.
- ``DB_USE_IAM``: whether tokens are used. The samples' README has it false unless set, while their code signs a
  token whatever it says. So: not set, tokens are used; ``false``, a password goes to an ordinary PostgreSQL:
  ``DB_PASSWORD``, as in the samples, else ``PGPASSWORD``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._errors import ConfigError
from ._settings import port_of
from ._token_request import lifetime_from

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any

# By setting, the variables that tell it; the first that is set wins. An empty one counts as not set.
VARIABLES: Mapping[str, tuple[str, ...]] = {
    "host": ("DB_HOST", "CLUSTER_ENDPOINT", "PGHOST"),
    "region": ("REGION",),
    "user": ("DB_USER", "CLUSTER_USER", "PGUSER"),
    "dbname": ("DB_NAME", "PGDATABASE"),
    "port": ("DB_PORT", "PGPORT"),
    "hostaddr": ("PGHOSTADDR",),
    "token_duration_secs": ("TOKEN_REFRESH_INTERVAL",),
    # What libpq would read by itself at each connect, so that a mapping that is not the process's environment
    # tells it too.
    "application_name": ("PGAPPNAME",),
    "client_encoding": ("PGCLIENTENCODING",),
    "connect_timeout": ("PGCONNECT_TIMEOUT",),
    "load_balance_hosts": ("PGLOADBALANCEHOSTS",),
    "max_protocol_version": ("PGMAXPROTOCOLVERSION",),
    "min_protocol_version": ("PGMINPROTOCOLVERSION",),
    "sslcrl": ("PGSSLCRL",),
    "sslcrldir": ("PGSSLCRLDIR",),
}
# Only where a password is used. No variable weakens how a token is sent.
PASSWORD_VARIABLES: Mapping[str, tuple[str, ...]] = {"sslmode": ("PGSSLMODE",)}

_PASSWORDS = ("DB_PASSWORD", "PGPASSWORD")
_BOOLEANS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}  # as Go reads them


class Password:
    """A password that does not change, in the place of a source of tokens. Its `repr` does not show it."""

    __slots__ = ("_text",)
    _credentials_end = None  # as a TokenSource has it: there are no credentials that end

    def __init__(self, text: str) -> None:
        self._text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Password) and self._text == other._text

    def __hash__(self) -> int:
        return hash((Password, self._text))

    def __repr__(self) -> str:
        return "<Password>"

    def token(self) -> str:
        """Return it."""
        return self._text

    async def token_async(self) -> str:
        """Return it."""
        return self._text

    def _drop_expired(self, now: float) -> bool:  # noqa: ARG002 (as a TokenSource has it)
        """Tell that there is no newer one."""
        return False


def password_from(environ: Mapping[str, str]) -> Password | None:
    """Return the password to use instead of tokens, or None: tokens are used.

    Raises:
        ConfigError: ``DB_USE_IAM`` is neither true nor false, or false and there is no password.
    """
    _boolean(environ, "DB_REFRESH_TOKEN", default=True)
    if _boolean(environ, "DB_USE_IAM", default=True):
        return None
    for variable in _PASSWORDS:
        if environ.get(variable):
            return Password(environ[variable])
    raise ConfigError("DB_USE_IAM is false, and there is no password: set DB_PASSWORD, or PGPASSWORD")


def settings_from(environ: Mapping[str, str], given: Collection[str], *, password: bool) -> dict[str, Any]:
    """Return the settings that the environment tells, by keyword.

    Args:
        environ: the variables.
        given: keywords that need not be looked for: the caller gave them.
        password: a password is used, not tokens.

    Raises:
        ConfigError: a variable that is needed cannot be used.
    """
    found: dict[str, Any] = {}
    for name, variables in {**VARIABLES, **(PASSWORD_VARIABLES if password else {})}.items():
        variable = next((one for one in variables if environ.get(one)), None)
        if variable is None or name in given:
            continue
        found[name] = environ[variable]
        if name == "token_duration_secs":
            found[name] = lifetime_from(found[name], variable)
        elif name == "port":
            found[name] = port_of(found[name], variable)
    if "host" not in found and "host" not in given:
        raise ConfigError("the environment tells no host: set CLUSTER_ENDPOINT, DB_HOST or PGHOST")
    return found


def _boolean(environ: Mapping[str, str], variable: str, *, default: bool) -> bool:
    text = environ.get(variable)
    if not text:
        return default
    value = _BOOLEANS.get(text.lower())
    if value is None:
        raise ConfigError(f"{variable} must be true or false")
    return value
