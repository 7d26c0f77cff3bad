"""Training: dtypes and shapes of what goes in, the pipeline, what comes out of a model file, and its limits."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import skops.io
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from common import conversion
from common.errors import InvalidDatasetError, InvalidRequestError
from common.frames import load_part
from common.hyperparameters import HYPERPARAMETERS, OF_ONE_PROBLEM
from common.model_file import load_model, save_model
from common.request import ESTIMATORS, TrainingRequest, parse_request
from data_preparation.preparation import PreparedData
from model_training import features as making
from model_training import memory, training
from model_training.memory import check_memory
from model_training.training import ESTIMATOR_CLASSES, build_pipeline, describe, fit

Make = Callable[..., PreparedData]
CHOICES = [(problem, estimator) for problem, names in ESTIMATORS.items() for estimator in names]


@pytest.mark.parametrize(("most", "floats"), [(10_000_000, "float64"), (100, "float32")])
def test_a_part_is_loaded_in_types_that_pandas_keeps(
    prepared_data: Make, monkeypatch: pytest.MonkeyPatch, most: int, floats: str
) -> None:
    monkeypatch.setattr(conversion, "EXACT_VALUES", most)
    prepared = prepared_data("regression")
    features, target = load_part(prepared.train, prepared.profile)
    assert features.shape == (240, 5)
    assert {name: str(dtype) for name, dtype in features.dtypes.items()} == {
        "amount": floats,
        "count": floats,
        "kind": "category",
        "flag": floats,
        "when": "float64",
    }
    assert (target.shape, target.dtype) == ((240,), np.float64)
    # Of pandas' own strings, encoders would get a copy for each row, three times over: most of a fit's time.
    assert features["kind"].cat.categories.dtype == object


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [(["high", "low"], np.dtype("<U4")), ([3, 4], np.int64), ([0.5, 1.5], np.float64), ([True, False], np.bool_)],
)
def test_labels_keep_their_type(prepared_data: Make, labels: list[Any], dtype: Any) -> None:
    frame = pd.DataFrame({"a": np.arange(60) / 7, "y": labels * 30})
    prepared = prepared_data("classification", frame)
    _, target = load_part(prepared.train, prepared.profile)
    assert target.dtype == dtype
    assert set(target.tolist()) == set(labels)


@pytest.mark.slow
@pytest.mark.parametrize(("problem", "estimator"), CHOICES)
def test_every_estimator_fits_and_its_saved_model_predicts_the_same(
    prepared_data: Make, tmp_path: Path, problem: str, estimator: str
) -> None:
    prepared = prepared_data(problem, estimator=estimator)
    features, target = load_part(prepared.train, prepared.profile)
    model = fit(build_pipeline(prepared.request, prepared.profile), features, target)
    path = save_model(model.pipeline, tmp_path / "model.skops")
    loaded = skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))
    test_features, test_target = load_part(prepared.test, prepared.profile)
    predicted = loaded.predict(test_features)
    assert predicted.shape == test_target.shape == (60,)
    np.testing.assert_array_equal(predicted, model.pipeline.predict(test_features))
    assert loaded.score(test_features, test_target) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("problem", "estimator"), CHOICES)
def test_the_same_seed_gives_the_same_model(prepared_data: Make, problem: str, estimator: str) -> None:
    prepared = prepared_data(problem, estimator=estimator)
    features, target = load_part(prepared.train, prepared.profile)
    one, other = (fit(build_pipeline(prepared.request, prepared.profile), features, target) for _ in range(2))
    np.testing.assert_array_equal(one.pipeline.predict(features), other.pipeline.predict(features))


@pytest.mark.parametrize(("problem", "estimator"), CHOICES)
def test_a_category_that_training_never_saw_is_ignored(prepared_data: Make, problem: str, estimator: str) -> None:
    prepared = prepared_data(problem, estimator=estimator)
    features, target = load_part(prepared.train, prepared.profile)
    pipeline = fit(build_pipeline(prepared.request, prepared.profile), features, target).pipeline
    unseen = features.head(3).assign(kind=pd.Categorical(["new"] * 3))
    assert pipeline.predict(unseen).shape == (3,)


def test_the_allow_list_names_the_hyperparameters_of_scikit_learn() -> None:
    for problem, estimator in ESTIMATOR_CLASSES:
        request = parse_request({"dataset_uri": "s3://bucket/x", "target": "y", "estimator": estimator})
        parameters = build_pipeline(request.resolve(problem), profile_of(100, 1))["model"].get_params()
        known = {
            each for each in HYPERPARAMETERS[estimator].model_fields if OF_ONE_PROBLEM.get(each, problem) == problem
        }
        assert known <= set(parameters)


def amounts(least: float) -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"a": random.normal(size=300), "b": random.normal(size=300)})
    frame["y"] = np.round(random.gamma(1.0, np.exp(frame["a"])), 3) + least
    return frame


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "poisson", "gamma", "quantile"])
def test_every_loss_is_fitted_and_its_saved_model_predicts_the_same(
    prepared_data: Make, tmp_path: Path, loss: str
) -> None:
    prepared = prepared_data(
        "regression", amounts(0.001), estimator="hist_gradient_boosting", hyperparameters={"loss": loss}, quantile=0.9
    )
    features, target = load_part(prepared.train, prepared.profile)
    pipeline = fit(build_pipeline(prepared.request, prepared.profile), features, target).pipeline
    loaded = load_model(save_model(pipeline, tmp_path / "model.skops"))
    np.testing.assert_array_equal(loaded.predict(features), pipeline.predict(features))
    assert loaded["model"].loss == loss
    # What each is of: 0.9 of the targets are below their quantile, and the others are of some middle.
    assert ((target <= loaded.predict(features)).mean() > 0.8) == (loss == "quantile")


@pytest.mark.parametrize(
    ("loss", "least", "message"),
    [("poisson", -0.5, "values of 0 and above"), ("gamma", -0.5, "values above 0"), ("gamma", 0.0, "values above 0")],
)
def test_a_loss_that_the_target_does_not_allow_is_refused(
    prepared_data: Make, loss: str, least: float, message: str
) -> None:
    frame = amounts(least)
    frame.loc[:5, "y"] = least
    prepared = prepared_data("regression", frame, estimator="hist_gradient_boosting", hyperparameters={"loss": loss})
    with pytest.raises(InvalidRequestError, match=f'The loss "{loss}" needs a target that holds {message}'):
        build_pipeline(prepared.request, prepared.profile)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ESTIMATORS["classification"])
def test_every_classifier_takes_weights_of_classes(prepared_data: Make, tmp_path: Path, estimator: str) -> None:
    # More trees know such rows by heart, whatever they weigh.
    few = {"n_estimators": 10} if estimator == "xgboost" else {}
    prepared = prepared_data("classification", estimator=estimator, hyperparameters={"class_weight": "balanced", **few})
    features, target = load_part(prepared.train, prepared.profile)
    rare = np.array(["low" if place % 10 else "high" for place in range(len(target))])
    plain = prepared.request.model_copy(update={"hyperparameters": few})
    found = []
    for request in (prepared.request, plain):
        pipeline = fit(build_pipeline(request, prepared.profile), features, rare).pipeline
        loaded = load_model(save_model(pipeline, tmp_path / "model.skops"))
        np.testing.assert_array_equal(loaded.predict_proba(features), pipeline.predict_proba(features))
        found.append(loaded.predict_proba(features)[:, 0].mean())
    assert found[0] > found[1] + 0.02


def test_hyperparameters_and_seed_reach_the_estimator() -> None:
    request = parse_request(
        {
            "dataset_uri": "s3://bucket/x",
            "target": "y",
            "estimator": "random_forest",
            "hyperparameters": {"n_estimators": 7},
            "seed": 3,
        }
    ).resolve("regression")
    parameters = build_pipeline(request, profile_of(100, 1))["model"].get_params()
    assert (parameters["n_estimators"], parameters["random_state"]) == (7, 3)


def test_the_description_is_strict_json_and_says_what_was_fitted(prepared_data: Make) -> None:
    prepared = prepared_data("classification", estimator="logistic_regression", hyperparameters={"C": 0.5})
    features, target = load_part(prepared.train, prepared.profile)
    model = fit(build_pipeline(prepared.request, prepared.profile), features, target)
    described = json.loads(json.dumps(describe(model, prepared.request, prepared.profile), allow_nan=False))
    assert described["class"] == "sklearn.linear_model._logistic.LogisticRegression"
    assert described["parameters"]["C"] == 0.5
    assert described["features"] == ["amount", "count", "kind", "flag", "when"]
    assert described["classes"] == ["high", "low"]
    assert described["rows"] == 240
    assert described["data_fingerprint"] == prepared.profile["fingerprint"]
    assert set(described["versions"]) >= {"scikit-learn", "skops", "numpy"}


def test_warnings_of_the_fit_are_kept(prepared_data: Make) -> None:
    prepared = prepared_data("classification", estimator="logistic_regression", hyperparameters={"max_iter": 1})
    features, target = load_part(prepared.train, prepared.profile)
    model = fit(build_pipeline(prepared.request, prepared.profile), features, target)
    assert "failed to converge" in model.warnings[0]


@pytest.mark.parametrize(
    ("category", "kept"),
    [
        (DeprecationWarning, False),
        (PendingDeprecationWarning, False),
        (FutureWarning, False),
        (pd.errors.Pandas4Warning, False),
        (UserWarning, True),
        (ConvergenceWarning, True),
        (RuntimeWarning, True),
    ],
)
def test_what_libraries_warn_their_developers_of_is_not_kept(
    prepared_data: Make, monkeypatch: pytest.MonkeyPatch, category: type[Warning], *, kept: bool
) -> None:
    prepared = prepared_data("regression", estimator="ridge")
    fitted = Ridge.fit

    def warning(self: Ridge, *args: Any, **options: Any) -> Any:
        warnings.warn("it is told", category, stacklevel=2)
        return fitted(self, *args, **options)

    monkeypatch.setattr(Ridge, "fit", warning)
    model = fit(build_pipeline(prepared.request, prepared.profile), *load_part(prepared.train, prepared.profile))
    assert model.warnings == (["it is told"] if kept else [])


def test_no_warning_of_pandas_for_developers_is_kept(prepared_data: Make) -> None:
    prepared = prepared_data("regression")
    features, target = load_part(prepared.train, prepared.profile)
    assert fit(build_pipeline(prepared.request, prepared.profile), features, target, consume=True).warnings == []
    assert features.empty


def test_what_scikit_learn_refuses_is_the_datas_fault(prepared_data: Make) -> None:
    prepared = prepared_data("classification", estimator="logistic_regression")
    features, target = load_part(prepared.train, prepared.profile)
    with pytest.raises(InvalidDatasetError, match="scikit-learn cannot fit LogisticRegression"):
        fit(build_pipeline(prepared.request, prepared.profile), features, np.full(len(target), "one"))


def resolved(estimator: str, **hyperparameters: Any) -> TrainingRequest:
    document = {"dataset_uri": "s3://b-1/x", "target": "y", "estimator": estimator, "hyperparameters": hyperparameters}
    return parse_request(document).resolve("regression")


def profile_of(rows: int, features: int, classes: int = 0) -> dict[str, Any]:
    column = {"use": "feature", "role": "numeric", "kind": "float", "dtype": "float32", "nulls": 0}
    return {
        "rows": {"train": rows},
        "columns": [{**column, "name": str(i)} for i in range(features)],
        "classes": [{"label": i, "rows": rows} for i in range(classes)] or None,
    }


def test_data_that_does_not_fit_the_memory_is_refused_with_both_figures() -> None:
    with pytest.raises(InvalidDatasetError) as caught:
        check_memory(resolved("ridge"), profile_of(45_000_000, 30), 3008)
    assert "45,000,000 training rows with 30 features need about 3,262 MB" in str(caught.value)
    assert "the function has 3,008 MB: raise the parameter ModelTrainingMemory" in str(caught.value)
    check_memory(resolved("ridge"), profile_of(100_000_000, 30), 10240)


def test_a_fit_block_by_block_needs_memory_for_rows_but_not_for_their_columns() -> None:
    for estimator in ("ridge", "linear_regression"):
        check_memory(resolved(estimator), profile_of(60_000_000, 30), 5000)
        check_memory(resolved(estimator), profile_of(60_000_000, 300), 5000)


def test_xgboost_keeps_wider_bins_of_all_columns_where_one_has_a_gap() -> None:
    """Ten million rows of mixed columns with gaps took 2,802 MB, of which the numbers of bins are most."""
    profile = profile_of(10_000_000, 33)
    whole = memory.needed_memory_mb(resolved("xgboost"), profile)
    profile["columns"][3]["nulls"] = 1
    gappy = memory.needed_memory_mb(resolved("xgboost"), profile)
    assert gappy - whole == pytest.approx(10_000_000 * 33 * 4 / 2**20, abs=1)
    assert gappy > 2802


def test_numbers_that_float32_does_not_do_for_need_more_memory() -> None:
    profile = profile_of(10_000_000, 30)
    for column in profile["columns"][:10]:
        column["dtype"] = "float64"
    narrow, wide = (memory._needed_bytes(resolved("ridge"), each)[0] for each in (profile_of(10_000_000, 30), profile))
    assert wide - narrow == 10_000_000 * 10 * memory.BYTES_PER_WIDE_VALUE


@pytest.mark.parametrize(
    ("hyperparameters", "classes", "fits"),
    [
        ({}, 0, False),
        ({"max_depth": 10}, 0, True),
        ({"max_depth": 60}, 0, False),
        ({"min_samples_leaf": 20}, 0, True),
        ({"n_estimators": 5}, 0, True),
        ({"n_estimators": 5}, 100, False),
        ({"max_samples": 0.01}, 0, True),
    ],
)
def test_a_forest_needs_memory_for_its_trees_unless_they_are_limited(
    hyperparameters: dict[str, Any], classes: int, fits: bool
) -> None:
    request, profile = resolved("random_forest", **hyperparameters), profile_of(300_000, 5, classes)
    if fits:
        check_memory(request, profile, 3008)
    else:
        with pytest.raises(InvalidDatasetError, match="random_forest"):
            check_memory(request, profile, 3008)


def test_the_estimate_of_a_forest_is_near_its_size(prepared_data: Make, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(5000, 5)), columns=list("abcde")).assign(y=random.normal(size=5000))
    prepared = prepared_data("regression", frame, estimator="random_forest", hyperparameters={"n_estimators": 10})
    features, target = load_part(prepared.train, prepared.profile)
    model = fit(build_pipeline(prepared.request, prepared.profile), features, target)
    size = save_model(model.pipeline, tmp_path / "model.skops").stat().st_size
    assert memory._forest_bytes(prepared.request, 4000, 0) == pytest.approx(size, rel=0.3)


def test_whole_numbers_mean_what_floats_mean(prepared_data: Make) -> None:
    prepared = prepared_data("regression", estimator="random_forest", hyperparameters={"max_samples": 1})
    parameters = build_pipeline(prepared.request, prepared.profile)["model"].get_params()
    assert isinstance(parameters["max_samples"], float)
    assert prepared.request.hyperparameters == {"max_samples": 1.0}


@pytest.mark.parametrize(("problem", "estimator"), CHOICES)
def test_a_feature_without_a_value_in_the_training_part_is_no_reason_to_fail(
    prepared_data: Make, problem: str, estimator: str
) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"a": random.normal(size=300), "late": np.arange(300) / 7, "word": ["p", "q"] * 150})
    frame["y"] = frame["a"] if problem == "regression" else np.where(frame["a"] > 0, "high", "low")
    frame["split"] = ["train"] * 240 + ["test"] * 60
    frame.loc[:239, ["late", "word"]] = None
    prepared = prepared_data(problem, frame, estimator=estimator, split_column="split")
    features, target = load_part(prepared.train, prepared.profile)
    assert features["late"].isna().all()
    pipeline = fit(build_pipeline(prepared.request, prepared.profile), features, target).pipeline
    test_features, _ = load_part(prepared.test, prepared.profile)
    assert pipeline.predict(test_features).shape == (60,)


def test_large_whole_numbers_with_nulls_are_trained_on(prepared_data: Make) -> None:
    frame = pd.DataFrame({"n": [2**60 + i for i in range(60)], "y": np.arange(60) / 7}).astype({"n": "Int64"})
    frame.loc[3:9, "n"] = pd.NA
    prepared = prepared_data("regression", frame)
    features, target = load_part(prepared.train, prepared.profile)
    assert str(features["n"].dtype) == "float64"
    fit(build_pipeline(prepared.request, prepared.profile), features, target)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["ridge", "linear_regression", "random_forest", "hist_gradient_boosting"])
def test_a_large_part_gives_the_model_of_a_small_one(
    prepared_data: Make, monkeypatch: pytest.MonkeyPatch, estimator: str
) -> None:
    prepared = prepared_data("regression", estimator=estimator)
    predicted = []
    for limit in (conversion.EXACT_VALUES, 0):
        monkeypatch.setattr(conversion, "EXACT_VALUES", limit)
        features, target = load_part(prepared.train, prepared.profile)
        kept = features.copy(deep=True)
        model = fit(build_pipeline(prepared.request, prepared.profile), features, target)
        pd.testing.assert_frame_equal(features, kept)
        predicted.append(model.pipeline.predict(load_part(prepared.test, prepared.profile)[0]))
    assert features["amount"].dtype == np.float32
    assert features["when"].dtype == np.float64
    np.testing.assert_allclose(predicted[1], predicted[0], rtol=1e-4)


SECONDS = np.random.default_rng(0).integers(0, 60_001, 1000) / 1000
SIGNALS = {
    "floats": 1_700_000_000.0 + SECONDS,
    "floats of which some are missing": np.where(np.arange(1000) % 50, 1_700_000_000.0 + SECONDS, np.nan),
    "small floats far from zero": 1e-3 + 1e-12 * SECONDS,
    "whole numbers": 1_700_000_000 + SECONDS.astype(int),
    "times": pd.to_datetime(1_700_000_000_000 + (SECONDS * 1000).astype(int), unit="ms"),
}


@pytest.mark.slow
@pytest.mark.parametrize("most", [10_000_000, 0])
@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("estimator", ["ridge", "hist_gradient_boosting", "random_forest"])
def test_a_signal_that_is_small_beside_its_numbers_is_learnt(
    prepared_data: Make, monkeypatch: pytest.MonkeyPatch, estimator: str, signal: str, most: int
) -> None:
    monkeypatch.setattr(conversion, "EXACT_VALUES", most)
    random = np.random.default_rng(1)
    frame = pd.DataFrame({"a": random.normal(size=1000), "ts": SIGNALS[signal], "b": random.normal(size=1000)})
    frame["y"] = SECONDS + random.normal(0, 0.5, 1000)
    prepared = prepared_data("regression", frame, estimator=estimator)
    assert [column["dtype"] for column in prepared.profile["columns"][::2]] == ["float32", "float32"]
    pipeline = fit(
        build_pipeline(prepared.request, prepared.profile), *load_part(prepared.train, prepared.profile)
    ).pipeline
    features, target = load_part(prepared.test, prepared.profile)
    present = features["ts"].notna()
    predicted = pipeline.predict(features)
    assert r2_score(target[present], predicted[present]) > 0.99
    # The rows as a prediction reads them.
    rows = pa.RecordBatch.from_pandas(frame.iloc[1:500])
    again = pipeline.predict(conversion.features(rows, prepared.profile))
    seen = frame["ts"].iloc[1:500].notna()
    assert r2_score(frame["y"].iloc[1:500][seen], again[seen]) > 0.99


@pytest.mark.parametrize("most", [10_000_000, 0])
def test_a_forest_gets_its_columns_in_their_order_whatever_is_scaled(
    prepared_data: Make, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(conversion, "EXACT_VALUES", most)
    prepared = prepared_data("regression", estimator="random_forest", features="plain")
    features, _ = load_part(prepared.train, prepared.profile)
    transformed = build_pipeline(prepared.request, prepared.profile)["features"].fit(features)
    numbers = [name for name in transformed.get_feature_names_out() if not name.startswith("kind")]
    assert numbers == ["amount", "count", "flag", "when"]
    scaled = {
        column
        for _, steps, columns in transformed.transformers_
        if "scale" in getattr(steps, "named_steps", {})
        for column in columns
    }
    assert scaled == {"when"}


def test_whole_numbers_in_which_float32_has_gaps_stay_exact() -> None:
    column = {"dtype": "int32", "nulls": 0, "min": 0, "max": 2**24}
    assert conversion.feature_dtype(column, large=True) == "float32"
    assert conversion.feature_dtype({**column, "max": 2**24 + 1}, large=True) == "float64"
    assert conversion.feature_dtype({**column, "dtype": "int16", "max": 300}, large=True) == "int16"
    assert conversion.feature_dtype({**column, "nulls": 1}, large=False) == "float64"
    assert conversion.feature_dtype(column, large=False) == "int32"


def test_one_hot_columns_need_memory_as_long_as_they_are_dense() -> None:
    profile = profile_of(1_000_000, 20)
    for column, different in zip(profile["columns"], (10, 20), strict=False):
        column |= {"role": "categorical", "distinct": different}
    assert memory._one_hot_bytes(resolved("ridge"), profile) == 30 * memory.BYTES_PER_ONE_HOT
    assert memory._one_hot_bytes(resolved("hist_gradient_boosting"), profile) == 0
    profile["columns"][0]["distinct"] = 1000
    assert memory._one_hot_bytes(resolved("ridge"), profile) == 20 * memory.BYTES_PER_SPARSE_VALUE


def many_texts(problem: str, rows: int = 3000, texts: int = 300) -> pd.DataFrame:
    """Return a frame whose target follows from a column of many texts, some of them missing, and from a number."""
    random = np.random.default_rng(0)
    user = random.integers(0, texts, rows)
    effects = random.normal(0, 3, texts)
    signal = effects[user] + random.normal(size=rows)
    names = np.char.add("user ", user.astype(str)).astype(object)
    names[:50] = None
    labels = {"regression": signal, "classification": np.digitize(signal, [-2, 2])}
    return pd.DataFrame({"user": names, "x": random.normal(size=rows), "y": labels[problem]})


@pytest.mark.slow
@pytest.mark.parametrize(("problem", "estimator"), CHOICES)
def test_a_column_of_many_texts_is_learnt_from(
    prepared_data: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: str, estimator: str
) -> None:
    monkeypatch.setattr(making, "MAX_OWN_COLUMNS", 254)
    prepared = prepared_data(problem, many_texts(problem), estimator=estimator)
    files = []
    for number in range(2):
        features, target = load_part(prepared.train, prepared.profile)
        model = fit(build_pipeline(prepared.request, prepared.profile), features, target)
        files.append(save_model(model.pipeline, tmp_path / f"{number}.skops"))
    assert files[0].read_bytes() == files[1].read_bytes()
    assert not [warning for warning in model.warnings if "converge" not in warning]
    loaded = load_model(files[0])
    test_features, test_target = load_part(prepared.test, prepared.profile)
    # Without the column both are no better than a guess: 0 and 0.5.
    assert loaded.score(test_features, test_target) > (0.8 if problem == "regression" else 0.7)
    unseen = test_features.head(3).assign(user=pd.Categorical(["new", None, "user 1"]))
    np.testing.assert_array_equal(loaded.predict(unseen), model.pipeline.predict(unseen))


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ESTIMATORS["regression"])
def test_texts_without_meaning_do_no_harm(prepared_data: Make, monkeypatch: pytest.MonkeyPatch, estimator: str) -> None:
    monkeypatch.setattr(making, "MAX_OWN_COLUMNS", 254)
    random = np.random.default_rng(1)
    user = random.integers(0, 1000, 2400).astype(str)
    x = random.normal(size=2400)
    frame = pd.DataFrame({"user": np.char.add("u", user), "x": x, "y": x + random.normal(size=2400)})
    prepared = prepared_data("regression", frame, estimator=estimator)
    features, target = load_part(prepared.train, prepared.profile)
    pipeline = fit(build_pipeline(prepared.request, prepared.profile), features, target).pipeline
    # Half of the variance is noise, and a forest is a little worse for it.
    assert pipeline.score(*load_part(prepared.test, prepared.profile)) > 0.3


@pytest.mark.parametrize(
    ("estimator", "distinct", "means"),
    [
        ("ridge", 1000, False),
        ("ridge", 1001, True),
        ("ridge", "more than 20,000", True),
        ("hist_gradient_boosting", 254, False),
        ("hist_gradient_boosting", 255, True),
        ("random_forest", 255, True),
    ],
)
def test_what_becomes_of_texts_follows_from_how_many_there_are(estimator: str, distinct: Any, means: bool) -> None:
    profile = profile_of(100, 3)
    profile["columns"][1] |= {"role": "categorical", "distinct": distinct}
    transformers = {name: columns for name, _, columns in build_pipeline(resolved(estimator), profile)[0].transformers}
    assert ("1" in transformers.get("levels", ())) == means
    assert ("1" in transformers.get("categorical", ())) != means


def test_texts_that_are_all_in_the_test_part_are_one_level(prepared_data: Make) -> None:
    prepared = prepared_data("regression", many_texts("regression"), estimator="hist_gradient_boosting")
    features, target = load_part(prepared.train, prepared.profile)
    without = features.assign(user=pd.Categorical([None] * len(features), features["user"].cat.categories))
    pipeline = fit(build_pipeline(prepared.request, prepared.profile), without, target).pipeline
    assert len(set(pipeline.predict(features.head(20).assign(x=0.0)))) == 1


def test_rare_texts_share_a_level_with_unseen_ones(prepared_data: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "MAX_LEVELS", 20)
    monkeypatch.setattr(making, "MAX_OWN_COLUMNS", 254)
    prepared = prepared_data("regression", many_texts("regression"), estimator="ridge")
    features, target = load_part(prepared.train, prepared.profile)
    pipeline = fit(build_pipeline(prepared.request, prepared.profile), features, target).pipeline
    encoder = pipeline["features"].named_transformers_["levels"]["levels"]
    counts = features["user"].value_counts()
    (known,) = encoder.categories_
    assert len(known) == 21
    assert pd.isna(known[-1])
    assert counts[known[:-1]].min() >= counts.drop(list(known[:-1])).max()
    rows = features.head(3).assign(x=0.0, user=pd.Categorical(["new", counts.index[-1], counts.index[0]]))
    new, rare, frequent = pipeline.predict(rows)
    assert new == rare != frequent


def test_a_missing_text_is_a_level_of_its_own(prepared_data: Make) -> None:
    frame = many_texts("regression")
    frame["y"] = frame["y"].where(frame["user"].notna(), 40.0)
    prepared = prepared_data("regression", frame, estimator="hist_gradient_boosting")
    features, target = load_part(prepared.train, prepared.profile)
    pipeline = fit(build_pipeline(prepared.request, prepared.profile), features, target).pipeline
    rows = features.head(2).assign(user=pd.Categorical([None, "new"]))
    assert pipeline.predict(rows)[0] > 20 > pipeline.predict(rows)[1]


def test_the_means_of_many_texts_need_memory_for_each_class_of_several() -> None:
    profile = profile_of(1_000_000, 3)
    profile["columns"][0] |= {"role": "categorical", "distinct": "more than 20,000"}
    assert memory._one_hot_bytes(resolved("ridge"), profile) == 0
    assert memory._means_bytes(resolved("ridge"), profile) == memory.BYTES_PER_LEVEL + 16
    assert memory._means_bytes(resolved("ridge"), {**profile, "classes": [{}] * 5}) == memory.BYTES_PER_LEVEL + 80
