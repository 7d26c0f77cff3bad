"""The images install what is tested here: each requirements.txt is the lock file's, and the pins agree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest

from crosstrain.delivery.functions import FUNCTIONS
from import_graph import closure, package_modules

PROJECT = Path(__file__).parents[2]


def pins(function: str) -> dict[str, str]:
    text = (PROJECT / "functions" / function / "requirements.txt").read_text()
    # Those with a marker are for other systems.
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+) \\", text, flags=re.MULTILINE))


def export(group: str) -> str:
    command = [
        str(Path(sys.executable).with_name("uv")), "export", "--quiet", "--frozen", "--offline", "--no-emit-project",
        "--no-annotate", "--no-header", "--only-group", group,
    ]  # fmt: skip
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("function", FUNCTIONS)
def test_requirements_are_those_of_the_lock_file(function: str) -> None:
    written = (PROJECT / "functions" / function / "requirements.txt").read_text()
    assert written == export(function.replace("_", "-")), "run `make requirements`"


@pytest.mark.parametrize("build", ["images", "release", "system-test"])
def test_a_build_installs_what_its_scripts_import_and_no_libraries_of_the_functions(build: str) -> None:
    text = (PROJECT / f"buildspec/{build}.yml").read_text()
    (group,) = re.findall(r"make setup GROUP=([a-z-]+)", text)
    installed = set(re.findall(r"^([a-z0-9-]+)==", export(group), flags=re.MULTILINE))
    scripts = re.findall(r"\.venv/bin/python scripts/([a-z_]+)\.py", text)
    owners = packages_distributions()
    used = {
        owners[name][0].lower().replace("_", "-")
        for name in {each.partition(".")[0] for each in closure(scripts, package_modules())}
        if name in owners
    }
    assert "boto3" in used
    assert used <= installed
    assert not {"numpy", "pandas", "pyarrow", "scikit-learn", "ministack"} & installed


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_requirement_is_pinned_hashed_and_what_is_installed_here(function: str) -> None:
    text = (PROJECT / "functions" / function / "requirements.txt").read_text()
    for block in re.split(r"\n(?=\S)", text.strip()):
        assert re.match(r"[a-z0-9-]+==\S+", block)
        assert "--hash=sha256:" in block
    for name, pinned in pins(function).items():
        if name != "tzdata":  # pandas wants it on systems without a time zone database of their own
            assert version(name) == pinned


def test_training_and_what_uses_models_pin_the_same_libraries_of_the_model() -> None:
    training = pins("model_training")
    for using in (pins("model_evaluation"), pins("scoring")):
        assert {"numpy", "pandas", "scikit-learn", "skops"} <= training.keys() & using.keys()
        assert all(using[name] == pinned for name, pinned in training.items() if name in using)


def test_mlflow_loads_models_by_the_libraries_that_they_were_trained_with() -> None:
    texts = (PROJECT / "tools/mlflow/requirements.txt").read_text(), export("model-training")
    mlflow, training = (dict(re.findall(r"^([a-z0-9-]+)==(\S+)", each, flags=re.MULTILINE)) for each in texts)
    decisive = ("numpy", "pandas", "scikit-learn", "scipy", "skops")
    pinned, trained = ({name: found[name] for name in decisive} for found in (mlflow, training))
    assert pinned == trained, "change tools/mlflow/requirements.in, and run `make tool-requirements`"


def test_data_preparation_does_without_pandas_and_scikit_learn() -> None:
    assert not {"pandas", "scikit-learn", "scipy", "skops"} & pins("data_preparation").keys()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "foreign"),
    [
        ("data_preparation", ["pandas", "sklearn", "scipy", "skops"]),
        ("model_training", ["jinja2", "optuna", "sklearn.ensemble"]),
        ("model_evaluation", ["jinja2"]),
        ("scoring", ["jinja2", "pydantic", "pyarrow.csv", "data_preparation.reading", "sklearn.ensemble"]),
    ],
)
def test_a_handler_imports_only_what_each_run_uses(function: str, foreign: list[str]) -> None:
    check = f"import sys, {function}.app; print(sorted(set({foreign}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_dependency_has_its_reason() -> None:
    groups = tomllib.loads((PROJECT / "pyproject.toml").read_text())["dependency-groups"]
    names = {re.split(r"[\[=<>;]", entry)[0] for group in groups.values() for entry in group if isinstance(entry, str)}
    reasons = (PROJECT / "docs/decisions.md").read_text()
    assert not {name for name in names if f"`{name}`" not in reasons}


@pytest.mark.slow
def test_a_uv_with_other_hashes_than_the_lock_files_is_not_installed(tmp_path: Path) -> None:
    """The builds that hold rights install uv first: whoever can put a file into the index must not be in them."""
    for name in ("pyproject.toml", "scripts/set_up.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(PROJECT / name, tmp_path / name)
    lock = (PROJECT / "uv.lock").read_text()
    begin = lock.index('name = "uv"\n')
    end = lock.index("[[package]]", begin)
    wrong = re.sub(r"sha256:[0-9a-f]{64}", f"sha256:{'0' * 64}", lock[begin:end])
    (tmp_path / "uv.lock").write_text(lock[:begin] + wrong + lock[end:])
    without_uv = [each for each in os.environ["PATH"].split(os.pathsep) if not (Path(each) / "uv").exists()]
    done = subprocess.run(
        ["bash", "scripts/set_up.sh", "images"],  # noqa: S607
        cwd=tmp_path,
        env={**os.environ, "PATH": os.pathsep.join(without_uv)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert not (tmp_path / ".venv/bin/uv").exists()
