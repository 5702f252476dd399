"""A pool: what it costs to take a connection out and give it back, and whether retiring makes anybody wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._cluster import cluster_for_programs
from ._contest import Contestant, Program, contest
from ._figures import compared

if TYPE_CHECKING:
    from ._run import Run

_OURS, _THEIRS = "dsql_fast.ConnectionPool", "psycopg_pool.ConnectionPool"
_ASYNC = "dsql_fast.AsyncConnectionPool", "psycopg_pool.AsyncConnectionPool"
_RETIRED, _KEPT, _THEIRS_RETIRED = (
    f"{_OURS}, connections live 2 s",
    f"{_OURS}, connections live 55 min",
    f"{_THEIRS}, connections live 2 s",
)

_ROUNDS, _GENERATIONS, _CALLS, _ASYNC_CALLS = 60, 4, 3_000, 3_000
_CHECKOUT_GOAL = 1.05
_LOAD_ROUNDS, _TENTHS, _QUICK_TENTHS = 6, 60, 25


def measure(run: Run) -> None:
    """Run the bench."""
    with cluster_for_programs() as (_, environment):
        program = Program.python("pools.py", environment)
        _checkouts(run, program)
        _retiring(run, program)


def _checkouts(run: Run, program: Program) -> None:
    pairs = {"": (_OURS, _THEIRS), "-async": _ASYNC}
    for suffix, (ours, theirs) in pairs.items():
        calls = _ASYNC_CALLS if suffix else _CALLS
        found = contest(
            [
                Contestant(ours, program, f"ours{suffix}", calls),
                Contestant(theirs, program, f"theirs{suffix}", calls),
            ],
            run.rounds(_ROUNDS),
            generations=1 if run.quick else _GENERATIONS,
            progress=lambda part: run.progress("checkouts", part),
        )
        run.samples.update(found)
        mine, peers = ([each * 1e6 for each in found[name].of("wall")] for name in (ours, theirs))
        run.found(compared(f"{ours}, checkout", mine, "us", theirs, peers, at_most=_CHECKOUT_GOAL))


def _retiring(run: Run, program: Program) -> None:
    """A thread for each connection: whoever finds none waits for one that is being opened."""
    tenths = _QUICK_TENTHS if run.quick else _TENTHS
    found = contest(
        [
            Contestant(_RETIRED, program, "ours-retired", tenths, warm_up=1),
            Contestant(_KEPT, program, "ours-kept", tenths, warm_up=1),
            Contestant(_THEIRS_RETIRED, program, "theirs-retired", tenths, warm_up=1),
        ],
        run.rounds(_LOAD_ROUNDS, quick=1),
        progress=lambda part: run.progress("retiring under load", part),
    )
    run.samples.update(found)
    for what, name, unit in (
        ("checkouts that waited", "queued", "checkouts"),
        ("time that they waited", "wait_ms", "ms"),
        ("connections opened under load", "opened", "connections"),
    ):
        for peer in (_KEPT, _THEIRS_RETIRED):
            has_goal = peer == _KEPT and name != "opened"
            run.found(
                compared(
                    f"{_RETIRED}: {what}",
                    found[_RETIRED].of(name),
                    unit,
                    peer,
                    found[peer].of(name),
                    ratio_of="over the peer",
                    at_most=0 if has_goal else None,
                )
            )
