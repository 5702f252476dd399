"""Contestants in processes of their own, which take turns.

A contestant's program may be written in any language and run in an environment of its own. It prints ``ready``,
with what is worth knowing as ``name=version`` words behind it, and then answers each line ``WAY CALLS`` of its
standard input with a line of JSON: an object of numbers, such as ``{"wall": 0.012, "cpu": 0.004}`` (seconds for
all the calls), or ``{"error": "..."}``. A way that signs is joined by one named ``WAY:token``, which answers
``{"token": "..."}``, so that it can be checked. The program ends when its standard input does.
`contestants/serve.py` does all that for Python.

All programs are there at the same time, and one of them works at a time: what the machine does meanwhile meets
all of them. They are started anew a few times, so that no process's luck (where its memory lies) decides.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._timing import rotated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from typing_extensions import Self

CONTESTANTS = Path(__file__).parent / "contestants"


class ContestantError(Exception):
    """A contestant's program failed; the message has what it said."""


@dataclass(frozen=True)
class Program:
    """A program that holds one contestant or several.

    Attributes:
        command: what to run.
        environment: variables beside the process's own; None as a value takes one away.
    """

    command: tuple[str, ...]
    environment: tuple[tuple[str, str | None], ...] = ()

    @classmethod
    def python(
        cls,
        script: str,
        environment: Mapping[str, str | None] | None = None,
        interpreter: str = sys.executable,
        arguments: Sequence[str] = (),
    ) -> Program:
        """Return the program of one of the scripts in `contestants/`."""
        return cls((interpreter, str(CONTESTANTS / script), *arguments), tuple((environment or {}).items()))


@dataclass(frozen=True)
class Contestant:
    """One way to do what is measured.

    Attributes:
        name: as figures have it.
        program: that does it.
        way: its name inside the program.
        calls: how many calls it makes in a turn.
        every: it takes its turn in each so-manieth round: for what is so slow that it would fill the run.
        warm_up: how many calls it makes before the first round; default: as many as in a turn.
    """

    name: str
    program: Program
    way: str
    calls: int = 1
    every: int = 1
    warm_up: int | None = None


@dataclass
class Samples:
    """What a contestant answered, each number for one call.

    Attributes:
        values: by the number's name and the round.
        generations: the rounds that each process lived through.
        versions: what the program said of itself.
    """

    values: dict[str, dict[int, float]] = field(default_factory=dict)
    generations: list[range] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)

    def of(self, name: str, rounds: Sequence[int] | None = None) -> list[float]:
        """Return the values of a name; all of them, or those of some rounds."""
        found = self.values[name]
        return list(found.values()) if rounds is None else [found[number] for number in rounds]

    def rounds(self, name: str) -> list[int]:
        """Return the rounds in which it took its turn."""
        return list(self.values[name])


def contest(
    contestants: Sequence[Contestant],
    rounds: int,
    *,
    generations: int = 1,
    before: Callable[[], object] = lambda: None,
    progress: Callable[[float], object] = lambda _: None,
    check: Callable[[Contestant, Process], object] = lambda *_: None,
) -> dict[str, Samples]:
    """Let contestants take turns.

    Args:
        contestants: who.
        rounds: how often each gets its turn, in all generations together.
        generations: how often the programs are started anew.
        before: called before each turn: to wait until nothing is left of the one before.
        progress: told which part is done (0 to 1).
        check: is given each contestant and its process once they have warmed up, and raises if it does not do
            what is measured.

    Returns:
        By the contestant's name, what it answered, divided by its calls: seconds for one call. What is no time
        (its name does not say ``wall`` or ``cpu``) is left as it is.

    Raises:
        ContestantError: one failed.
    """
    found = {contestant.name: Samples() for contestant in contestants}
    by_generation = _shares(rounds, generations)
    for generation in by_generation:
        with started(contestants) as processes:
            for contestant in contestants:  # warms up
                before()
                processes[contestant.program].turn(contestant, contestant.warm_up)
                found[contestant.name].generations.append(generation)
                found[contestant.name].versions.update(processes[contestant.program].versions)
                check(contestant, processes[contestant.program])
            for number in generation:
                for contestant in _rotated(contestants, number):
                    if (number - generation.start) % contestant.every:
                        continue
                    before()
                    for name, value in processes[contestant.program].turn(contestant).items():
                        found[contestant.name].values.setdefault(name, {})[number] = value
                progress((number + 1) / rounds)
    return found


def _shares(rounds: int, generations: int) -> list[range]:
    generations = min(rounds, generations)
    bounds = [rounds * number // generations for number in range(generations + 1)]
    return [range(first, last) for first, last in pairwise(bounds)]


def _rotated(contestants: Sequence[Contestant], number: int) -> list[Contestant]:
    return [contestants[index] for index in rotated(list(range(len(contestants))), number)]


@contextmanager
def started(contestants: Sequence[Contestant]) -> Iterator[dict[Program, Process]]:
    """Start the programs of contestants; they end with the block."""
    with ExitStack() as stack:
        yield {
            program: stack.enter_context(Process(program))
            for program in dict.fromkeys(contestant.program for contestant in contestants)
        }


class Process:
    """A contestants' program that runs.

    Raises:
        ContestantError: it did not get ready.
    """

    def __init__(self, program: Program) -> None:
        environment = dict(os.environ)
        for name, value in program.environment:
            if value is None:
                environment.pop(name, None)
            else:
                environment[name] = value
        self._program = program
        # In a session of its own: Ctrl-C is for the command alone, which then ends its contestants.
        self._process = subprocess.Popen(
            program.command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.versions: dict[str, str] = {}

    def __enter__(self) -> Self:
        word, *versions = self._answer().split() or [""]
        if word != "ready":
            self.__exit__()
            raise ContestantError(f"{self._name} did not get ready: {word!r}")
        self.versions = dict(each.split("=", 1) for each in versions)
        return self

    def __exit__(self, kind: object = None, *_: object) -> None:
        if kind is not None:  # it may be in the middle of a long turn
            self._process.terminate()
        with self._process:  # closes its pipes, which ends it, and waits
            pass

    def turn(self, contestant: Contestant, calls: int | None = None) -> dict[str, float]:
        """Let a contestant take its turn; returns its numbers, times for one call.

        Args:
            contestant: who.
            calls: how many it makes; default: its own number.
        """
        calls = contestant.calls if calls is None else calls
        answer = self.ask(contestant.way, calls)
        return {name: value / calls if name in {"wall", "cpu"} else value for name, value in answer.items()}

    def ask(self, way: str, calls: int = 1) -> dict[str, Any]:
        """Give the program a line, and return what it answers.

        Raises:
            ContestantError: it answers that it failed, or not at all.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(f"{way} {calls}\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._answer())
        if "error" in answer:
            raise ContestantError(f"{self._name}, {way}: {answer['error']}")
        return answer

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            raise ContestantError(f"{self._name} ended with status {status}")
        return line

    @property
    def _name(self) -> str:
        return " ".join(Path(word).name for word in self._program.command)
