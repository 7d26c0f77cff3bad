"""Grows boosted trees with XGBoost, batch of rows by batch of rows: the rows are never in memory all at once.

XGBoost keeps of each value the number of its bin, a byte or two, and asks for the batches several times.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils._openmp_helpers import _openmp_effective_n_threads

from common.boosted import LOG_LOSSES, MOST_CATEGORIES, ROWS_AT_ONCE, BoostedClassifier, BoostedRegressor, as_floats
from common.metrics import Weights

if TYPE_CHECKING:
    import xgboost

Batch = tuple[npt.NDArray[np.float32], npt.NDArray[Any], Weights]
"""Rows: features of shape (rows, columns) with NaN where a value is missing, target and weights of shape (rows,)."""
OBJECTIVES: Mapping[str, str] = {
    "squared_error": "reg:squarederror", "absolute_error": "reg:absoluteerror", "quantile": "reg:quantileerror",
    "poisson": "count:poisson", "gamma": "reg:gamma",
}  # fmt: skip
"""https://xgboost.readthedocs.io/en/release_3.2.0/parameter.html#learning-task-parameters"""
LEAST_SHARE = 1e-6
"""The least share of rows whose log odds trees begin with."""


@dataclass(frozen=True)
class Rows:
    """Where the rows come from.

    Attributes
    ----------
    batches
        Begins a new pass over all rows.
    targets
        The same without the features.
    """

    batches: Callable[[], Iterator[Batch]]
    targets: Callable[[], Iterator[tuple[npt.NDArray[Any], Weights]]]

    @classmethod
    def of(cls, features: Any, target: npt.NDArray[Any], weights: Weights = None) -> Self:
        """Return rows that are in memory, an array or a frame of shape (rows, columns), in blocks."""

        def batches() -> Iterator[Batch]:
            for start in range(0, len(target), ROWS_AT_ONCE):
                rows = slice(start, start + ROWS_AT_ONCE)
                yield as_floats(features, rows), target[rows], None if weights is None else weights[rows]

        return cls(batches, lambda: iter([(target, weights)]))


class _Growing:
    """What both estimators share: a fit on rows that come in batches."""

    _saved_as: type[Any]

    def fit(self, features: Any, target: npt.NDArray[Any], sample_weight: Weights = None) -> Self:
        """Grow the trees on features of shape (rows, columns), and a target and weights of shape (rows,)."""
        return self.fit_rows(Rows.of(features, target, sample_weight))

    def fit_rows(self, rows: Rows) -> Self:
        """Grow the trees on rows that come in batches.

        Raises
        ------
        ValueError
            If the target is of one class.
        """
        chosen, batches = self._told(rows)
        self.trees_, self.n_features_in_ = grow(self, chosen, batches)
        return self

    def fitted(self) -> Any:
        """Return the estimator as it is saved, which can do nothing but predict."""
        saved = self._saved_as(**self.get_params())  # type: ignore[attr-defined] # of scikit-learn's
        for name in saved.OWN:
            setattr(saved, name, getattr(self, name))
        return saved

    def _told(self, rows: Rows) -> tuple[dict[str, Any], Callable[[], Iterator[Batch]]]:
        """Return what XGBoost is told of the objective, and the batches as that takes them."""
        raise NotImplementedError


class XgboostRegressor(_Growing, BoostedRegressor):  # type: ignore[misc] # scikit-learn has no types
    """Grows trees for a number.

    The target is centred and scaled before XGBoost takes it as float32, so that nothing depends on its unit, and no
    digit of a small difference between large numbers is lost.
    """

    _saved_as = BoostedRegressor

    def _told(self, rows: Rows) -> tuple[dict[str, Any], Callable[[], Iterator[Batch]]]:
        mean, deviation = _moments(rows.targets())
        is_log = self.loss in LOG_LOSSES
        centre, scale = (0.0, mean) if is_log else (mean, deviation)
        self.base_, self.scale_ = np.array([math.log(mean) if is_log else mean]), 1.0 if is_log else deviation

        def batches() -> Iterator[Batch]:
            for features, target, weights in rows.batches():
                yield features, (np.asarray(target, np.float64) - centre) / scale, weights

        told = {"objective": OBJECTIVES[self.loss], "base_score": 1.0 if is_log else 0.0}
        return told | ({"quantile_alpha": self.quantile} if self.loss == "quantile" else {}), batches


class XgboostClassifier(_Growing, BoostedClassifier):  # type: ignore[misc] # scikit-learn has no types
    """Grows trees for a class."""

    _saved_as = BoostedClassifier

    def _told(self, rows: Rows) -> tuple[dict[str, Any], Callable[[], Iterator[Batch]]]:
        counts, weighed = _counts(rows.targets())
        self.classes_, self.scale_ = np.array(sorted(counts)), 1.0
        if len(counts) < 2:
            raise ValueError("The target is of one class.")
        classes = sorted(counts)
        each, total = (np.array([found[label] for label in classes]) for found in (counts, weighed))
        balance = each.sum() / (len(each) * each) if self.class_weight == "balanced" else np.ones(len(each))
        is_weighed = self.class_weight == "balanced"

        def batches() -> Iterator[Batch]:
            for features, target, weights in rows.batches():
                codes = np.searchsorted(self.classes_, target)
                weighed = balance[codes] * (1.0 if weights is None else weights) if is_weighed else weights
                yield features, codes, weighed

        if len(classes) > 2:
            self.base_ = np.zeros(len(classes))
            return {"objective": "multi:softprob", "num_class": len(classes), "base_score": 0.5}, batches
        share = _rounded(total[1] * balance[1] / (total * balance).sum())
        share = min(max(share, LEAST_SHARE), 1 - LEAST_SHARE)
        self.base_ = np.array([math.log(share / (1 - share))])
        return {"objective": "binary:logistic", "base_score": share}, batches


def grow(
    estimator: Any, chosen: Mapping[str, Any], batches: Callable[[], Iterator[Batch]]
) -> tuple[dict[str, npt.NDArray[Any]], int]:
    """Return the trees that XGBoost grows, as `common.boosted` holds them, and how many columns they know.

    Parameters
    ----------
    estimator
        Says the hyperparameters.
    chosen
        What XGBoost is told of the objective.
    batches
        Begins a new pass over the rows, their target as the objective takes it.
    """
    # Other estimators do without it.
    import xgboost  # noqa: PLC0415

    columns = next(batches())[0].shape[1]
    matrix = xgboost.QuantileDMatrix(
        _iterator(batches, feature_types(estimator, columns)), max_bin=estimator.max_bin, enable_categorical=True
    )
    booster = xgboost.train({**parameters(estimator), **chosen}, matrix, num_boost_round=estimator.n_estimators)
    return trees_of(booster), columns


def feature_types(estimator: Any, columns: int) -> list[str]:
    """Return what XGBoost is told of each column: `c` for a category, `q` for a number."""
    categorical = set(estimator.categorical_features or ())
    return ["c" if column in categorical else "q" for column in range(columns)]


def parameters(estimator: Any) -> dict[str, Any]:
    """Return what XGBoost is told of how to grow trees.

    References
    ----------
    https://xgboost.readthedocs.io/en/release_3.2.0/parameter.html
    """
    return {
        "tree_method": "hist",
        "learning_rate": estimator.learning_rate,
        "max_depth": estimator.max_depth or 0,
        "max_leaves": estimator.max_leaves or 0,
        "grow_policy": "depthwise" if estimator.max_leaves is None else "lossguide",
        "min_child_weight": estimator.min_child_weight,
        "reg_lambda": estimator.reg_lambda,
        "reg_alpha": estimator.reg_alpha,
        "subsample": estimator.subsample,
        "colsample_bytree": estimator.colsample_bytree,
        "max_bin": estimator.max_bin,
        "seed": estimator.random_state % 2**31,
        "nthread": _openmp_effective_n_threads(),
    }


def _iterator(batches: Callable[[], Iterator[Batch]], types: Sequence[str]) -> xgboost.DataIter:
    import xgboost  # noqa: PLC0415 (as above)

    class Batches(xgboost.DataIter):
        """Hands batches on to XGBoost, as often as it asks for them."""

        def __init__(self) -> None:
            super().__init__()
            self._pass = batches()

        def reset(self) -> None:
            self._pass = batches()

        def next(self, input_data: Callable[..., Any]) -> bool:
            batch = next(self._pass, None)
            if batch is None:
                return False
            features, target, weights = batch
            input_data(data=features, label=target, weight=weights, feature_types=types)
            return True

    return Batches()


def _rounded(value: float) -> float:
    """Return a number with eight significant digits: sums of the same rows in another order differ behind these."""
    return float(f"{value:.8g}")


def _moments(targets: Iterator[tuple[npt.NDArray[Any], Weights]]) -> tuple[float, float]:
    """Return the mean and the standard deviation of a target, the latter 1 where it is the same in all rows."""
    rows, mean, squares = 0.0, 0.0, 0.0
    for target, weights in targets:
        values = np.asarray(target, np.float64)
        each = np.ones(len(values)) if weights is None else weights
        added = float(each.sum())
        part = float(np.average(values, weights=each))
        spread = float((each * (values - part) ** 2).sum())
        # Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
        squares += spread + (part - mean) ** 2 * rows * added / (rows + added)
        mean += (part - mean) * added / (rows + added)
        rows += added
    deviation = _rounded(math.sqrt(squares / rows))
    if deviation == 0:
        return mean, 1.0
    # As the deviation is: a large number that all values share is not to be lost.
    return round(mean, 7 - math.floor(math.log10(deviation))), deviation


def _counts(targets: Iterator[tuple[npt.NDArray[Any], Weights]]) -> tuple[dict[Any, int], dict[Any, float]]:
    """Return how many rows each class has, and how much they count."""
    counts, weighed = dict[Any, int](), dict[Any, float]()
    for target, weights in targets:
        labels, codes, found = np.unique(target, return_inverse=True, return_counts=True)
        sums = found.astype(np.float64) if weights is None else np.bincount(codes, weights)
        for label, count, total in zip(labels.tolist(), found.tolist(), sums.tolist(), strict=True):
            counts[label] = counts.get(label, 0) + count
            weighed[label] = weighed.get(label, 0.0) + total
    return counts, weighed


def trees_of(booster: xgboost.Booster) -> dict[str, npt.NDArray[Any]]:
    """Return a booster's trees as `common.boosted` holds them.

    XGBoost sends a number to the left that is less than its threshold, and a category that is not in its set.

    References
    ----------
    https://xgboost.readthedocs.io/en/release_3.2.0/tutorials/saving_model.html
    """
    model = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]["model"]
    found: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in _OF_NODES}
    sets = list[npt.NDArray[np.uint32]]()
    for tree in model["trees"]:
        for name, values in _nodes_of(tree, sets).items():
            found[name].append(values)
    return {
        **{name: np.concatenate(each) for name, each in found.items()},
        "sets": np.array(sets, np.uint32).reshape(-1, MOST_CATEGORIES // 32),
        "sizes": np.array([len(each) for each in found["left"]], np.int32),
        "outputs": np.array(model["tree_info"], np.int32),
    }


_OF_NODES = ("left", "right", "feature", "value", "missing_left", "category")


def _nodes_of(tree: Mapping[str, Any], sets: list[npt.NDArray[np.uint32]]) -> dict[str, npt.NDArray[Any]]:
    """Return one tree's nodes, and put its sets of categories behind those of the trees before it."""
    left = np.array(tree["left_children"], np.int32)
    value = np.array(tree["split_conditions"], np.float32)
    category = np.full(len(left), -1, np.int32)
    ends = zip(tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True)
    for node, start, size in ends:
        category[node] = len(sets)
        sets.append(_to_the_left(tree["categories"][start : start + size]))
    inner = left != -1
    is_number = inner & (category < 0)
    value[is_number] = np.nextafter(value[is_number], np.float32(-np.inf))
    value[inner & ~is_number] = 0
    return {
        "left": left,
        "right": np.array(tree["right_children"], np.int32),
        "feature": np.where(inner, np.array(tree["split_indices"], np.int32), 0).astype(np.int32),
        "value": value,
        "missing_left": np.where(inner, np.array(tree["default_left"], np.uint8), 0).astype(np.uint8),
        "category": category,
    }


def _to_the_left(to_the_right: Sequence[int]) -> npt.NDArray[np.uint32]:
    """Return the set of all categories but some, as bits."""
    bits = np.ones(MOST_CATEGORIES, np.uint8)
    bits[list(to_the_right)] = 0
    return np.packbits(bits, bitorder="little").view("<u4").astype(np.uint32)
