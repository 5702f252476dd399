"""The arguments of a connect as text for libpq, written once for equal connects.

psycopg reads and writes what it is given several times at each connect: the connection string into parameters,
these into a string again, and that once more to see whether it is one. With the twenty parameters that say who
sees the token, it is a tenth of all instructions of a connect. So psycopg goes on with the few that it reads by
itself, and where it hands the string to libpq (`_connect_gen`) the others are put after them, and the token.

They go together: should psycopg no longer call one of the two methods, a connect would have no password to send.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg.conninfo import make_conninfo

if TYPE_CHECKING:
    from collections.abc import Mapping

# What psycopg's `connect` reads of its parameters, and of the environment where they are missing. (And
# `gssencmode`, where GSS was used: it is off.)
READ_BY_PSYCOPG = ("host", "hostaddr", "port", "connect_timeout", "load_balance_hosts", "target_session_attrs")

METHODS = ("_get_connection_params", "_connect_gen")
"""psycopg's methods that are overridden for it."""


class Prepared(dict[str, Any]):
    """What psycopg's ``connect`` takes, all but the password; and the same in parts. Not to be changed.

    Attributes:
        parts: keywords for a ``connect`` whose `METHODS` are ours: what psycopg reads, and this object.
    """

    __slots__ = ("_rest", "parts")

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        super().__init__(arguments)
        read = {name: str(arguments[name]) for name in READ_BY_PSYCOPG if name in arguments}
        self.parts: dict[str, Any] = {**read, "prepared": self}
        self._rest = make_conninfo("", **{name: arguments[name] for name in arguments if name not in read})

    def rest(self, password: str) -> str:
        """Return what follows in the connection string after what psycopg reads."""
        quoted = password.replace("\\", r"\\").replace("'", r"\'")
        return f"{self._rest} password='{quoted}'"


def keywords(arguments: dict[str, Any], *, in_parts: bool) -> dict[str, Any]:
    """Return what a ``connect`` of psycopg's is called with.

    Args:
        arguments: a `Prepared`, as our driver has them.
        in_parts: the `METHODS` are ours.
    """
    return arguments.parts if in_parts and isinstance(arguments, Prepared) else arguments


def has_methods(theirs: type[Any]) -> bool:
    """Tell whether a class of psycopg's has what is overridden."""
    return all(hasattr(theirs, name) for name in METHODS)


def overrides_methods(cls: type[Any], theirs: type[Any]) -> bool:
    """Tell whether a caller's class has methods of its own in the place of those.

    They get what psycopg's would.

    Args:
        cls: derives from ours.
        theirs: the class of psycopg's that it derives from.
    """
    others = [each for each in cls.__mro__ if each not in theirs.__mro__ and each.__module__ != "dsql_fast"]
    return any(name in vars(each) for each in others for name in METHODS)
