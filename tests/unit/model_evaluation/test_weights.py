"""Weighted rows in the evaluation: a row of weight 2 is the row twice, and intervals know that it was seen once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import inspection

from common import bootstrap
from common.bootstrap import improvement, interval, interval_and_improvement
from common.frames import load_part, load_weights
from common.metric_table import METRICS, Scoring
from common.metrics import Predictions, metrics_of
from common.request import parse_request
from data_preparation.preparation import PreparedData
from model_evaluation import pictures
from model_evaluation.evaluation import HeldOut, against_constant, compare_on, measure, measure_champion, own_interval
from model_evaluation.importance import permutation_importance
from model_training.training import build_pipeline, fit
from scikit_metrics import scikit_scorer

Make = Callable[..., PreparedData]
ROWS = 300
SCORING = Scoring("b", 0.8)


def predicted(problem: str, seed: int = 0, classes: int = 3) -> tuple[np.ndarray, Predictions, Predictions]:
    """Return a target, and what a better and a worse model predict of it."""
    random = np.random.default_rng(seed)
    if problem == "regression":
        target = random.normal(10, size=ROWS)
        return target, *(Predictions(target + random.normal(0, scale, ROWS)) for scale in (0.5, 1.0))
    codes, labels = random.integers(0, classes, ROWS), np.array(["a", "b", "c"][:classes])

    def of(strength: float) -> Predictions:
        raw = np.exp(random.normal(size=(ROWS, classes)) + strength * np.eye(classes)[codes])
        return Predictions(raw / raw.sum(axis=1, keepdims=True), labels)

    return labels[codes], of(2.0), of(0.5)


def taken(predictions: Predictions, rows: Any) -> Predictions:
    return Predictions(predictions.outputs[rows], predictions.classes)


def weighted_request(problem: str, **fields: Any) -> Any:
    document = {"dataset_uri": "s3://bucket/x.csv", "target": "y", "search_trials": 0, "weight_column": "w", **fields}
    return parse_request(document).resolve(problem)


CASES = [("regression", 0), ("classification", 2), ("classification", 3)]


@pytest.mark.slow
@pytest.mark.parametrize(("problem", "classes"), CASES)
def test_a_weight_of_two_is_the_row_twice_in_every_metric(problem: str, classes: int) -> None:
    target, new, old = predicted(problem, classes=classes)
    weights = np.random.default_rng(1).integers(0, 4, ROWS)
    repeated = np.repeat(np.arange(ROWS), weights)
    kept = weights > 0
    found, undefined = metrics_of(taken(new, kept), target[kept], weights[kept].astype(float), SCORING)
    assert found == pytest.approx(metrics_of(taken(new, repeated), target[repeated], None, SCORING)[0], rel=1e-12)
    assert not undefined
    assert found != pytest.approx(metrics_of(new, target, None, SCORING)[0], rel=1e-3)
    # The comparisons are of the same metrics.
    for metric in METRICS[problem]:
        others = (new.outputs, old.outputs)
        weighted = improvement(
            metric,
            target[kept],
            *(each[kept] for each in others),
            new.classes,
            1,
            weights=weights[kept].astype(float),
            scoring=SCORING,
        )
        of_repeated = (each[repeated] for each in others)
        twice = improvement(metric, target[repeated], *of_repeated, new.classes, 1, scoring=SCORING)
        assert (weighted.value, weighted.loss) == pytest.approx((twice.value, twice.loss), rel=1e-9)
        facts = (metric, target[kept], new.outputs[kept], new.classes, 1)
        alone = interval(*facts, weights=weights[kept].astype(float), scoring=SCORING)
        assert alone.value == pytest.approx(found[metric], rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(("problem", "classes"), CASES)
def test_equal_weights_change_nothing(problem: str, classes: int) -> None:
    target, new, old = predicted(problem, classes=classes)
    for metric in METRICS[problem]:
        facts = (metric, target, new.outputs, old.outputs, new.classes, 3)
        equal = (None, np.ones(ROWS), np.full(ROWS, 10.0))
        plain, ones, tens = (interval_and_improvement(*facts, weights=each, scoring=SCORING) for each in equal)
        assert ones == plain
        for alike, other in zip(tens, plain, strict=True):
            assert (alike.low, alike.high) == pytest.approx((other.low, other.high))


def test_intervals_of_weighted_rows_hold_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors are 1 on average, and 2 where weights are beyond 2."""
    monkeypatch.setattr(bootstrap, "RESAMPLES", 200)
    random, rows, spread = np.random.default_rng(0), 300, 0.8
    # The share of the weight that is in lognormal weights beyond 2.
    truth = 1 + stats.norm.cdf((spread**2 - np.log(2)) / spread)
    held = []
    for _ in range(200):
        weights = random.lognormal(0, spread, rows)
        errors = np.abs(random.normal(0, np.sqrt(np.pi / 2), rows)) * (1 + (weights > 2))
        found = [interval("mae", np.zeros(rows), errors, None, 1, weights=each) for each in (weights, None)]
        held.append([each.low <= truth <= each.high for each in found])
    weighted, plain = np.mean(held, axis=0)
    assert 0.89 < weighted < 0.99
    assert plain < 0.5


def test_few_rows_with_most_of_the_weight_have_no_interval() -> None:
    target, new, old = predicted("regression")
    weights = np.full(ROWS, 1e-6)
    weights[:25] = 1.0
    assert bootstrap.rows_worth(weights) == pytest.approx(25, rel=1e-3)
    found = interval("rmse", target, new.outputs, None, 1, weights=weights)
    assert (found.low, found.high) == (None, None)
    # Enough rows weigh, but of those that differ a few have most of it.
    weights = np.ones(ROWS)
    weights[:5], weights[5:20] = 1.0, 1e-6
    close = np.where(np.arange(ROWS) < 20, old.outputs, new.outputs)
    over = improvement("rmse", target, new.outputs, close, None, 1, weights=weights)
    assert (over.different, over.low) == (20, None)
    assert improvement("rmse", target, new.outputs, close, None, 1).low is not None


def test_champion_and_guess_are_measured_by_the_same_weights() -> None:
    target, new, old = predicted("regression")
    weights = np.random.default_rng(1).lognormal(0, 1, ROWS)
    part = HeldOut(pd.DataFrame(index=range(ROWS)), target, weights)
    request = weighted_request("regression")
    scores = measure(new, target, weights)
    champion = measure_champion(old, scores, target, weights)
    assert champion.metrics == metrics_of(old, target, weights)[0]
    counted = np.arange(ROWS) % 3 > 0
    found = compare_on(counted, scores, champion, part, request)
    fair = [metrics_of(taken(each, counted), target[counted], weights[counted])[0]["rmse"] for each in (old, new)]
    assert found.value == pytest.approx(fair[0] - fair[1])
    own, guess = against_constant(scores, part, {"mean": 0.5}, request)
    assert own == own_interval(scores, part, request)
    assert own is not None
    assert own.value == pytest.approx(scores.metrics["rmse"])
    assert guess is not None
    of_guess = metrics_of(Predictions(np.full(ROWS, 0.5)), target, weights)[0]["rmse"]
    assert guess.loss == pytest.approx(of_guess)


def weighted_frame(problem: str) -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"a": random.normal(size=ROWS), "b": random.normal(size=ROWS)})
    signal = 10 + frame["a"] + 0.3 * frame["b"] + random.normal(0, 0.5, ROWS)
    frame["y"] = signal if problem == "regression" else np.where(signal > 10, "high", "low")
    return frame.assign(w=random.lognormal(0, 1, ROWS))


def held_out(prepared: PreparedData) -> tuple[Any, HeldOut]:
    profile = prepared.profile
    parts = [(*load_part(path, profile), load_weights(path, profile)) for path in (prepared.train, prepared.test)]
    return fit(build_pipeline(prepared.request, profile), *parts[0]).pipeline, HeldOut(*parts[1])


@pytest.mark.slow
@pytest.mark.parametrize("problem", METRICS)
def test_importances_are_scikit_learns_of_weighted_rows(prepared_data: Make, problem: str) -> None:
    prepared = prepared_data(problem, weighted_frame(problem), weight_column="w", quantile=0.8)
    (pipeline, part), scoring = held_out(prepared), prepared.request.scoring
    predict = pipeline.predict if problem == "regression" else pipeline.predict_proba
    for metric in METRICS[problem]:
        found = permutation_importance(pipeline, part, predict(part.features), metric, 42, scoring)
        expected = inspection.permutation_importance(
            pipeline,
            part.features,
            part.target,
            scoring=scikit_scorer(metric, scoring),
            n_repeats=5,
            random_state=42,
            sample_weight=part.weights,
        )
        order = [list(part.features.columns).index(name) for name in found.names]
        np.testing.assert_allclose(found.losses, expected.importances[order], atol=1e-9)


def test_what_the_report_says_of_weighted_rows_is_what_it_says_of_repeated_ones() -> None:
    random = np.random.default_rng(0)
    weights = random.integers(1, 4, ROWS)
    repeated = np.repeat(np.arange(ROWS), weights)
    codes, told = random.integers(0, 3, ROWS), random.integers(0, 3, ROWS)
    weighted = pictures._confusion(codes, told, ["a", "b", "c"], weights.astype(float))
    plain = pictures._confusion(codes[repeated], told[repeated], ["a", "b", "c"], None)
    assert weighted.counts == plain.counts
    assert weighted.shares == plain.shares
    assert "of the weight is right" in weighted.finding
    scores = random.uniform(size=ROWS)
    truth = random.uniform(size=ROWS) < scores
    scored = [("a", truth, scores)], [("a", truth[repeated], scores[repeated])]
    for draw in (pictures._roc, pictures._precision_recall, pictures._calibration):
        assert draw(scored[0], weights.astype(float)).finding == draw(scored[1], None).finding
    residuals = random.normal(size=ROWS)
    of_weighted = pictures._residual_histogram(residuals, weights.astype(float))
    assert of_weighted.finding == pictures._residual_histogram(residuals[repeated], None).finding
    assert "weight of test rows" in of_weighted.svg
