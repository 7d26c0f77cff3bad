"""What a model predicts, and the metrics of both problems."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from common.metric_table import METRIC_TABLE, METRICS, OF_POSITIVE_CLASS, PLAIN, Scoring

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

Metrics = dict[str, float | None]
Weights = npt.NDArray[np.float64] | None
"""How much each row counts, shape (rows,); None for all alike."""
Reasons = dict[str, str]
Codes = npt.NDArray[np.integer[Any]]
"""Positions in a list of classes, shape (rows,)."""


@dataclass(frozen=True)
class Predictions:
    """What a model predicts.

    Attributes
    ----------
    outputs
        Of shape (rows,) for regression, probabilities of shape (rows, classes) for classification.
    classes
        The classes of the probabilities' columns; None for regression.
    multipliers
        What the probabilities are multiplied by before the highest decides, shape (classes,); None for the most
        probable class, and for regression.
    """

    outputs: npt.NDArray[np.floating]
    classes: npt.NDArray[Any] | None = None
    multipliers: npt.NDArray[np.float64] | None = None

    @classmethod
    def joined(cls, pieces: Sequence[Predictions]) -> Predictions:
        """Return what one model predicts of rows that it has predicted piece by piece."""
        if len(pieces) == 1:
            return pieces[0]
        outputs = np.concatenate([piece.outputs for piece in pieces])
        return cls(outputs, pieces[0].classes, pieces[0].multipliers)

    @property
    def decisive(self) -> npt.NDArray[np.floating]:
        """What decides for a class by its highest value, shape (rows, classes); the outputs for regression."""
        return self.outputs if self.multipliers is None else self.outputs * self.multipliers

    def seen_by(self, metric: str) -> npt.NDArray[np.floating]:
        """Return what a metric is to look at: the probabilities, or for one of labels what decides for these."""
        return self.decisive if METRIC_TABLE[metric].of_labels else self.outputs

    def over(self, classes: npt.NDArray[Any] | None, dtype: type[np.floating]) -> npt.NDArray[np.floating]:
        """Return probabilities with a column for each of these classes, 0 for one that the fit has not seen.

        A fold may lack the rows of a rare class. Values are float64, whatever is asked for: a float32 has too few
        digits for what is far from 0, and is too small for some of it.

        Parameters
        ----------
        classes
            Sorted, and all that the model knows are among them; None for regression.
        dtype
            Of the probabilities.
        """
        if classes is None or self.classes is None:
            return self.outputs.astype(np.float64)
        whole = np.zeros((len(self.outputs), len(classes)), dtype)
        whole[:, np.searchsorted(classes, self.classes)] = self.outputs
        return whole


def predict(pipeline: Pipeline, features: pd.DataFrame, problem: str) -> Predictions:
    """Return what a fitted pipeline predicts of features of shape (rows, features)."""
    if problem == "regression":
        return Predictions(pipeline.predict(features))
    return Predictions(pipeline.predict_proba(features), pipeline.classes_, multipliers_of(pipeline))


PROBABILITY = "probability_"
"""What the columns of a file of predictions begin with that hold the classes' probabilities, each before its label."""


def label_texts(classes: npt.NDArray[Any]) -> list[str]:
    """Return labels as a file of predictions shows them: `probability_<label>` is called by them."""
    import pyarrow as pa  # noqa: PLC0415 (whoever computes metrics alone does without it)
    import pyarrow.compute as pc  # noqa: PLC0415 (as above)

    texts: list[str] = pc.cast(pa.array(classes.tolist()), pa.string()).to_pylist()
    return texts


def interval_width_of(pipeline: Pipeline) -> float | None:
    """Return how far the interval around each prediction reaches; None for a pipeline without intervals."""
    width: float | None = getattr(pipeline.steps[-1][1], "width", None)
    return width


def multipliers_of(pipeline: Pipeline) -> npt.NDArray[np.float64] | None:
    """Return what a pipeline's probabilities are multiplied by before the highest decides; mostly None."""
    # A lone estimator does as well.
    model = pipeline.steps[-1][1] if hasattr(pipeline, "steps") else pipeline
    multipliers: npt.NDArray[np.float64] | None = getattr(model, "multipliers", None)
    return multipliers


def metrics_of(
    predictions: Predictions, target: npt.NDArray[Any], weights: Weights = None, scoring: Scoring = PLAIN
) -> tuple[Metrics, Reasons]:
    """Return the metrics of predictions of a target, of shape (rows,), and why any is undefined.

    Parameters
    ----------
    predictions
        What a model predicts.
    target
        Shape (rows,).
    weights
        How much each row counts, shape (rows,): one of 2 as much as the row twice. None for all alike.
    scoring
        The positive class and the quantile.

    Returns
    -------
    metrics, undefined
        Every metric of the problem (`common.metric_table`), None where it is undefined, and then why.
    """
    if predictions.classes is None:
        return regression_metrics(target, predictions.outputs, weights, scoring)
    decided = predictions.decisive.argmax(axis=1)
    return classification_metrics(predictions.classes, target, predictions.outputs, weights, scoring, decided)


def regression_metrics(
    target: npt.NDArray[np.float64],
    predicted: npt.NDArray[np.floating],
    weights: Weights = None,
    scoring: Scoring = PLAIN,
) -> tuple[Metrics, Reasons]:
    """Return the metrics of a regression, of arrays of shape (rows,), and why any is undefined."""
    from sklearn import metrics  # noqa: PLC0415 (data preparation, whose image has the same package, does without it)

    pinball = partial(metrics.mean_pinball_loss, alpha=scoring.quantile)
    functions: Mapping[str, Callable[..., float]] = {
        "rmse": metrics.root_mean_squared_error,
        "mae": metrics.mean_absolute_error,
        "medae": metrics.median_absolute_error,
        "mape": metrics.mean_absolute_percentage_error,
        "rmsle": metrics.root_mean_squared_log_error,
        "pinball": pinball,
        "r2": metrics.r2_score,
    }
    undefined = _undefined_of(target, predicted)
    values: Metrics = dict.fromkeys(METRICS["regression"])
    with np.errstate(over="ignore", invalid="ignore"):
        for name in values.keys() - undefined.keys():
            value = float(functions[name](target, predicted, sample_weight=weights))
            if np.isfinite(value):
                values[name] = value
            else:
                # Squares of the largest numbers overflow.
                undefined[name] = "it is beyond what a float holds"
    return values, {name: undefined[name] for name in values if name in undefined}


def _undefined_of(target: npt.NDArray[np.float64], predicted: npt.NDArray[np.floating]) -> Reasons:
    """Return which metrics of a regression these rows do not allow, and why."""
    undefined: Reasons = {}
    if target.min() == target.max():
        undefined["r2"] = "the target is the same in all test rows"
    if zeros := int((target == 0).sum()):
        undefined["mape"] = f"the target is 0 in {zeros:,} of the test rows, and no error is a share of 0"
    if negative := int((target < 0).sum()):
        undefined["rmsle"] = f"the target is negative in {negative:,} of the test rows"
    elif without := int((predicted <= -1).sum()):
        undefined["rmsle"] = f"{without:,} predictions are -1 or below, of which there is no logarithm"
    return undefined


def best_constant(
    metric: str, target: npt.NDArray[np.float64], weights: Weights = None, quantile: float = 0.5
) -> float:
    """Return the best guess of a regression's target that takes no feature, by a metric.

    Parameters
    ----------
    metric
        Of `common.metric_table`, which calls what is returned its `constant`.
    target
        Of the training part, shape (rows,).
    weights
        How much each row counts, shape (rows,); None for all alike.
    quantile
        The one that `pinball` is of.

    References
    ----------
    T. Gneiting, "Making and Evaluating Point Forecasts", Journal of the American Statistical Association 106, 2011.
    """

    def quantile_of(share: float, by: Weights) -> float:
        return float(np.quantile(target, share, weights=by, method="inverted_cdf"))

    constant = METRIC_TABLE[metric].constant
    if constant in ("median", "quantile"):
        return quantile_of(quantile if constant == "quantile" else 0.5, weights)
    if constant == "relative_median":
        # As scikit-learn divides by it: a target of 0 stands for the least step.
        inverse = 1 / np.maximum(np.abs(target), np.finfo(np.float64).eps)
        return quantile_of(0.5, inverse if weights is None else weights * inverse)
    if constant == "log_mean":
        return float(np.expm1(np.average(np.log1p(np.maximum(target, 0)), weights=weights)))
    return float(np.average(target, weights=weights))


def class_codes(classes: npt.NDArray[Any], target: npt.NDArray[Any]) -> tuple[Codes, list[Any]]:
    """Return each row's position in a pipeline's classes, shape (rows,), and the labels that come after them.

    Those are the labels that training never saw.

    Parameters
    ----------
    classes
        The classes that the pipeline knows, shape (classes,).
    target
        The labels, shape (rows,).
    """
    import pandas as pd  # noqa: PLC0415 (data preparation does without it)

    labels = pd.Index(target)
    codes = np.asarray(pd.Index(classes).get_indexer(labels))
    unseen = sorted(set(target[codes < 0].tolist()))
    if unseen:
        codes = np.asarray(pd.Index([*classes.tolist(), *unseen]).get_indexer(labels))
    return codes, unseen


def brier_of_rows(codes: Codes, probabilities: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return what each row adds to the Brier score, shape (rows,).

    Parameters
    ----------
    codes
        The position of each row's class, shape (rows,); one that is not among the columns has a probability of 0.
    probabilities
        Shape (rows, classes).
    """
    classes = probabilities.shape[1]
    squares = ((probabilities - (codes[:, None] == np.arange(classes))) ** 2).sum(axis=1)
    return np.asarray(squares / 2 if classes == 2 else squares, np.float64)


def classification_metrics(
    classes: npt.NDArray[Any],
    target: npt.NDArray[Any],
    probabilities: npt.NDArray[np.floating],
    weights: Weights = None,
    scoring: Scoring = PLAIN,
    decided: Codes | None = None,
) -> tuple[Metrics, Reasons]:
    """Return the metrics of a classification, and why any is undefined.

    Of several classes `roc_auc` is the mean of one-versus-rest, and what is of the positive class is of it against all
    others.

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
    scoring
        The positive class.
    decided
        The predicted classes, by their places, shape (rows,); None for the most probable ones.
    """
    codes, unseen = class_codes(classes, target)
    decided = probabilities.argmax(axis=1) if decided is None else decided
    missing = np.setdiff1d(np.arange(len(classes)), codes)
    of_labels, of_positive = _metrics_of_labels(codes, decided, weights)
    of_probabilities, undefined = _metrics_of_probabilities(codes, probabilities, unseen, missing, weights)
    positive = scoring.positive(classes.tolist())
    if reason := _no_positive_class(scoring, positive, codes):
        undefined |= dict.fromkeys(OF_POSITIVE_CLASS, reason)
        found: Metrics = {}
    else:
        found = {name: float(values[positive]) for name, values in of_positive.items()}
        found["average_precision"] = _average_precision(codes == positive, probabilities[:, positive], weights)
    values = {**dict.fromkeys(METRICS["classification"]), **of_labels, **of_probabilities, **found}
    return values, {name: undefined[name] for name in values if name in undefined}


def _metrics_of_labels(
    codes: Codes, predicted: Codes, weights: Weights
) -> tuple[Metrics, dict[str, npt.NDArray[np.float64]]]:
    """Return the metrics that look at the predicted classes alone, and those that each class has, by its code."""
    from sklearn import metrics  # noqa: PLC0415 (as above)

    size = int(max(codes.max(), predicted.max())) + 1
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        codes, predicted, labels=np.arange(size), zero_division=0, sample_weight=weights
    )
    actual = np.bincount(codes, minlength=size) > 0
    met = actual | (np.bincount(predicted, minlength=size) > 0)
    of_all: Metrics = {
        "accuracy": float(metrics.accuracy_score(codes, predicted, sample_weight=weights)),
        "balanced_accuracy": float(recall[actual].mean()),
        "f1_macro": float(f1[met].mean()),
    }
    return of_all, {"f1": f1, "precision": precision, "recall": recall}


def _metrics_of_probabilities(
    codes: Codes, probabilities: npt.NDArray[np.floating], unseen: Sequence[Any], missing: Codes, weights: Weights
) -> tuple[Metrics, Reasons]:
    """Return the metrics that look at the probabilities of all classes, as far as they are defined."""
    from sklearn import metrics  # noqa: PLC0415 (as above)

    if len(unseen):
        reason = f"the test part holds {_classes(unseen)} that training never saw"
        return {}, dict.fromkeys(("roc_auc", "log_loss", "brier"), reason)
    labels = np.arange(probabilities.shape[1])
    # Of two classes either one's curve has the same area.
    scores = probabilities[:, 1] if len(labels) == 2 else probabilities
    found: Metrics = {
        "log_loss": float(metrics.log_loss(codes, probabilities, labels=labels, sample_weight=weights)),
        "brier": float(metrics.brier_score_loss(codes, probabilities, labels=labels, sample_weight=weights)),
    }
    if len(missing):
        return found, {"roc_auc": f"the test part has no row of {_classes(missing)}"}
    area = metrics.roc_auc_score(codes, scores, multi_class="ovr", labels=labels, sample_weight=weights)
    return {"roc_auc": float(area), **found}, {}


def _no_positive_class(scoring: Scoring, positive: int | None, codes: Codes) -> str:
    """Return why nothing is known of the positive class; empty where something is."""
    if scoring.pos_label is None:
        return "it is of one class, and pos_label does not say of which"
    if positive is None:
        return "training never saw the class that pos_label names"
    return "" if (codes == positive).any() else "the test part has no row of the class that pos_label names"


def _average_precision(truth: npt.NDArray[np.bool_], scores: npt.NDArray[np.floating], weights: Weights) -> float:
    from sklearn import metrics  # noqa: PLC0415 (as above)

    return float(metrics.average_precision_score(truth, scores, sample_weight=weights))


def _classes(labels: Sequence[Any] | Codes) -> str:
    """Return how many classes are meant: what they are called is data, which stays out of messages."""
    return "one class" if len(labels) == 1 else f"{len(labels):,} classes"
