"""Those who wait for a token: woken when it is there, and sent away when the interpreter exits.

Up to Python 3.13 a daemon thread is torn off when, after the interpreter has begun to end, it next wants the
interpreter's lock. One that is inside `TokenSource.token` has a frame of native code below it, through which it
cannot be torn: the process would abort. So before the end all are sent away, and nobody is let in again: the
native module counts who is inside before it calls Python, and refuses the others (``src/presence.rs``).
"""

from __future__ import annotations

import os
import sys
from _thread import get_ident

from ._errors import CredentialsError, Error
from ._native import begin_exit, inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from concurrent.futures import Future
    from typing import TypeAlias

    # What waits for a first token: the token, or None for "look again" (the renewal was cancelled).
    TokenFuture: TypeAlias = Future[str | None]

# So many milliseconds in a row nobody may be inside `token` before the interpreter ends.
_QUIET_ENOUGH = 3


class Crowd:
    """Those who wait in one process.

    Attributes:
        pending: the futures that somebody waits on.
        process: its id.
        was_inside: whether a thread ever was. If not, the exit clears nothing: who awaits is not in the way.
    """

    __slots__ = ("pending", "process", "was_inside")

    def __init__(self, process: int) -> None:
        self.process = process
        self.was_inside = False
        self.pending: set[TokenFuture] = set()


# By process: a forked child has the parent's futures, but not its threads, which may have held the futures' locks.
_crowds: dict[int, Crowd] = {}
# The present one, read without the dict: without a GIL a dict has a lock of its own, and one that threads contend
# for may be locked in a child that is forked at that moment.
_present: Crowd | None = None

# Set at exit: the thread that ends the interpreter.
_exiting_thread: int | None = None


def crowd() -> Crowd:
    """Return this process's crowd: the same to all threads that come first, with or without a GIL."""
    global _present  # noqa: PLW0603
    process = os.getpid()
    found = _present
    if found is not None and found.process == process:
        return found
    others = [other for other in list(_crowds) if other != process]
    made = Crowd(process)
    found = _crowds.setdefault(process, made)
    if found is made:
        if not others:  # a forked child has inherited the handler
            import atexit

            atexit.register(clear_out_at_exit)
        for other in others:
            del _crowds[other]
    _present = found
    return found


def come_in() -> None:
    """Take note of a thread inside `token`.

    Raises:
        CredentialsError: the interpreter is exiting. The native module lets nobody in then: this one had been let
            in just before. A worker ends by that, and who joins it at exit need not wait.
    """
    crowd().was_inside = True
    if _exiting_thread is not None and _exiting_thread != get_ident():
        raise CredentialsError("the interpreter is exiting")


def clear_out_at_exit() -> None:
    global _exiting_thread  # noqa: PLW0603
    found = _present
    if found is None or found.process != os.getpid() or not found.was_inside:
        return  # forked, and nobody was inside here
    _exiting_thread = get_ident()
    begin_exit()
    for future in list(found.pending):
        wake(future, CredentialsError("the interpreter is exiting"))
    if len(sys._current_frames()) == 1:  # noqa: SLF001 (documented)
        return  # there are no other threads: most programs that want a token and end would wait for nobody
    from time import sleep

    quiet = 0
    for _ in range(100):
        sleep(0.001)
        # More than once: a thread may have been on its way in, or just out.
        quiet = 0 if inside() else quiet + 1
        if quiet == _QUIET_ENOUGH:
            break


def wake(waiting: object, outcome: str | Error | None) -> None:
    """Wake those who wait, if any: with the token, with the failure, or to look again."""
    if waiting is None:
        return
    from concurrent.futures import InvalidStateError

    future: TokenFuture = waiting  # type: ignore[assignment]  # native: the object that was offered
    try:
        if isinstance(outcome, Error):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
    except InvalidStateError:
        pass  # the interpreter is exiting, and `clear_out_at_exit` was first


def remember(future: TokenFuture) -> None:
    """Keep a future that somebody waits on, until it is done: at exit it is ended."""
    pending = crowd().pending
    pending.add(future)
    future.add_done_callback(pending.discard)
