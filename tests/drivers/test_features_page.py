"""docs/features.md: each row names tests, and they exist; what it says is not there is not there."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PAGE = (ROOT / "docs" / "features.md").read_text()
OTHERS, ASKED, MISSING = "What other connectors have", "What their users ask for", "What is not there"


def rows(section: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def proofs(cell: str) -> list[str]:
    return re.findall(r"`(tests/[^`]+)`", cell)


@functools.cache
def written_in(file: str) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    """The tests of a file by name, ``Class::name`` in a class."""
    found: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = {}
    for node in ast.parse((ROOT / file).read_text()).body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        for member in members:
            if isinstance(member, (ast.FunctionDef, ast.AsyncFunctionDef)) and member.name.startswith("test_"):
                found[prefix + member.name] = member
    return found


def test_the_tables_are_whole() -> None:
    assert len(rows(OTHERS)) > 25
    assert len(rows(ASKED)) > 25
    for row in rows(OTHERS):
        assert len(row) == 11, row
        assert set(row[1:9]) <= {"✓", "–", "?"}, row
        # What none of them has is in the other table.
        assert "✓" in row[1:9], row
        assert row[9], row
    assert {len(row) for row in rows(ASKED)} == {4}
    assert {len(row) for row in rows(MISSING)} == {3}


@pytest.mark.parametrize("section", [OTHERS, ASKED])
def test_each_row_is_proved_by_tests_that_run(section: str) -> None:
    for row in rows(section):
        assert proofs(row[-1]), row
        for proof in proofs(row[-1]):
            file, _, name = proof.partition("::")
            assert name in written_in(file), proof
            marks = [ast.unparse(each) for each in written_in(file)[name].decorator_list]
            # Some of its cases may be left out of the ordinary run, but not all.
            assert "pytest.mark.full" not in marks, proof
            assert not any(mark.startswith("pytest.mark.skip") for mark in marks), proof


def test_what_is_said_not_to_be_there_is_not() -> None:
    extras = (
        (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    )
    named = [name for row in rows(MISSING) for name in re.findall(r"`([\w.]+)`", row[1])]
    assert len(named) == 4
    for name in named:
        if name.startswith("dsql_fast."):
            assert importlib.util.find_spec(name) is None, name
        else:
            assert not re.search(rf"^{name} = ", extras, re.MULTILINE), name


def test_each_scenario_is_run_by_each_driver() -> None:
    for file in ("test_connect.py", "test_transactions.py"):
        for name, test in written_in(f"tests/drivers/{file}").items():
            assert "way" in {argument.arg for argument in test.args.args}, name


def test_each_scenario_is_named_on_the_page() -> None:
    named = {
        proof.partition("::")[2]
        for section in (OTHERS, ASKED)
        for row in rows(section)
        for proof in proofs(row[-1])
    }
    there = {
        name
        for file in ("test_connect.py", "test_transactions.py")
        for name in written_in(f"tests/drivers/{file}")
    }
    # The one that no feature is about.
    assert there - named == {"test_what_the_function_raises_rolls_back"}


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
