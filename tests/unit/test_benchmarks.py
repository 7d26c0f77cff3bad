"""What benchmarks name of the code is there: a name that is gone would end one after minutes."""

from __future__ import annotations

import ast
import importlib
import importlib.util
from pathlib import Path

import pytest


def defined(files: list[Path]) -> set[str]:
    """Return `module.function` of all functions in some files."""
    return {
        f"{file.stem}.{node.name}"
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }


@pytest.mark.slow
def test_what_a_profile_tells_of_is_there(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(project))
    whole_run = importlib.import_module("benchmarks.whole_run")
    limit = project / f"{whole_run.LIMIT.partition(':')[0].replace('.', '/')}.py"
    named = {(process, name) for functions in whole_run.WORK.values() for process, name in functions}
    assert len(named) > 10
    for process, name in named:
        of_process = [limit] if process == "the limit" else [*(project / "functions" / process).glob("*.py")]
        assert name in defined([*of_process, *(project / "functions" / "common").glob("*.py")])


def test_what_benchmarks_import_of_the_project_is_there(project: Path) -> None:
    own = {each.name for each in (project / "functions").iterdir() if each.is_dir()} | {"crosstrain"}
    asked = {
        (node.module, alias.name)
        for file in (project / "benchmarks").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in own
        for alias in node.names
    }
    assert len(asked) > 50
    for module, name in asked:
        found = importlib.import_module(module)
        assert hasattr(found, name) or importlib.util.find_spec(f"{module}.{name}"), f"{module} has no {name}"
