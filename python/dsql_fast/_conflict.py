"""Which errors mean that a transaction lost against another one, and which leave open what became of it.

Aurora DSQL has no locks: the first to commit wins, and the other one gets SQLSTATE 40001 at COMMIT, with
``(OC000)`` in the text; one whose view of the schema is old gets it with ``(OC001)``, at any statement (all
observed). Nothing of it was applied, and it is to be run again from its beginning. ``OC000`` and ``OC001`` as
SQLSTATEs occur in other connectors' tests only; they count too.

No driver is imported: an error is known by the attributes that drivers give theirs.
"""

from __future__ import annotations

from ._errors import CommitOutcomeUnknown, PartlyDone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal, TypeAlias

    ConflictKind: TypeAlias = Literal["data", "schema"]

_CONFLICTS = {"40001", "OC000", "OC001"}
_UNAVAILABLE = {"XX000"}
# "current transaction is aborted": what the statements after the first error get.
_FOLLOWS = {"25P02"}


def is_conflict(error: BaseException) -> bool:
    """Tell whether an error means that a transaction lost against another one, and is to be run again.

    Usable as it is with tenacity (``retry_if_exception(is_conflict)``) and stamina (``on=is_conflict``).
    As `conflict_kind`.
    """
    return conflict_kind(error) is not None


is_occ_error = is_conflict
"""The name in the official connectors."""


def conflict_kind(error: BaseException) -> ConflictKind | None:
    """Tell what kind of conflict an error means, if any.

    An error means what it was raised *from*: ``__cause__`` is followed, and SQLAlchemy's ``.orig``. So errors
    are seen through that an ORM has wrapped. ``__context__`` is not followed: who raises another error while
    handling a conflict, and does not say ``from``, may well have another problem. A group means a conflict if one
    of its members does, and each other one does too or is what PostgreSQL says to the statements after it.

    Returns:
        ``"data"`` for rows that another transaction changed (OC000, or PostgreSQL's own 40001), ``"schema"`` for
        a schema that it changed (OC001), None for all else.
    """
    kinds: set[ConflictKind | None] = {_kind(reported) for reported in reports(error) if not _follows(reported)}
    if not kinds or None in kinds:
        return None
    # A schema conflict alone is run again at once; beside another, it is not alone.
    return "schema" if kinds == {"schema"} else "data"


def is_unavailable(error: BaseException) -> bool:
    """Tell whether an error is DSQL's XX000 ``server unavailable``, after which the connection stays usable."""
    states = {sqlstate(reported) for reported in reports(error) if not _follows(reported)}
    return bool(states) and states <= _UNAVAILABLE


def tells_of_lost_connection(state: str | None) -> bool:
    """Tell whether an error with this SQLSTATE (None: the driver's own) can come of a lost connection."""
    return state is None or state.startswith(("08", "57P"))


def refuses_commit(state: str | None) -> bool:
    """Tell whether an error with this SQLSTATE (None: the driver's own), got for COMMIT, says: not applied.

    All do but those that tell of the server's or the connection's state and not of the transaction's: internal
    and system errors, lost connections, shutdowns, and PostgreSQL's own "statement completion unknown".
    """
    return not (tells_of_lost_connection(state) or state == "40003" or str(state).startswith(("XX", "58")))


def sqlstate(error: BaseException) -> str | None:
    """Return an error's SQLSTATE: psycopg's and asyncpg's ``sqlstate``, or psycopg2's ``pgcode``."""
    for name in ("sqlstate", "pgcode"):
        state = getattr(error, name, None)
        if isinstance(state, str):
            return state
    return None


def reports(error: BaseException) -> list[BaseException]:
    """Return what an error is about: for each leaf of a group (or the error), the database's error behind it.

    Where there is none, the leaf itself.
    """
    found: list[BaseException] = []
    ahead = [error]
    while ahead:
        chain = list(_raised_from(ahead.pop()))
        members = next((m for m in (getattr(link, "exceptions", None) for link in chain) if _is_members(m)), None)
        if members is not None:
            ahead += members
            continue
        with_state = (link for link in chain if sqlstate(link) is not None)
        of_a_driver = (link for link in chain if hasattr(link, "sqlstate") or hasattr(link, "pgcode"))
        found.append(next(with_state, None) or next(of_a_driver, None) or chain[0])
    return found


def _is_members(value: object) -> bool:
    return isinstance(value, tuple) and bool(value) and all(isinstance(one, BaseException) for one in value)


def _raised_from(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: object = error
    while isinstance(link, BaseException) and id(link) not in seen:
        seen.add(id(link))
        yield link
        if isinstance(link, (CommitOutcomeUnknown, PartlyDone)):
            # What lies behind it must not be taken for "nothing was applied".
            return
        link = link.__cause__ or getattr(link, "orig", None)


def _follows(error: BaseException) -> bool:
    return sqlstate(error) in _FOLLOWS


def _kind(error: BaseException) -> ConflictKind | None:
    state = sqlstate(error)
    if state not in _CONFLICTS:
        return None
    # The server's own sentence where the driver has it apart; the rest may quote the user's data.
    sentence = getattr(getattr(error, "diag", None), "message_primary", None) or str(error)
    return "schema" if state == "OC001" or "(OC001)" in sentence else "data"
