"""Who imports the native module: import-linter, which keeps the other layers, cannot see a binary module."""

from __future__ import annotations

import ast
from pathlib import Path

import dsql_fast

PACKAGE = Path(dsql_fast.__file__).parent
# The package itself and the settings, for the version; a bench, to measure it.
MAY = {"__init__.py", "_bench/contestants/tokens.py", "_config.py", "_tokens.py", "_waiting.py"} | {
    f"_credentials/{path.name}" for path in (PACKAGE / "_credentials").glob("*.py")
}


def imports_native(path: Path) -> bool:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module or ''}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        if any("_native" in name.split(".") for name in names):
            return True
    return False


def test_only_the_credential_and_token_layers_know_the_native_module() -> None:
    found = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if imports_native(path)}
    assert found == MAY
