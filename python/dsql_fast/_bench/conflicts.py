"""Transactions that conflict: what is committed, beside the official connector's way and full jitter.

Workers are threads with a connection each, and run one transaction after the other: an UPDATE of one row, the same
for all of them, or one of 1,000 by chance. All have the same connections to the same cluster, whose COMMIT takes a
set time; they differ in who runs a transaction again, and when. After each window the sum over the rows is held
against what was told to be committed.

A hot row has a limit that no policy can pass: a transaction cannot begin before the one that it has to see is
committed, so the row takes one after the other. What one worker alone commits shows it. Where COMMIT is long, all
come near it, with any number of attempts, and what tells them apart is attempts, p99, and what was given up. Where
COMMIT is short and workers are many, attempts in vain take the machine from those that would be committed.

What no machine decides is shown in virtual time (`_model`): the same policies, where attempts in vain cost nobody
else anything, and where workers are in processes that know nothing of each other.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from statistics import median
from typing import TYPE_CHECKING

import dsql_fast
from dsql_fast.local import LocalCluster

from ._contest import Contestant, Program, Samples, started
from ._figures import Figure, Goal, compared
from ._model import FULL_JITTER, OFFICIAL, OURS, Setting, simulate
from ._peers import had
from ._timing import rotated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._contest import Process
    from ._run import Run

_OURS, _ALONE = "ours", "one worker alone"
_OFFICIAL, _JITTER = "official connector, retry=True", "full jitter, 10 ms to 1 s, 10 attempts"
_PROGRAMS = {_OURS: "ours", _OFFICIAL: "official", _JITTER: "full_jitter"}

_LATENCIES = (0.005, 0.015, 0.03)  # seconds: what is seen of DSQL is 5 to 30 ms
_WORKERS = (2, 8, 32)
_ROWS = {1: "one hot row", 1_000: "1,000 rows"}
_ROUNDS = 5
_WINDOW, _WARM_UP = 1_500, 400  # ms
_QUICK_WINDOW, _QUICK_WARM_UP = 120, 40

_BEST_OFFICIAL = 1.5
_LEAST_RATE = 0.1  # a second


_SIMULATED = (
    *(Setting(processes, workers) for processes, workers in ((1, 2), (1, 8), (1, 32), (4, 8), (8, 1), (32, 1))),
    *(Setting(1, 32, rows) for rows in (8, 32, 100, 1_000)),
)


def measure(run: Run) -> None:
    """Run the bench."""
    _simulate(run)
    # Nobody is refused while the crowds connect.
    with LocalCluster(rate=None, handshake_seconds=None) as cluster, ExitStack() as stack:
        programs = _programs(run, cluster)
        contestants = [Contestant(name, program, "") for name, program in programs.items()]
        processes = stack.enter_context(started(contestants))
        for name, program in programs.items():
            run.samples[name] = Samples(versions=processes[program].versions)
        races = [(latency, rows, workers) for latency in _LATENCIES for rows in _ROWS for workers in _WORKERS]
        alone: dict[float, list[float]] = {}
        for number, (latency, rows, workers) in enumerate(races):
            cluster.faults.latency(commit=latency)
            run.progress(_title(latency, rows, workers), number / len(races))
            if latency not in alone:
                only = _race(run, {_OURS: processes[programs[_OURS]]}, "1:1")
                alone[latency] = [one["rate"] for one in only[_OURS]]
            found = _race(run, {name: processes[programs[name]] for name in programs}, f"{rows}:{workers}")
            _report(run, _title(latency, rows, workers), rows, found)
            if rows == 1:
                what = f"committed, {_title(latency, rows, workers)}"
                run.found(compared(what, _rates(found[_OURS]), "/s", _ALONE, alone[latency]))


def _programs(run: Run, cluster: LocalCluster) -> dict[str, Program]:
    """Return the contestants' programs by name, and make the table of each before one of them connects."""
    interpreters = {_OURS: sys.executable, _JITTER: sys.executable}
    official = had(run, "official", _OFFICIAL)
    if official is not None:
        interpreters[_OFFICIAL] = official[0]
    with dsql_fast.connect(**cluster.connect_kwargs(), autocommit=True) as conn:
        for name in interpreters:
            table = f"accounts_of_{_PROGRAMS[name]}"
            conn.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, balance int NOT NULL)")
            conn.execute(f"INSERT INTO {table} SELECT n, 0 FROM generate_series(0, 999) n")  # noqa: S608 (ours)
    environment = {**cluster.environment(), "AWS_SESSION_TOKEN": None, "AWS_PROFILE": None}
    programs = {}
    for name, interpreter in interpreters.items():
        python = Program.python("transactions.py", environment, interpreter)
        programs[name] = Program((*python.command, _PROGRAMS[name]), python.environment)
    return programs


def _race(run: Run, processes: Mapping[str, Process], way: str) -> dict[str, list[dict[str, float]]]:
    """Let them take turns; returns their answers, by name and round."""
    window, warm_up = (_QUICK_WINDOW, _QUICK_WARM_UP) if run.quick else (_WINDOW, _WARM_UP)
    answers: dict[str, list[dict[str, float]]] = {name: [] for name in processes}
    for name, process in processes.items():
        process.turn(Contestant(name, _NO_PROGRAM, way, warm_up))
    for number in range(run.rounds(_ROUNDS, quick=1)):
        for name in rotated(list(processes), number):
            answers[name].append(processes[name].turn(Contestant(name, _NO_PROGRAM, way, window)))
    return answers


_NO_PROGRAM = Program(())


def _report(run: Run, title: str, rows: int, found: Mapping[str, list[dict[str, float]]]) -> None:
    ours = found[_OURS]
    for peer, theirs in found.items():
        if peer == _OURS:
            continue
        if peer == _OFFICIAL and rows == 1:
            rate = compared(
                f"committed, {title}", _rates(ours), "/s", peer, _rates(theirs), at_least=_BEST_OFFICIAL
            )
        else:
            rate = _never_less(compared(f"committed, {title}", _rates(ours), "/s", peer, _rates(theirs)))
        run.found(
            rate,
            _beside(f"  attempts for each, {title}", "attempts", _attempts(ours), peer, _attempts(theirs)),
            _beside(f"  p99 of a committed one, {title}", "ms", _p99(ours), peer, _p99(theirs)),
            _beside(f"  given up, {title}", "%", _given_up(ours), peer, _given_up(theirs)),
        )


def _simulate(run: Run) -> None:
    for setting in _SIMULATED:
        ours = simulate(setting, OURS, turns=True)
        where = (
            f"simulated, {_count(setting.rows, 'row')}, {_count(setting.processes, 'process', 'processes')} of "
        )
        where += _count(setting.workers, "worker")
        for peer, policy in ((_OFFICIAL, OFFICIAL), (_JITTER, FULL_JITTER)):
            theirs = simulate(setting, policy)
            attempts = (ours.attempts_for_each, peer, theirs.attempts_for_each)
            run.found(
                Figure(f"committed, {where}", ours.rate, "/s", peer, theirs.rate, ours.rate / theirs.rate),
                _beside(f"  attempts for each, {where}", "attempts", *attempts),
                _beside(f"  p99 of a committed one, {where}", "ms", ours.p99 * 1e3, peer, theirs.p99 * 1e3),
                _beside(f"  given up, {where}", "%", ours.share_given_up * 100, peer, theirs.share_given_up * 100),
            )


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _never_less(figure: Figure) -> Figure:
    """Give a figure the goal that it is not shown to be less than the peer's."""
    assert figure.interval is not None
    # As it is shown: 0.9999 says that nothing was less.
    goal = Goal("never less (the interval reaches 1)", round(figure.interval[1], 3) >= 1)
    return Figure(**{**vars(figure), "goal": goal})


def _beside(what: str, unit: str, ours: float, peer: str, theirs: float) -> Figure:
    return Figure(what, ours, unit, peer, theirs, ours - theirs, "over the peer")


def _title(latency: float, rows: int, workers: int) -> str:
    return f"{_ROWS[rows]}, {workers} workers, {latency * 1e3:g} ms"


def _rates(answers: list[dict[str, float]]) -> list[float]:
    # A ratio needs a number, also where nothing was committed in a short window.
    return [max(one["rate"], _LEAST_RATE) for one in answers]


def _attempts(answers: list[dict[str, float]]) -> float:
    return sum(one["attempts"] for one in answers) / max(1, sum(one["committed"] for one in answers))


def _p99(answers: list[dict[str, float]]) -> float:
    return median(one["p99"] for one in answers) * 1e3


def _given_up(answers: list[dict[str, float]]) -> float:
    given_up = sum(one["given up"] for one in answers)
    return 100 * given_up / max(1, given_up + sum(one["committed"] for one in answers))
