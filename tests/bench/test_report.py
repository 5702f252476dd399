"""The pages' figures and charts are what the committed JSON makes; every goal has its row."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from dsql_fast._bench import _charts, _output, _overview, _report, _results
from dsql_fast._bench._catalogue import TITLES
from dsql_fast._bench._figures import Figure, compared
from dsql_fast._bench._goals import GOALS, NOT_THERE, OVERVIEW, REST, SUMMARY, Place, Row
from dsql_fast._bench._run import Run
from dsql_fast._bench._words import bound

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parent.parent.parent
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        return import_module("performance_report")
    finally:
        sys.path.remove(str(ROOT / "tools"))


@pytest.fixture
def document() -> dict[str, Any]:
    """What a run found: made up, and through JSON."""
    token = Run()
    token.found(
        compared(
            "cached token from Python",
            [39.0, 41, 40],
            "ns",
            "an empty method of the same native class",
            [27.0, 28, 27],
            at_most=1.3,
        ),
        compared(
            "signed token from Python, generate_token",
            [2.0, 2.1, 2.0],
            "us",
            "a kept boto3 client",
            [120.0, 121, 119],
            ratio_of="of the peer",
            at_least=50,
        ),
        compared(
            "signed token from Python, generate_token",
            [2.0, 2.1, 2.0],
            "us",
            "the official connector",
            [37_000.0, 38_000, 37_500],
            ratio_of="of the peer",
        ),
    )
    token.skipped("the AWS SDK for Go", "there is no Go: install 1.24 or newer")
    asyncio = Run()
    asyncio.found(
        *(
            compared(
                f"{number} connects at once, 0 ms: longest stall of the loop",
                [9.0, 11, 10],
                "ms",
                peer,
                theirs,
                at_most=goal,
            )
            for number in ("100", "1,000")
            for peer, theirs, goal in (
                ("psycopg, fixed password", [100.0, 90, 110], 0.15),
                ("official connector", [8_000.0] * 3, None),
            )
        )
    )
    asyncio.skipped(REST, "interrupted")
    made = _output.document({"token": token, "asyncio": asyncio}, "dsql-fast bench token asyncio")
    copy: dict[str, Any] = json.loads(json.dumps(made))
    return copy


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}text")]  # noqa: S314 (ours)


def test_nobody_typed_a_number(tool: ModuleType) -> None:
    for path, text in tool.pages().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: `make report`"


def test_the_chart_is_the_figures(tool: ModuleType) -> None:
    pinned = f"matplotlib=={_installed('matplotlib')};"
    if pinned not in (ROOT / "constraints.txt").read_text(encoding="utf-8").replace(
        " ", ""
    ) or sys.version_info < (3, 11):
        pytest.skip("another matplotlib draws the same with other bytes")
    for path, text in tool.charts().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: `make report`"


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def test_a_number_that_somebody_typed_is_seen(tool: ModuleType, document: dict[str, Any]) -> None:
    page = "<!-- figures: begin goals -->\n<!-- figures: end -->\n"
    filled = _report.filled(page, document)
    assert "59.5 times as fast" in filled
    assert _report.filled(filled, document) == filled
    assert _report.filled(filled.replace("59.5 times", "70 times"), document) == filled


def test_a_place_that_nothing_goes_to(document: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no_such_bench"):
        _report.filled("<!-- figures: begin no_such_bench -->\n<!-- figures: end -->", document)
    with pytest.raises(ValueError, match="no place"):
        _report.filled("# A page", document)


def test_every_bench_has_its_section() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    for name in ("machine", "goals", *TITLES):
        assert page.count(f"<!-- figures: begin {name} -->") == 1, name


def test_no_goal_is_left_out(document: dict[str, Any]) -> None:
    goals = _report.blocks(document)["goals"].splitlines()
    assert len(goals) == len(GOALS) + 2
    assert sum("not measured: " in line for line in goals) == len(GOALS) - 4
    (go,) = (line for line in goals if "the Go SDK" in line)
    assert "there is no Go: install 1.24 or newer" in go  # found by what the peer is called there
    assert any("not measured: interrupted" in line and "asyncio" in line for line in goals)
    assert any("`dsql-fast bench churn` was not run" in line for line in goals)
    (stall,) = (line for line in goals if "| 100 asyncio connects at once, 0 ms away: longest stall" in line)
    assert stall.endswith("| psycopg | at most 0.15x | 0.0909 times (0.09 to 0.122) | met |")
    assert "**missed**" in next(line for line in goals if "cached token from Python" in line)


def test_a_goal_that_was_moved_is_told(document: dict[str, Any]) -> None:
    found = _results.results(document)
    moved = Row("a token", "an empty method", "at most 1.1x", Place("token", "cached token from Python"))
    with pytest.raises(ValueError, match=r"at most 1\.1x.*at most 1\.3 times"):
        moved.result(found)
    none = Row("a token", "official", "at least 5x", Place("token", "signed token", "the official"))
    with pytest.raises(ValueError, match="goes by none"):
        none.result(found)


def test_several_figures_of_one_goal_show_the_worst() -> None:
    run = Run()
    for workers, theirs in ((2, 50.0), (8, 100.0), (32, 40.0)):
        run.found(
            compared(f"committed, {workers} workers", [100.0] * 3, "/s", "official", [theirs] * 3, at_least=1.5)
        )
    found = _results.results(_output.document({"conflicts": run}, ""))
    measured, verdict = Row("", "", "at least 1.5x", Place("conflicts", "committed")).result(found)
    assert verdict == "**missed**"
    assert (
        measured
        == "2 of 3 met; the worst (committed, 8 workers): 1.000 times (1.000 to 1.000); the best: 2.5 times"
    )
    # Where little is wanted, the most is the worst.
    stalls = Run()
    for number, ours in (("100", 10.0), ("1,000", 20.0)):
        stalls.found(compared(f"{number} at once", [ours] * 3, "ms", "psycopg", [100.0] * 3, at_most=0.3))
    found = _results.results(_output.document({"asyncio": stalls}, ""))
    measured, verdict = Row("", "", "at most 0.3x", Place("asyncio", "")).result(found)
    assert "the worst (1,000 at once): 0.200 times" in measured
    assert verdict == "met"


def test_an_exact_peer_is_not_another_that_begins_like_it() -> None:
    run = Run()
    for peer in ("psycopg, fixed password, sslrootcert=system", "psycopg, fixed password"):
        run.found(compared("connect", [1.0] * 3, "ms", peer, [2.0] * 3))
    found = _results.results(_output.document({"connect": run}, ""))
    (figure,) = Place("connect", "connect", "psycopg, fixed password").figures(found)
    assert figure.peer == "psycopg, fixed password"


def test_json_comes_back_as_it_went(document: dict[str, Any]) -> None:
    found = _results.results(document)
    assert found["token"].figures[0].what == "cached token from Python"
    runs = {name: Run(figures=list(bench.figures), skips=list(bench.skips)) for name, bench in found.items()}
    assert json.loads(json.dumps(_output.document(runs, "")))["benches"] == document["benches"]


def test_the_same_figures_make_the_same_bytes(document: dict[str, Any], tmp_path: Path) -> None:
    first = _charts.panels(document) | {
        f"overview{suffix}": text for suffix, text in _overview.overview(document).items()
    }
    again = _charts.panels(document) | {
        f"overview{suffix}": text for suffix, text in _overview.overview(document).items()
    }
    assert first == again
    assert len(set(first.values())) == 4
    for text in first.values():
        assert "<dc:date>" not in text
        assert "DejaVu" not in text
        assert "official connector" in texts(text)
    written = _charts.draw(document, tmp_path / "mine.svg")
    assert [path.name for path in written] == ["mine.svg", "mine-dark.svg"]
    assert written[0].read_text(encoding="utf-8") == first[""]


def test_every_figure_is_in_the_chart(document: dict[str, Any]) -> None:
    words = texts(_charts.panels(document)[""])
    for said in (
        TITLES["token"],
        "40 ns",
        "27 ns · 1.464 times · at most 1.3 times: MISSED",
        "37,500 us · 18,500 times as fast",
    ):
        assert said in words


def test_nothing_at_all_has_its_bar_too() -> None:
    run = Run()
    run.found(compared("waited", [0.0] * 3, "ms", "none retired", [0.0] * 3, ratio_of="over the peer", at_most=0))
    run.found(compared("given up", [0.0] * 3, "%", "official", [4.0] * 3))
    words = texts(_charts.panels(_output.document({"pool": run}, ""))[""])
    assert "0 ms · +0 ms · at most 0 ms more: met" in words
    assert "4 % · 0 times" in words


def test_a_chart_of_nothing_says_so() -> None:
    nothing = _output.document({}, "")
    assert _overview.overview(nothing)[""].count("not measured") == sum(len(panel.bars) for panel in OVERVIEW)
    assert any("95 % interval" in text for text in texts(_charts.panels(nothing)[""]))


@pytest.mark.parametrize("place", [row.place for row in GOALS] + [place for _, place in SUMMARY], ids=str)
def test_places_name_benches(place: Place) -> None:
    assert place.bench in {row.place.bench for row in GOALS} | set(TITLES)
    assert place.what


def test_goals_have_their_numbers() -> None:
    words_without = {row.goal for row in GOALS if bound(row.goal) is None}
    assert words_without <= {"never less", "unchanged"}
    assert all(row.path for row in GOALS)
    assert len({(row.path, row.against) for row in GOALS}) == len(GOALS)


# Of a quick run: fewer connects at once.
QUICK = {"1,000 connects at once": "30 connects at once", "100 connects at once": "10 connects at once"}


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_every_row_is_found_in_a_run_of_everything(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    # The tests run in an empty home; peers that are there already, and the toolchains, are in the real one.
    environment = {**os.environ, "HOME": pwd.getpwuid(os.getuid()).pw_dir}
    command = "import sys; from dsql_fast._cli import main; sys.exit(main(['bench', *sys.argv[1:]]))"
    done = subprocess.run(
        [sys.executable, "-c", command, "--quick", "--json", str(file)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(file.read_text())
    found = _results.results(document)
    assert list(found) == list(TITLES)
    places = [row.place for row in GOALS] + [place for _, place in SUMMARY]
    places += [bar.place for panel in OVERVIEW for bar in panel.bars]
    lost = []
    for place in places:
        what = place.what
        for full, quick in QUICK.items():
            what = what.replace(full, quick)
        sought = replace(place, what=what)
        if not sought.figures(found) and sought.why_not(found) == NOT_THERE:
            lost.append(str(sought))
    assert not lost
    _report.blocks(document)  # the goals that the benches go by are the ones of the table


def test_places_are_found_in_what_is_committed() -> None:
    document = json.loads((ROOT / "docs" / "performance" / "figures.json").read_text(encoding="utf-8"))
    assert "--quick" not in document["command"]  # its figures are worth nothing
    found = _results.results(document)
    places = [row.place for row in GOALS] + [place for _, place in SUMMARY]
    lost = [str(place) for place in places if place.why_not(found) == NOT_THERE and not place.figures(found)]
    assert not lost


def test_two_figures_of_one_name_are_refused() -> None:
    run = Run()
    run.found(Figure("CPU for each", 1.0, "us"))
    run.found(Figure("CPU for each", 2.0, "us", "a peer"))
    with pytest.raises(ValueError, match="two figures are called 'CPU for each', beside ''"):
        run.found(Figure("CPU for each", 3.0, "us"))
