"""What a run found, read back from the JSON that `--json` wrote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._figures import Figure, Goal
from ._run import Skip

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True)
class Found:
    """What one bench found.

    Attributes:
        figures: in the order in which they were found.
        skips: what was not measured, and why.
        versions: by contestant, what its program said of itself.
    """

    figures: tuple[Figure, ...]
    skips: tuple[Skip, ...]
    versions: Mapping[str, Mapping[str, str]]


def results(document: Mapping[str, Any]) -> dict[str, Found]:
    """Return what each bench found, by its name, in the order of the run.

    Args:
        document: as `_output.document` has it.
    """
    return {
        name: Found(
            tuple(_figure(each) for each in bench["figures"]),
            tuple(Skip(**each) for each in bench["skipped"]),
            bench["versions"],
        )
        for name, bench in document["benches"].items()
    }


def grouped(figures: Iterable[Figure]) -> list[list[Figure]]:
    """Put together what was measured of one thing in one unit, wherever it stands: one group for all its peers."""
    groups: dict[tuple[str, str], list[Figure]] = {}
    for figure in figures:
        groups.setdefault((figure.what, figure.unit), []).append(figure)
    return list(groups.values())


def _figure(values: Mapping[str, Any]) -> Figure:
    interval, goal = values["interval"], values["goal"]
    return Figure(
        **{
            **values,
            "interval": None if interval is None else (interval[0], interval[1]),
            "goal": None if goal is None else Goal(**goal),
        }
    )
