"""What a model predicts, and the metrics of both problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

Metrics = dict[str, float | None]
Weights = npt.NDArray[np.float64] | None
"""How much each row counts, shape (rows,); None for all alike."""
Reasons = dict[str, str]


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


def predict(pipeline: Pipeline, features: pd.DataFrame, problem: str) -> Predictions:
    """Return what a fitted pipeline predicts of features of shape (rows, features)."""
    if problem == "regression":
        return Predictions(pipeline.predict(features))
    return Predictions(pipeline.predict_proba(features), pipeline.classes_)


def metrics_of(predictions: Predictions, target: npt.NDArray[Any], weights: Weights = None) -> tuple[Metrics, Reasons]:
    """Return the metrics of predictions of a target, of shape (rows,), and why any is undefined.

    Parameters
    ----------
    predictions
        What a model predicts.
    target
        Shape (rows,).
    weights
        How much each row counts, shape (rows,): one of 2 as much as the row twice. None for all alike.
    """
    if predictions.classes is None:
        return regression_metrics(target, predictions.outputs, weights)
    return classification_metrics(predictions.classes, target, predictions.outputs, weights)


def regression_metrics(
    target: npt.NDArray[np.float64], predicted: npt.NDArray[np.floating], weights: Weights = None
) -> tuple[Metrics, Reasons]:
    """Return rmse and mae, in the target's unit, and r2, of arrays of shape (rows,), and why any is undefined."""
    from sklearn import metrics  # noqa: PLC0415 (data preparation, whose image has the same package, does without it)

    with np.errstate(over="ignore", invalid="ignore"):
        values = {
            "rmse": float(metrics.root_mean_squared_error(target, predicted, sample_weight=weights)),
            "mae": float(metrics.mean_absolute_error(target, predicted, sample_weight=weights)),
            "r2": float(metrics.r2_score(target, predicted, sample_weight=weights)),
        }
    # Squares of the largest numbers overflow.
    undefined = {name: "it is beyond what a float holds" for name, value in values.items() if not np.isfinite(value)}
    if target.min() == target.max():
        undefined["r2"] = "the target is the same in all test rows"
    return {**values, **dict.fromkeys(undefined)}, undefined


def classification_metrics(
    classes: npt.NDArray[Any],
    target: npt.NDArray[Any],
    probabilities: npt.NDArray[np.floating],
    weights: Weights = None,
) -> tuple[Metrics, Reasons]:
    """Return accuracy, f1_macro, roc_auc (one-versus-rest, macro average) and log_loss, and why any is undefined.

    Parameters
    ----------
    classes
        The classes that the model knows, sorted, shape (classes,).
    target
        Shape (rows,).
    probabilities
        Shape (rows, classes).
    weights
        How much each row counts, shape (rows,); None for all alike.
    """
    from sklearn import metrics  # noqa: PLC0415 (as above)

    # The class of the highest probability is what `predict` returns; one pass over the data is enough.
    predicted = classes[probabilities.argmax(axis=1)]
    scores: Metrics = {
        "accuracy": float(metrics.accuracy_score(target, predicted, sample_weight=weights)),
        "f1_macro": float(metrics.f1_score(target, predicted, average="macro", zero_division=0, sample_weight=weights)),
        "roc_auc": None,
        "log_loss": None,
    }
    present = set(np.unique(target).tolist())
    unseen, missing = sorted(present - set(classes.tolist())), sorted(set(classes.tolist()) - present)
    undefined: Reasons = {}
    if unseen:
        undefined["log_loss"] = f"the test part holds {_classes(unseen)} that training never saw"
    else:
        scores["log_loss"] = float(metrics.log_loss(target, probabilities, labels=classes, sample_weight=weights))
    if unseen or missing:
        undefined["roc_auc"] = undefined.get("log_loss") or f"the test part has no row of {_classes(missing)}"
    elif len(classes) == 2:
        scores["roc_auc"] = float(metrics.roc_auc_score(target, probabilities[:, 1], sample_weight=weights))
    else:
        scores["roc_auc"] = float(
            metrics.roc_auc_score(target, probabilities, multi_class="ovr", labels=classes, sample_weight=weights)
        )
    return scores, undefined


def _classes(labels: Sequence[Any]) -> str:
    """Return how many classes are meant: what they are called is data, which stays out of messages."""
    return "one class" if len(labels) == 1 else f"{len(labels):,} classes"
