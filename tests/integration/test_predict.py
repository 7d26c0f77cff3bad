"""Scoring with models that real runs have registered: the same predictions as in the evaluation of the run."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes

import predict as predict_command
from common.frames import load_part
from common.model_file import load_model
from common.storage import download, pinned, split_uri
from crosstrain.local.server import LocalTrainingStack
from crosstrain.training.registry import Registry

from .conftest import Command, Train, as_process, in_process


@pytest.fixture
def predict(in_shell: dict[str, str], tmp_path: Path) -> Command:
    """Return a function that does what `scripts/predict.py` does with a data scientist's rights."""
    return lambda *arguments: in_process(predict_command.main, in_shell, tmp_path, arguments)


def find_version(training_stack: LocalTrainingStack, run_id: str) -> Any:
    """Return what the registry holds of a run's model."""
    registry = Registry(training_stack.client("dynamodb"), training_stack.outputs["ModelRegistryTableName"])
    return registry.find_version(run_id)


def read_test_part(training_stack: LocalTrainingStack, run_id: str, folder: Path) -> tuple[pd.DataFrame, object]:
    """Return the features of a run's test part, as its evaluation reads them."""
    # The data scientist's rights reach what a run has made.
    version = find_version(training_stack, run_id)
    for name, kind in (("profile.json", "profile"), ("test.parquet", "test")):
        download(training_stack.client("s3"), pinned(version, kind), folder / name)
    return load_part(folder / "test.parquet", json.loads((folder / "profile.json").read_text()))


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["ridge", "hist_gradient_boosting", "xgboost"])
def test_the_test_part_is_scored_as_in_the_runs_evaluation(
    training_stack: LocalTrainingStack,
    train: Train,
    project: Path,
    in_shell: dict[str, str],
    tmp_path: Path,
    estimator: str,
) -> None:
    data = load_diabetes(as_frame=True, scaled=False).frame
    data["split"] = np.where(np.arange(len(data)) % 5, "train", "test")
    data.to_csv(tmp_path / "rows.csv", index=False)
    name = f"scored-{estimator}"
    trained = train(
        "--data", "rows.csv", "--target", "target", "--split-column", "split", "--estimator", estimator,
        "--model-name", name, "--json",
        # Of so few rows a hundred trees learn the noise.
        *(["--hyperparameters", json.dumps({"n_estimators": 20})] if estimator == "xgboost" else []),
    )  # fmt: skip
    assert trained.code == 0, trained.stderr

    done = as_process(project / "scripts/predict.py", in_shell, tmp_path, ["rows.csv", "--model-name", name])

    assert done.code == 0, done.stderr
    assert 'does not use it: "target", "split"' in done.stderr
    scored = pd.read_csv(io.StringIO(done.stdout))["prediction"][data["split"] == "test"]
    features, target = read_test_part(training_stack, trained.document["run_id"], tmp_path)
    expected = load_model(tmp_path / "out/model.skops").predict(features)
    np.testing.assert_allclose(scored, expected, rtol=1e-12)
    rmse = np.sqrt(np.mean((scored - target) ** 2))
    assert rmse == pytest.approx(trained.document["metrics"]["rmse"], rel=1e-12)


def test_a_version_and_a_folder_of_results_score_alike(train: Train, predict: Command, tmp_path: Path) -> None:
    data = load_breast_cancer(as_frame=True).frame
    data.to_parquet(tmp_path / "rows.parquet")
    trained = train("--data", "rows.parquet", "--target", "target", "--model-name", "alike", "--json")
    version = trained.document["run_id"]
    assert predict("rows.parquet", "--version", version, "--out", "registry.parquet").code == 0
    assert predict("rows.parquet", "--trust", "--from", "out", "--out", "folder.parquet").code == 0
    registry, folder = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("registry", "folder"))
    pd.testing.assert_frame_equal(registry, folder)
    assert list(registry) == ["prediction", "probability_0", "probability_1"]
    assert (registry["prediction"] == data["target"]).mean() > 0.95


def test_what_cannot_be_scored_is_told(train: Train, predict: Command, tmp_path: Path) -> None:
    assert train("--model-name", "told").code == 0
    data = load_diabetes(as_frame=True, scaled=False).frame
    data.rename(columns={"bmi": "BMI"}).to_csv(tmp_path / "rows.csv", index=False)
    for arguments, message in (
        (["--model-name", "told", "--out", "p.csv"], '"bmi" is missing. Did you mean "BMI"?'),
        (["--model-name", "tolld"], 'There is no model "tolld". Did you mean "told"'),
        (["--version", "none-like-it"], 'There is no version "none-like-it".'),
    ):
        done = predict("rows.csv", *arguments)
        assert (done.code, done.stdout) == (2, "")
        assert message in done.stderr.splitlines()[-1]
    assert not (tmp_path / "p.csv").exists()


def test_a_model_file_that_is_gone_is_named(
    training_stack: LocalTrainingStack, train: Train, predict: Command, tmp_path: Path
) -> None:
    version = train("--model-name", "gone", "--json").document["run_id"]
    item = find_version(training_stack, version)
    (bucket, key), s3 = split_uri(item["model_uri"]), training_stack.aws.client("s3")
    s3.delete_object(Bucket=bucket, Key=key)
    rows = load_diabetes(as_frame=True, scaled=False).data.head(3)
    rows.rename(columns=str.upper).to_csv(tmp_path / "rows.csv", index=False)
    # The bucket still has the version that the registry names.
    kept = predict("rows.csv", "--model-name", "gone")
    assert "cannot be read" not in kept.stderr
    s3.delete_object(Bucket=bucket, Key=key, VersionId=item["version_ids"]["model"])
    done = predict("rows.csv", "--model-name", "gone")
    assert done.code == 1
    assert f"s3://{bucket}/{key} of the version {version} cannot be read" in done.stderr
