"""What can be said to a local cluster while it runs: a line each, read off the methods of `LocalCluster`.

Nothing is implemented here. A command's name, its arguments and its help are those of the method; the method
judges the values.
"""

from __future__ import annotations

import inspect
import json
import shlex
import textwrap
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dsql_fast.local import LocalCluster

_NONE = ("none", "off")
_TRUTH = {"yes": True, "true": True, "no": False, "false": False}
_POSITIONAL = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)


class BadCommand(Exception):  # noqa: N818 - what it is
    """A line that cannot be carried out; its text says what can be. Nothing has changed."""


def commands(cluster: LocalCluster) -> dict[str, Callable[..., Any]]:
    """All that can be said, by name."""
    faults = cluster.faults
    return {
        "fail-commits": faults.fail_commits,
        "cut-commits": faults.cut_commits,
        "fail-statements": faults.fail_statements,
        "cut-transactions": faults.cut_transactions,
        "refuse-connections": faults.refuse_connections,
        "silence-connections": faults.silence_connections,
        "half-open-connections": faults.half_open_connections,
        "slow-connections": faults.slow_connections,
        "slow-jobs": faults.slow_jobs,
        "fail-jobs": faults.fail_jobs,
        "latency": faults.latency,
        "clear": faults.clear,
        "pending": faults.pending,
        "kill": cluster.kill_sessions,
        "advance": cluster.clock.advance,
        "skew": cluster.clock.skew,
        "limit": cluster.set_limits,
        "certificate": cluster.set_certificate,
        "issue": cluster.issue_credentials,
        "revoke": cluster.revoke_credentials,
        "deny": cluster.deny,
        "allow": cluster.allow,
        "sessions": cluster.sessions,
        "stats": cluster.stats,
        "events": cluster.events,
    }


def carry_out(cluster: LocalCluster, line: str) -> Any:
    """Carry out one line.

    Arguments are words in the method's order, and `name=value` or `name value` for those it takes by name only;
    "off" is None (no seconds, of a latency), "0.005-0.03" the least and the most.

    Returns:
        What the method returned, or the help as text: `help` tells all commands in a line each, `help latency` all
        about one.

    Raises:
        BadCommand: If there is no such command, or it does not take these arguments.
    """
    known = commands(cluster)
    try:
        name, *words = shlex.split(line)
    except ValueError as error:
        raise BadCommand(f"{error}") from None
    if name == "help" and not words:
        return "\n".join(_help(known))
    asked = words[0] if name == "help" else name
    if asked not in known:
        raise BadCommand(f"there is no {asked!r}; there are {', '.join(known)}, help")
    method = known[asked]
    if name == "help":
        return f"{_usage(asked, method)}\n{textwrap.indent(inspect.getdoc(method) or '', '    ')}"
    try:
        positional, by_name = _arguments(method, words)
        inspect.signature(method).bind(*positional, **by_name)  # says what is missing, without the method's name
        return method(*positional, **by_name)
    except (ValueError, TypeError) as error:
        raise BadCommand(f"{error}; usage: {_usage(name, method)}") from None


def as_text(result: Any) -> str:
    """A result for people."""
    if result is None:
        return "done"
    plain = _plain(result)
    if hasattr(result, "access_key"):
        return "\n".join(_exports(plain))
    if isinstance(plain, dict):
        return "\n".join(f"{name}: {_word(value)}" for name, value in plain.items())
    if isinstance(plain, list):
        rows = (" ".join(f"{name}={_word(value)}" for name, value in each.items()) for each in plain)
        return "\n".join(rows) or "none"
    return str(plain)


def as_json(line: str, result: Any) -> str:
    """A result for programs: one line."""
    return json.dumps({"command": line, "result": _plain(result)})


def number(word: str) -> float:
    """Read a number; whole ones stay whole."""
    try:
        return int(word)
    except ValueError:
        return float(word)


def optional_number(word: str) -> float | None:
    """Read a number, or "off"."""
    return None if word in _NONE else number(word)


def seconds(word: str) -> float | tuple[float, float]:
    """Read seconds, or the least and the most of them with a dash between; "off" is none."""
    if word in _NONE:
        return 0.0
    try:
        return float(word)
    except ValueError:
        least, _, most = word.partition("-")
        return float(least), float(most)


def _truth(word: str) -> bool:
    if word not in _TRUTH:
        raise ValueError(f"yes or no, not {word!r}")
    return _TRUTH[word]


# By the annotations of the methods, which are text here.
_READERS: Mapping[str, Callable[[str], Any]] = {
    "int | None": optional_number,  # the method says what is not whole
    "float": number,
    "float | None": optional_number,
    "float | Sequence[float] | None": seconds,
    "str": str,
    "str | None": str,
    "bool": _truth,
}


def _arguments(method: Callable[..., Any], words: list[str]) -> tuple[list[Any], dict[str, Any]]:
    parameters = inspect.signature(method).parameters
    free = [each for each in parameters.values() if each.kind in _POSITIONAL]
    others = next((each for each in parameters.values() if each.kind is each.VAR_KEYWORD), None)
    positional: list[Any] = []
    by_name: dict[str, Any] = {}
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        parameter = parameters.get(name, others)
        takes_name = parameter is not None and (parameter is others or parameter.kind is parameter.KEYWORD_ONLY)
        if not equals and takes_name:
            value = next(rest, "")
        if parameter is not None and (equals or takes_name) and parameter.kind is not parameter.VAR_POSITIONAL:
            if name in by_name:
                raise ValueError(f"{name} comes twice")
            by_name[name] = _read(parameter, name, value)
        elif len(positional) < len(free):
            parameter = free[len(positional)]
            positional.append(_read(parameter, parameter.name, word))
        else:
            raise ValueError(f"{word!r} is too much")
    return positional, by_name


def _read(parameter: inspect.Parameter, name: str, value: str) -> Any:
    try:
        return _READERS[str(parameter.annotation)](value)
    except ValueError:
        raise ValueError(f"{name} cannot be {value!r}") from None


def _help(known: Mapping[str, Callable[..., Any]]) -> Iterator[str]:
    for name, method in known.items():
        yield _usage(name, method)
        yield f"    {(inspect.getdoc(method) or '').partition(chr(10))[0]}"
    yield "help [COMMAND]"
    yield "    This, or all about one command."
    yield "    Arguments: in their order, or name=value; off is none; 0.005-0.03 is the least and the most."


def _usage(name: str, method: Callable[..., Any]) -> str:
    parts = [name]
    for parameter in inspect.signature(method).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            parts.append("NAME=VALUE...")
        elif parameter.kind is parameter.KEYWORD_ONLY:
            parts.append(f"[{parameter.name}=...]")
        elif parameter.default is parameter.empty:
            parts.append(parameter.name.upper())
        else:
            parts.append(f"[{parameter.name.upper()}]")
    return " ".join(parts)


def _word(value: Any) -> str:
    """A value as it could be typed, where it could be."""
    if value is None:
        return "off"
    return value if isinstance(value, str) else json.dumps(value)


def _exports(key: dict[str, str | None]) -> Iterator[str]:
    """An access key as a shell takes it."""
    yield f"# {key['arn']}"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        value = key[name]
        yield f"unset {name}" if value is None else f"export {name}={shlex.quote(value)}"


def _plain(result: Any) -> Any:
    if isinstance(result, list):
        return [_plain(each) for each in result]
    if is_dataclass(result) and not isinstance(result, type):
        return asdict(result)
    if hasattr(result, "access_key"):
        return {
            "AWS_ACCESS_KEY_ID": result.access_key,
            "AWS_SECRET_ACCESS_KEY": result.secret_key,
            "AWS_SESSION_TOKEN": result.token,
            "arn": result.arn,
        }
    return result
