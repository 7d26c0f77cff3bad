"""One trial: cross-validation on the training part, in the time that it has."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import KFold, cross_val_score

import free_texts
from common.frames import load_order, load_part, load_weights
from common.request import TrainingRequest
from data_preparation.preparation import PreparedData
from model_training.blend_choice import HeldOutRows
from model_training.folds import Fold, Part, make_folds
from model_training.training import build_pipeline
from model_training.trial import OUT_OF_TIME, Trial, Tried
from model_training.trials import drawn_folds, run_trial

Prepare = Callable[..., PreparedData]


def part_of(prepared: PreparedData) -> Part:
    path, profile = prepared.train, prepared.profile
    return Part(*load_part(path, profile), load_weights(path, profile), load_order(path, profile))


def trial(estimator: str, seconds: float = 60, rows: int = 10_000, **hyperparameters: Any) -> Trial:
    return Trial(3, estimator, hyperparameters, rows, seconds)


def made(*arguments: Any) -> tuple[Tried, dict[str, Any]]:
    outcome = run_trial(*arguments)
    assert (outcome.outputs is None) == (outcome.tried.score is None)
    return outcome.tried, outcome.document


def asked(prepared: PreparedData) -> TrainingRequest:
    return prepared.request.model_copy(update={"estimator": "auto"})


def test_the_score_is_that_of_scikit_learns_cross_validation(prepared_data: Prepare) -> None:
    prepared = prepared_data("regression")
    part = part_of(prepared)
    tried, document = made(trial("ridge", alpha=3.0), asked(prepared), prepared.profile, part)

    chosen = prepared.request.with_choice("ridge", {"alpha": 3.0})
    folds = KFold(5, shuffle=True, random_state=prepared.request.seed)
    expected = -cross_val_score(
        build_pipeline(chosen, prepared.profile), part.features, part.target, cv=folds,
        scoring="neg_root_mean_squared_error",
    )  # fmt: skip
    assert [each["score"] for each in document["folds"]] == pytest.approx(expected, rel=1e-12)
    assert tried.score == pytest.approx(expected.mean())
    assert tried.deviation == pytest.approx(expected.std(ddof=1))
    assert (tried.number, tried.estimator, tried.error) == (3, "ridge", None)
    assert 0 < tried.fit_seconds <= tried.seconds
    assert tried.fitted_rows == max(len(fold.fitted) for fold in make_folds(part.target, None, prepared.profile, 42))


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["logistic_regression", "random_forest", "hist_gradient_boosting"])
def test_classes_are_scored_by_the_metric_of_the_request(prepared_data: Prepare, estimator: str) -> None:
    prepared = prepared_data("classification", metric="log_loss")
    tried, document = made(trial(estimator), asked(prepared), prepared.profile, part_of(prepared))
    assert tried.error is None
    assert tried.score is not None
    assert 0 < tried.score < np.log(2)
    assert len(document["folds"]) == 5


@pytest.mark.parametrize("fields", [{"split_key": ["kind"]}, {"split_time": "when"}])
def test_folds_are_by_what_the_data_were_split_by(prepared_data: Prepare, fields: dict[str, Any]) -> None:
    prepared = prepared_data("regression", **fields)
    part = part_of(prepared)
    assert part.order is not None
    if "split_key" in fields:
        kinds = part.features["kind"].astype(object).fillna("missing").to_numpy()
        assert pd.crosstab(part.order, kinds).gt(0).sum().eq(1).all()
    else:
        seen = part.features["when"].fillna(-np.inf).to_numpy()
        in_order = seen[np.argsort(part.order, kind="stable")]
        assert (in_order[1:] >= in_order[:-1]).all()
    tried, _ = made(trial("ridge"), asked(prepared), prepared.profile, part)
    assert tried.error is None


def test_a_row_of_twice_the_weight_counts_as_two(prepared_data: Prepare) -> None:
    random = np.random.default_rng(0)
    data = pd.DataFrame({"x": random.normal(size=300), "w": np.where(np.arange(300) < 150, 1e-6, 1.0)})
    data["y"] = np.where(data["w"] < 1, -1, 1) * data["x"]
    prepared = prepared_data("regression", data, weight_column="w")
    tried, _ = made(trial("ridge"), asked(prepared), prepared.profile, part_of(prepared))
    # Rows of the other sign weigh nothing, neither in the fit nor in the score.
    assert tried.score is not None
    assert tried.score < 0.02


def test_a_trial_that_has_no_time_left_ends_between_two_folds(prepared_data: Prepare) -> None:
    prepared = prepared_data("regression")
    tried, document = made(trial("random_forest", 0.05), asked(prepared), prepared.profile, part_of(prepared))
    assert tried.score is None
    assert tried.error is not None
    assert tried.error.startswith(f"{OUT_OF_TIME}: ")
    assert len(document["folds"]) < 5


def test_a_metric_that_a_fold_leaves_undefined_fails_the_trial(prepared_data: Prepare) -> None:
    prepared = prepared_data("classification", metric="roc_auc")
    part = part_of(prepared)
    target = part.target.copy()
    # Of a third class a single row, which no two folds can meet.
    target[:1] = "mid"
    tried, _ = made(trial("logistic_regression"), asked(prepared), prepared.profile, Part(part.features, target))
    assert tried.score is None
    assert tried.error is not None
    assert "roc_auc is undefined on a fold" in tried.error


def test_fewer_rows_are_tried_where_the_trial_says_so(prepared_data: Prepare) -> None:
    prepared = prepared_data("regression")
    _, document = made(trial("ridge", rows=50), asked(prepared), prepared.profile, part_of(prepared))
    assert document["rows"] == 50
    assert sum(each["scored_rows"] for each in document["folds"]) == 50


@pytest.mark.slow
def test_a_fit_that_never_ends_ends_with_its_process(project: Path) -> None:
    """Also where nothing of Python's gets to run: the code holds the interpreter's lock."""
    code = (
        "import ctypes, sys; from model_training.trials import ended_after\n"
        "with ended_after(0.5, 60):\n    ctypes.PyDLL(None).sleep(60)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(project / "functions")}, capture_output=True, timeout=50,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert b"Timeout" in ended.stderr


@pytest.mark.slow
def test_a_fit_that_takes_too_long_ends_with_its_process(project: Path) -> None:
    code = "from model_training.trials import ended_after\nwith ended_after(60, 0.2):\n    while True: pass"
    ended = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(project / "functions")}, timeout=50, check=False
    )
    assert ended.returncode == -signal.SIGPROF


@pytest.mark.slow
@pytest.mark.parametrize("problem", ["regression", "classification"])
def test_what_was_predicted_of_held_out_rows_is_kept_in_the_order_of_the_folds(
    prepared_data: Prepare, problem: str
) -> None:
    metric = {"regression": "rmse", "classification": "log_loss"}[problem]
    prepared = prepared_data(problem, metric=metric)
    part, request = part_of(prepared), asked(prepared)
    estimator = {"regression": "ridge", "classification": "logistic_regression"}[problem]
    outcome = run_trial(trial(estimator), request, prepared.profile, part)
    drawn, folds = drawn_folds(10_000, request, prepared.profile, part)
    rows = HeldOutRows.of(folds, drawn.target, drawn.weights, problem)
    assert outcome.outputs is not None
    assert len(outcome.outputs) == len(part.target)
    # A float32 has seven digits: too few for what is far from 0, and too small for some of it.
    assert outcome.outputs.dtype == (np.float64 if problem == "regression" else np.float32)
    # Scored once more, by what was kept, they are the trial's scores.
    scores = rows.scores(outcome.outputs, request)
    assert scores == pytest.approx([each["score"] for each in outcome.document["folds"]], rel=1e-6)


def test_a_class_that_a_fold_does_not_fit_has_a_probability_of_0(prepared_data: Prepare) -> None:
    random = np.random.default_rng(0)
    data = pd.DataFrame({"x": random.normal(size=300), "k": np.repeat(["a", "b", "c"], 100)})
    data["y"] = np.where(data["k"] == "a", "rare", np.where(data["x"] > 0, "high", "low"))
    prepared = prepared_data("classification", data, metric="accuracy", split_key=["k"], test_fraction=0.3)
    outcome = run_trial(trial("logistic_regression"), asked(prepared), prepared.profile, part_of(prepared))
    assert outcome.outputs is not None
    assert outcome.outputs.shape[1] == len(np.unique(part_of(prepared).target))
    assert outcome.outputs.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_whatever_a_fit_raises_fails_the_trial_in_a_sentence_without_data(
    prepared_data: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("no such thing: 'Mrs Smith'")

    prepared = prepared_data("regression")
    monkeypatch.setattr("model_training.trials.build_pipeline", broken)
    tried, document = made(trial("ridge"), asked(prepared), prepared.profile, part_of(prepared))
    assert tried.error == document["error"]
    assert str(tried.error).startswith("KeyError: ")
    assert "Smith" not in str(tried.error)


def test_one_key_and_one_class_fail_the_trial_in_a_sentence(prepared_data: Prepare) -> None:
    data = pd.DataFrame({"x": np.arange(100.0), "k": np.repeat(list("ABCDE"), 20)})
    data["y"] = np.where(data["k"] < "C", "low", "high")
    prepared = prepared_data("classification", data, split_key=["k"], test_fraction=0.3)
    part, request = part_of(prepared), asked(prepared)
    folds = [Fold(np.flatnonzero(part.target == "low"), np.flatnonzero(part.target == "high"))]
    with mock.patch("model_training.trials.make_folds", return_value=folds):
        tried, _ = made(trial("hist_gradient_boosting"), request, prepared.profile, part)
    assert "all of one class" in str(tried.error)
    alone = part.take(np.flatnonzero(part.order == part.order[0]))  # type: ignore[index] # by key there is an order
    tried, _ = made(trial("ridge"), request.model_copy(update={"estimator": "auto"}), prepared.profile, alone)
    assert tried.score is None
    assert tried.error


def test_a_trial_says_how_many_rows_and_folds_it_had(prepared_data: Prepare) -> None:
    random = np.random.default_rng(0)
    data = pd.DataFrame({"x": random.normal(size=100), "y": random.normal(size=100), "t": np.repeat([1, 2, 3, 4], 25)})
    prepared = prepared_data("regression", data, split_time="t")
    part = part_of(prepared)
    tried, document = made(trial("ridge"), asked(prepared), prepared.profile, part)
    assert (tried.rows, tried.folds) == (len(part.target), len(document["folds"])) == (75, 2)


@pytest.mark.parametrize(("metric", "folds"), [("f1", 3), ("roc_auc", 3), ("accuracy", 5)])
def test_each_fold_meets_the_class_that_the_metric_has_to(prepared_data: Prepare, metric: str, folds: int) -> None:
    prepared = prepared_data("classification", metric=metric)
    part = part_of(prepared)
    target = np.where(np.arange(len(part.target)) < 3, "high", "low")
    request = asked(prepared).model_copy(update={"pos_label": "high"})
    tried, _ = made(trial("logistic_regression"), request, prepared.profile, Part(part.features, target))
    assert tried.folds == folds
    assert tried.score is not None


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["ridge", "hist_gradient_boosting"])
def test_free_texts_are_tried_as_the_fit_on_all_rows_has_them(prepared_data: Prepare, estimator: str) -> None:
    prepared = prepared_data("regression", free_texts.table())
    part = part_of(prepared)
    tried, document = made(trial(estimator), asked(prepared), prepared.profile, part)
    without = replace(part, features=part.features.assign(note=pd.Series([None] * len(part.target), dtype="str")))
    worse, _ = made(trial(estimator), asked(prepared), prepared.profile, without)
    assert len(document["folds"]) == 5
    assert tried.score is not None
    assert worse.score is not None
    # Errors, with the sign by which higher is better or as they are: half of them at most.
    assert abs(tried.score) < abs(worse.score) / 2
