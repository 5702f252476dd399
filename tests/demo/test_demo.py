"""The demo in its short form: what it prints, what it checks, and how it ends."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from dsql_fast._cli import main
from dsql_fast._cli._demo import _program, _transfers
from dsql_fast._cli._demo._accounts import (
    OPENING_BALANCE,
    Books,
    Overdrawn,
    Transfer,
    audit,
    draw,
    open_accounts,
    transfer,
)
from dsql_fast._cli._demo._churn import show_churn
from dsql_fast._cli._demo._collision import Collision, collide, collide_async
from dsql_fast._cli._demo._connect import show_connect
from dsql_fast._cli._demo._program import Step, all_steps, run_steps
from dsql_fast._cli._demo._report import Check, Report, StepReport, Table
from dsql_fast._cli._demo._rich_view import RichView
from dsql_fast._cli._demo._stage import Scale, in_threads
from dsql_fast._cli._demo._tally import Tally
from dsql_fast._cli._demo._tls import negotiated_tls
from dsql_fast._cli._demo._transfers import show_transfers
from dsql_fast._cli._demo._view import NoView
from dsql_fast._retry import RetryPolicy
from dsql_fast.psycopg import AsyncConnectionPool, ConnectionPool, connect
from waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from threading import Event

    import psycopg

    from dsql_fast._cli._demo._stage import Stage
    from dsql_fast.local import LocalCluster

PROGRAM = "import sys\nfrom dsql_fast._cli import main\nsys.exit(main())\n"
STEPS = ["connect", "transfers", "churn", "renewal", "refusals", "comparison"]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", "-c", PROGRAM, "demo", "--quick", *arguments]


def step(show: Callable[[Stage], None]) -> Step:
    return Step("a-step", "A step", show)


def test_as_json() -> None:
    done = subprocess.run(command("--json"), capture_output=True, text=True, timeout=110, check=False)
    report = json.loads(done.stdout)  # one document, and nothing else
    failed = [check for each in report["steps"] for check in each["checks"] if not check["held"]]
    assert not failed
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert report["ok"] is True
    assert [each["name"] for each in report["steps"]] == STEPS
    assert all(each["checks"] for each in report["steps"])
    facts = {name: value for each in report["steps"] for name, value in each["facts"].items()}
    assert facts["tokens signed"] == 1
    assert facts["TLS"].startswith("TLSv1.3, ")
    assert "(OC000); run again, it read 190 and took 20" in facts["two write one account"]
    assert "(OC000); run again, it read 140 and took 40" in facts["the same with asyncio"]
    assert "X-Amz-Signature" not in done.stdout


def test_in_plain_lines() -> None:
    done = subprocess.run(command(), capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout
    assert not done.stderr
    assert "\x1b" not in done.stdout
    assert "FAILED" not in done.stdout
    assert "All held:" in done.stdout.splitlines()[-1]
    assert [line[0] for line in done.stdout.splitlines() if line[:1].isdigit()] == list("123456")


@pytest.mark.parametrize("as_json", [False, True])
def test_a_check_that_fails_makes_the_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    def broken(stage: Stage) -> None:
        stage.check("water is wet", held=True)
        stage.check("pigs fly", held=False, detail="they walk")

    monkeypatch.setattr(_program, "all_steps", lambda: (all_steps()[0], step(broken)))
    assert main(["demo", "--quick", *(["--json"] if as_json else [])]) == 1
    out = capsys.readouterr().out
    if as_json:
        report = json.loads(out)
        assert report["ok"] is False
        assert report["steps"][1]["checks"][1] == {"name": "pigs fly", "held": False, "detail": "they walk"}
    else:
        assert "FAILED  pigs fly: they walk" in out
        assert "1 failed of" in out
        assert "All held" not in out


def test_a_step_that_breaks_is_a_failed_check_and_the_next_is_done(cluster: LocalCluster) -> None:
    def breaks(_stage: Stage) -> None:
        raise RuntimeError("it broke")

    steps = (step(breaks), Step("connect", "A connection", show_connect))
    report = run_steps(cluster, NoView(), Scale.quick(), steps)
    assert not report.ok
    (check,) = report.steps[0].checks
    assert not check.held
    assert "it broke" in check.detail
    assert all(check.held for check in report.steps[1].checks)


def test_a_step_that_checks_nothing_does_not_hold(cluster: LocalCluster) -> None:
    assert not run_steps(cluster, NoView(), Scale.quick(), (step(lambda _stage: None),)).ok
    assert not Report({}).ok


def test_the_checks_see_a_cluster_that_refuses(fresh_cluster: Callable[..., LocalCluster]) -> None:
    narrow = fresh_cluster(rate=50, burst=20)
    report = run_steps(narrow, NoView(), Scale.quick(), (Step("churn", "Churn", show_churn),))
    assert not report.ok
    # They got in at last, by their own pace; but not at once, as the step says of a healthy cluster.
    (failed,) = [check for check in report.checks if not check.held]
    assert "'rate': " in failed.detail


def test_the_checks_see_what_is_not_so(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    # Encrypted, and yet verified against nobody's name.
    weaker = {**cluster.connect_kwargs(), "sslmode": "require"}
    monkeypatch.setattr(cluster, "connect_kwargs", lambda: weaker)
    report = run_steps(cluster, NoView(), Scale.quick(), (Step("connect", "A connection", show_connect),))
    assert [check.name for check in report.checks if not check.held] == [
        "the certificate was verified for the cluster's name"
    ]


def transfers_report(cluster: LocalCluster) -> Report:
    return run_steps(cluster, NoView(), Scale.quick(), (Step("transfers", "Transfers", show_transfers),))


def failed(report: Report) -> list[str]:
    return [check.name for check in report.checks if not check.held]


@pytest.fixture
def bank(fresh_cluster: Callable[..., LocalCluster]) -> LocalCluster:
    cluster = fresh_cluster()
    with connect(**cluster.connect_kwargs(), autocommit=True) as connection:
        open_accounts(connection, range(4))
    return cluster


def test_the_transfers_figures_agree(fresh_cluster: Callable[..., LocalCluster]) -> None:
    report = transfers_report(fresh_cluster())
    assert not failed(report)
    (table,) = report.steps[0].tables
    for column in (1, 2):
        rows = {str(row[0]): row[column] for row in table.rows}
        wanted, committed, refused, runs, *_ = rows.values()
        assert wanted == Scale.quick().transfers == int(str(committed)) + int(str(refused))
        retried = rows["conflicts retried (OC000)"]
        assert retried == rows["conflicts, the cluster says"]
        assert int(str(runs)) == int(str(wanted)) + int(str(retried))


def test_a_conflict_that_reaches_the_caller_is_seen(
    fresh_cluster: Callable[..., LocalCluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = fresh_cluster()

    def counted(_orders: list[Transfer]) -> tuple[Tally, RetryPolicy]:
        tally = Tally()
        return tally, RetryPolicy(max_attempts=1, before_retry=tally.retry)

    def collided(pool: ConnectionPool[Any], winner: Transfer, loser: Transfer) -> Collision:
        seen = collide(pool, winner, loser)
        cluster.faults.fail_commits(1)  # one of the transfers that come now
        return seen

    monkeypatch.setattr(_transfers, "_counted", counted)
    monkeypatch.setattr(_transfers, "collide", collided)
    report = transfers_report(cluster)
    assert "every conflict was retried, and none reached the caller" in failed(report)
    # What was not committed is in no book.
    assert "each committed transfer is in the ledger exactly once, and no other" not in failed(report)


def test_wrong_books_are_seen(fresh_cluster: Callable[..., LocalCluster], monkeypatch: pytest.MonkeyPatch) -> None:
    def tampered(connection: psycopg.Connection[Any]) -> Books:
        connection.execute("update accounts set balance = -1 where id = 0")
        connection.execute("insert into ledger select gen_random_uuid(), transfer, 0, 0, 0 from ledger limit 1")
        return audit(connection)

    monkeypatch.setattr(_transfers, "audit", tampered)
    assert failed(transfers_report(fresh_cluster())) == [
        "the sum of all accounts is unchanged",
        "each committed transfer is in the ledger exactly once, and no other",
        "each balance is what the ledger says",
        "no account was overdrawn",
    ]


def test_the_first_to_commit_wins(bank: LocalCluster) -> None:
    first, second, third = (Transfer(number, 0, 1, amount=number) for number in (1, 2, 3))
    with ConnectionPool(**bank.connect_kwargs(), min_size=2) as pool:
        seen = collide(pool, winner=first, loser=second)
    assert seen.as_it_must_be
    assert seen.found == [OPENING_BALANCE, OPENING_BALANCE - 1]
    assert [conflict.splitlines()[0] for conflict in seen.conflicts] == [
        "change conflicts with another transaction (OC000)"
    ]

    async def with_tasks() -> Collision:
        async with AsyncConnectionPool(**bank.connect_kwargs(), min_size=2) as pool:
            return await collide_async(pool, winner=first, loser=third)

    seen = asyncio.run(with_tasks())
    assert seen.as_it_must_be
    assert seen.found == [OPENING_BALANCE - 3, OPENING_BALANCE - 4]
    assert bank.stats()["happened"]["conflict"] == {"OC000": 2}


def test_writers_apart_do_not_collide(bank: LocalCluster) -> None:
    with ConnectionPool(**bank.connect_kwargs(), min_size=2) as pool:
        seen = collide(pool, winner=Transfer(1, 0, 1, amount=1), loser=Transfer(2, 2, 3, amount=1))
    assert not seen.as_it_must_be
    assert (seen.found, seen.conflicts) == ([OPENING_BALANCE], [])


def test_nobody_overdraws(bank: LocalCluster) -> None:
    with connect(**bank.connect_kwargs()) as connection:
        with pytest.raises(Overdrawn, match="account 0 has 200, and 201 were wanted"):
            transfer(connection, Transfer(1, 0, 1, amount=OPENING_BALANCE + 1))
        assert transfer(connection, Transfer(2, 0, 1, amount=OPENING_BALANCE)) == OPENING_BALANCE
        assert audit(connection) == Books(4 * OPENING_BALANCE, 0, 0, [2])


def test_transfers_are_the_same_in_each_run() -> None:
    assert draw(range(5, 25), range(10)) == draw(range(5, 25), range(10))
    assert draw(range(5, 25), range(10)) != draw(range(25, 45), range(10))


def test_tls_is_told_by_libpq(cluster: LocalCluster) -> None:
    import psycopg2  # noqa: F401 (it brings a libpq of its own)

    with connect(**cluster.connect_kwargs(), sslnegotiation="postgres") as connection:
        tls = negotiated_tls(connection)
    assert tls is not None
    assert (tls.protocol, tls.alpn, tls.direct) == ("TLSv1.3", "postgresql", False)
    assert tls.cipher is not None
    assert tls.cipher.startswith("TLS_")
    assert tls.verified_name == cluster.host


def test_with_rich() -> None:
    text = io.StringIO()
    view = RichView(Console(file=text, force_terminal=True, width=100, highlight=False))
    report = Report({}, [StepReport("a", "A", checks=[Check("one [b]", held=True), Check("two", held=False)])])
    view.began("Ready [now].")
    view.step(1, "A step")
    view.fact("label", "value [x]")
    view.table(Table("Some rows", ("name", "ms"), [("a", 1.5), ("b", None)]))
    with view.progress("work", 10) as advance:
        advance(5)
    for check in report.checks:
        view.check(check)
    view.finished(report)
    shown = text.getvalue()
    # Square brackets are text, not marks.
    for words in ("Ready [now].", "A step", "value [x]", "Some rows", "1.50", "one [b]", "FAILED", "1 failed of"):
        assert words in shown


@pytest.mark.parametrize("at", ["2.", "4."])  # transactions are run, the pool is at work
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_it_leaves_nothing_behind(tmp_path: Path, number: signal.Signals, status: int, at: str) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    # The signal may come between a connection's making and its name: the driver's word about that is no traceback
    # of ours.
    stopped = [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", *command()[3:]]
    process = subprocess.Popen(stopped, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if line.startswith(at):
                break
        started = _descendants(process.pid)
        assert started, "a cluster was expected"
        process.send_signal(number)
        process.wait(30)
        assert process.returncode == status
        assert "Traceback" not in process.stderr.read()
    eventually(lambda: not any(_runs(pid) for pid in started))
    assert not list(tmp_path.iterdir())


def test_one_thread_that_fails_stops_the_others() -> None:
    stopped: list[int] = []

    def work(number: int, stop: Event) -> None:
        if number == 0:
            raise RuntimeError("the first")
        if stop.wait(30):
            stopped.append(number)

    with pytest.raises(RuntimeError, match="the first"):
        in_threads(3, work)
    assert sorted(stopped) == [1, 2]


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing() -> Any:
        raise ImportError("no module", name="cryptography")

    monkeypatch.setattr(_program, "all_steps", missing)
    assert main(["demo", "--json"]) == 1
    out, err = capsys.readouterr()
    assert "pip install 'dsql-fast[binary,local]'" in err
    assert json.loads(out)["ok"] is False


def _descendants(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
    pairs = [tuple(map(int, line.split())) for line in listed.stdout.splitlines()]
    found = [pid]
    for one in found:  # grows while it is walked
        found += [child for child, parent in pairs if parent == one]
    return found[1:]


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
