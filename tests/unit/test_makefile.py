"""The Makefile takes no variable that it does not know, hands on those that it knows, and lists its targets."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from make_variables import problems


def make(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run make; the settings of a make that runs the tests are not its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", *words]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "TARGT=price", "DATA=houses.csv"], "TARGT is no variable of this target (did you mean TARGET?)"),
        (["train", "data=houses.csv", "TARGET=price"], "data is no variable of this target (did you mean DATA?)"),
        (["train", "split-column=part"], "split-column is no variable of this target (did you mean SPLIT_COLUMN?)"),
        (["train", "DATA=houses.csv", "TARGET="], "TARGET is empty: give it a value or leave it out"),
        (["train", "DATA=houses.csv", "TARGET= "], "TARGET is empty"),
        (["test", "ARG=-x"], "ARG is no variable of this target (did you mean ARGS?)"),
        (["lint", "DATA=houses.csv"], "DATA is no variable of this target (it takes ARGS, BUILD)"),
        (["SHELL=/bin/sh", "lint"], "SHELL is no variable of this target (it takes ARGS, BUILD)"),
        (["X=1", "train", "TARGT=y"], "TARGT is no variable of this target (did you mean TARGET?); X is no variable"),
    ],
)
def test_a_variable_that_no_target_takes_is_an_error(project: Path, words: list[str], message: str) -> None:
    done = make(project, "--dry-run", *words)
    assert done.returncode == 2
    assert message in done.stderr
    # Nothing is run, the sample data least of all.
    assert done.stdout == ""


def test_what_is_set_is_handed_on_and_nothing_else(project: Path) -> None:
    done = make(
        project,
        "--dry-run",
        "train",
        "DATA=two words.csv",
        "TARGET=price",
        'HYPERPARAMETERS={"alpha": 0.5}',
        "ARGS=--json",
    )
    assert done.returncode == 0, done.stderr
    assert re.findall(r'--([a-z-]+)="\$([A-Z_]+)"', done.stdout) == [
        ("data", "DATA"),
        ("target", "TARGET"),
        ("hyperparameters", "HYPERPARAMETERS"),
    ]
    assert done.stdout.rstrip().endswith("--json")


def test_variables_of_the_environment_do_not_count(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA", "somebody-elses.csv")
    assert "--data" not in make(project, "--dry-run", "train").stdout


def test_a_near_name_is_told_whatever_its_case() -> None:
    assert problems(["metrik"], [], ["METRIC", "MODEL_NAME"]) == [
        "metrik is no variable of this target (did you mean METRIC?)"
    ]


def test_targets_are_listed_without_colours_in_a_pipe(project: Path) -> None:
    done = make(project, "help")
    assert "\033" not in done.stdout
    targets = set(re.findall(r"^  ([a-z-]+) +\S", done.stdout, flags=re.MULTILINE))
    assert {"train", "test", "test-all", "lint", "rehearse", "setup", "clean"} <= targets


@pytest.fixture
def stub(project: Path, tmp_path: Path) -> Path:
    """Return a folder with the Makefile and an environment whose Python prints what it is called with."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for name in ("Makefile", "scripts/make_variables.py"):
        (tmp_path / name).write_bytes((project / name).read_bytes())
    (tmp_path / "scripts/set_up.sh").touch()
    python = tmp_path / ".venv/bin/python"
    python.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[2:]))\n")
    python.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    "value",
    ["Price ($)", "$(HOME)", "$HOME", "$nothing", "$$", "a 'b' \"c\" `d`", "a\nb", "price ", "#1", "100%"]
    + ([" price", "\tprice"] if Path("/proc/self/cmdline").exists() else []),
)
def test_a_value_arrives_as_it_was_typed(stub: Path, value: str) -> None:
    done = make(stub, "train", f"TARGET={value}", "OUT=out", "ARGS=--json --metric '$x'")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [f"--target={value}", "--out=out", "--json", "--metric", "$x"]


def test_clean_keeps_trained_models_and_clean_all_does_not(stub: Path) -> None:
    for name in ("out/model.skops", "results/model.skops", "build/packaged.yaml", "functions/f", "tests/t"):
        (stub / name).parent.mkdir(exist_ok=True)
        (stub / name).touch()
    assert make(stub, "clean").returncode == 0
    assert [(stub / name).exists() for name in ("out/model.skops", "build", ".venv")] == [True, False, False]
    assert make(stub, "clean-all").returncode == 0
    assert [(stub / name).exists() for name in ("out", "results/model.skops")] == [False, True]
