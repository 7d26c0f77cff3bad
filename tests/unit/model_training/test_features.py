"""Features: what is made of dates, of missing values and of few whole numbers, in training and in prediction alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import free_texts
from common import conversion
from common.frames import load_part
from common.model_file import load_model, save_model
from common.request import ESTIMATORS, TrainingRequest
from data_preparation.preparation import PreparedData
from model_training import features as made_by
from model_training.features import BOOSTING, LINEAR, Added
from model_training.memory import BYTES_PER_ONE_HOT, BYTES_PER_VALUE, _needed_bytes, _one_hot_bytes
from model_training.training import FittedModel, build_pipeline, fit

Make = Callable[..., PreparedData]
CHOICES = [(problem, estimator) for problem, names in ESTIMATORS.items() for estimator in names]
ROWS = 600


def table(problem: str = "regression") -> pd.DataFrame:
    """Return a frame whose target hangs on the hour, on where `gauge` is missing and on which one `level` is."""
    random = np.random.default_rng(0)
    when = pd.Timestamp("2023-01-01") + pd.to_timedelta(np.arange(ROWS) * 31, unit="h")
    level, gauge = random.integers(1, 7, ROWS), random.normal(size=ROWS)
    gauge[random.random(ROWS) < 0.3] = np.nan
    effects = np.array([0, 3, -3, 3, -3, 3])[level - 1]
    signal = 2 * np.cos(when.hour * np.pi / 12) + 4 * np.isnan(gauge) + effects + random.normal(0, 0.1, ROWS)
    frame = pd.DataFrame({"gauge": gauge, "level": level, "when": when, "size": random.normal(size=ROWS)})
    return frame.assign(y=signal if problem == "regression" else np.where(signal > 2, "high", "low"))


def fitted(prepared: PreparedData) -> FittedModel:
    return fit(build_pipeline(prepared.request, prepared.profile), *load_part(prepared.train, prepared.profile))


def test_lines_learn_from_hours_gaps_and_levels(prepared_data: Make) -> None:
    prepared = prepared_data("regression", table(), estimator="ridge")
    test = load_part(prepared.test, prepared.profile)
    assert fitted(prepared).pipeline.score(*test) > 0.98
    plain = prepared.request.model_copy(update={"features": "plain"})
    model = fit(build_pipeline(plain, prepared.profile), *load_part(prepared.train, prepared.profile))
    assert model.pipeline.score(*test) < 0.3


WAVES = [
    f"when {part} {wave} {n}" for part in ("hour", "weekday", "day of year") for n in (1, 2) for wave in ("sin", "cos")
]
PARTS = ["when hour", "when weekday", "when day of year"]
LEVELS = [f"values__level_{level}" for level in range(1, 7)]
GAPS = ["missing__missingindicator_gauge"]


@pytest.mark.parametrize(
    ("estimator", "added"),
    [
        ("ridge", [*LEVELS, *GAPS, *(f"dates__{each}" for each in WAVES)]),
        ("random_forest", [*GAPS, *(f"dates__{each}" for each in PARTS)]),
        ("hist_gradient_boosting", [f"dates__{each}" for each in PARTS]),
    ],
)
@pytest.mark.parametrize("most", [10_000_000, 0])
def test_what_is_added_comes_behind_the_columns_and_says_what_it_is(
    prepared_data: Make, monkeypatch: pytest.MonkeyPatch, estimator: str, added: list[str], most: int
) -> None:
    monkeypatch.setattr(conversion, "EXACT_VALUES", most)
    prepared = prepared_data("regression", table(), estimator=estimator)
    features, _ = load_part(prepared.train, prepared.profile)
    transformer = fitted(prepared).pipeline["features"]
    names, made = list(transformer.get_feature_names_out()), transformer.transform(features)
    assert names[4:] == added
    assert {each.partition("__")[2] for each in names[:4]} == {"gauge", "level", "when", "size"}
    assert made.shape == (len(features), len(names))
    if most == 0 and estimator == "ridge":
        # One column of eight bytes would make all of them so.
        assert made.dtype == np.float32


@pytest.mark.slow
@pytest.mark.parametrize(("problem", "estimator"), CHOICES)
@pytest.mark.parametrize("most", [10_000_000, 0])
def test_a_saved_model_predicts_the_same_bits_of_rows_that_training_never_saw(
    prepared_data: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: str, estimator: str, most: int
) -> None:
    monkeypatch.setattr(conversion, "EXACT_VALUES", most)
    hyperparameters = {"n_estimators": 5} if estimator == "random_forest" else {}
    prepared = prepared_data(problem, table(problem), estimator=estimator, hyperparameters=hyperparameters)
    model, again = fitted(prepared), fitted(prepared)
    file = save_model(model.pipeline, tmp_path / "model.skops")
    assert file.read_bytes() == save_model(again.pipeline, tmp_path / "again.skops").read_bytes()
    loaded = load_model(file)
    odd = table().iloc[:6].astype({"level": "float64"})
    times = ["1700-03-01T00:00", "2250-12-31T23:59", "NaT", "2023-05-01T07:00", "2024-02-29T12:30", "NaT"]
    odd["when"] = np.array(times, "datetime64[us]")
    odd["level"] = [2.5, 99.0, np.nan, 3.0, -1.0, 1e300]
    odd["gauge"], odd["size"] = np.nan, [np.nan] * 3 + [1e30] * 3
    for rows in (odd, odd.assign(level=[1, 2, 3, 1000, 5, -7])):
        frame = conversion.features(pa.RecordBatch.from_pandas(rows), prepared.profile)
        np.testing.assert_array_equal(loaded.predict(frame), model.pipeline.predict(frame))
    # The same rows as a file has them and as a part holds them.
    batch = pa.RecordBatch.from_pandas(table(problem).iloc[:50])
    part = pd.concat([load_part(path, prepared.profile)[0] for path in (prepared.train, prepared.test)])
    known = {tuple(row) for row in np.nan_to_num(part.to_numpy(np.float64))}
    frame = conversion.features(batch, prepared.profile)
    assert all(tuple(row) in known for row in np.nan_to_num(frame.to_numpy(np.float64)))


def test_a_level_that_training_never_saw_has_no_column(prepared_data: Make) -> None:
    prepared = prepared_data("regression", table(), estimator="ridge")
    features, _ = load_part(prepared.train, prepared.profile)
    transformer = fitted(prepared).pipeline["features"]
    at = [name.startswith("values__") for name in transformer.get_feature_names_out()]
    rows = features.head(3).assign(level=[7.0, np.nan, 2.0])
    np.testing.assert_array_equal(transformer.transform(rows)[:, at], [[0] * 6, [0] * 6, [0, 1, 0, 0, 0, 0]])


@pytest.mark.slow
@pytest.mark.parametrize(("problem", "estimator"), CHOICES)
@pytest.mark.parametrize("with_texts", [False, True])
def test_columns_without_a_value_in_the_training_part_are_no_reason_to_fail(
    prepared_data: Make, problem: str, estimator: str, *, with_texts: bool
) -> None:
    frame = table(problem).assign(split=["train"] * 500 + ["test"] * 100)
    if with_texts:
        # So many that one-hot columns are kept sparse.
        frame["text"] = [f"t{n % 200}" for n in range(ROWS)]
    frame = frame.astype({"level": "Int64"})
    frame.loc[:499, ["gauge", "level", "when"]] = None
    prepared = prepared_data(problem, frame, estimator=estimator, split_column="split")
    features, _ = load_part(prepared.test, prepared.profile)
    assert fitted(prepared).pipeline.predict(features).shape == (100,)


@pytest.mark.slow
@pytest.mark.parametrize(("problem", "estimator"), CHOICES)
def test_where_nothing_is_to_be_added_the_model_is_that_of_plain_features(
    prepared_data: Make, tmp_path: Path, problem: str, estimator: str
) -> None:
    frame = table(problem)[["size", "y"]].assign(kind=["x", "y", "z"] * 200, wide=np.arange(ROWS) % 90)
    prepared = prepared_data(problem, frame, estimator=estimator)
    part = load_part(prepared.train, prepared.profile)
    files = []
    for features in ("auto", "plain"):
        request = prepared.request.model_copy(update={"features": features})
        model = fit(build_pipeline(request, prepared.profile), *part)
        files.append(save_model(model.pipeline, tmp_path / f"{features}.skops").read_bytes())
    assert files[0] == files[1]


def test_plain_features_are_the_columns(prepared_data: Make) -> None:
    for estimator in ESTIMATORS["regression"]:
        assert Added.of(request(estimator, "plain"), profile()) == Added()
    prepared = prepared_data("regression", table(), estimator="ridge", features="plain")
    assert list(fitted(prepared).pipeline["features"].get_feature_names_out()) == ["gauge", "level", "when", "size"]


def test_weights_leave_the_added_features_as_they_are(prepared_data: Make, tmp_path: Path) -> None:
    frame = table().assign(w=np.linspace(0.5, 2, ROWS))
    prepared = prepared_data("regression", frame, estimator="ridge", weight_column="w")
    features, target = load_part(prepared.train, prepared.profile)
    models = [
        fit(build_pipeline(prepared.request, prepared.profile), features, target, weights).pipeline
        for weights in (None, np.linspace(0.5, 2, len(target)))
    ]
    made = [pd.DataFrame(model["features"].transform(features)) for model in models]
    assert (made[0].iloc[:, 4:] == made[1].iloc[:, 4:]).all(axis=None)
    assert (made[0].iloc[:, :4] != made[1].iloc[:, :4]).any(axis=None)
    loaded = load_model(save_model(models[1], tmp_path / "model.skops"))
    np.testing.assert_array_equal(loaded.predict(features), models[1].predict(features))


def request(estimator: str, features: str = "auto") -> TrainingRequest:
    document = {"dataset_uri": "s3://b-1/x", "target": "y", "estimator": estimator, "features": features}
    problem = "classification" if estimator == "logistic_regression" else "regression"
    return TrainingRequest.model_validate(document).resolve(problem)


def profile(rows: int = 1_000_000, **changes: Any) -> dict[str, Any]:
    """Return a profile of whole numbers from 0 to 9, some of them missing, and of a time that is always there."""
    number = {"kind": "integer", "role": "numeric", "dtype": "int8", "nulls": 0, "min": 0, "max": 9, **changes}
    columns = [
        {"name": "n", **number},
        {"name": "gap", "kind": "float", "role": "numeric", "dtype": "float32", "nulls": 1},
        {"name": "when", "kind": "timestamp", "role": "timestamp", "dtype": "float64", "nulls": 0},
    ]
    return {"rows": {"train": rows}, "columns": [{**each, "use": "feature"} for each in columns], "classes": None}


@pytest.mark.parametrize(
    ("changes", "few"),
    [
        ({}, True),
        ({"max": 24}, True),
        ({"max": 25}, False),
        # Of two values, the number says all.
        ({"max": 1}, False),
        ({"kind": "float"}, False),
        ({"min": -(2**62), "max": 2**62}, False),
        ({"nulls": 5}, True),
    ],
)
def test_whole_numbers_of_a_small_range_are_levels_of_linear_models(changes: dict[str, Any], *, few: bool) -> None:
    for estimator in ("ridge", "linear_regression", "logistic_regression", "random_forest", *BOOSTING):
        added = Added.of(request(estimator), profile(**changes))
        assert added.whole_numbers == (("n",) if few and estimator in LINEAR else ())
        # Where a level stands for what is missing, nothing else has to.
        gaps = ("n", "gap") if "nulls" in changes and estimator not in LINEAR else ("gap",)
        assert added.missing == (() if estimator in BOOSTING else gaps)
        assert added.times == ("when",)


def test_added_features_need_memory() -> None:
    assert Added.of(request("ridge"), profile()).dense_columns(request("ridge")) == 1 + 12
    assert Added.of(request("hist_gradient_boosting"), profile()).dense_columns(request("hist_gradient_boosting")) == 3
    assert _one_hot_bytes(request("ridge"), profile()) == 10 * BYTES_PER_ONE_HOT
    assert _one_hot_bytes(request("ridge"), profile(nulls=1)) == 11 * BYTES_PER_ONE_HOT
    assert _one_hot_bytes(request("random_forest"), profile()) == 0
    rows = 50_000_000
    more = rows * (13 * BYTES_PER_VALUE["ridge"] + 10 * BYTES_PER_ONE_HOT) >> 20
    needed = [_needed(request("ridge", features), profile(rows)) for features in ("plain", "auto")]
    assert needed[1] - needed[0] == pytest.approx(more, abs=1)


def _needed(asked: TrainingRequest, described: dict[str, Any]) -> int:
    """Return the MB of a fit on a frame, which a ridge gets with free texts and as a member of a blend."""
    return sum(_needed_bytes(asked, described)) >> 20


@pytest.mark.parametrize("estimator", ["ridge", "linear_regression", "hist_gradient_boosting", "random_forest"])
def test_free_texts_are_runs_of_letters_to_a_line_with_a_penalty_and_components_to_all_others(
    prepared_data: Make, monkeypatch: pytest.MonkeyPatch, estimator: str
) -> None:
    prepared = prepared_data("regression", free_texts.table(), estimator=estimator)
    names = fitted(prepared).pipeline["features"].get_feature_names_out()
    made = [name.removeprefix("texts__note ") for name in names if name.startswith("texts__")]
    rows = prepared.profile["rows"]["train"]
    if estimator == "ridge":
        assert len(made) > rows // 10
        assert made[0] == "run 1"
        # More texts than fit the memory of most functions are components to all.
        monkeypatch.setattr(made_by, "MOST_SPARSE_CHARACTERS", rows)
        assert len(fitted(prepared).pipeline["features"].get_feature_names_out()) < rows // 10 + 10
    else:
        assert made == [f"component {n + 1}" for n in range(rows // 10)]


@pytest.mark.parametrize("estimator", ["ridge", "hist_gradient_boosting"])
def test_free_texts_are_reckoned_with(prepared_data: Make, estimator: str) -> None:
    prepared = prepared_data("regression", free_texts.table(), estimator=estimator)
    columns = [
        {**each, "characters": 2000.0} if each["name"] == "note" else each for each in prepared.profile["columns"]
    ]
    without = [each for each in columns if each["name"] != "note"]
    rows = {**prepared.profile["rows"], "train": 14_000}
    with_texts, none = (
        _needed(prepared.request, {**prepared.profile, "columns": each, "rows": rows}) for each in (columns, without)
    )
    # A ridge keeps 2,000 characters of 14,000 rows by their runs, boosting 50 columns.
    assert with_texts - none > 14_000 * (2000 * 40 if estimator == "ridge" else 50 * 32) >> 20
