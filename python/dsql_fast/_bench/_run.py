"""One run of `dsql-fast bench`: what it is asked for, and where a bench puts what it finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ._contest import Samples
    from ._figures import Figure


@dataclass(frozen=True)
class Skip:
    """Something that was not measured.

    Attributes:
        what: a contestant, or a part of a bench.
        why: the reason, and what would help.
    """

    what: str
    why: str


@dataclass
class Run:
    """What a bench is given.

    Attributes:
        quick: a few rounds only, to see that all works; the figures are worth nothing.
        compare: names of peers to compare with; None for all that can be had.
        wheel: a built wheel to weigh; None if there is none.
        on_figure: told of each figure as it is found.
        on_skip: told of what is skipped.
        on_progress: told what is being done, and which part of it is done (0 to 1; None: unknown).
        figures: what was found so far.
        skips: what was skipped.
        plots: further charts, by a word for their file's name: each gives SVG by what the name ends with.
        samples: the raw values behind the figures, by contestant, for pyperf.
    """

    quick: bool = False
    compare: frozenset[str] | None = None
    wheel: Path | None = None
    on_figure: Callable[[Figure], object] = lambda _: None
    on_skip: Callable[[Skip], object] = lambda _: None
    on_progress: Callable[[str, float | None], object] = lambda *_: None
    figures: list[Figure] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)
    samples: dict[str, Samples] = field(default_factory=dict)
    plots: dict[str, Callable[[], dict[str, str]]] = field(default_factory=dict)

    def wants(self, peer: str) -> bool:
        """Whether to compare with a peer."""
        return self.compare is None or peer in self.compare

    def found(self, *figures: Figure) -> None:
        """Take figures.

        Raises:
            ValueError: one has the name and the peer of another: whoever shows them could show one of them only.
        """
        for figure in figures:
            if any((each.what, each.peer) == (figure.what, figure.peer) for each in self.figures):
                raise ValueError(f"two figures are called {figure.what!r}, beside {figure.peer!r}")
            self.figures.append(figure)
            self.on_figure(figure)

    def skipped(self, what: str, why: str) -> None:
        """Take note of what cannot be measured, and why."""
        skip = Skip(what, why)
        self.skips.append(skip)
        self.on_skip(skip)

    def progress(self, what: str, part: float | None = None) -> None:
        """Say what is being done, and which part of it is done (0 to 1)."""
        self.on_progress(what, part)

    def rounds(self, number: int, quick: int = 2) -> int:
        """Return how many rounds to run: `number`, or `quick` in a quick run."""
        return quick if self.quick else number
