"""What is exported, the real MLflow loads, in an environment of its own: its predictions are those of this project."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import crosstrain

from .conftest import Command, Train

# It takes an environment of 900 MB, and MLflow half a minute to start.
pytestmark = pytest.mark.slow

ROWS = 300
Look = Callable[[Path, str, pd.DataFrame], tuple[pd.DataFrame, dict[str, Any]]]


@pytest.fixture(scope="module")
def look(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Look:
    """Return a function that predicts rows with an exported model by MLflow, and says what else MLflow reads."""
    subprocess.run(["make", "--silent", "tools/mlflow/.venv/.ready"], cwd=project, check=True, timeout=600)  # noqa: S607

    def run(exported: Path, run_id: str, rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Any]]:
        folder = tmp_path_factory.mktemp("mlflow")
        rows.to_parquet(folder / "rows.parquet")
        program = [project / "tools/mlflow/.venv/bin/python", project / "tools/mlflow/look.py"]
        done = subprocess.run(
            [*program, exported, run_id, folder / "rows.parquet", folder / "predictions.parquet"],
            cwd=folder,
            env={name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return pd.read_parquet(folder / "predictions.parquet"), json.loads(done.stdout)

    return run


def frame(problem: str) -> pd.DataFrame:
    """Return rows of every role, with missing values where MLflow's types allow them."""
    random = np.random.default_rng(0)
    data = pd.DataFrame(
        {
            "amount": random.normal(10, 3, ROWS),
            "whole": random.integers(0, 300, ROWS),
            "gaps": random.integers(0, 300, ROWS).astype(float),
            "kind": random.choice(["x", "y", "z"], ROWS).astype(object),
            "flag": random.choice([True, False], ROWS),
            "when": pd.date_range("2024-01-01", periods=ROWS, freq="h"),
        }
    )
    signal = data["amount"] + 5 * (data["kind"] == "x") + random.normal(0, 0.5, ROWS)
    data["y"] = signal if problem == "regression" else np.where(signal > signal.median(), "high", "low")
    for position, name in enumerate(["amount", "gaps", "kind", "when"]):
        data.loc[position * 7 : position * 7 + 5, name] = None
    return data


CASES = {
    "hist_gradient_boosting": ("regression", ["--hyperparameters", '{"max_iter": 10}', "--interval", "0.9"]),
    "xgboost": ("classification", ["--hyperparameters", '{"n_estimators": 10}']),
    "logistic_regression": ("classification", ["--adjust", "always"]),
}


@pytest.mark.parametrize("estimator", list(CASES))
def test_mlflow_predicts_the_same(train: Train, models: Command, look: Look, tmp_path: Path, estimator: str) -> None:
    problem, more = CASES[estimator]
    data = frame(problem)
    data.to_parquet(tmp_path / "data.parquet")
    done = train(
        "--data", "data.parquet", "--target", "y", "--problem", problem, "--estimator", estimator, *more, "--json"
    )
    assert done.code == 0, done.stderr
    version = done.document["run_id"]

    exported = models("export", "--mlflow", str(tmp_path / "exported"), f"@{version}", "--json")
    assert exported.code == 0, exported.stderr
    rows = data.drop(columns="y").iloc[::-1]
    predictions, seen = look(tmp_path / "exported", exported.document["run_id"], rows)

    model = crosstrain.load(tmp_path / "out", trust=True)
    expected = model.predict(rows)
    pd.testing.assert_frame_equal(predictions, expected, rtol=1e-12, check_dtype=False)
    assert seen["pipeline"] == pytest.approx(expected["prediction"].tolist())
    # It ran nothing but what was exported, of which MLflow makes a copy.
    assert seen["code"].endswith("/model/code/common/__init__.py")
    assert [each["name"] for each in seen["outputs"]] == list(expected)
    assert {each["name"]: each["type"] for each in seen["inputs"]} == {
        "amount": "double", "whole": "long", "gaps": "double", "kind": "string", "flag": "boolean", "when": "datetime",
    }  # fmt: skip
    assert len(seen["example"]["prediction"]) == 1

    assert seen["status"] == "FINISHED"
    assert seen["metrics"][done.document["metric"]] == done.document["value"]
    assert {"decision", "version", "data_fingerprint", "sha256", "champion"} <= seen["tags"].keys()
    assert (seen["tags"]["version"], seen["tags"]["decision"]) == (version, done.document["decision"])
    assert "report.html" in seen["artifacts"]
