"""Looks for groups of test rows on which a model is worse than on the others, and says how sure that is.

Whoever looks at many groups finds a bad one by chance: all intervals hold together with the confidence that they say,
for each is as wide as the number of groups asks for (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from common.bootstrap import CONFIDENCE
from common.metric_table import METRIC_TABLE, Scoring
from common.metrics import Codes, brier_of_rows, class_codes
from common.words import value_in_words
from model_evaluation.evaluation import HeldOut

if TYPE_CHECKING:
    import pandas as pd

LEAST_ROWS = 30
"""A group of fewer rows, by their weights, is not looked at: its interval would say nothing."""
SHOWN, NOTABLE = 10, 1.0
"""How many groups are shown at most, and by how many standard errors each has to be worse than the others."""
PARTS, SPARE_ROWS = 4, 5
"""In how many parts of equal rows a number's values are looked at; in fewer, where these would be too small."""
SEEN_ROWS = 1000
"""On how many rows it is seen whether a number has few values."""
MOST_COLUMNS = 100
"""How many categorical columns are looked at."""
MISSING = "missing"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Slice:
    """A group of rows.

    Attributes
    ----------
    column, group
        The column, and which of its values the rows have, in words.
    rows
        How many there are.
    value, low, high
        The metric on them with its interval.
    others
        The metric on all other rows.
    worse
        Whether the model is worse on them than on the others beyond chance.
    """

    column: str
    group: str
    rows: int
    value: float
    low: float
    high: float
    others: float
    worse: bool


@dataclass(frozen=True)
class Slices:
    """What was found: the worst groups first, the metric that compares them, and in how many groups of which columns.

    Attributes
    ----------
    metric
        The metric that decides, or the one of its kind that each row has a share in.
    looked_at, columns
        How many groups there were, and the names of the columns that they are of.
    worst
        The groups on which the model seems worse than on the others.
    """

    metric: str
    looked_at: int
    columns: list[str]
    worst: list[Slice]

    @property
    def weak(self) -> list[Slice]:
        """The groups on which the model is worse beyond chance."""
        return [each for each in self.worst if each.worse]


@dataclass(frozen=True)
class _Loss:
    """What each row adds to a metric that is a mean, and the metric as a function of that mean."""

    metric: str
    of_rows: Floats
    of_mean: Callable[[Floats], Floats]


@dataclass(frozen=True)
class _Groups:
    """The groups of one column: the position of each row's, how many there are, and what each is called."""

    column: str
    codes: Codes
    size: int
    called: Callable[[int], str]


# Of groups without a row there is no mean, and squares of the largest numbers overflow: neither is looked at.
@np.errstate(invalid="ignore", divide="ignore", over="ignore")
def find_slices(  # noqa: PLR0913, PLR0917 - a model's predictions, how they are scored, and what to look at
    part: HeldOut,
    predictions: npt.NDArray[Any],
    classes: npt.NDArray[Any] | None,
    metric: str,
    scoring: Scoring,
    profile: Mapping[str, Mapping[str, Any]],
    important: Sequence[str],
) -> Slices:
    """Return the groups on which the model seems worst.

    A group's mean loss is compared with that of all other rows by Welch's interval; its variance is taken for no
    smaller than that of all rows, for a small group whose losses happen to be alike would look surer than it is.

    Parameters
    ----------
    part
        The test part.
    predictions
        Values of shape (rows,) for regression, probabilities of shape (rows, classes) for classification.
    classes
        Those of the probabilities' columns; None for regression.
    metric, scoring
        The metric that decides, and what it has to know.
    profile
        The profile's entries of the features, by their names.
    important
        The features whose numbers are looked at, in parts; of texts all features are.

    References
    ----------
    B. L. Welch, "The generalization of Student's problem when several different population variances are involved",
    Biometrika 34, 1947.
    """
    loss = _loss(metric, part.target, predictions, classes, scoring)
    weights = np.ones(len(part.target)) if part.weights is None else part.weights
    texts = [str(name) for name, dtype in part.features.dtypes.items() if dtype == "category"][:MOST_COLUMNS]
    # No two rows are a group by their free texts.
    numbers = [name for name in important if part.features[name].dtype not in ("category", "str")]
    columns = [
        *(_texts(name, part.features[name]) for name in texts),
        *(_values_or_parts(name, part.features[name].to_numpy(np.float64), profile[name]["role"]) for name in numbers),
    ]
    if not columns:
        return Slices(loss.metric, 0, [], [])
    kept, excess, table = _compared(loss, weights, columns)
    owners = [(column, code) for column in columns for code in range(column.size)]
    names = list(dict.fromkeys(owners[each][0].column for each in np.flatnonzero(kept)))
    order = np.argsort(-excess, kind="stable")
    shown = [each for each in order[:SHOWN] if excess[each] > NOTABLE]
    worst = []
    for each in shown:
        column, code = owners[each]
        rows, value, low, high, others, worse = (row[each].item() for row in table)
        worst.append(Slice(column.column, column.called(code), int(rows), value, low, high, others, bool(worse)))
    return Slices(loss.metric, int(kept.sum()), names, worst)


def _texts(name: str, column: pd.Series[Any]) -> _Groups:
    levels = column.cat.categories
    # Code -1, of what is missing, comes last.
    codes = column.cat.codes.to_numpy(np.int64) % (len(levels) + 1)
    return _Groups(name, codes, len(levels) + 1, lambda code: MISSING if code == len(levels) else str(levels[code]))


def _values_or_parts(name: str, values: Floats, role: str) -> _Groups:
    """Return a number's values, where they are few, or else parts of about equal rows, by limits that are values."""
    missing = np.isnan(values)
    present = values[~missing]
    limits = np.unique(present[:SEEN_ROWS])
    are_values = len(limits) <= PARTS and bool(np.isin(present, limits).all())
    if not are_values:
        parts = min(PARTS, max(2, len(present) // (LEAST_ROWS + SPARE_ROWS)))
        limits = np.unique(np.quantile(present, np.arange(1, parts) / parts, method="inverted_cdf"))
    # Behind the last part is what is missing.
    codes = np.where(missing, len(limits) + 1, np.searchsorted(limits, values))
    words = [value_in_words(each, role) for each in limits]

    def called(code: int) -> str:
        if code > len(words):
            return MISSING
        if are_values:
            return words[code]
        above = f"above {words[code - 1]}" if code else ""
        up_to = f"up to {words[code]}" if code < len(words) else ""
        return ", ".join(filter(None, (above, up_to)))

    return _Groups(name, codes, len(limits) + 2, called)


def _compared(
    loss: _Loss, weights: Floats, columns: Sequence[_Groups]
) -> tuple[npt.NDArray[np.bool_], Floats, list[npt.NDArray[Any]]]:
    """Compare each group with all other rows.

    Returns
    -------
    kept
        Which groups are looked at, shape (groups,).
    excess
        By how many standard errors the mean loss is above that of the others; minus infinity where it is not looked at.
    table
        Rows, value, low, high, the others' value and whether it is worse, each of shape (groups,).
    """
    added = (np.ones(len(weights)), weights, weights**2, weights * loss.of_rows, weights * loss.of_rows**2)
    sums = np.concatenate(
        [[np.bincount(column.codes, each, column.size) for each in added] for column in columns], axis=1
    )
    total = np.array([each.sum() for each in added])[:, None]
    mean, variance, worth = _moments(sums)
    others, others_variance, others_worth = _moments(total - sums)
    # A group whose losses happen to be alike is not taken for surer than any other.
    variance = np.maximum(variance, _moments(total)[1])
    kept = (worth >= LEAST_ROWS) & (others_worth >= LEAST_ROWS) & np.isfinite(mean + others + variance)
    tail = (1 - CONFIDENCE) / 2 / max(1, int(kept.sum()))
    times = -stdtrit(np.maximum(worth - 1, 1), tail)
    own, error = np.sqrt(variance / worth), np.sqrt(variance / worth + others_variance / others_worth)
    excess = np.where(kept, np.nan_to_num((mean - others) / error), -np.inf)
    ends = np.sort([loss.of_mean(mean - times * own), loss.of_mean(mean + times * own)], axis=0)
    table = [sums[0], loss.of_mean(mean), *ends, loss.of_mean(others), excess > times]
    return kept, excess, table


def _moments(sums: Floats) -> tuple[Floats, Floats, Floats]:
    """Return weighted mean, variance, and how many rows of equal weight tell as much, of sums of shape (5, groups)."""
    _, weight, squares, losses, of_squares = sums
    worth = weight**2 / squares
    mean = losses / weight
    return mean, np.maximum(of_squares / weight - mean**2, 0) * worth / (worth - 1), worth


def _loss(
    metric: str,
    target: npt.NDArray[Any],
    predictions: npt.NDArray[Any],
    classes: npt.NDArray[Any] | None,
    scoring: Scoring,
) -> _Loss:
    if classes is None:
        return _loss_of_regression(metric, target.astype(np.float64), np.asarray(predictions, np.float64), scoring)
    codes, _ = class_codes(classes, target)
    if METRIC_TABLE[metric].of_labels:
        return _Loss("accuracy", (codes != predictions.argmax(axis=1)) * 1.0, lambda mean: 1 - mean.clip(0, 1))
    known = codes < len(classes)
    if metric == "log_loss":
        right = np.where(known, predictions[np.arange(len(codes)), np.where(known, codes, 0)], 0)
        return _Loss(metric, -np.log(np.maximum(right, np.finfo(np.float64).eps)), _positive)
    # What ranks has no loss of its own: the probabilities' errors stand for it.
    return _Loss("brier", brier_of_rows(codes, predictions), _positive)


def _loss_of_regression(metric: str, target: Floats, predicted: Floats, scoring: Scoring) -> _Loss:
    error = target - predicted
    if metric in ("mae", "medae"):
        return _Loss("mae", np.abs(error), _positive)
    if metric == "mape":
        return _Loss(metric, np.abs(error) / np.maximum(np.abs(target), np.finfo(np.float64).eps), _positive)
    if metric == "pinball":
        return _Loss(metric, np.maximum(scoring.quantile * error, (scoring.quantile - 1) * error), _positive)
    if metric == "rmsle":
        return _Loss(metric, (np.log1p(target) - np.log1p(predicted)) ** 2, lambda mean: np.sqrt(_positive(mean)))
    return _Loss("rmse", error**2, lambda mean: np.sqrt(_positive(mean)))


def _positive(mean: Floats) -> Floats:
    return np.maximum(mean, 0)
