"""Who may import whom: the rooms of scripts/crosstrain, and what stays out of the delivery."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from import_graph import PROJECT, SCRIPTS, closure, imports, package_modules

MODULES = package_modules()
FUNCTIONS_PACKAGES = {path.parent.name for path in (PROJECT / "functions").glob("*/__init__.py")}
# What a data scientist runs uses the functions' own code; nothing else may.
USERS_OF_FUNCTIONS = {"train", "predict", "models", "inspect_data"} | {
    f"crosstrain.training.{name}"
    for name in (
        "batches",
        "late_labels",
        "data_files",
        "errors",
        "folder_models",
        "inspection",
        "mlflow_export",
        "models",
        "models_figures",
        "models_page",
        "prediction",
        "request_flags",
        "runs",
        "scored_files",
        "summary",
    )
}
DELIVERY = ("compose_sources", "build_images", "record_release", "resolve_images", "rollback", "system_test", "taskcat")
# Each room, and those that it imports from; the ground floor, `command`, `aws` and `files`, is open to all of them.
ARROWS = {
    # What `import crosstrain` offers.
    "": {"local", "training"},
    "training": {"delivery"},
    "delivery": set(),
    "local": {"training"},
    "rehearsal.report": set(),
    "rehearsal.images": {"local"},
    "rehearsal.rights": {"local"},
    "rehearsal.codepipeline": {"local", "rehearsal.rights"},
    "rehearsal.codebuild": {
        "delivery", "local", "rehearsal.codepipeline", "rehearsal.images", "rehearsal.report", "rehearsal.rights",
    },
    "rehearsal.cloudformation": {
        "delivery", "local", "rehearsal.codepipeline", "rehearsal.images", "rehearsal.report", "rehearsal.rights",
    },
    "rehearsal": {
        "local", "rehearsal.cloudformation", "rehearsal.codebuild", "rehearsal.codepipeline", "rehearsal.images",
        "rehearsal.report", "rehearsal.rights",
    },
}  # fmt: skip
# Modules beside the rehearsal's rooms that the rooms themselves use.
RIGHTS = {"crosstrain.rehearsal.accounts", "crosstrain.rehearsal.authorization", "crosstrain.rehearsal.service_calls"}
GROUND = {"crosstrain.command", "crosstrain.aws", "crosstrain.files"}


def top_level(names: set[str]) -> set[str]:
    return {each.partition(".")[0] for each in names}


def room(name: str) -> str:
    """Return the room that a module is in."""
    if name in RIGHTS:
        return "rehearsal.rights"
    # A package is in itself, a module in its package.
    package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
    return package.removeprefix("crosstrain").removeprefix(".")


def test_only_the_commands_of_training_import_the_functions() -> None:
    users = {
        name
        for name, path in MODULES.items()
        if {each.partition(".")[0] for each in imports(path)} & FUNCTIONS_PACKAGES
    }
    assert FUNCTIONS_PACKAGES
    assert users <= USERS_OF_FUNCTIONS
    for command in (*DELIVERY, "rehearse", "local_aws"):
        assert not top_level(closure([command], MODULES)) & FUNCTIONS_PACKAGES, command


def test_no_command_is_forgotten() -> None:
    commands = {path.stem for path in SCRIPTS.glob("*.py")}
    assert commands == {
        *DELIVERY,
        "train",
        "predict",
        "models",
        "inspect_data",
        "rehearse",
        "score",
        "feedback",
        "serve",
        "local_aws",
        "make_variables",
    }


@pytest.mark.parametrize("command", ["compose_sources", "make_variables"])
def test_what_runs_before_there_is_an_environment_needs_python_alone(command: str) -> None:
    assert top_level(closure([command], MODULES)) - {command, "crosstrain"} <= sys.stdlib_module_names


def test_the_rooms_have_the_arrows_that_are_drawn_and_no_other() -> None:
    found: dict[str, set[str]] = defaultdict(set)
    for name, path in MODULES.items():
        if not name.startswith("crosstrain.") or name in GROUND:
            continue
        for target in imports(path) & MODULES.keys() - GROUND - {"crosstrain"}:
            # `from package import module` names both; it is the module that counts.
            if MODULES[target].name != "__init__.py" and room(target) != room(name):
                found[room(name)].add(room(target))
    assert {name: found[name] for name in ARROWS} == ARROWS
    assert set(found) <= set(ARROWS)


def test_no_arrow_leads_back() -> None:
    list(TopologicalSorter(ARROWS).static_order())
    graph = {name: imports(path) & MODULES.keys() - {name} for name, path in MODULES.items()}
    list(TopologicalSorter(graph).static_order())


def test_no_module_imports_a_command() -> None:
    commands = {path.stem for path in SCRIPTS.glob("*.py")}
    assert not [name for name, path in MODULES.items() if imports(path) & commands - {name}]


@pytest.mark.slow
@pytest.mark.parametrize("command", DELIVERY)
def test_a_command_of_the_delivery_runs_nothing_of_the_functions(command: str, tmp_path: Path) -> None:
    for package in FUNCTIONS_PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise SystemExit('code of the model repository has run')")
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / f"{command}.py"), "--help"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")


def test_the_functions_import_nothing_that_their_images_lack() -> None:
    """The environment has both on its path, so that a local run would not tell."""
    files = [*(PROJECT / "functions").rglob("*.py")]
    assert not [path for path in files if "crosstrain" in top_level(imports(path))]
