"""Loads models that may be trusted, scores challenger and champion on the same rows, and decides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import skops.io
from sklearn import metrics

from common.errors import InvalidDatasetError, UntrustedModelError, first_few
from common.request import LOWER_IS_BETTER, TrainingRequest
from model_evaluation.bootstrap import Improvement, improvement

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


class UnusableChampionError(Exception):
    """The champion cannot score this run's test part."""


@dataclass(frozen=True)
class HeldOut:
    """The test part: features of shape (rows, features) and target of shape (rows,)."""

    features: pd.DataFrame
    target: npt.NDArray[Any]


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


@dataclass(frozen=True)
class Comparison:
    """The champion beside the challenger: `scored`, with metrics and improvement, or `unusable`, with the reason."""

    version: str
    status: str
    reason: str | None = None
    metrics: dict[str, float | None] | None = None
    improvement: Improvement | None = None

    def document(self) -> dict[str, Any]:
        """Return the comparison as JSON knows it."""
        return asdict(self)


def load_model(path: Path) -> Pipeline:
    """Load a pipeline saved with skops if all types in it are trusted.

    Raises
    ------
    UntrustedModelError
        If the file is not a skops file, or holds a type that neither skops nor `TRUSTED_TYPES` trusts.
    """
    with _unreadable_is_untrusted():
        types = skops.io.get_untrusted_types(file=path)
    untrusted = sorted(set(types) - TRUSTED_TYPES)
    if untrusted:
        raise UntrustedModelError(
            f"The model file holds {first_few(untrusted)}, which is not in the list of trusted types: "
            "train the model with this project, or review the type and add it to TRUSTED_TYPES."
        )
    with _unreadable_is_untrusted():
        return skops.io.load(path, trusted=types)


@contextmanager
def _unreadable_is_untrusted() -> Iterator[None]:
    """Name the error: a damaged file, or one of other versions of the libraries, makes skops fail in any way."""
    try:
        yield
    except Exception as error:
        name = type(error).__name__
        raise UntrustedModelError(f"The model file cannot be read as a skops file ({name}: {error}).") from error


def score(pipeline: Pipeline, part: HeldOut, problem: str) -> Scores:
    """Score a fitted pipeline for the problem, `regression` or `classification`."""
    if problem == "regression":
        predicted = pipeline.predict(part.features)
        return Scores(predicted, regression_metrics(part.target, predicted), {})
    probabilities, classes = pipeline.predict_proba(part.features), pipeline.classes_
    return Scores(probabilities, *classification_metrics(classes, part.target, probabilities), classes)


def defined_value(scores: Scores, metric: str) -> float:
    """Return the value of the metric that decides.

    Raises
    ------
    InvalidDatasetError
        If the test part leaves it undefined.
    """
    value = scores.metrics[metric]
    if value is None:
        defined = ", ".join(name for name, score in scores.metrics.items() if score is not None)
        raise InvalidDatasetError(
            f"{metric} is undefined: {scores.undefined[metric]}. Choose another metric ({defined}) or split."
        )
    return value


def compare(version: str, champion: Pipeline, scores: Scores, part: HeldOut, request: TrainingRequest) -> Comparison:
    """Score the champion on the challenger's rows and measure the difference.

    Parameters
    ----------
    version
        The champion's version.
    champion
        The champion.
    scores
        The challenger's.
    part
        The rows that the challenger was scored on.
    request
        With every choice made.

    Raises
    ------
    UnusableChampionError
        If the champion needs other columns, solves another problem or knows other classes.
    """
    names = list(champion.feature_names_in_)
    missing = [name for name in names if name not in part.features.columns]
    if missing:
        quoted = ", ".join(f'"{name}"' for name in missing[:5])
        raise UnusableChampionError(f"it needs {quoted}, which this run's data does not have as a feature")
    if hasattr(champion, "classes_") != (request.problem == "classification"):
        raise UnusableChampionError(f"it does not solve a {request.problem}")
    if scores.classes is not None and not np.array_equal(champion.classes_, scores.classes):
        raise UnusableChampionError("it knows other classes than this run's data has")
    try:
        old = score(champion, HeldOut(part.features[names], part.target), str(request.problem))
    # A column of the same name may hold values of another kind, and the model be of another version of scikit-learn:
    # whatever keeps a champion from being scored, it is no reason for the run to fail.
    except Exception as error:
        raise UnusableChampionError(f"scikit-learn cannot apply it to this run's data: {error}") from error
    difference = improvement(
        str(request.metric), part.target, scores.predictions, old.predictions, scores.classes, request.seed
    )
    return Comparison(version, "scored", None, old.metrics, difference)


def decide(
    scores: Scores, request: TrainingRequest, comparison: Comparison | None, *, contended: bool = False
) -> tuple[str, str]:
    """Decide on a challenger and return `promote` or `reject`, and why in words.

    The threshold must hold (a value that equals it does), and the challenger must be better than the champion by more
    than the request's minimum improvement. Without a champion that can be scored the threshold alone decides.

    Parameters
    ----------
    scores
        The challenger's; the request's metric has a value.
    request
        With every choice made.
    comparison
        The champion beside the challenger, or None where there is no champion.
    contended
        Whether other runs have promoted during each of this run's evaluations.
    """
    metric = str(request.metric)
    value = scores.metrics[metric]
    if value is None:
        raise ValueError(f"{metric} has no value")
    said = [_threshold_in_words(metric, value, request.threshold)]
    if contended:
        said.append("Other runs promoted a model during each evaluation of this one: run it again.")
        return "reject", " ".join(said)
    if not meets(metric, value, request.threshold):
        return "reject", said[0]
    if comparison is None:
        said.append("There is no champion yet.")
        return "promote", " ".join(said)
    if comparison.improvement is None:
        said.append(f"The champion {comparison.version} cannot be compared: {comparison.reason}.")
        return "promote", " ".join(said)
    better = comparison.improvement.value > request.minimum_improvement
    said.append(_improvement_in_words(comparison, comparison.improvement, request.minimum_improvement, better=better))
    return ("promote" if better else "reject"), " ".join(said)


def meets(metric: str, value: float, threshold: float | None) -> bool:
    """Return whether a value of a metric is at least as good as a threshold; without one it is."""
    if threshold is None:
        return True
    return value <= threshold if metric in LOWER_IS_BETTER else value >= threshold


def _threshold_in_words(metric: str, value: float, threshold: float | None) -> str:
    if threshold is None:
        return f"{metric} is {value:.6g}; the request sets no threshold."
    limit = f"at {'most' if metric in LOWER_IS_BETTER else 'least'} {threshold:.6g}"
    if meets(metric, value, threshold):
        return f"{metric} is {value:.6g}, {limit} as the request asks."
    return f"{metric} is {value:.6g}, and the request asks for {limit}."


def _improvement_in_words(comparison: Comparison, difference: Improvement, minimum: float, *, better: bool) -> str:
    interval = f"95 % interval {difference.low:.4g} to {difference.high:.4g}"
    if difference.value == 0:
        told = f"It is as good as the champion {comparison.version} ({interval})"
    else:
        direction = "better" if difference.value > 0 else "worse"
        told = f"It is {abs(difference.value):.4g} {direction} than the champion {comparison.version} ({interval})"
    if minimum:
        told += f"; an improvement of more than {minimum:.4g} is asked for"
    elif not better:
        told += ": no improvement"
    return told + "."


def regression_metrics(target: npt.NDArray[np.float64], predicted: npt.NDArray[np.floating]) -> dict[str, float | None]:
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
