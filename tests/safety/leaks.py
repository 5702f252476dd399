"""Look for secrets wherever an error carries something: texts, attributes, causes, locals of every frame."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import psycopg2

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator

_HERE = str(Path(__file__).parent.parent)


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error, its causes, contexts and members, each once."""
    seen: set[int] = set()
    ahead: list[BaseException | None] = [error]
    while ahead:
        next_one = ahead.pop()
        if next_one is None or id(next_one) in seen:
            continue
        seen.add(id(next_one))
        yield next_one
        ahead += [next_one.__cause__, next_one.__context__]
        ahead += getattr(next_one, "exceptions", ())


def _shown(value: object, *, depth: int = 1) -> Iterator[str]:
    """What a reporter that shows values, and looks into containers and objects, would show."""
    try:
        yield repr(value)
    except Exception as failure:
        yield repr(failure)
    if depth == 0:
        return
    inner: list[Any] = []
    if isinstance(value, dict):
        inner = [*value.keys(), *value.values()]
    elif isinstance(value, (tuple, list, set, frozenset)):
        inner = list(value)
    for part in inner:
        yield from _shown(part, depth=depth - 1)


def texts_of(error: BaseException) -> Iterator[tuple[str, str]]:
    """Every text that the error carries, with where it was found. The tests' own frames are left out."""
    for link in chain(error):
        name = type(link).__name__
        yield f"{name}: text", f"{link} {link!r} {link.args!r} {vars(link)!r}"
        for note in getattr(link, "__notes__", ()):
            yield f"{name}: note", note
        if isinstance(link, psycopg.Error):
            pgconn = link.pgconn
            if pgconn is not None:
                yield f"{name}: pgconn", repr(getattr(pgconn, "password", None) or pgconn.info)
        if isinstance(link, psycopg2.Error):
            yield f"{name}: server's", f"{link.pgerror} {link.cursor!r} {link.diag.message_primary}"
        traceback = link.__traceback__
        while traceback is not None:
            frame = traceback.tb_frame
            if not frame.f_code.co_filename.startswith(_HERE):
                where = f"{name}: {frame.f_code.co_filename}:{traceback.tb_lineno} {frame.f_code.co_name}"
                for local, value in frame.f_locals.items():
                    for text in _shown(value):
                        yield f"{where}: {local}", text
            traceback = traceback.tb_next


def assert_clean(error: BaseException, secrets: list[str]) -> None:
    """No secret in anything that the error carries."""
    found = [(where, secret) for where, text in texts_of(error) for secret in secrets if secret in text]
    assert not found


def assert_records_clean(records: list[logging.LogRecord], secrets: list[str]) -> None:
    """No secret in any log record: text, arguments, and what its exception carries."""
    for record in records:
        text = f"{record.getMessage()} {record.args!r}"
        assert not [secret for secret in secrets if secret in text], record.name
        if record.exc_info is not None and record.exc_info[1] is not None:
            assert_clean(record.exc_info[1], secrets)
