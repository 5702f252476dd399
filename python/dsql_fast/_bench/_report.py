"""The pages' figures, out of the JSON of a run: nobody types a number.

A page has places for them: what is between ``<!-- figures: begin NAME -->`` and ``<!-- figures: end -->``.
`NAME` is ``machine``, ``goals``, ``summary`` (README's rows), or that of a bench (all its figures).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from . import _words
from ._catalogue import TITLES
from ._goals import GOALS, SUMMARY
from ._results import grouped, results

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ._results import Found

_PLACE = re.compile(
    r"(?P<begin><!-- figures: begin (?P<name>[a-z_]+) -->\n).*?(?P<end><!-- figures: end -->)", re.DOTALL
)
# Said once, and not in the list of versions.
_OF_THE_MACHINE = ("date", "system", "processor", "processors", "load")


def filled(page: str, document: Mapping[str, Any]) -> str:
    """Return a page with the figures in their places.

    Args:
        page: in Markdown.
        document: as `_output.document` has it.

    Raises:
        ValueError: the page has no place, or one that nobody knows what to put in; or a bench goes by a goal that
            is not the one in `_goals`.
    """
    made = blocks(document)

    def fill(place: re.Match[str]) -> str:
        name = place["name"]
        if name not in made:
            raise ValueError(f"nothing is known to go to {name!r}; there are {', '.join(made)}")
        return f"{place['begin']}{made[name]}\n{place['end']}"

    page, places = _PLACE.subn(fill, page)
    if not places:
        raise ValueError("the page has no place for figures")
    return page


def blocks(document: Mapping[str, Any]) -> dict[str, str]:
    """Return what goes to each place, by its name, in Markdown."""
    found = results(document)
    benches = dict.fromkeys((*TITLES, *found, *(row.place.bench for row in GOALS)))
    return {
        "machine": _machine(document, found),
        "goals": _goals(found),
        "summary": _summary(found),
        **{name: _bench(name, found.get(name)) for name in benches},
    }


def _machine(document: Mapping[str, Any], found: Mapping[str, Found]) -> str:
    machine = document["machine"]
    versions = {name: value for name, value in machine.items() if name not in _OF_THE_MACHINE}
    for bench in found.values():
        for told in bench.versions.values():
            versions.update(told)
    versions = {name: value for name, value in versions.items() if value != "not installed"}
    facts = f"{machine['date']}; {machine['system']}, {machine['processors']} processors ({machine['processor']})"
    words = ", ".join(f"{name} {value}" for name, value in versions.items())
    return f"```\n{document['command']}\n```\n\n{facts}, load {machine['load']} at the end; {words}."


def _goals(found: Mapping[str, Found]) -> str:
    rows, path = [], ""
    for row in GOALS:
        measured, verdict = row.result(found)
        rows.append((row.path if row.path != path else "", row.against, row.goal, measured, verdict))
        path = row.path
    return table(("path", "measured against", "goal", "measured (95 % interval)", ""), rows)


def _summary(found: Mapping[str, Found]) -> str:
    rows = []
    for label, place in SUMMARY:
        figures = place.figures(found)
        if not figures:
            rows.append((label, f"not measured: {place.why_not(found)}", "", ""))
        for group in grouped(figures):
            for number, figure in enumerate(group):
                first = (label, _words.measured(figure)) if number == 0 else ("", "")
                rows.append((*first, _words.beside(figure), _words.ratio(figure)))
    return table(("", "dsql-fast", "beside", ""), rows)


def _bench(name: str, found: Found | None) -> str:
    if found is None:
        return f"Not measured: `dsql-fast bench {name}` was not run."
    rows = [
        (
            figure.what if number == 0 else "",
            _words.measured(figure) if number == 0 else "",
            _words.beside(figure),
            _words.ratio(figure),
            _words.interval(figure),
            _words.goal(figure),
        )
        for group in grouped(found.figures)
        for number, figure in enumerate(group)
    ]
    parts = [table(("", "measured", "beside", "", "95 %", "goal"), rows)] if rows else []
    parts += ["\n".join(f"- {skip.what}: not measured: {skip.why}" for skip in found.skips)] if found.skips else []
    return "\n\n".join(parts)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
