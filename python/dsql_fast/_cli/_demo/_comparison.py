"""Step: what a connect costs, beside other ways to make one."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from ..._bench._rivals import FLOOR, INSTALL_OFFICIAL, OFFICIAL, OURS, rivals, timed

if TYPE_CHECKING:
    from ._report import Value
    from ._stage import Stage


def show_comparison(stage: Stage) -> None:
    """Connect in turns, round by round, and compare medians. Shown, not judged: machines differ."""
    rounds = stage.scale.rounds
    failures: dict[str, str] = {}
    with rivals(stage.cluster) as ways:
        wall: dict[str, list[float]] = {name: [] for name in ways}
        cpu: dict[str, list[float]] = {name: [] for name in ways}
        order = list(ways)
        for name in order:
            timed(ways[name])  # the first one of each loads modules
        with stage.progress("rounds", rounds) as advance:
            for number in range(rounds):
                # Each begins a round as often as the others.
                start = number % len(order)
                for name in (*order[start:], *order[:start]):
                    try:
                        took, worked = timed(ways[name])
                    except Exception as error:  # noqa: BLE001 (told in the check)
                        failures[name] = f"{type(error).__name__}: {error}"
                        continue
                    wall[name].append(took)
                    cpu[name].append(worked)
                advance(1)
    rows: list[tuple[Value, ...]] = []
    for name in order:
        if not wall[name]:
            rows.append((name, None, None, None))
            continue
        ratio = median(mine / floor for mine, floor in zip(cpu[name], cpu[FLOOR], strict=False))
        rows.append((name, median(wall[name]) * 1e3, median(cpu[name]) * 1e3, ratio))
    stage.table(
        f"One connect, medians of {rounds} rounds",
        ("how", "wall, ms", "CPU, ms", f"CPU, times {FLOOR}"),
        rows,
    )
    if OFFICIAL not in ways:
        stage.fact(OFFICIAL, f"not installed, so not compared: {INSTALL_OFFICIAL}")
    for name in (OURS, FLOOR):
        stage.check(f"{name} connected each time", len(wall[name]) == rounds, failures.get(name, ""))
    for name in set(failures) - {OURS, FLOOR}:
        stage.fact(f"{name}: last failure", failures[name])
