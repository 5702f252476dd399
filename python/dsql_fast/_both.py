"""An error that is a driver's and ours at once.

Programs catch what their driver raises; ours tells more. So an error keeps its class and gets one of ours beside
it: ``except psycopg.OperationalError`` and ``except dsql_fast.AccessDenied`` both see it. For each pair there is
one class, made when it is first needed. No driver is imported.

The object stays the one that it was, with all that its driver keeps in it (psycopg2 keeps it in C); only its class
is narrowed. Where Python does not let that be done (its own classes, ``TimeoutError`` say), a copy can be made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    from ._errors import Error

    E = TypeVar("E", bound=BaseException)

# By ours and theirs, and back.
_made: dict[tuple[type[Error], type[BaseException]], type[BaseException]] = {}
_pairs: dict[type[BaseException], tuple[type[Error], type[BaseException]]] = {}


def narrow(error: BaseException, ours: type[Error], facts: Mapping[str, Any]) -> bool:
    """Make an error one of ours too.

    Args:
        error: any.
        ours: what it is to be.
        facts: attributes that it gets; what pickle can take.

    Returns:
        Whether it could be done. Otherwise nothing has changed.
    """
    try:
        error.__class__ = _both(ours, type(error))
    except TypeError:
        return False  # a class of the interpreter's own, or one that cannot be derived from
    vars(error).update(facts, _facts=dict(facts))
    return True


def as_both(error: E, ours: type[Error], facts: Mapping[str, Any]) -> E:
    """Return an error that is one of ours too: the same one, or a copy where that cannot be done.

    Where neither can be done, the error is returned as it came.
    """
    if narrow(error, ours, facts):
        return error
    theirs = type(error)
    try:
        made = _both(ours, theirs).__new__(_both(ours, theirs), *error.args)
    except TypeError:
        return error
    vars(made).update(vars(error))
    made.args = error.args
    made.__cause__, made.__context__ = error.__cause__, error.__context__
    made.__suppress_context__ = error.__suppress_context__
    vars(made).update(facts, _facts=dict(facts))
    return made  # type: ignore[return-value]  # it is an instance of E's class and of ours


def _both(ours: type[Error], theirs: type[BaseException]) -> type[BaseException]:
    if theirs in _pairs:
        theirs = _pairs[theirs][1]  # narrowed before: an error that is kept, or of a run inside another
    found = _made.get((ours, theirs))
    if found is None:
        made = _new_class(ours, theirs)
        _pairs[made] = (ours, theirs)  # first: another thread may have the class as soon as it is in `_made`
        found = _made.setdefault((ours, theirs), made)
    return found


def _new_class(ours: type[Error], theirs: type[BaseException]) -> type[BaseException]:
    from types import new_class

    # The name is the one to catch it by. Not `type()`: asyncpg's errors have a metaclass.
    names = {"__module__": ours.__module__, "__doc__": ours.__doc__, "__reduce__": _reduced}
    return new_class(ours.__name__, (ours, theirs), exec_body=lambda namespace: namespace.update(names))


def _reduced(error: BaseException) -> tuple[Callable[..., BaseException], tuple[object, ...]]:
    """Pickle an error as its driver would, and what is ours beside it: no name leads to its class."""
    cls = type(error)
    ours, theirs = _pairs[cls]
    make, arguments, *state = cast("tuple[Any, ...]", super(cls, error).__reduce__())
    return _rebuilt, (
        theirs if make is cls else make,
        arguments,
        state[0] if state else None,
        ours,
        vars(error)["_facts"],
    )


def _rebuilt(
    make: Callable[..., BaseException],
    arguments: tuple[object, ...],
    state: dict[str, Any] | None,
    ours: type[Error],
    facts: Mapping[str, Any],
) -> BaseException:
    error = make(*arguments)
    if state is not None:
        error.__setstate__(state)  # an exception has it, whatever its class
    return as_both(error, ours, facts)
