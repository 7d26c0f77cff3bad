"""Loads a model that may be trusted, scores it on the test part and decides what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import skops.io
from sklearn import metrics

from common.errors import InvalidDatasetError, UntrustedModelError
from common.request import LOWER_IS_BETTER, TrainingRequest

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

# The types in a model of ours that skops does not trust by itself. A type that is not here is never loaded.
# functools.partial only calls a function that is in the file too, and so passes the same check.
TRUSTED_TYPES = frozenset(
    {
        "functools.partial",
        "numpy.dtype",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.tree._tree.Tree",
        "sklearn.utils.validation.check_array",
    }
)


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a model on the test part, and the decision with its reason in words.

    Attributes
    ----------
    metrics
        Every metric of the problem; None where the test part leaves it undefined.
    undefined
        Why, for each metric that is None.
    decision
        `promote` or `reject`.
    """

    metrics: dict[str, float | None]
    undefined: dict[str, str]
    decision: str
    reason: str


def load_model(path: Path) -> Pipeline:
    """Load a pipeline saved with skops if all types in it are trusted.

    Raises
    ------
    UntrustedModelError
        If the file is not a skops file, or holds a type that neither skops nor `TRUSTED_TYPES` trusts.
    """
    try:
        types = skops.io.get_untrusted_types(file=path)
        untrusted = sorted(set(types) - TRUSTED_TYPES)
        if untrusted:
            raise UntrustedModelError(
                f"The model file holds {', '.join(untrusted)}, which is not in the list of trusted types: "
                "train the model with this project, or review the type and add it to TRUSTED_TYPES."
            )
        return skops.io.load(path, trusted=types)
    except (BadZipFile, KeyError, ValueError) as error:
        raise UntrustedModelError(f"The model file cannot be read as a skops file: {error}") from error


def evaluate(
    pipeline: Pipeline, features: pd.DataFrame, target: npt.NDArray[Any], request: TrainingRequest
) -> Evaluation:
    """Score a fitted pipeline and decide by the request's metric and threshold.

    Parameters
    ----------
    pipeline
        The fitted pipeline.
    features
        The test part's features, shape (rows, features).
    target
        The test part's target, shape (rows,).
    request
        With every choice made (`TrainingRequest.resolve`).

    Raises
    ------
    InvalidDatasetError
        If the test part leaves the request's metric undefined.
    """
    if request.problem == "regression":
        scores, undefined = regression_metrics(target, pipeline.predict(features)), dict[str, str]()
    else:
        scores, undefined = classification_metrics(pipeline, features, target)
    metric = str(request.metric)
    value = scores[metric]
    if value is None:
        defined = ", ".join(name for name, score in scores.items() if score is not None)
        raise InvalidDatasetError(
            f"{metric} is undefined: {undefined[metric]}. Choose another metric ({defined}) or split."
        )
    return Evaluation(scores, undefined, *decide(metric, value, request.threshold))


def decide(metric: str, value: float, threshold: float | None) -> tuple[str, str]:
    """Return `promote` or `reject`, and why: a value that equals the threshold holds it."""
    if threshold is None:
        return "promote", f"{metric} is {value:.6g}; the request sets no threshold."
    lower = metric in LOWER_IS_BETTER
    holds = value <= threshold if lower else value >= threshold
    limit = f"at {'most' if lower else 'least'} {threshold:.6g}"
    if holds:
        return "promote", f"{metric} is {value:.6g}, {limit} as the request asks."
    return "reject", f"{metric} is {value:.6g}, and the request asks for {limit}."


def regression_metrics(target: npt.NDArray[np.float64], predicted: npt.NDArray[np.floating]) -> dict[str, float | None]:
    """Return rmse and mae, in the target's unit, and r2; arrays of shape (rows,)."""
    return {
        "rmse": float(metrics.root_mean_squared_error(target, predicted)),
        "mae": float(metrics.mean_absolute_error(target, predicted)),
        "r2": float(metrics.r2_score(target, predicted)),
    }


def classification_metrics(
    pipeline: Pipeline, features: pd.DataFrame, target: npt.NDArray[Any]
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Return accuracy, f1_macro, roc_auc (one-versus-rest, macro average) and log_loss, and why any is undefined."""
    probabilities = pipeline.predict_proba(features)
    classes = pipeline.classes_
    # The class of the highest probability is what `predict` returns; one pass over the data is enough.
    predicted = classes[probabilities.argmax(axis=1)]
    scores: dict[str, float | None] = {
        "accuracy": float(metrics.accuracy_score(target, predicted)),
        "f1_macro": float(metrics.f1_score(target, predicted, average="macro", zero_division=0)),
        "roc_auc": None,
        "log_loss": None,
    }
    unseen = sorted(set(np.unique(target).tolist()) - set(classes.tolist()))
    missing = sorted(set(classes.tolist()) - set(np.unique(target).tolist()))
    undefined = {}
    if unseen:
        undefined["log_loss"] = f"the test part holds the class {unseen[0]!r}, which training never saw"
    else:
        scores["log_loss"] = float(metrics.log_loss(target, probabilities, labels=classes))
    if unseen or missing:
        undefined["roc_auc"] = undefined.get("log_loss") or f"the test part has no row of the class {missing[0]!r}"
    elif len(classes) == 2:
        scores["roc_auc"] = float(metrics.roc_auc_score(target, probabilities[:, 1]))
    else:
        scores["roc_auc"] = float(metrics.roc_auc_score(target, probabilities, multi_class="ovr", labels=classes))
    return scores, undefined
