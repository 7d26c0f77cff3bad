"""Permutation importance: scikit-learn's numbers, of a bounded number of features and rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from sklearn import inspection
from sklearn.pipeline import Pipeline

from common.adjusted import AdjustedClassifier
from common.frames import load_part
from common.metric_table import METRIC_TABLE, PLAIN, Scoring
from data_preparation.preparation import PreparedData
from free_texts import table
from model_evaluation import changed_rows, importance
from model_evaluation.evaluation import HeldOut
from model_evaluation.importance import Importance
from model_training.training import build_pipeline, fit
from scikit_metrics import scikit_scorer

Make = Callable[..., PreparedData]


def fitted(prepared: PreparedData) -> tuple[Pipeline, HeldOut]:
    model = fit(build_pipeline(prepared.request, prepared.profile), *load_part(prepared.train, prepared.profile))
    return model.pipeline, HeldOut(*load_part(prepared.test, prepared.profile))


def measured(pipeline: Pipeline, part: HeldOut, metric: str, scoring: Scoring = PLAIN) -> Importance:
    predict = pipeline.predict_proba if hasattr(pipeline, "classes_") else pipeline.predict
    return importance.permutation_importance(pipeline, part, predict(part.features), metric, 42, scoring)


@pytest.mark.slow
@pytest.mark.parametrize(("problem", "metric"), [(each.problem, name) for name, each in METRIC_TABLE.items()])
@pytest.mark.parametrize("block", [1 << 22, 1])
@pytest.mark.parametrize("multipliers", [None, [0.9, 0.1]])
def test_importance_is_scikit_learns(
    prepared_data: Make,
    monkeypatch: pytest.MonkeyPatch,
    problem: str,
    metric: str,
    block: int,
    multipliers: list[float] | None,
) -> None:
    monkeypatch.setattr(changed_rows, "BLOCK_CELLS", block)
    prepared = prepared_data(problem)
    (pipeline, part), scoring = fitted(prepared), prepared.request.scoring
    if multipliers is not None:
        if not METRIC_TABLE[metric].of_labels:
            return
        # Its labels are no longer the most probable ones.
        model = AdjustedClassifier(pipeline["model"], multipliers=np.array(multipliers))
        pipeline = Pipeline([*pipeline.steps[:-1], ("model", model)])
    found = measured(pipeline, part, metric, scoring)
    expected = inspection.permutation_importance(
        pipeline,
        part.features,
        part.target,
        scoring=scikit_scorer(metric, scoring),
        n_repeats=5,
        random_state=42,
    )
    assert found.rows == len(part.target)
    order = [list(part.features.columns).index(name) for name in found.names]
    np.testing.assert_allclose(found.losses, expected.importances[order], atol=1e-9)
    assert np.all(np.diff(found.losses.mean(axis=1)) <= 0)


def test_importance_of_several_classes_is_scikit_learns(prepared_data: Make) -> None:
    random = np.random.default_rng(0)
    codes = random.integers(0, 3, 200)
    frame = pd.DataFrame({"signal": codes + random.normal(0, 0.7, 200), "noise": random.normal(size=200)})
    pipeline, part = fitted(prepared_data("classification", frame.assign(y=np.array(["a", "b", "c"])[codes])))
    expected = inspection.permutation_importance(
        pipeline, part.features, part.target, scoring="roc_auc_ovr", n_repeats=5, random_state=42
    )
    found = measured(pipeline, part, "roc_auc")
    assert found.names == ["signal", "noise"]
    np.testing.assert_allclose(found.losses, expected.importances, atol=1e-9)


def test_of_many_features_those_that_matter_are_measured(prepared_data: Make) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(300, 60)), columns=[f"f{index}" for index in range(60)])
    pipeline, part = fitted(prepared_data("regression", frame.assign(y=frame["f50"] + 2 * frame["f9"])))
    found = measured(pipeline, part, "rmse")
    assert found.names[:2] == ["f9", "f50"]
    assert (len(found.names), found.screened, found.features) == (30, 60, 60)


def test_of_thousands_of_features_a_sample_is_looked_at(prepared_data: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """To look at each takes as many values as their number squared: 86 seconds for 4,000 features."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(100, 60)), columns=[f"f{index}" for index in range(60)])
    pipeline, part = fitted(prepared_data("regression", frame.assign(y=frame["f50"])))
    monkeypatch.setattr(importance, "SCREENED_CELLS", 40 * 60 * importance.SCREENING_ROWS)
    found = measured(pipeline, part, "rmse")
    assert (len(found.names), found.screened, found.features) == (30, 40, 60)


def test_a_rare_class_is_in_the_sample(prepared_data: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importance, "SAMPLE_ROWS", 100)
    frame = pd.DataFrame({"x": np.arange(2000) % 77, "y": ["rare"] * 8 + ["often"] * 1992})
    pipeline, part = fitted(prepared_data("classification", frame))
    assert sum(part.target == "rare") < 3
    assert np.all(np.isfinite(measured(pipeline, part, "roc_auc").losses))


def test_a_shuffled_feature_that_makes_predictions_without_a_logarithm_has_an_importance(prepared_data: Make) -> None:
    a = np.random.default_rng(0).normal(size=300)
    # Together the features say 1 to 3, and from different rows anything from -20 to 20.
    frame = pd.DataFrame({"a": a, "b": 2 + np.sin(np.arange(300)) - 5 * a, "y": 2 + np.sin(np.arange(300))})
    pipeline, part = fitted(prepared_data("regression", frame))
    assert pipeline.predict(part.features).min() > -1
    shuffled = part.features.assign(a=part.features["a"].to_numpy()[::-1])
    assert pipeline.predict(shuffled).min() < -1
    losses = measured(pipeline, part, "rmsle").losses
    assert np.isfinite(losses).all()
    assert (losses > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["ridge", "hist_gradient_boosting", "xgboost"])
@pytest.mark.parametrize("block", [1 << 22, 1])
def test_a_free_text_is_shuffled_as_any_other_column(
    prepared_data: Make, monkeypatch: pytest.MonkeyPatch, estimator: str, block: int
) -> None:
    monkeypatch.setattr(changed_rows, "BLOCK_CELLS", block)
    pipeline, part = fitted(prepared_data("regression", table(), estimator=estimator))
    found = measured(pipeline, part, "rmse")
    expected = inspection.permutation_importance(
        pipeline, part.features, part.target, scoring=scikit_scorer("rmse", PLAIN), n_repeats=5, random_state=42
    )
    assert found.names[0] == "note"
    by_name = dict(zip(part.features.columns, expected.importances, strict=True))
    np.testing.assert_allclose(found.losses, [by_name[name] for name in found.names], rtol=1e-6, atol=1e-9)
