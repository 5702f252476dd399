"""Tokens: from the cache, beside an empty method of the same native class; and signed, beside other signers."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from dsql_fast import Credentials, generate_token

from ._contest import Contestant, ContestantError, Program, contest
from ._figures import compared
from ._keys import APART, ENVIRONMENT, HOST, KEY_ID, SECRET
from ._native_threads import native_threads
from ._peers import had

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._contest import Process, Samples
    from ._run import Run

_HIT, _EMPTY, _LOOP = "cached token from Python", "an empty method of the same native class", "the loop"
_NATIVE, _PUBLIC = "signed token from Python, sign_token", "signed token from Python, generate_token"
_KEPT, _AWSCRT, _GO, _RUST, _FLOOR, _JAVASCRIPT, _OFFICIAL = (
    "a kept boto3 client",
    "awscrt",
    "Go",
    "the Rust SDK",
    "SHA-256 and keyed HMAC alone",
    "JavaScript",
    "the official connector",
)
_AT_LEAST = {_KEPT: 50.0, _AWSCRT: 12.0, _GO: 7.0, _RUST: 4.0}
_AT_MOST = {_FLOOR: 2.2}

_ROUNDS, _GENERATIONS = 60, 4
# So slow that it would fill the run.
_OFFICIAL_EVERY = 5


def measure(run: Run) -> None:
    """Run the bench."""
    ours = Program.python("tokens.py", ENVIRONMENT)
    own = [
        Contestant(_HIT, ours, "hit", 200_000),
        Contestant(_EMPTY, ours, "empty", 200_000),
        Contestant(_LOOP, ours, "loop", 200_000),
        Contestant(_NATIVE, ours, "sign", 4_000),
        Contestant(_PUBLIC, ours, "generate", 4_000),
    ]
    others = list(_others(run))
    found = contest(
        [*own, *others],
        run.rounds(_ROUNDS),
        generations=_GENERATIONS,
        progress=lambda part: run.progress("tokens", part),
        check=_check,
    )
    run.samples.update(found)
    # The loop is not part of a call: left in, it would make the two look more alike than they are.
    hits, empties = (_without(found[name], found[_LOOP]) for name in (_HIT, _EMPTY))
    run.found(compared(_HIT, hits, "ns", _EMPTY, empties, at_most=1.3))
    native_threads(run)
    for name in (_NATIVE, _PUBLIC):
        for other in others:
            rounds = found[other.name].rounds("wall")
            mine, theirs = ([each * 1e6 for each in found[one].of("wall", rounds)] for one in (name, other.name))
            run.found(
                compared(
                    name,
                    mine,
                    "us",
                    other.name,
                    theirs,
                    ratio_of="to the peer" if other.name in _AT_MOST else "of the peer",
                    at_most=_AT_MOST.get(other.name),
                    at_least=_AT_LEAST.get(other.name),
                )
            )


def _others(run: Run) -> Iterator[Contestant]:
    """Give those who sign beside us, as far as they are wanted and can be had."""
    apart = {**ENVIRONMENT, **APART}
    yield Contestant(_KEPT, Program.python("peer_tokens.py", ENVIRONMENT, arguments=("kept",)), "kept", 100)
    if (command := had(run, "awscrt")) is not None:
        awscrt = Program.python("peer_tokens.py", apart, command[0], arguments=("awscrt",))
        yield Contestant(_AWSCRT, awscrt, "awscrt", 400)
    if (command := had(run, "go")) is not None:
        yield Contestant(_GO, Program(command, tuple(ENVIRONMENT.items())), "go", 1_000)
    if (command := had(run, "rust-sdk")) is not None:
        rust = Program(command, tuple(ENVIRONMENT.items()))
        yield Contestant(_RUST, rust, "rust-sdk", 1_000)
        yield Contestant(_FLOOR, rust, "floor", 10_000)
    if (command := had(run, "javascript")) is not None:
        yield Contestant(_JAVASCRIPT, Program(command, tuple(ENVIRONMENT.items())), "javascript", 400)
    if (command := had(run, "official")) is not None:
        official = Program.python("peer_tokens.py", apart, command[0], arguments=("official",))
        yield Contestant(_OFFICIAL, official, "official", 1, _OFFICIAL_EVERY)


def _check(contestant: Contestant, process: Process) -> None:
    """Make sure that a signer makes our token of the same moment: nobody is timed doing something else.

    Host, parameters and signature are the same, in whatever order. The moment is read from the token: not every
    signer lets it be set.
    """
    if contestant.name in {_HIT, _EMPTY, _LOOP, _FLOOR}:
        return  # they sign nothing; the floor makes sure by itself that its hashes are a token's
    token = process.ask(f"{contestant.way}:token")["token"]
    parameters = dict(parse_qsl(token.partition("?")[2]))
    try:
        signed_at = datetime.strptime(parameters["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
        lifetime = int(parameters["X-Amz-Expires"])
    except (KeyError, ValueError):
        raise ContestantError(f"{contestant.name}: what it signs is no token") from None
    ours = generate_token(HOST, expires_in=lifetime, credentials=Credentials(KEY_ID, SECRET), now=signed_at)
    if _parts(token) != _parts(ours) or lifetime != 900:
        raise ContestantError(f"{contestant.name} signs another token")


def _parts(token: str) -> tuple[str, list[tuple[str, str]]]:
    where, _, query = token.partition("?")
    return where.rstrip("/"), sorted(parse_qsl(query, strict_parsing=True))


def _without(samples: Samples, loop: Samples) -> list[float]:
    # By the processor's clock: a turn of some milliseconds that is interrupted would be told by the wall's.
    return [(one - empty) * 1e9 for one, empty in zip(samples.of("cpu"), loop.of("cpu"), strict=True)]
