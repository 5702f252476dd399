"""Tokens: from the cache, beside an empty method of the same native class; and signed, beside other signers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._contest import Contestant, Program, contest
from ._figures import compared

if TYPE_CHECKING:
    from ._contest import Samples
    from ._run import Run

_HIT, _EMPTY, _LOOP = "TokenSource.token(), a hit", "an empty method of the same native class", "the loop"
_NATIVE, _PUBLIC = "sign_token, the native function", "dsql_fast.generate_token()"
_KEPT = "a kept boto3 client"

_ROUNDS, _GENERATIONS = 40, 4


def measure(run: Run) -> None:
    """Run the bench."""
    ours = Program.python("tokens.py")
    contestants = [
        Contestant(_HIT, ours, "hit", 200_000),
        Contestant(_EMPTY, ours, "empty", 200_000),
        Contestant(_LOOP, ours, "loop", 200_000),
        Contestant(_NATIVE, ours, "sign", 4_000),
        Contestant(_PUBLIC, ours, "generate", 4_000),
        Contestant(_KEPT, ours, "kept", 100),
    ]
    found = contest(
        contestants,
        run.rounds(_ROUNDS),
        generations=_GENERATIONS,
        progress=lambda part: run.progress("tokens", part),
    )
    run.samples.update(found)
    # The loop is not part of a call: left in, it would make the two look more alike than they are.
    hits, empties = (_without(found[name], found[_LOOP]) for name in (_HIT, _EMPTY))
    run.found(compared(_HIT, hits, "ns", _EMPTY, empties, at_most=1.3))
    for name in (_NATIVE, _PUBLIC):
        mine, theirs = ([each * 1e6 for each in found[one].of("wall")] for one in (name, _KEPT))
        run.found(compared(name, mine, "us", _KEPT, theirs, ratio_of="of the peer", at_least=50))


def _without(samples: Samples, loop: Samples) -> list[float]:
    return [(one - empty) * 1e9 for one, empty in zip(samples.of("wall"), loop.of("wall"), strict=True)]
