"""The peers' environments: made once, whole or not there, pinned; and what cannot be had is told."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dsql_fast._bench import _peers, _recipes
from dsql_fast._bench._contest import CONTESTANTS
from dsql_fast._bench._run import Run

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]

PROGRAM = """
import sys, time
from pathlib import Path
from dsql_fast._bench._peers import environment

class Slow:
    def pins(self):
        return "slow"
    def make(self, directory):
        with open(sys.argv[1] + "/made", "a") as made:
            made.write("made\\n")
        print("making", flush=True)
        while not Path(sys.argv[1], "go").exists():
            time.sleep(0.01)
        (directory / "program").symlink_to(sys.executable)
    def command(self, directory):
        return (str(directory / "program"),)

print(*environment(Slow(), "slow", lambda doing: print(doing, flush=True)), flush=True)
"""


class Small:
    """An environment that is one link."""

    def __init__(self, text: str = "pinned", fails: type[BaseException] | None = None) -> None:
        self.text, self.fails, self.made = text, fails, 0

    def pins(self) -> str:
        return self.text

    def make(self, directory: Path) -> None:
        self.made += 1
        (directory / "half").touch()
        if self.fails is not None:
            raise self.fails
        (directory / "program").symlink_to(sys.executable)

    def command(self, directory: Path) -> tuple[str, ...]:
        return (str(directory / "program"),)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv(_peers.HOME_VARIABLE, str(tmp_path / "home"))
    yield tmp_path / "home"
    _peers._failed.clear()


def directories(home: Path) -> list[str]:
    return sorted(path.name for path in home.iterdir() if path.is_dir())


def test_an_environment_is_made_once_and_named_after_its_pins(home: Path) -> None:
    first, other = Small(), Small("pinned to something else")
    (program,) = _peers.environment(first, "small")
    assert _peers.environment(first, "small") == (program,)
    assert first.made == 1
    assert Path(program).resolve() == Path(sys.executable).resolve()
    assert _peers.environment(other, "small") != (program,)
    assert len(directories(home)) == 2


@pytest.mark.parametrize("torn", [KeyboardInterrupt, _recipes.UnavailableError])
def test_what_was_torn_off_is_not_there(home: Path, torn: type[BaseException]) -> None:
    with pytest.raises(torn):
        _peers.environment(Small(fails=torn), "small")
    assert directories(home) == []
    whole = Small()
    _peers.environment(whole, "small")
    assert whole.made == 1


def test_what_a_killed_run_left_is_taken_away(home: Path) -> None:
    recipe = Small()
    (program,) = _peers.environment(recipe, "small")
    made = Path(program).parent
    shutil.rmtree(made)
    made.with_name(f"{made.name}.making-killed").mkdir()
    _peers.environment(recipe, "small")
    assert directories(home) == [made.name]


def test_an_environment_whose_interpreter_has_gone_is_made_anew(home: Path) -> None:
    recipe = Small()
    (program,) = _peers.environment(recipe, "small")
    Path(program).unlink()
    Path(program).symlink_to(home / "no-such-interpreter")
    assert _peers.environment(recipe, "small") == (program,)
    assert recipe.made == 2
    assert Path(program).exists()


def test_two_runs_at_the_same_time_make_one_environment(home: Path, tmp_path: Path) -> None:
    def started() -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, text=True)

    with started() as first:
        assert first.stdout is not None
        assert [first.stdout.readline().strip() for _ in range(2)] == ["installing slow, once", "making"]
        with started() as second:
            assert second.stdout is not None
            assert second.stdout.readline().strip() == "waiting for another run, which installs slow"
            (tmp_path / "go").touch()
            told = second.stdout.read().split()
        assert first.stdout.read().split() == told
    assert (tmp_path / "made").read_text() == "made\n"
    assert len(told) == 1


def test_where_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert _peers.home() == Path.home() / ".cache" / "dsql-fast" / "bench"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _peers.home() == tmp_path / "dsql-fast" / "bench"
    monkeypatch.setenv(_peers.HOME_VARIABLE, str(tmp_path / "here"))
    assert _peers.home() == tmp_path / "here"


@pytest.mark.parametrize(("peer", "wanted"), [("go", "Go 1."), ("javascript", "Node.js"), ("rust-sdk", "Rust 1.")])
def test_a_missing_language_is_told_with_what_helps(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, peer: str, wanted: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    run = Run()
    assert _peers.had(run, peer) is None
    assert _peers.had(run, peer, "another bench") is None
    first, second = run.skips
    assert (first.what, second.what) == (_peers.PEERS[peer], "another bench")
    assert f"install {wanted}" in first.why
    assert first.why == second.why


def test_what_a_failed_installation_said_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(Small):
        def make(self, directory: Path) -> None:  # noqa: ARG002 (nothing comes of it)
            lines = "\n".join(f"line {number}" for number in range(100))
            _recipes.run_tool([sys.executable, "-c", f"import sys; print({lines!r}); sys.exit(3)"])

    monkeypatch.setitem(_peers.RECIPES, "go", Failing())
    run = Run()
    assert _peers.had(run, "go") is None
    (skip,) = run.skips
    assert "status 3" in skip.why
    assert skip.why.endswith("line 96 / line 97 / line 98 / line 99")
    assert directories(home) == []


def test_a_peer_that_is_not_wanted_is_not_made(home: Path) -> None:
    run = Run(compare=frozenset({"go"}))
    assert _peers.had(run, "official") is None
    assert not run.skips
    assert not home.exists()


def test_a_home_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(_peers.HOME_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(_recipes.UnavailableError, match=_peers.HOME_VARIABLE):
        _peers.environment(Small(), "small")


# What is pinned.


def locked(path: Path) -> set[tuple[str, str]]:
    return set(re.findall(r'name = "([^"]+)"\nversion = "([^"]+)"', path.read_text()))


def test_the_floor_is_built_of_the_crates_that_we_are_built_of() -> None:
    ours, floors = locked(ROOT / "Cargo.lock"), locked(CONTESTANTS / "rust" / "Cargo.lock")
    hashing = {"block-buffer", "cpufeatures", "crypto-common", "digest", "hmac", "hybrid-array", "sha2", "typenum"}
    assert hashing <= {name for name, _ in ours}
    assert {crate for crate in ours if crate[0] in hashing} <= floors
    manifest, floors_manifest = (
        path.read_text() for path in (ROOT / "Cargo.toml", CONTESTANTS / "rust" / "Cargo.toml")
    )
    for crate in ("hmac", "sha2"):
        (line,) = re.findall(rf"^{crate} = .*$", manifest, re.MULTILINE)
        assert line in floors_manifest


def test_everything_is_pinned_exactly() -> None:
    package = json.loads((CONTESTANTS / "javascript" / "package.json").read_text())
    for version in (*package["dependencies"].values(), *package["overrides"].values()):
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert not list(CONTESTANTS.rglob("package-lock.json"))  # it names the registry
    manifest = (CONTESTANTS / "rust" / "Cargo.toml").read_text()
    dependencies = manifest.partition("[dependencies]")[2].partition("\n[")[0]
    versions = re.findall(r'version = "([^"]+)"', dependencies)
    assert len(versions) >= 5
    assert all(version.startswith("=") for version in versions)
    for recipe in _peers.RECIPES.values():
        if isinstance(recipe, _recipes.PythonPackages):
            for requirement in recipe._requirements():
                assert re.fullmatch(r"[\w-]+==[\w.]+", requirement)


def test_what_is_said_of_a_peer_is_what_is_pinned() -> None:
    sources = {folder: _recipes._sources(folder) for folder in ("go", "javascript", "rust")}
    assert "feature/dsql/auth v1.1.37" in sources["go"]
    assert "feature/dsql/auth 1.1.37" in _peers.PEERS["go"]
    assert '"@aws-sdk/dsql-signer": "3.1142.0"' in sources["javascript"]
    assert "@aws-sdk/dsql-signer 3.1142.0" in _peers.PEERS["javascript"]
    (said,) = re.findall(r'println!\("ready (.*)"\)', sources["rust"])
    for word in said.split():
        crate, version = word.split("=")
        assert (crate, version) in locked(CONTESTANTS / "rust" / "Cargo.lock")
    assert "aws-sdk-dsql 1.79.0" in _peers.PEERS["rust-sdk"]
    for peer in ("official", "awscrt"):
        recipe = _peers.RECIPES[peer]
        assert isinstance(recipe, _recipes.PythonPackages)
        ((package, version),) = recipe.pinned.items()
        assert f"{package} {version}" in _peers.PEERS[peer]


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_all_peers_are_made_and_measured(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    command = Path(sys.executable).with_name("dsql-fast")
    # The tests run in an empty home; the languages and their settings are in the real one.
    environment = {
        **os.environ,
        "HOME": pwd.getpwuid(os.getuid()).pw_dir,
        _peers.HOME_VARIABLE: str(tmp_path / "home"),
    }
    result = subprocess.run(
        [command, "bench", "token", "churn", "import", "--quick", "--json", str(found)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    benches = json.loads(found.read_text())["benches"]
    skipped = {skip["what"] for bench in benches.values() for skip in bench["skipped"]}
    expected = {peer for peer in _peers.PEERS if peer != "boto3"}
    missing = {peer for peer in expected if _peers.PEERS[peer] in skipped}
    assert missing <= {
        peer
        for peer, tool in (("go", "go"), ("javascript", "npm"), ("rust-sdk", "cargo"))
        if shutil.which(tool) is None
    }
    peers = {figure["peer"] for figure in benches["token"]["figures"]}
    assert {"awscrt", "the official connector"} <= peers
    assert {"the official connector's own function", "awscrt"} <= {
        figure["peer"] for figure in benches["churn"]["figures"]
    }
    assert "a first row, the official connector" in {figure["what"] for figure in benches["import"]["figures"]}
