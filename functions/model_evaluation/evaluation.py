"""Scores challenger and champion on the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics

from common.errors import first_few, without_values
from common.request import TrainingRequest
from model_evaluation.bootstrap import Improvement, Interval, improvement, interval

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline


class UnusableChampionError(Exception):
    """The champion cannot score this run's test part."""


@dataclass(frozen=True)
class HeldOut:
    """The test part: features of shape (rows, features) and target of shape (rows,)."""

    features: pd.DataFrame
    target: npt.NDArray[Any]


@dataclass(frozen=True)
class Predictions:
    """What a model predicts.

    Attributes
    ----------
    outputs
        Of shape (rows,) for regression, probabilities of shape (rows, classes) for classification.
    classes
        The classes of the probabilities' columns; None for regression.
    """

    outputs: npt.NDArray[np.floating]
    classes: npt.NDArray[Any] | None = None


@dataclass(frozen=True)
class Scores:
    """What a model made of the test part.

    Attributes
    ----------
    predictions
        Values of shape (rows,) for regression, probabilities of shape (rows, classes) for classification.
    metrics
        Every metric of the problem; None where the test part leaves it undefined.
    undefined
        Why, for each metric that is None.
    classes
        The classes of the probabilities' columns; None for regression.
    """

    predictions: npt.NDArray[np.floating]
    metrics: dict[str, float | None]
    undefined: dict[str, str]
    classes: npt.NDArray[Any] | None = None


def score(pipeline: Pipeline, part: HeldOut, problem: str) -> Scores:
    """Score a fitted pipeline for the problem, `regression` or `classification`."""
    return measure(predict(pipeline, part.features, problem), part.target)


def predict(pipeline: Pipeline, features: pd.DataFrame, problem: str) -> Predictions:
    """Return what a fitted pipeline predicts of features of shape (rows, features)."""
    if problem == "regression":
        return Predictions(pipeline.predict(features))
    return Predictions(pipeline.predict_proba(features), pipeline.classes_)


def measure(predictions: Predictions, target: npt.NDArray[Any]) -> Scores:
    """Compare predictions with what is true, of shape (rows,)."""
    if predictions.classes is None:
        predicted = predictions.outputs
        with np.errstate(over="ignore", invalid="ignore"):
            values = regression_metrics(target, predicted)
        # Squares of the largest numbers overflow.
        undefined = {
            name: "it is beyond what a float holds" for name, value in values.items() if not np.isfinite(value)
        }
        if target.min() == target.max():
            undefined["r2"] = "the target is the same in all test rows"
        return Scores(predicted, {**values, **dict.fromkeys(undefined)}, undefined)
    probabilities, classes = predictions.outputs, predictions.classes
    return Scores(probabilities, *classification_metrics(classes, target, probabilities), classes)


def own_interval(scores: Scores, part: HeldOut, request: TrainingRequest) -> Interval | None:
    """Return the interval of the metric that decides, or None where the test part leaves it undefined."""
    metric = str(request.metric)
    if scores.metrics[metric] is None:
        return None
    return interval(metric, part.target, scores.predictions, scores.classes, request.seed)


def over_constant(
    scores: Scores, part: HeldOut, baseline: Mapping[str, Any], request: TrainingRequest
) -> Improvement | None:
    """Return how much better a model is than the best guess that takes no feature.

    Parameters
    ----------
    scores
        The model's.
    part
        The test part.
    baseline
        Of the training part, as model training describes it: `mean`, or `shares` by class.
    request
        With every choice made.
    """
    metric = str(request.metric)
    if scores.metrics[metric] is None:
        return None
    if scores.classes is None:
        guess = np.full(len(part.target), float(baseline["mean"]))
    else:
        guess = np.tile(np.asarray(baseline["shares"], np.float64), (len(part.target), 1))
    return improvement(metric, part.target, scores.predictions, guess, scores.classes, request.seed)


def predict_as_champion(champion: Pipeline, features: pd.DataFrame, problem: str) -> Predictions:
    """Return what the champion predicts of the challenger's test part.

    Parameters
    ----------
    champion
        The champion.
    features
        Those of the challenger's test part, of shape (rows, features).
    problem
        The challenger's.

    Raises
    ------
    UnusableChampionError
        If the champion needs other columns or solves another problem.
    """
    names = list(champion.feature_names_in_)
    missing = [name for name in names if name not in features.columns]
    if missing:
        quoted = first_few(f'"{name}"' for name in missing)
        raise UnusableChampionError(f"it needs {quoted}, which this run's data does not have as a feature")
    if hasattr(champion, "classes_") != (problem == "classification"):
        raise UnusableChampionError(f"it does not solve a {problem}")
    try:
        return predict(champion, features[names], problem)
    except MemoryError:
        raise
    # A column of the same name may hold values of another kind, and the model be of another version of scikit-learn:
    # whatever keeps a champion from being scored, it is no reason for the run to fail.
    except Exception as error:
        # What an attribute is called is no data, and tells of another version.
        told = str(error) if isinstance(error, AttributeError) else without_values(str(error))
        raise UnusableChampionError(f"scikit-learn cannot apply it to this run's data: {told}") from error


def measure_champion(predictions: Predictions, scores: Scores, target: npt.NDArray[Any]) -> Scores:
    """Compare the champion's predictions with what is true, of shape (rows,), where the challenger has these scores.

    Raises
    ------
    UnusableChampionError
        If the champion knows other classes than the challenger, or its predictions are none.
    """
    classes, outputs = predictions.classes, predictions.outputs
    if scores.classes is not None and (classes is None or not np.array_equal(classes, scores.classes)):
        raise UnusableChampionError("it knows other classes than this run's data has")
    if outputs.shape != scores.predictions.shape or not np.isfinite(outputs).all():
        raise UnusableChampionError("it predicts something else than this run's model does")
    return measure(predictions, target)


def compare_on(
    counted: npt.NDArray[np.bool_], scores: Scores, champion: Scores, part: HeldOut, request: TrainingRequest
) -> Improvement:
    """Return how much better the challenger is than the champion on the rows that count, of shape (rows,)."""
    return improvement(
        str(request.metric),
        part.target[counted],
        scores.predictions[counted],
        champion.predictions[counted],
        scores.classes,
        request.seed,
    )


def _classes(labels: Sequence[Any]) -> str:
    """Return how many classes are meant: what they are called is data, which stays out of messages."""
    return "one class" if len(labels) == 1 else f"{len(labels):,} classes"


def regression_metrics(target: npt.NDArray[np.float64], predicted: npt.NDArray[np.floating]) -> dict[str, float]:
    """Return rmse and mae, in the target's unit, and r2; arrays of shape (rows,)."""
    return {
        "rmse": float(metrics.root_mean_squared_error(target, predicted)),
        "mae": float(metrics.mean_absolute_error(target, predicted)),
        "r2": float(metrics.r2_score(target, predicted)),
    }


def classification_metrics(
    classes: npt.NDArray[Any], target: npt.NDArray[Any], probabilities: npt.NDArray[np.floating]
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Return accuracy, f1_macro, roc_auc (one-versus-rest, macro average) and log_loss, and why any is undefined.

    Parameters
    ----------
    classes
        The classes that the model knows, sorted, shape (classes,).
    target
        Shape (rows,).
    probabilities
        Shape (rows, classes).
    """
    # The class of the highest probability is what `predict` returns; one pass over the data is enough.
    predicted = classes[probabilities.argmax(axis=1)]
    scores: dict[str, float | None] = {
        "accuracy": float(metrics.accuracy_score(target, predicted)),
        "f1_macro": float(metrics.f1_score(target, predicted, average="macro", zero_division=0)),
        "roc_auc": None,
        "log_loss": None,
    }
    present = set(np.unique(target).tolist())
    unseen, missing = sorted(present - set(classes.tolist())), sorted(set(classes.tolist()) - present)
    undefined: dict[str, str] = {}
    if unseen:
        undefined["log_loss"] = f"the test part holds {_classes(unseen)} that training never saw"
    else:
        scores["log_loss"] = float(metrics.log_loss(target, probabilities, labels=classes))
    if unseen or missing:
        undefined["roc_auc"] = undefined.get("log_loss") or f"the test part has no row of {_classes(missing)}"
    elif len(classes) == 2:
        scores["roc_auc"] = float(metrics.roc_auc_score(target, probabilities[:, 1]))
    else:
        scores["roc_auc"] = float(metrics.roc_auc_score(target, probabilities, multi_class="ovr", labels=classes))
    return scores, undefined
