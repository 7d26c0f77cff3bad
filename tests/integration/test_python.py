"""What the pages show of Python is run as it stands: trained, loaded and predicted in the project's environment."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes
from sklearn.pipeline import Pipeline

from common.adjusted import AdjustedClassifier, IntervalRegressor
from common.frames import load_part
from common.model_file import load_model, save_model
from common.request import ESTIMATORS, parse_request
from crosstrain.local.server import LocalTrainingStack
from data_preparation.preparation import prepare
from data_preparation.reading import SourceFile
from model_training.training import build_pipeline, fit

BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Small ones are as telling, and quick.
SIZES: dict[str, dict[str, int]] = {"random_forest": {"n_estimators": 3}, "hist_gradient_boosting": {"max_iter": 3}}
CHOICES = [(problem, estimator) for problem, names in ESTIMATORS.items() for estimator in names]


def block(page: Path) -> str:
    """Return the one block of Python on a page."""
    (found,) = BLOCK.findall(page.read_text(encoding="utf-8"))
    return str(found)


def python(program: str, folder: Path, environment: dict[str, str]) -> str:
    """Run a program with the environment's interpreter, which knows nothing of this checkout by itself."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_readmes_block_works(training_stack: LocalTrainingStack, project: Path, tmp_path: Path) -> None:
    data = load_diabetes(as_frame=True, scaled=False).frame.rename(columns={"target": "price"})
    data.to_csv(tmp_path / "houses.csv", index=False)
    data.drop(columns="price").head(9).to_csv(tmp_path / "new-houses.csv", index=False)
    environment = training_stack.aws.environment(training_stack.data_scientist)
    show = "print(result['decision'], len(predictions), *predictions)"
    # No test meets the champion of another.
    program = block(project / "README.md").replace('"price")', '"price", model_name="from-python")')
    found = python(f"{program}\n{show}", tmp_path, environment | {"CROSSTRAIN_STACK": training_stack.name})
    assert found == "promote 9 prediction\n"
    version = "import crosstrain; print(crosstrain.load(model_name='from-python').origin)"
    found = python(version, tmp_path, environment | {"CROSSTRAIN_STACK": training_stack.name})
    assert re.fullmatch(r"from-python \S+ \(promoted\)\n", found)


@pytest.mark.parametrize(("problem", "estimator"), CHOICES)
@pytest.mark.parametrize("labels", [["a", "b"], [1, 2, 3], [True, False]])
def test_the_documented_types_are_all_that_a_model_holds(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: str, estimator: str, labels: list[object]
) -> None:
    random = np.random.default_rng(0)
    data = pd.DataFrame({"amount": random.normal(size=120), "kind": random.choice(list("xyz"), 120)})
    data = data.assign(level=random.integers(0, 5, 120), gap=data["amount"].where(data["amount"] < 1))
    data["when"] = pd.date_range("2026-01-01", periods=120, freq="31h")
    places = pd.qcut(data["amount"], len(labels), labels=False)
    data["y"] = data["amount"] if problem == "regression" else [labels[place] for place in places]
    data.to_csv(tmp_path / "data.csv", index=False)
    request = parse_request(
        {
            "dataset_uri": "s3://bucket/x", "target": "y", "problem": problem, "estimator": estimator,
            "hyperparameters": SIZES.get(estimator, {}),
        }
    )  # fmt: skip
    prepared = prepare([SourceFile("data.csv", tmp_path / "data.csv")], request, tmp_path)
    features, target = load_part(prepared.train, prepared.profile)
    (tmp_path / "out").mkdir()
    model = fit(build_pipeline(prepared.request, prepared.profile), features, target).pipeline
    # As held-out folds may have taught it.
    taught: object = IntervalRegressor(model["model"], 0.9, 1.0)
    if problem == "classification":
        numbers = np.full(len(labels), 0.5)
        taught = AdjustedClassifier(model["model"], 0.5, numbers, 1e-6, numbers)
    model = Pipeline([*model.steps[:-1], ("model", taught)])
    path = save_model(model, tmp_path / "out/model.skops")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(block(project / "docs/python.md"), names)  # noqa: S102 (the page's own lines)
    pipeline = names["pipeline"]
    np.testing.assert_array_equal(pipeline.predict(features), load_model(path).predict(features))  # type: ignore[attr-defined]
