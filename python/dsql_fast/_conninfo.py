"""Connection strings, taken apart: URI, ``key=value``, or a bare host. Pure.

The grammar is libpq's (section 34.1.1 of PostgreSQL's manual), read here because it must be read without a
driver, because the scheme ``dsql`` is ours, and because libpq repeats a malformed string in its error, with
what may be a password in it. The tests hold it against libpq's own parser.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from ._errors import ConfigError

_SCHEMES = ("postgresql", "postgres", "dsql")
_SPACE = " \t\n\r\f\v"


def parse_conninfo(text: object) -> dict[str, str]:
    """Take a connection string apart.

    Args:
        text: ``postgresql://user@host:port/dbname?key=value`` (also ``postgres`` and ``dsql``),
            ``key=value key='other value'``, or a bare host or cluster id. May be empty.

    Returns:
        The values by libpq's keywords. In a URI they are percent-decoded.

    Raises:
        ConfigError: it is malformed. The string itself is not repeated: it may hold a password.
    """
    if not isinstance(text, str):
        raise ConfigError(f"the connection string must be text, not {type(text).__name__}")
    if "\0" in text:
        raise ConfigError("the connection string holds a zero byte, where libpq would take it to end")
    scheme, separator, rest = text.partition("://")
    if separator and "=" not in scheme:
        if scheme.lower() not in _SCHEMES:
            raise ConfigError("the connection string's scheme must be postgresql, postgres or dsql")
        return _parse_uri(rest)
    if "=" in text:
        return _parse_pairs(text)
    bare = text.strip(_SPACE)
    return {"host": bare} if bare else {}


def _parse_uri(rest: str) -> dict[str, str]:
    found: dict[str, str] = {}
    # As libpq has it: user information ends at the first @ unless a slash comes before, whatever else does.
    user_info, at, location = rest.partition("@")
    if at and "/" not in user_info:
        user, _, password = user_info.partition(":")
        _put(found, "user", user)
        _put(found, "password", password)
    else:
        location = rest
    location, _, query = location.partition("?")
    where, _, dbname = location.partition("/")
    if where.startswith("["):
        raise ConfigError("the host is an IP address: the cluster's name is needed (hostaddr= says where to dial)")
    host, _, port = where.partition(":")
    _put(found, "host", host)
    _put(found, "port", port)
    _put(found, "dbname", dbname)
    while query:
        pair, _, query = query.partition("&")
        key, equals, value = pair.partition("=")
        if not equals or "=" in value or not key:
            raise ConfigError("each parameter after the ? in the URI must be written key=value")
        found[_decode(key)] = _decode(value)
    return found


def _put(found: dict[str, str], key: str, value: str) -> None:
    if value:
        found[key] = _decode(value)


def _decode(text: str) -> str:
    text = text.strip(" ")
    if " " in text:
        raise ConfigError("the URI holds a space: write %20")
    for position, character in enumerate(text):
        if character == "%":
            digits = text[position + 1 : position + 3]
            if len(digits) != 2 or not all(c in "0123456789abcdefABCDEF" for c in digits):  # noqa: PLR2004
                raise ConfigError("a % in the URI is not followed by two hexadecimal digits (write %25 for %)")
            if digits == "00":
                raise ConfigError("the URI holds %00")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeError:
        pass  # not raised from here: this error holds the text
    raise ConfigError("the URI holds characters that are not UTF-8")


def _parse_pairs(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    position, end = 0, len(text)
    while True:
        position = _skip_space(text, position)
        if position == end:
            return found
        start = position
        while position < end and text[position] not in _SPACE + "=":
            position += 1
        key = text[start:position]
        position = _skip_space(text, position)
        if position == end or text[position] != "=" or not key:
            raise ConfigError("the connection string is malformed: write key=value pairs, separated by spaces")
        value, position = _read_value(text, _skip_space(text, position + 1))
        found[key] = value


def _read_value(text: str, position: int) -> tuple[str, int]:
    """Read a value: up to a space, or in single quotes; a backslash takes the next character as it is."""
    quoted = text[position : position + 1] == "'"
    if quoted:
        position += 1
    value: list[str] = []
    end = len(text)
    while position < end:
        character = text[position]
        if quoted and character == "'":
            return "".join(value), position + 1
        if not quoted and character in _SPACE:
            return "".join(value), position
        if character == "\\":
            position += 1
            if position == end:
                break
            character = text[position]
        value.append(character)
        position += 1
    if quoted:
        raise ConfigError("the connection string is malformed: a quoted value does not end")
    return "".join(value), position


def _skip_space(text: str, position: int) -> int:
    while position < len(text) and text[position] in _SPACE:
        position += 1
    return position
