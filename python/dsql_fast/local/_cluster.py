"""The public face: one object that is a cluster."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsql_fast.local._binaries import find_binaries
from dsql_fast.local._errors import LocalClusterError, NotRunning
from dsql_fast.local._fault_control import FaultControl
from dsql_fast.local._iam import check_action
from dsql_fast.local._identity import Identity
from dsql_fast.local._keys import ACCOUNT, check_names
from dsql_fast.local._limits import Limits
from dsql_fast.local._process import ClusterProcess, another_interpreter

if TYPE_CHECKING:
    import os
    from types import TracebackType

    from typing_extensions import Self

    from dsql_fast.local._issued import IssuedCredentials

CERTIFICATES = ("valid", "self-signed", "expired", "wrong-name", "unknown-ca")
_HIGHEST_PORT = 65_535
_IN_TRANSACTION = {None: None, "idle": False, "in-transaction": True}


@dataclass(frozen=True)
class OpenSession:
    """One client that is connected.

    Attributes:
        pid: The PostgreSQL backend's process id, as the client knows it.
        user: The role.
        application_name: As given while connecting.
        age: Seconds, on the cluster's session clock.
    """

    pid: int
    user: str
    application_name: str
    age: float


@dataclass(frozen=True)
class Event:
    """One thing that was tried. Never holds a token or a secret.

    Attributes:
        time: Seconds since the epoch.
        kind: "admitted", "refused" or "ended" (connections); "conflict", "schema-conflict", "limit",
            "refused-statement" (sessions); "fault" (ordered ones).
        user: Who, or an empty string where that was not said yet.
        reason: A short word: why it was refused or ended, which limit, which fault.
    """

    time: float
    kind: str
    user: str
    reason: str


class ClockControl:
    """Moves a running cluster's clocks."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster

    def advance(self, seconds: float) -> None:
        """Let sessions and transactions age by so many seconds.

        Sessions that are too old are cut before this returns; transactions fail when they go on.
        """
        if not seconds >= 0:
            raise ValueError(f"time goes forward only: {seconds!r}")
        self._cluster._call("advance", seconds=float(seconds))  # noqa: SLF001 - the same file

    def skew(self, seconds: float) -> None:
        """Move the clock that tokens are judged by, forward or (negative) back."""
        self._cluster._call("skew", seconds=float(seconds))  # noqa: SLF001 - the same file


class LocalCluster:
    """A stand-in for an Aurora DSQL cluster, on this machine.

    A real PostgreSQL behind a gateway that speaks TLS, verifies every token and keeps DSQL's
    rules. It runs in a process of its own, listens on 127.0.0.1 only, and is gone without a trace
    when it is stopped, or when the program that started it ends in whatever way.

    Args:
        port: Where to listen; 0 takes one that is free.
        cluster_id: 26 characters of a-z and 0-9; random if None.
        region: The region in the cluster's host name.
        pg_bin: The directory with PostgreSQL's programs; found if None.
        limits: The limits to begin with.
        certificate: "valid", or in which way the server's certificate is bad: "self-signed",
            "expired", "wrong-name", "unknown-ca".
        **changes: Single limits by name, over `limits`: `LocalCluster(rate=5, burst=1)`.

    Raises:
        ValueError: If an argument does not have its form.
        TypeError: If a keyword is neither an argument nor a limit.
    """

    def __init__(
        self,
        port: int = 0,
        cluster_id: str | None = None,
        region: str = "us-east-1",
        pg_bin: str | os.PathLike[str] | None = None,
        *,
        limits: Limits | None = None,
        certificate: str = "valid",
        **changes: float | None,
    ) -> None:
        if isinstance(port, bool) or not isinstance(port, int):
            raise TypeError(f"port must be a whole number, not {port!r}")
        if not 0 <= port <= _HIGHEST_PORT:
            raise ValueError(f"port must be 0 to {_HIGHEST_PORT}, not {port!r}")
        _check_certificate(certificate)
        self._identity = Identity.create(cluster_id, region)
        self._limits = (limits or Limits()).changed(**changes)
        self._asked_port = port
        self._pg_bin = pg_bin
        self._certificate = certificate
        self._process: ClusterProcess | None = None
        self.clock = ClockControl(self)
        self.faults = FaultControl(self._call)

    def __repr__(self) -> str:
        state = f"on port {self.port}" if self._process is not None else "stopped"
        return f"<LocalCluster {self.host} {state}>"

    # --- starting and stopping -------------------------------------------------------------------

    def start(self) -> Self:
        """Bring it up; returns when it takes connections. Does nothing if it is up.

        Raises:
            PostgresNotFound: If there are no PostgreSQL programs.
            PortInUse: If the port is taken.
            StartFailed: If something did not come up, with the end of PostgreSQL's log.
        """
        if self._process is not None:
            return self
        if sys.platform == "win32":
            raise LocalClusterError("the local cluster needs Unix sockets as Linux and macOS have")
        self._process = ClusterProcess(
            {
                "port": self._asked_port,
                "cluster_id": self._identity.cluster_id,
                "region": self._identity.region,
                "pg_bin": self._programs(),
                "certificate": self._certificate,
                "limits": self._limits.as_dict(),
            }
        )
        return self

    def _programs(self) -> str | None:
        """Say where PostgreSQL is; None where another interpreter, in whose packages it may be, has to look."""
        if self._pg_bin is None and another_interpreter() is not None:
            return None
        return str(find_binaries(self._pg_bin))

    def stop(self) -> None:
        """Stop it and delete all it had. Does nothing if it is stopped."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.alive()

    # --- how to get there ------------------------------------------------------------------------

    @property
    def cluster_id(self) -> str:
        """The 26 characters."""
        return self._identity.cluster_id

    @property
    def region(self) -> str:
        """The AWS region in its name."""
        return self._identity.region

    @property
    def host(self) -> str:
        """The name to verify, to send as SNI and to sign; no name server knows it."""
        return self._identity.host

    @property
    def hostaddr(self) -> str:
        """Where to dial instead."""
        return str(self._ready["hostaddr"])

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._ready["port"])

    @property
    def ca_file(self) -> Path:
        """The certificate authority to trust, PEM. Deleted with the cluster."""
        return Path(self._ready["ca_file"])

    @property
    def credentials(self) -> IssuedCredentials:
        """A long-lived access key of the IAM user "developer", random, known to this cluster only."""
        return _credentials(self._ready["credentials"])

    def connect_kwargs(self) -> dict[str, Any]:
        """What `dsql_fast.connect(**kwargs)` needs."""
        return {
            "host": self.host,
            "hostaddr": self.hostaddr,
            "port": self.port,
            "region": self.region,
            "sslrootcert": str(self.ca_file),
            "credentials": self.credentials,
        }

    def environment(self) -> dict[str, str]:
        """The variables with which a program that knows nothing of this finds the cluster.

        libpq takes the `PG*` ones: PGHOST is the name it verifies (without it there would be none)
        and PGHOSTADDR where it dials, also when the program gives a host of its own. AWS SDKs take
        `AWS_*`; SSL_CERT_FILE is OpenSSL's, for programs that trust the system. The other names
        are those that DSQL's sample programs and connectors read.

        A session token or profile left in the environment would be used along with the keys:
        unset AWS_SESSION_TOKEN, AWS_SECURITY_TOKEN and AWS_PROFILE.
        """
        credentials = self.credentials
        return {
            "CLUSTER_ENDPOINT": self.host,
            "CLUSTER_USER": "admin",
            "REGION": self.region,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
            "PGHOST": self.host,
            "PGHOSTADDR": self.hostaddr,
            "PGPORT": str(self.port),
            "PGUSER": "admin",
            "PGDATABASE": "postgres",
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": str(self.ca_file),
            "SSL_CERT_FILE": str(self.ca_file),
        }

    # --- looking and meddling --------------------------------------------------------------------

    def sessions(self) -> list[OpenSession]:
        """Who is connected, oldest first."""
        return [OpenSession(**each) for each in self._call("sessions")]

    def kill_sessions(self, pid: int | None = None, *, state: str | None = None) -> int:
        """Cut sessions, as a broken network would; returns how many.

        Args:
            pid: Of one session's backend; any if None.
            state: "idle" for those outside a transaction block, "in-transaction" for those inside one.

        Raises:
            ValueError: If there is no such state.
        """
        if state not in _IN_TRANSACTION:
            raise ValueError(f"state must be 'idle' or 'in-transaction', not {state!r}")
        return int(self._call("kill_sessions", pid=pid, in_transaction=_IN_TRANSACTION[state]))

    def set_certificate(self, kind: str) -> None:
        """Show another certificate: "valid", "self-signed", "expired", "wrong-name" or "unknown-ca"."""
        _check_certificate(kind)
        self._call("set_certificate", kind=kind)

    def set_limits(self, **changes: float | None) -> Limits:
        """Change limits while it runs; open sessions are held to them too.

        A changed `rate` or `burst` starts with a full bucket.
        """
        self._limits.changed(**changes)  # a bad value fails here, before anything is sent
        self._limits = Limits(**self._call("set_limits", **changes))
        return self._limits

    @property
    def limits(self) -> Limits:
        """The limits in force."""
        return self._limits

    def issue_credentials(
        self,
        name: str | None = None,
        *,
        temporary: bool = False,
        lifetime: float | None = None,
        session: str = "local",
        account: str = ACCOUNT,
    ) -> IssuedCredentials:
        """Make one more access key.

        Args:
            name: Of the IAM user, or, if temporary, of the IAM role; one of its own if None. Keys of one name
                are one user's (or one role's).
            temporary: With a session token, as an assumed role has it.
            lifetime: Seconds until it expires, on the clock that tokens are judged by.
            session: The name of the assumed role's session.
            account: 12 digits. Keys of any account but the cluster's own are turned away, as with DSQL.

        Returns:
            botocore's `ReadOnlyCredentials` with the attributes `name` and `arn`.

        Raises:
            ValueError: If a name or the account does not have its form.
        """
        check_names(name=name, session=session, account=account)
        described = {"name": name, "temporary": temporary, "session": session, "account": account}
        return _credentials(self._call("issue_key", lifetime=lifetime, **described))

    def deny(self, who: str, action: str | None = None) -> None:
        """Take an action from an IAM user or role, as a policy would; holds for new connections.

        Args:
            who: An access key's id, a name or an ARN; it is about all keys of that user or role.
            action: "DbConnect" or "DbConnectAdmin"; both if None.

        Raises:
            ValueError: If nobody is called so, or there is no such action.
        """
        check_action(action)
        self._call("deny", who=who, action=action)

    def allow(self, who: str, action: str | None = None) -> None:
        """Give an action back that was denied; see `deny`."""
        check_action(action)
        self._call("allow", who=who, action=action)

    def revoke_credentials(self, access_key_id: str) -> None:
        """Take an access key back. Open sessions stay, as with DSQL.

        Raises:
            ValueError: If the cluster never gave it out.
        """
        if not self._call("revoke_key", access_key_id=access_key_id):
            raise ValueError("this cluster has no such access key")

    def stats(self) -> dict[str, Any]:
        """Counters and what is held just now.

        `attempted`, `admitted`, `ended`, `refused`, `refused_by_reason` (connections); `happened`
        (to sessions, and ordered faults: by kind, then by reason); `latency` (what is added);
        `open` (sessions), `opening` (connections on their way), `backends` (PostgreSQL's client
        backends), and the gateway's `tasks`, `descriptors` and `memory_bytes`.
        """
        counters: dict[str, Any] = self._call("stats")
        return counters

    def events(self) -> list[Event]:
        """The last 1,000 things that were tried, oldest first."""
        return [Event(**each) for each in self._call("events")]

    @property
    def _ready(self) -> dict[str, Any]:
        if self._process is None:
            raise NotRunning("the cluster is not running")
        ready: dict[str, Any] = self._process.ready
        return ready

    def _call(self, command: str, **arguments: Any) -> Any:
        if self._process is None:
            raise NotRunning("the cluster is not running")
        return self._process.call(command, **arguments)


def _credentials(key: dict[str, Any]) -> IssuedCredentials:
    # Here, and not above: botocore takes a tenth of a second, which passes while the cluster starts.
    from dsql_fast.local._issued import IssuedCredentials

    return IssuedCredentials(key["access_key"], key["secret_key"], key["token"], name=key["name"], arn=key["arn"])


def _check_certificate(kind: str) -> None:
    if kind not in CERTIFICATES:
        raise ValueError(f"certificate must be one of {', '.join(CERTIFICATES)}, not {kind!r}")
