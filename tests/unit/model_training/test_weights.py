"""Weights of rows: a row of weight 2 is the row twice, and weights of 1 are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from common.errors import DamagedFileError, InvalidDatasetError
from common.frames import load_part, load_weights
from common.model_file import load_model, save_model
from common.request import ESTIMATORS, parse_request
from data_preparation.preparation import PreparedData, prepare
from data_preparation.reading import SourceFile
from model_training import other_splits
from model_training.memory import check_memory
from model_training.other_splits import OtherSplits
from model_training.training import build_pipeline, describe_baseline, fit

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

CHOICES = [(problem, estimator) for problem, names in ESTIMATORS.items() for estimator in names]
Prepare = Callable[..., PreparedData]


@pytest.fixture
def prepared(tmp_path: Path) -> Prepare:
    """Return a function that prepares frames, one after another, whose column `part` is the split."""

    def make(frame: pd.DataFrame, problem: str, **fields: Any) -> PreparedData:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        frame.to_csv(folder / "data.csv", index=False)
        document = {
            "dataset_uri": "s3://bucket/data.csv",
            "target": "y",
            "search_trials": 0,
            "problem": problem,
            "split_column": "part",
        }
        return prepare([SourceFile("data.csv", folder / "data.csv")], parse_request({**document, **fields}), folder)

    return make


def table(problem: str, rows: int = 300) -> pd.DataFrame:
    """Return a frame without gaps, and a target that its features tell roughly."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"a": random.normal(10, 3, rows), "n": random.integers(0, 300, rows)})
    frame["kind"] = random.choice(["x", "y", "z"], rows)
    signal = frame["a"] + 5 * (frame["kind"] == "x") + random.normal(0, 3, rows)
    frame["y"] = signal if problem == "regression" else np.where(signal > signal.median(), "high", "low")
    return frame.assign(part=["train", "train", "test"] * (rows // 3))


def fitted(prepared: PreparedData) -> Pipeline:
    part = prepared.train
    weights = load_weights(part, prepared.profile)
    return fit(build_pipeline(prepared.request, prepared.profile), *load_part(part, prepared.profile), weights).pipeline


@pytest.mark.parametrize(
    ("problem", "estimator"),
    [("regression", "ridge"), ("regression", "linear_regression"), ("classification", "logistic_regression")],
)
def test_a_weight_of_two_is_the_row_twice_and_one_of_zero_no_row(
    prepared: Prepare, tmp_path: Path, problem: str, estimator: str
) -> None:
    frame, weights = table(problem), np.random.default_rng(1).integers(0, 4, 300)
    # What no row but one of weight 0 has is no category.
    frame.loc[0, "kind"], weights[0] = "only here", 0
    weighted = fitted(prepared(frame.assign(w=weights), problem, estimator=estimator, weight_column="w"))
    repeated = fitted(prepared(frame.loc[frame.index.repeat(weights)], problem, estimator=estimator))
    np.testing.assert_allclose(weighted["model"].coef_, repeated["model"].coef_, rtol=0, atol=1e-9)
    np.testing.assert_allclose(weighted["model"].intercept_, repeated["model"].intercept_, rtol=0, atol=1e-9)
    plain = fitted(prepared(frame, problem, estimator=estimator))
    assert np.abs(plain["model"].intercept_ - repeated["model"].intercept_).max() > 1e-3
    # Nothing of how it was fitted is in the file.
    loaded = load_model(save_model(weighted, tmp_path / "model.skops"))
    np.testing.assert_array_equal(loaded["model"].coef_, weighted["model"].coef_)


@pytest.mark.slow
@pytest.mark.parametrize(("problem", "estimator"), CHOICES)
def test_every_estimator_is_fitted_by_weights(prepared: Prepare, problem: str, estimator: str) -> None:
    """Rows of all but no weight tell the opposite of the others."""
    frame = table(problem, 600)
    opposite = np.arange(600) % 2 == 0
    frame["y"] = frame["a"] * np.where(opposite, -1, 1)
    if problem == "classification":
        frame["y"] = np.where(np.where(opposite, frame["a"] < 10, frame["a"] > 10), "high", "low")
    frame["w"] = np.where(opposite, 1e-6, 1.0)
    made = prepared(frame, problem, estimator=estimator, weight_column="w")
    features, _ = load_part(made.test, made.profile)
    pipeline = fitted(made)
    told = pipeline.predict(features) if problem == "regression" else pipeline.predict_proba(features)[:, 0]
    assert np.corrcoef(told, features["a"])[0, 1] > 0.7


@pytest.mark.slow
@pytest.mark.parametrize(("problem", "estimator"), CHOICES)
def test_weights_of_one_give_the_same_file(prepared: Prepare, tmp_path: Path, problem: str, estimator: str) -> None:
    fields: dict[str, Any] = {"estimator": estimator}
    made = [prepared(table(problem).assign(w=1), problem, weight_column="w", **fields)]
    made.append(prepared(table(problem), problem, **fields))
    files = [save_model(fitted(each), tmp_path / "model.skops").read_bytes() for each in made]
    assert files[0] == files[1]


def test_weights_come_in_the_order_of_the_rows(prepared: Prepare) -> None:
    frame = table("regression")
    made = prepared(frame.assign(w=frame["a"] / 7), "regression", weight_column="w")
    features, _ = load_part(made.test, made.profile)
    assert list(features.columns) == ["a", "n", "kind"]
    np.testing.assert_allclose(load_weights(made.test, made.profile), features["a"] / 7, rtol=1e-6)
    with pytest.raises(DamagedFileError, match="they are of two readings"):
        load_weights(made.test, {**made.profile, "fingerprint": "0" * 64})


def test_the_guess_without_features_is_weighted() -> None:
    weights = np.array([1.0, 0.5, 2.5])
    smallest = parse_request({"dataset_uri": "s3://bucket/data.csv", "target": "y"})
    regression, classification = (smallest.resolve(problem) for problem in ("regression", "classification"))
    assert describe_baseline(np.array([1.0, 2.0, 4.0]), regression, weights) == {"mean": 3.0}
    assert describe_baseline(np.array(["b", "a", "b"]), classification, weights) == {"shares": [0.125, 0.875]}


def test_other_splits_are_tried_by_weights(prepared: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other_splits, "MOST_SECONDS", 1000.0)
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"city": [f"c{each}" for each in random.integers(0, 40, 600)], "a": random.normal(size=600)})
    # Rows of little weight have most of the noise.
    frame["w"] = np.where(np.arange(600) % 2, 1.0, 1e-6)
    frame["y"] = frame["a"] + random.normal(0, 0.1 / frame["w"] ** 0.5)
    made = prepared(frame.drop(columns="w").assign(w=frame["w"]), "regression", weight_column="w", split_column=None)
    features, target = load_part(made.train, made.profile)
    weights = load_weights(made.train, made.profile)
    weighted, plain = (
        OtherSplits(made.request, made.profile, features, target, each).metrics(1.0)[0] for each in (weights, None)
    )
    for tried in ("by_rows", "by_column"):
        assert 0 < weighted[tried] < 0.2
        assert plain[tried] > 10


def test_weights_take_memory() -> None:
    column = {"use": "feature", "role": "numeric", "kind": "float", "dtype": "float32", "nulls": 0}
    columns = [{**column, "name": str(at)} for at in range(30)]
    profile: dict[str, Any] = {"rows": {"train": 30_000_000}, "columns": columns, "classes": None}
    document = {
        "dataset_uri": "s3://bucket/data.csv",
        "target": "y",
        "search_trials": 0,
        "problem": "regression",
        "estimator": "ridge",
    }
    check_memory(parse_request(document).resolve("regression"), profile, 3008)
    weighted = parse_request({**document, "weight_column": "w"}).resolve("regression")
    with pytest.raises(InvalidDatasetError, match=r"about 3,090 MB for ridge"):
        check_memory(weighted, profile, 3008)
