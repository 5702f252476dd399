"""What README, `docs/` and `examples/` show, runs: each against a local cluster that only the environment tells of."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dsql_fast._libpq import LIBPQ_ENVIRONMENT
from dsql_fast.asyncpg._attempt import ENVIRONMENT
from dsql_fast.local import LocalCluster

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
# The cluster that README speaks of: made up, and the name of the local one here.
CLUSTER_ID = "foo0bar1baz2quux3quuux4q00"
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def python_blocks(markdown: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", markdown, re.MULTILINE | re.DOTALL)


BLOCKS = {
    f"{path.name}-{number}": block
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for number, block in enumerate(python_blocks(path.read_text()), start=1)
}


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    with LocalCluster(cluster_id=CLUSTER_ID, rate=None) as cluster:
        yield {**os.environ, **cluster.environment()}


def run(program: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """In a process of its own, as a user has it; a warning (an unclosed pool, say) is an error."""
    command = [sys.executable, "-W", "error", "-c", program]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_readme_has_its_blocks() -> None:
    # Fewer, and the pattern or README was broken: nothing would be tested.
    in_readme = [name for name in BLOCKS if name.startswith("README")]
    assert len(in_readme) >= 4
    assert README.count("```python") == len(in_readme)


@pytest.mark.parametrize(
    ("page", "least"), [("drivers.md", 1), ("local.md", 2), ("migrating.md", 1), ("pools.md", 3), ("retry.md", 2)]
)
def test_pages_have_their_blocks(page: str, least: int) -> None:
    blocks = [name for name in BLOCKS if name.startswith(page)]
    assert len(blocks) >= least
    assert (ROOT / "docs" / page).read_text().count("```python") == len(blocks)


@pytest.mark.parametrize("name", BLOCKS)
def test_block_runs(name: str, environment: dict[str, str]) -> None:
    done = run(BLOCKS[name], environment)
    assert done.returncode == 0, done.stderr
    assert not done.stderr


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(example: Path, environment: dict[str, str]) -> None:
    done = run(example.read_text(), environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert not done.stderr


def test_there_are_examples() -> None:
    assert {"connect", "pool_threads", "pool_asyncio", "pool_psycopg2"} <= {example.stem for example in EXAMPLES}


def test_a_block_that_fails_is_seen(environment: dict[str, str]) -> None:
    (broken,) = python_blocks("```python\nimport dsql_fast\ndsql_fast.no_such_thing\n```\n")
    assert run(broken, environment).returncode != 0


def test_a_connection_left_open_is_seen(environment: dict[str, str]) -> None:
    program = f'import dsql_fast\nconn = dsql_fast.connect("{CLUSTER_ID}")\ndel conn\n'
    assert "ResourceWarning" in run(program, environment).stderr


def test_the_commands_that_readme_names_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"make ([a-z][a-z-]+)", README))
    assert {"demo", "test", "bench"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize(
    "page",
    ["README.md", "docs/drivers.md", "docs/local.md", "docs/migrating.md", "docs/pools.md", "docs/retry.md"],
)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", text):
        assert ((ROOT / page).parent / target).exists(), target
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    # As GitHub names them.
    names = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= names


@pytest.mark.parametrize(
    ("page", "table"), [("0004-tls-and-trust", LIBPQ_ENVIRONMENT), ("0018-asyncpg", ENVIRONMENT)]
)
def test_the_table_of_variables_is_the_codes(page: str, table: Mapping[str, str]) -> None:
    text = (ROOT / "docs" / "decisions" / f"{page}.md").read_text()
    assert dict(re.findall(r"^\| `([A-Z_]+)` \| (.+) \|$", text, re.MULTILINE)) == dict(table)
