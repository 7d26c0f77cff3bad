"""Scores challenger and champion on the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from common import distributions
from common.bootstrap import Improvement, Interval, improvement, interval, interval_and_improvement
from common.distributions import MOST_ROWS, RowSample, texts_by_code
from common.errors import first_few, without_values
from common.metric_table import METRIC_TABLE, PLAIN, Label, Scoring
from common.metrics import PROBABILITY, Predictions, Weights, interval_width_of, label_texts, metrics_of, predict
from common.request import TrainingRequest
from common.threads import few_threads

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline


class UnusableChampionError(Exception):
    """The champion cannot score this run's test part."""

    status: Literal["unscored", "unusable"] = "unusable"


class UnscoredChampionError(UnusableChampionError):
    """The champion was not scored, for reasons that need not be its own."""

    status = "unscored"


@dataclass(frozen=True)
class HeldOut:
    """The test part: target of shape (rows,), how much each row counts, and the features of all rows or of some.

    Attributes
    ----------
    features
        Shape (rows, features), or (sample, features).
    target, weights
        Shape (rows,).
    sample
        The rows that the features are of, ascending, shape (sample,); None for all of them.
    """

    features: pd.DataFrame
    target: npt.NDArray[Any]
    weights: Weights = None
    sample: npt.NDArray[np.integer[Any]] | None = None

    def with_features(self) -> HeldOut:
        """Return the rows whose features are known, with all else of them."""
        if self.sample is None:
            return self
        return HeldOut(
            self.features, self.target[self.sample], None if self.weights is None else self.weights[self.sample]
        )


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
    multipliers
        By which probabilities decide (`common.metrics.Predictions`).
    """

    predictions: npt.NDArray[np.floating]
    metrics: dict[str, float | None]
    undefined: dict[str, str]
    classes: npt.NDArray[Any] | None = None
    multipliers: npt.NDArray[np.float64] | None = None

    def seen_by(self, metric: str) -> npt.NDArray[np.floating]:
        """Return what a metric is to look at of the predictions."""
        return Predictions(self.predictions, self.classes, self.multipliers).seen_by(metric)


def score(pipeline: Pipeline, part: HeldOut, problem: str, scoring: Scoring = PLAIN) -> Scores:
    """Score a fitted pipeline for the problem, `regression` or `classification`."""
    with few_threads(part.features.size):
        predictions = predict(pipeline, part.features, problem)
    return measure(predictions, part.target, part.weights, scoring)


def measure(
    predictions: Predictions, target: npt.NDArray[Any], weights: Weights = None, scoring: Scoring = PLAIN
) -> Scores:
    """Compare predictions with what is true, of shape (rows,), each row by its weight."""
    metrics, undefined = metrics_of(predictions, target, weights, scoring)
    return Scores(predictions.outputs, metrics, undefined, predictions.classes, predictions.multipliers)


def covered(pipeline: Pipeline, scores: Scores, part: HeldOut) -> dict[str, float] | None:
    """Return of how much of the test part the intervals around predictions hold the target; None without intervals.

    Returns
    -------
    dict
        The `share` that was asked for, the `width` to each side and the `coverage`, which weights count in.
    """
    width = interval_width_of(pipeline)
    if width is None:
        return None
    holds = np.abs(part.target - scores.predictions) <= width
    return {
        "share": float(pipeline.steps[-1][1].share),
        "width": width,
        "coverage": float(np.average(holds, weights=part.weights)),
    }


def distribution_of(scores: Scores, pos_label: Label | None) -> dict[str, Any]:
    """Return how predictions of the test part are distributed, for those of other rows to be compared with.

    Parameters
    ----------
    scores
        The model's.
    pos_label
        The positive class.

    Returns
    -------
    dict
        A document of `common.distributions` of the column that a file of predictions calls `of`: the `prediction`, and
        of two classes the probability of the positive one, of which less is lost.
    """
    predicted = Predictions(scores.predictions, scores.classes, scores.multipliers)
    of, values = "prediction", pa.array(scores.predictions if scores.classes is None else [])
    texts = [] if scores.classes is None else label_texts(scores.classes)
    if scores.classes is not None and len(texts) == 2:
        positive = Scoring(pos_label).positive(scores.classes.tolist())
        place = 1 if positive is None else positive
        of, values = f"{PROBABILITY}{texts[place]}", pa.array(scores.predictions[:, place])
    elif scores.classes is not None:
        decided = predicted.decisive.argmax(axis=1).astype(np.int32)
        values = pa.DictionaryArray.from_arrays(decided, pa.array(texts))
    sample = RowSample(["prediction"], MOST_ROWS)
    sample.add(pa.RecordBatch.from_arrays([values], ["prediction"]))
    drawn = sample.values("prediction")
    of_texts = pa.types.is_dictionary(values.type)
    document = distributions.of_texts(drawn, texts_by_code(texts)) if of_texts else distributions.of_numbers(drawn)
    return {"of": of, **document}


def own_interval(scores: Scores, part: HeldOut, request: TrainingRequest) -> Interval | None:
    """Return the interval of the metric that decides, or None where the test part leaves it undefined."""
    metric = str(request.metric)
    if scores.metrics[metric] is None:
        return None
    return interval(
        metric,
        part.target,
        scores.seen_by(metric),
        scores.classes,
        request.seed,
        weights=part.weights,
        scoring=request.scoring,
    )


def against_constant(
    scores: Scores, part: HeldOut, baseline: Mapping[str, Any], request: TrainingRequest
) -> tuple[Interval, Improvement] | tuple[None, None]:
    """Return what `own_interval` does, and how much better a model is than the best guess that takes no feature.

    Parameters
    ----------
    scores
        The model's.
    part
        The test part.
    baseline
        Of the training part, as model training describes it: `shares` by class, or what the metric's table calls the
        constant.
    request
        With every choice made.
    """
    metric = str(request.metric)
    if scores.metrics[metric] is None:
        return None, None
    constant, rows = METRIC_TABLE[metric].constant, len(part.target)
    if scores.classes is None:
        guess = np.full(rows, float(baseline[constant]))
    elif constant == "positive":
        guess = np.tile(scores.classes == request.pos_label, (rows, 1)).astype(np.float64)
    else:
        guess = np.tile(np.asarray(baseline["shares"], np.float64), (rows, 1))
    return interval_and_improvement(
        metric,
        part.target,
        scores.seen_by(metric),
        guess,
        scores.classes,
        request.seed,
        weights=part.weights,
        scoring=request.scoring,
    )


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


def measure_champion(
    predictions: Predictions,
    scores: Scores,
    target: npt.NDArray[Any],
    weights: Weights = None,
    scoring: Scoring = PLAIN,
) -> Scores:
    """Compare the champion's predictions with what is true, of shape (rows,), where the challenger has these scores.

    The rows count by this run's weights, and the positive class is this run's, whatever the champion was trained by.

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
    return measure(predictions, target, weights, scoring)


def compare_on(
    counted: npt.NDArray[np.bool_], scores: Scores, champion: Scores, part: HeldOut, request: TrainingRequest
) -> Improvement:
    """Return how much better the challenger is than the champion on the rows that count, of shape (rows,)."""
    metric = str(request.metric)
    return improvement(
        metric,
        part.target[counted],
        scores.seen_by(metric)[counted],
        champion.seen_by(metric)[counted],
        scores.classes,
        request.seed,
        weights=None if part.weights is None else part.weights[counted],
        scoring=request.scoring,
    )
