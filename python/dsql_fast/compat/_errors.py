"""Missing credentials as the official connector documents them: as errors of botocore's."""

from __future__ import annotations

from typing import cast

from .._errors import CredentialsError, CredentialsNotFound

# By ours, the class that is botocore's too.
_both: dict[type[CredentialsError], type[CredentialsError]] = {}


def also_botocores(error: CredentialsError) -> None:
    """Make an error one of botocore's too: its ``NoCredentialsError`` if there are none, else a ``BotoCoreError``.

    Pickled, it is ours alone.
    """
    ours = type(error)
    if ours in _both.values():
        return
    if ours not in _both:
        _both[ours] = _made(ours)
    error.__class__ = _both[ours]


def _made(ours: type[CredentialsError]) -> type[CredentialsError]:
    from botocore.exceptions import BotoCoreError, NoCredentialsError

    theirs = NoCredentialsError if issubclass(ours, CredentialsNotFound) else BotoCoreError

    def reduced(error: BaseException) -> tuple[object, ...]:
        return ours, error.args, {name: value for name, value in vars(error).items() if name != "kwargs"} or None

    # Of botocore's, what its constructor would have set.
    names: dict[str, object] = {
        "__module__": ours.__module__,
        "__doc__": ours.__doc__,
        "__reduce__": reduced,
        "kwargs": {},
    }
    return cast("type[CredentialsError]", type(ours.__name__, (ours, theirs), names))
