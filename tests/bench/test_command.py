"""`dsql-fast bench`: its arguments, what it shows, and what is left when it ends early."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from dsql_fast._bench import _catalogue, _results
from dsql_fast._bench._figures import Figure, Goal, compared
from dsql_fast._bench._goals import GOALS, REST
from dsql_fast._bench._run import Run
from dsql_fast._cli import main
from dsql_fast._cli._bench_view import PlainView, RichView, View, show, show_goals

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BENCH = (sys.executable, "-c", "import sys; from dsql_fast._cli import main; sys.exit(main())", "bench")


def a_run() -> Run:
    run = Run()
    run.found(
        compared(
            "a token", [2.0] * 3, "us", "a kept boto3 client", [120.0] * 3, ratio_of="of the peer", at_least=50
        ),
        compared("a token", [2.0] * 3, "us", "Go [1.26]", [9.0] * 3, ratio_of="of the peer", at_least=7),
        Figure("memory", 3.0, "MiB", "psycopg alone", 1.5, 1.5, "over the peer"),
        Figure("the wheel", 588.4, "KiB", interval=(588.0, 589.0), goal=Goal("at most 600 KiB", met=True)),
    )
    run.skipped("awscrt", "pip could not install it")
    return run


def test_plain_lines_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    show(a_run(), PlainView())
    assert capsys.readouterr().out.splitlines() == [
        "  a token: 2 us",
        "      60 times as fast    a kept boto3 client, 120 us   60 to 60     at least 50 times as fast: met",
        "      4.5 times as fast   Go [1.26], 9 us               4.5 to 4.5   at least 7 times as fast: MISSED",
        "  memory: 3 MiB",
        "      +1.5 MiB            psycopg alone, 1.5 MiB",
        "  the wheel: 588 KiB; 95 %: 588 to 589; at most 600 KiB: met",
        "  awscrt: not measured: pip could not install it",
    ]


def test_all_goals_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    show_goals({}, PlainView())
    lines = capsys.readouterr().out.splitlines()
    assert sum("`dsql-fast bench" in line for line in lines) == len(GOALS)


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_a_terminal_gets_all_of_it_in_colour(width: int) -> None:
    out = io.StringIO()
    view: View = RichView(
        Console(file=out, force_terminal=True, width=width, highlight=False, color_system="standard")
    )
    with view.progress() as progress:
        progress("[tokens]", None)
        progress("tokens", 0.5)
    show(a_run(), view)
    shown = out.getvalue()
    for said in (
        "2 us",
        "60 times as fast",
        "4.5 times as fast",
        "+1.5 MiB",
        "588 KiB",
        "[1.26]",
        "MISSED",
        "awscrt",
    ):
        assert said in shown, said
    assert "\x1b[1;31m" in shown  # what is missed is red
    assert "\x1b[32m" in shown  # what is met is green


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["no-such-bench"], 2, "there is no no-such-bench; there are token"),
        (["token", "--compare", "nobody"], 2, "there is no peer nobody"),
        (["token", "--json", "no/such/directory/f.json"], 2, "--json: there is no directory"),
        (["token", "--plot", "."], 2, "is a directory"),
        (["token", "--wheel", "no-such.whl"], 2, "there is no file no-such.whl"),
    ],
)
def test_what_cannot_be_done_is_said_at_once(
    arguments: list[str],
    status: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *arguments]) == status
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("dsql-fast bench: ")
    assert words in err


@pytest.mark.parametrize(("option", "module"), [("--plot", "matplotlib"), ("--pyperf", "pyperf")])
def test_a_missing_extra_is_named_before_the_run(option: str, module: str, tmp_path: Path) -> None:
    # Modules that stand first on the path, and are not there: as where the extra is not installed.
    program = f"import sys\nsys.modules['{module}'] = None\nfrom dsql_fast._cli import main\nsys.exit(main())"
    command = [sys.executable, "-c", program, "bench", "token", option, str(tmp_path / "f")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert not done.stdout
    assert f"{module} is missing: pip install 'dsql-fast[bench" in done.stderr


def test_psycopg_without_libpq_is_said(tmp_path: Path) -> None:
    # psycopg's own variable, with a value that there is nothing of: as where no libpq is found.
    environment = {**os.environ, "PSYCOPG_IMPL": "none"}
    done = subprocess.run(
        [*BENCH, "token"], env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr == "dsql-fast bench: libpq is missing: pip install 'dsql-fast[bench,binary,cli,local]'\n"


def test_help_names_every_bench(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "--help"])
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in _catalogue.TITLES)
    assert max(map(len, shown.splitlines())) <= 130


def fails(run: Run) -> None:
    run.found(Figure("half of it", 1.0, "s"))
    raise RuntimeError("out of luck")


def lacks(_: Run) -> None:
    raise ModuleNotFoundError("No module named 'cryptography'", name="cryptography")


def interrupted(run: Run) -> None:
    run.found(Figure("half of it", 1.0, "s"))
    raise KeyboardInterrupt


def works(run: Run) -> None:
    run.found(Figure("all of it", 1.0, "s"))


@pytest.fixture
def benches(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[Run], None]]:
    """Benches by name, which the test fills."""
    there: dict[str, Callable[[Run], None]] = {}
    monkeypatch.setattr(_catalogue, "bench", there.__getitem__)
    return there


def run_benches(names: list[str], directory: Path) -> tuple[int, dict[str, Any]]:
    file = directory / "found.json"
    status = main(["bench", *names, "--json", str(file), "--plot", str(directory / "found.svg")])
    assert (directory / "found.svg").exists()
    assert (directory / "found-dark.svg").exists()
    return status, _results.results(json.loads(file.read_text()))


def test_a_bench_that_fails_does_not_end_the_others(
    benches: dict[str, Callable[[Run], None]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benches.update(token=fails, connect=lacks, local=works)
    status, found = run_benches(["token", "connect", "local"], tmp_path)
    assert status == 1
    assert [figure.what for figure in found["token"].figures] == ["half of it"]
    assert [(skip.what, skip.why) for skip in found["token"].skips] == [(REST, "RuntimeError: out of luck")]
    assert "cryptography is missing: pip install" in found["connect"].skips[0].why
    assert [figure.what for figure in found["local"].figures] == ["all of it"]
    out, err = capsys.readouterr()
    assert f"{REST}: not measured: RuntimeError: out of luck" in out
    assert "Traceback" in err


def test_an_interrupted_run_keeps_what_it_found(
    benches: dict[str, Callable[[Run], None]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benches.update(token=works, connect=interrupted, local=works)
    status, found = run_benches(["token", "connect", "local"], tmp_path)
    assert status == 130
    assert list(found) == ["token", "connect"]
    assert [figure.what for figure in found["connect"].figures] == ["half of it"]
    assert [(skip.what, skip.why) for skip in found["connect"].skips] == [(REST, "interrupted")]
    assert "half of it" in capsys.readouterr().out


def test_ctrl_c_in_a_real_run(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    # Some hundred rounds: it does not end by itself before it is told to.
    command = [*BENCH, "token", "connect", "--compare", "none", "--json", str(file)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("1/2 token"):
                break
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
        out, err = process.communicate()
    assert process.returncode == 130
    assert "interrupted" in out
    assert "Traceback" not in err
    found = _results.results(json.loads(file.read_text()))
    assert list(found) == ["token"]
    assert [skip.why for skip in found["token"].skips] == ["interrupted"]
