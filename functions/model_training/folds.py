"""The folds of cross-validation: of the training part alone, and split as the test part was split off."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold, TimeSeriesSplit

from common.conversion import Profile, feature_columns
from common.errors import InvalidDatasetError
from common.metrics import Weights
from common.request import SEARCH_SECONDS, TrainingRequest

if TYPE_CHECKING:
    import pandas as pd

    from common.frames import PartFile

FEW_ROWS = 3000
MOST_FOLDS, FEWER_FOLDS = 5, 3
"""How many folds there are: below `FEW_ROWS` a fold more costs little and tells much."""
MOST_ROWS, MOST_VALUES = 20_000, 600_000
"""How many rows and values of the training part the trials of a minute are fitted on; more in more time."""
MOST_TIMES = 30
"""How many times as much that is at most: a trial is a call of a function, which has 15 minutes."""

Rows = npt.NDArray[np.intp]
Order = npt.NDArray[np.uint64] | None
"""For a split by key the key of each row, for one by time its time, as numbers; None for any other."""


@dataclass(frozen=True)
class Fold:
    """The rows that a model is fitted on, and those that it is scored on."""

    fitted: Rows
    scored: Rows


@dataclass(frozen=True)
class Part:
    """The training part, or some rows of it.

    Attributes
    ----------
    features, target
        Of shape (rows, features) and (rows,).
    weights
        How much each row counts, shape (rows,); None for all alike.
    order
        The rows' keys or times, shape (rows,), for a split by either.
    """

    features: pd.DataFrame
    target: npt.NDArray[Any]
    weights: Weights = None
    order: Order = None

    def take(self, rows: Rows) -> Part:
        """Return some of the rows."""
        return _taken(self, rows)


@dataclass(frozen=True)
class PartOnDisk:
    """The training part, of whose features those of some rows are read when they are asked for; else as `Part`."""

    features: PartFile
    target: npt.NDArray[Any]
    weights: Weights = None
    order: Order = None

    def take(self, rows: Rows) -> Part:
        """Return some of the rows."""
        return _taken(self, rows)


def _taken(part: Part | PartOnDisk, rows: Rows) -> Part:
    weights = None if part.weights is None else part.weights[rows]
    order = None if part.order is None else part.order[rows]
    return Part(part.features.take(rows), part.target[rows], weights, order)


def rows_to_try(request: TrainingRequest, profile: Profile) -> int:
    """Return how many rows of the training part trials are fitted and scored on: in more time, more of them."""
    share = min(float(request.search_seconds or 0) / SEARCH_SECONDS, MOST_TIMES)
    affordable = min(MOST_ROWS, MOST_VALUES // max(1, len(feature_columns(profile))))
    rows: int = profile["rows"]["train"]
    return min(rows, max(FEW_ROWS, int(affordable * share)))


def draw_rows(rows: int, order: Order, by: str, most: int, seed: int) -> Rows:
    """Return at most so many rows to try models on, in their order: all, or a seeded draw; of keys, whole ones.

    Parameters
    ----------
    rows
        How many there are.
    order
        Their keys or times, shape (rows,).
    by
        How the data were split: `rows`, `key`, `time` or `column`.
    most
        How many are drawn; of keys as many as come nearest, one at least.
    seed
        Of the draw.
    """
    if rows <= most:
        return np.arange(rows)
    if by != "key" or order is None:
        return np.sort(np.random.default_rng(seed).permutation(rows)[:most])
    keys, codes, sizes = np.unique(order, return_inverse=True, return_counts=True)
    drawn = np.random.default_rng(seed).permutation(len(keys))
    taken = drawn[: max(FEWER_FOLDS, int(np.searchsorted(np.cumsum(sizes[drawn]), most, side="right")))]
    return np.flatnonzero(np.isin(codes, taken))


def make_folds(
    target: npt.NDArray[Any], order: Order, profile: Mapping[str, Any], seed: int, least: int | None = None
) -> list[Fold]:
    """Return the folds.

    Rows of one key are in one fold. By time, each fold is scored on what comes after all that it is fitted on, and
    rows of one time are never parted; those without a time come first. Classes are spread over the folds.

    Parameters
    ----------
    target
        Shape (rows,).
    order
        The rows' keys or times, shape (rows,).
    profile
        Of the prepared data: its problem, and how it was split.
    seed
        Of the shuffling.
    least
        How many rows a class has that each fold is to meet: there are fewer folds where they are fewer, two at least.

    Raises
    ------
    InvalidDatasetError
        If there are fewer keys or times than two folds need, or no class has two rows.
    """
    count = MOST_FOLDS if len(target) < FEW_ROWS else FEWER_FOLDS
    count = count if least is None else min(count, max(2, least))
    by, stratified = profile["split"]["by"], profile["problem"] == "classification"
    if stratified:
        # scikit-learn takes classes like 0.5 for numbers.
        target = np.unique(target, return_inverse=True)[1]
    if by == "time" and order is not None:
        return _in_time(order, count)
    if by == "key" and order is not None:
        return _by_key(target, order, count, seed, stratified=stratified)
    if stratified:
        count = _bearable(count, int(np.unique(target, return_counts=True)[1].max()))
        return _folds(StratifiedKFold(count, shuffle=True, random_state=seed), target)
    # On a single row some metrics are undefined.
    return _folds(KFold(min(count, max(2, len(target) // 2)), shuffle=True, random_state=seed), target)


def _by_key(
    target: npt.NDArray[Any], order: npt.NDArray[np.uint64], count: int, seed: int, *, stratified: bool
) -> list[Fold]:
    keys = len(np.unique(order))
    if keys < 2:
        raise InvalidDatasetError(
            "The training part has one key only, and cross-validation needs two: search_trials 0 trains without a "
            "search, or choose another split_key."
        )
    kind, most = GroupKFold, len(target)
    if stratified:
        kind, most = StratifiedGroupKFold, int(np.unique(target, return_counts=True)[1].max())
    return _folds(kind(_bearable(min(count, keys), most), shuffle=True, random_state=seed), target, order)


def _in_time(order: npt.NDArray[np.uint64], count: int) -> list[Fold]:
    times, place = np.unique(order, return_inverse=True)
    if len(times) < 2:
        raise InvalidDatasetError(
            "The training part has one time only, and cross-validation needs two: search_trials 0 trains without a "
            "search, or choose another split_time."
        )
    # Over rows in their order, with borders moved to where a time begins.
    ends = np.cumsum(np.bincount(place))
    folds = dict[tuple[int, int], Fold]()
    for before, after in TimeSeriesSplit(min(count, len(order) - 1)).split(order):
        first = int(np.searchsorted(ends, before[-1] + 1, side="left")) + 1
        last = max(int(np.searchsorted(ends, after[-1] + 1, side="left")) + 1, first + 1)
        if first < len(times):
            folds[first, last] = Fold(np.flatnonzero(place < first), np.flatnonzero((place >= first) & (place < last)))
    # Where nearly all rows are of the last time, no border leaves a later one.
    return list(folds.values()) or [
        Fold(np.flatnonzero(place < len(times) - 1), np.flatnonzero(place == len(times) - 1))
    ]


def _bearable(folds: int, rows: int) -> int:
    if rows < 2:
        raise InvalidDatasetError(
            "No class has two rows in the training part: search_trials 0 trains without a search."
        )
    return min(folds, rows)


def _folds(splitter: Any, target: npt.NDArray[Any], groups: Order = None) -> list[Fold]:
    with warnings.catch_warnings():
        # A class of fewer rows than folds: the score of a fold without it says so where the metric needs it.
        warnings.simplefilter("ignore", UserWarning)
        folds = [Fold(*each) for each in splitter.split(np.zeros((len(target), 1)), target, groups)]
    # Keys of very different sizes may leave a fold without a row.
    return [fold for fold in folds if len(fold.fitted) and len(fold.scored)]
