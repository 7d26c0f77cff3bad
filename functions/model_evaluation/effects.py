"""Measures what a feature does to the predictions: partial dependence, with many changed rows in one prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from common.metrics import Codes
from model_evaluation.changed_rows import predict_changed
from model_evaluation.evaluation import HeldOut
from model_evaluation.importance import cost_of_row

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

# What bounds the time, whatever the model and the test part are.
FEATURES = 6
POINTS = 12
"""At how many values of a number it is looked at, evenly spaced by rows; texts are at their `LEVELS` most frequent."""
LEVELS = 10
TIME_POINTS = 36
"""At how many a time is looked at, which may go up and down with the year."""
FEW_VALUES = 5
"""A number of no more values is shown as texts are."""
ROWS, LEAST_ROWS = 200, 50
PREDICTED_ROWS = 14_400
"""As many rows are predicted in all; fewer where a row is wide or there are many classes."""
MOST_COST = 100_000
"""What the least number of rows may cost, in rows of a narrow table and of few classes."""
GRID_ROWS = 5_000
"""On how many rows the values are chosen."""
TAIL = 0.02
"""The share of rows at either end of a number's values that the curve leaves out: few rows say little there."""
BINS = 30

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Effect:
    """What one feature does.

    Attributes
    ----------
    name, role
        Of the feature, as the profile has it.
    points
        Where it was looked at: numbers in ascending order, or what is shown as texts are, the most frequent first; None
        is what is missing.
    predicted
        The mean prediction where all rows have that value, shape (points,).
    density, edges
        Of texts and of numbers with few values, how many test rows have each value, and None; of other numbers, how
        many are in each bin, and its ends.
    """

    name: str
    role: str
    points: Sequence[Any]
    predicted: Floats
    density: npt.NDArray[Any]
    edges: Floats | None


@dataclass(frozen=True)
class Effects:
    """The effects of the most important features, the first one first.

    Attributes
    ----------
    effects
        One for each feature that has more than one value.
    rows
        On how many test rows they were measured.
    mean
        The mean prediction for these as they are.
    free_texts
        Those among the most important features: hardly two rows have the same, so that there is nothing to look at.
    """

    effects: list[Effect]
    rows: int
    mean: float
    free_texts: Sequence[str] = ()


def partial_dependence(  # noqa: PLR0913, PLR0917 - a model, what it predicted, and what to look at
    pipeline: Pipeline,
    part: HeldOut,
    predictions: npt.NDArray[Any],
    features: Sequence[str],
    profile: Mapping[str, Mapping[str, Any]],
    output: int | None,
    seed: int,
) -> Effects | None:
    """Return the mean prediction for a sample of the test rows as a function of one feature, for several.

    Features that go together are taken apart by this, so that rows are predicted as there may be none: it says what the
    model does, and not why things are as they are. `sklearn.inspection.partial_dependence` gives the same numbers for
    the same rows and values.

    Parameters
    ----------
    pipeline
        Fitted.
    part
        The test part.
    predictions
        Values of shape (rows,) for regression, probabilities of shape (rows, classes) for classification.
    features
        Their names, the most important one first; the first `FEATURES` are taken.
    profile
        The profile's entries of the features, by their names.
    output
        The position of the class whose probability is looked at; None for regression.
    seed
        Of the sample.

    Returns
    -------
    Effects, optional
        None where a prediction is too costly.

    References
    ----------
    J. H. Friedman, "Greedy function approximation: a gradient boosting machine", The Annals of Statistics 29, 2001,
    section 8.2.
    D. W. Apley and J. Zhu, "Visualizing the effects of predictor variables in black box supervised learning models",
    Journal of the Royal Statistical Society B 82, 2020: why that is no good guide where features go together.
    """
    columns, outputs = part.features.shape[1], predictions[0].size
    classes = None if output is None else outputs
    cost = cost_of_row(columns, outputs)
    order = np.random.default_rng(seed).permutation(len(part.target))
    free_texts = [name for name in features[:FEATURES] if profile[name]["role"] == "text"]
    looked_at = [name for name in features if profile[name]["role"] != "text"][:FEATURES]
    grids = [(name, _grid(part.features[name], profile[name]["role"], order[:GRID_ROWS])) for name in looked_at]
    grids = [(name, grid) for name, grid in grids if len(grid) > 1]
    points = sum(len(grid) for _, grid in grids)
    if cost * points * LEAST_ROWS > MOST_COST:
        return None
    affordable = int(PREDICTED_ROWS / (cost * max(points, 1)))
    rows = np.sort(order[: min(max(affordable, LEAST_ROWS), ROWS)])
    changes = [(name, np.full(len(rows), source)) for name, grid in grids for source in grid]
    weights = None if part.weights is None else part.weights[rows]

    def mean(predicted: npt.NDArray[Any]) -> float:
        of_output = predicted if output is None else predicted[:, output]
        return float(np.average(of_output, weights=weights))

    means = iter([mean(each) for each in predict_changed(pipeline, part.features, classes, rows, changes)])
    effects = [
        _effect(part.features[name], profile[name]["role"], grid, np.array([next(means) for _ in grid]))
        for name, grid in grids
    ]
    return Effects(effects, len(rows), mean(predictions[rows]), free_texts)


def _grid(column: pd.Series[Any], role: str, looked_at: Codes) -> Codes:
    """Return rows that have the values at which a feature is looked at."""
    if column.dtype == "category":
        codes = column.cat.codes.to_numpy()
        counts = np.bincount(codes + 1)
        frequent = np.argsort(-counts, kind="stable")[:LEVELS]
        first = np.full(len(counts), -1)
        first[codes[::-1] + 1] = np.arange(len(codes))[::-1]
        return first[frequent[counts[frequent] > 0]]
    values = column.to_numpy(np.float64)[looked_at]
    order = looked_at[np.argsort(values, kind="stable")][: int((~np.isnan(values)).sum())]
    if not len(order):
        return order
    known, first = np.unique(column.to_numpy()[order], return_index=True)
    if len(known) <= FEW_VALUES:
        return order[first]
    points = TIME_POINTS if role == "timestamp" else POINTS
    chosen = order[np.rint(np.linspace(TAIL, 1 - TAIL, points) * (len(order) - 1)).astype(np.int64)]
    _, first = np.unique(column.to_numpy()[chosen], return_index=True)
    return chosen[first]


def _effect(column: pd.Series[Any], role: str, grid: Codes, predicted: Floats) -> Effect:
    name = str(column.name)
    if column.dtype == "category":
        codes = column.cat.codes.to_numpy()
        counts = np.bincount(codes + 1, minlength=len(column.cat.categories) + 1)
        texts = [None if code < 0 else str(column.cat.categories[code]) for code in codes[grid]]
        return Effect(name, role, texts, predicted, counts[codes[grid] + 1], None)
    values = column.to_numpy(np.float64)
    at = values[grid]
    if len(grid) <= FEW_VALUES:
        return Effect(name, role, at.tolist(), predicted, np.array([(values == each).sum() for each in at]), None)
    density, edges = np.histogram(values, BINS, (at[0], at[-1]))
    return Effect(name, role, at.tolist(), predicted, density, edges)
