"""TLS for asyncpg, whose connections get an `ssl.SSLContext`: whom to trust, and which name to verify.

asyncpg would verify the name that it dials, and read variables and files of libpq's for what it is not told. So
it is never left to make a context: each connection has one of ours, or none where the caller said
``sslmode=disable``.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import _config
from .._errors import ConfigError
from .._system_roots import elsewhere

if TYPE_CHECKING:
    from collections.abc import Hashable

    from .._config import Config

# Contexts are kept: to parse the bundled roots costs as much as signing a hundred tokens, and the system's a
# hundred times that. A file that changed is read again. At most so many are kept.
_MOST_CONTEXTS = 32
_contexts: dict[Hashable, ClusterContext] = {}
_loading = threading.Lock()

_VERSIONS = {"tlsv1.2": ssl.TLSVersion.TLSv1_2, "tlsv1.3": ssl.TLSVersion.TLSv1_3}
_TOO_OLD = {"tlsv1", "tlsv1.1"}


class ClusterContext(ssl.SSLContext):
    """Sends and verifies the cluster's name, whatever name or address is dialled.

    asyncio passes on what asyncpg dials; with `hostaddr` that is an address.
    """

    cluster: str

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,  # noqa: ARG002
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """As in `ssl.SSLContext`, with the cluster's name."""
        return super().wrap_bio(incoming, outgoing, server_side, self.cluster, session)

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        """As in `ssl.SSLContext`, with the cluster's name."""
        options["server_hostname"] = self.cluster
        return super().wrap_socket(*arguments[:4], **options)


@dataclass(frozen=True)
class Tls:
    """How one cluster is spoken to over TLS.

    Attributes:
        host: the name that is sent and verified.
        mode: ``sslmode``, any but ``disable``.
        roots: file of the roots to trust, ``system``, or None where nothing is verified.
        least: lowest version of TLS.
        most: highest one, or None.
        revoked: file or directory of revocation lists each, or None.
        keylog: file for the session's keys (a debugging aid that the caller asks for), or None.
    """

    host: str
    mode: str
    roots: str | None
    least: ssl.TLSVersion
    most: ssl.TLSVersion | None
    revoked: tuple[str | None, str | None]
    keylog: str | None

    async def context(self) -> ClusterContext:
        """Return the context; load it off the loop if it is not there yet.

        Raises:
            ConfigError: a file cannot be used.
        """
        # What the system trusts may be named by the environment, and any file may change.
        found = _contexts.get((self, self._stamps()))
        return found if found is not None else await asyncio.to_thread(self.load)

    def load(self) -> ClusterContext:
        """Return the context, from its files if need be."""
        with _loading:  # one loads, a herd waits for it
            key = (self, self._stamps())
            found = _contexts.get(key)
            if found is None:
                found = self._load()
                if len(_contexts) >= _MOST_CONTEXTS:
                    _contexts.clear()
                _contexts[key] = found
            return found

    def _stamps(self) -> tuple[Hashable, ...]:
        names: list[str | None] = [name for name in self.revoked if name]
        if self.roots == "system":
            paths = ssl.get_default_verify_paths()
            names += [paths.cafile, paths.capath, elsewhere()]
        elif self.roots != _config.AMAZON_ROOTS:
            names.append(self.roots)
        return tuple(_stamp(name) for name in names)

    def _load(self) -> ClusterContext:
        context = ClusterContext(ssl.PROTOCOL_TLS_CLIENT)
        context.cluster = self.host
        context.minimum_version = self.least
        if self.most is not None:
            context.maximum_version = self.most
        # Direct TLS needs it; with it, no other protocol's server can be passed off as the cluster.
        context.set_alpn_protocols(["postgresql"])
        context.hostname_checks_common_name = False
        # In this order: a name is not checked where the certificate is not.
        context.check_hostname = self.mode == "verify-full"
        if self.roots is None:
            context.verify_mode = ssl.CERT_NONE
            return context
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            if self.roots == "system":
                context.load_default_certs()
                if (found := elsewhere()) is not None:
                    context.load_verify_locations(found)
            else:
                context.load_verify_locations(self.roots)
            if any(self.revoked):
                context.load_verify_locations(*self.revoked)
                context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"cannot read certificates or revocation lists ({self.roots}, {self.revoked}): {error}"
            ) from None
        if self.keylog is not None:
            context.keylog_filename = self.keylog
        return context


def _stamp(name: str | None) -> Hashable:
    if not name:
        return None
    try:
        found = Path(name).stat()
    except OSError:
        return name, None
    return name, found.st_mtime_ns, found.st_size, found.st_ino


def tls_of(config: Config, *, system_trust: bool) -> Tls | None:
    """Return how a configuration wants TLS; None for ``sslmode=disable``.

    ``allow`` and ``prefer`` count as ``require``: DSQL refuses connections without TLS, so to fall back would
    send the token in clear for nothing.

    Raises:
        ConfigError: a version of TLS cannot be used.
    """
    given = config.driver
    mode = given.get("sslmode", "verify-full")
    if mode == "disable":
        return None
    roots = given.get("sslrootcert")
    if mode.startswith("verify-"):
        default = _config.AMAZON_ROOTS if config.password is None else "system"
        roots = "system" if system_trust else roots or default
    return Tls(
        host=config.endpoint.host,
        # As in libpq: roots that are named are used.
        mode="verify-ca" if roots is not None and not mode.startswith("verify-") else mode,
        roots=roots,
        least=_version("ssl_min_protocol_version", given.get("ssl_min_protocol_version", ""))
        or _VERSIONS["tlsv1.2"],
        most=_version("ssl_max_protocol_version", given.get("ssl_max_protocol_version", "")),
        revoked=(given.get("sslcrl") or None, given.get("sslcrldir") or None),
        keylog=given.get("sslkeylogfile") or None,
    )


def _version(name: str, given: str) -> ssl.TLSVersion | None:
    if not given or (name == "ssl_min_protocol_version" and given.lower() in _TOO_OLD):
        return None
    found = _VERSIONS.get(given.lower())
    if found is None:
        raise ConfigError(f"{name} must be TLSv1.2 or TLSv1.3, not {given!r}")
    return found
