"""The start-up message: what a client asks for before it says who it is."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from dsql_fast.local import _protocol as protocol
from dsql_fast.local._refusals import (
    CLUSTER_ID_WRONG,
    NO_DATABASE,
    NO_USER,
    SNI_MISSING,
    SNI_WRONG,
    STARTUP_LAYOUT,
    Refusal,
    Refused,
    parameter_not_supported,
    protocol_not_supported,
)
from dsql_fast.local._settings import ACCEPTED, UNKNOWN_TO_POSTGRES

DATABASE = "postgres"
_CLUSTER_ID_OPTION = "amzn-cluster-id"


@dataclass(frozen=True)
class Startup:
    """A start-up message taken apart.

    Attributes:
        user: Who wants to connect.
        database: The database that was asked for; PostgreSQL's default is the user's name.
        settings: Every other parameter, those inside `options` too, names in lower case.
        cluster_id: What `options=-c amzn-cluster-id=...` named, or None.
        unknown_options: Protocol extensions (`_pq_.`) that were asked for.
        minor: The protocol's minor version.
    """

    user: str
    database: str
    settings: dict[str, str]
    cluster_id: str | None
    unknown_options: tuple[str, ...]
    minor: int

    @classmethod
    def parse(cls, packet: bytes) -> Startup:
        """Take the packet apart, without its length.

        Raises:
            Refused: If it is none, or of another protocol.
        """
        major, minor = struct.unpack_from("!HH", packet)
        if major != protocol.PROTOCOL_3 >> 16:
            raise Refused(protocol_not_supported(major, minor))
        if not packet.endswith(b"\0"):
            raise Refused(STARTUP_LAYOUT)
        # Names and values alternate, each ended by a NUL; an empty name ends the list.
        parts = [part.decode(errors="surrogateescape") for part in packet[4:].split(b"\0")]
        given: dict[str, str] = {}
        at = 0
        while parts[at]:
            if at + 2 >= len(parts):
                raise Refused(STARTUP_LAYOUT)
            given[parts[at]] = parts[at + 1]
            at += 2
        if at + 2 != len(parts):
            raise Refused(STARTUP_LAYOUT)
        user = given.pop("user", "")
        if not user:
            raise Refused(NO_USER)
        database = given.pop("database", "") or user
        unknown = tuple(name for name in given if name.startswith("_pq_."))
        settings = {name.lower(): value for name, value in given.items() if not name.startswith("_pq_.")}
        settings.update(_options(settings.pop("options", "")))
        cluster_id = settings.pop(_CLUSTER_ID_OPTION, None)
        return cls(user, database, settings, cluster_id, unknown, minor)

    def check_name(self, requested: str | None, host: str, cluster_id: str) -> None:
        """Check which cluster is meant.

        Documented by AWS: the host in the TLS handshake says so, or, where that is the name of a
        VPC endpoint, `options`. That a wrong id is refused as access denied is assumed.

        Args:
            requested: The server name of the handshake, or None.
            host: This cluster's host.
            cluster_id: This cluster's id.

        Raises:
            Refused: If this is not it.
        """
        if self.cluster_id is not None:
            if self.cluster_id != cluster_id:
                raise Refused(CLUSTER_ID_WRONG)
            return
        if requested is None:
            raise Refused(SNI_MISSING)
        if requested.lower() != host:
            raise Refused(SNI_WRONG)

    def check_settings(self) -> None:
        """Check the parameters and the database.

        Raises:
            Refused: For a parameter outside the list, and for any database but `postgres`.
        """
        for name in self.settings:
            if name not in ACCEPTED:
                raise Refused(parameter_not_supported(name))
        if self.database != DATABASE:
            message = NO_DATABASE.message.format(self.database[:63])
            raise Refused(Refusal(NO_DATABASE.reason, message, NO_DATABASE.sqlstate))

    def backend_parameters(self) -> dict[str, str]:
        """What PostgreSQL is told: this, and the isolation level that is DSQL's only one."""
        passed = {name: value for name, value in self.settings.items() if name not in UNKNOWN_TO_POSTGRES}
        return {
            "user": self.user,
            "database": self.database,
            **passed,
            # Beats what ALTER ROLE or ALTER DATABASE may have set.
            "default_transaction_isolation": "repeatable read",
        }


def _options(text: str) -> dict[str, str]:
    """Read `options` as PostgreSQL does: blanks separate, a backslash keeps the next character.

    Raises:
        Refused: For anything but `-c name=value` and `--name=value`.
    """
    words: list[str] = []
    word: str | None = None
    characters = iter(text)
    for character in characters:
        if character.isspace():
            if word is not None:
                words.append(word)
            word = None
        else:
            word = (word or "") + (next(characters, "") if character == "\\" else character)
    if word is not None:
        words.append(word)

    settings: dict[str, str] = {}
    rest = iter(words)
    for option in rest:
        if option == "-c":
            assignment = next(rest, "")
        elif option.startswith(("-c", "--")):
            assignment = option[2:]
        else:
            raise Refused(parameter_not_supported("options"))
        name, equals, value = assignment.partition("=")
        if not equals:
            raise Refused(parameter_not_supported("options"))
        # PostgreSQL reads a dash in a name as an underscore; this one name is written with dashes.
        if name != _CLUSTER_ID_OPTION:
            name = name.replace("-", "_")
        settings[name.lower()] = value
    return settings
