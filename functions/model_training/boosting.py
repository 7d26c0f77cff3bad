"""Grows boosted trees with XGBoost, batch of rows by batch of rows: the rows are never in memory all at once.

XGBoost keeps of each value the number of its bin, a byte or two, and asks for the batches several times.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
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


class _Growing(ABC):
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
        told = self.told(rows.targets())
        return self.take(grow(Growth.of(self, told), rows.batches))

    def take(self, booster: xgboost.Booster) -> Self:
        """Take trees that were grown for it, wherever that was."""
        self.trees_, self.n_features_in_ = trees_of(booster), booster.num_features()
        return self

    @abstractmethod
    def told(self, targets: Iterator[tuple[npt.NDArray[Any], Weights]]) -> Told:
        """Learn of all rows' target what is not for trees to learn, and return what XGBoost is told of it.

        Raises
        ------
        ValueError
            If the target is of one class.
        """

    def fitted(self) -> Any:
        """Return the estimator as it is saved, which can do nothing but predict."""
        saved = self._saved_as(**self.get_params())  # type: ignore[attr-defined] # of scikit-learn's
        for name in saved.OWN:
            setattr(saved, name, getattr(self, name))
        return saved


class XgboostRegressor(_Growing, BoostedRegressor):  # type: ignore[misc] # scikit-learn has no types
    """Grows trees for a number.

    The target is centred and scaled before XGBoost takes it as float32, so that nothing depends on its unit, and no
    digit of a small difference between large numbers is lost.
    """

    _saved_as = BoostedRegressor

    def told(self, targets: Iterator[tuple[npt.NDArray[Any], Weights]]) -> Told:
        """Return what XGBoost is told of the objective."""
        mean, deviation = _moments(targets)
        is_log = self.loss in LOG_LOSSES
        self.base_, self.scale_ = np.array([math.log(mean) if is_log else mean]), 1.0 if is_log else deviation
        chosen = {"objective": OBJECTIVES[self.loss], "base_score": 1.0 if is_log else 0.0}
        chosen |= {"quantile_alpha": self.quantile} if self.loss == "quantile" else {}
        return Told(chosen, centre=0.0 if is_log else mean, scale=mean if is_log else deviation)


class XgboostClassifier(_Growing, BoostedClassifier):  # type: ignore[misc] # scikit-learn has no types
    """Grows trees for a class."""

    _saved_as = BoostedClassifier

    def told(self, targets: Iterator[tuple[npt.NDArray[Any], Weights]]) -> Told:
        """Return what XGBoost is told of the objective."""
        counts, weighed = _counts(targets)
        classes = sorted(counts)
        if len(classes) < 2:
            raise ValueError("The target is of one class.")
        self.classes_, self.scale_ = np.array(classes), 1.0
        each, total = (np.array([found[label] for label in classes]) for found in (counts, weighed))
        balance = each.sum() / (len(each) * each) if self.class_weight == "balanced" else None
        if len(classes) > 2:
            self.base_ = np.zeros(len(classes))
            chosen = {"objective": "multi:softprob", "num_class": len(classes), "base_score": 0.5}
            return Told(chosen, classes=self.classes_, balance=balance)
        total = total if balance is None else total * balance
        share = min(max(_rounded(total[1] / total.sum()), LEAST_SHARE), 1 - LEAST_SHARE)
        self.base_ = np.array([math.log(share / (1 - share))])
        chosen = {"objective": "binary:logistic", "base_score": share}
        return Told(chosen, classes=self.classes_, balance=balance)


@dataclass(frozen=True)
class Told:
    """What XGBoost is told of a target.

    Attributes
    ----------
    chosen
        Parameters: the objective, and what trees begin with.
    centre, scale
        What is taken off each number, and what it is divided by then.
    classes
        The labels, sorted; None for numbers.
    balance
        What the weight of a row of each class is multiplied by, shape (classes,); None for nothing.
    """

    chosen: Mapping[str, Any]
    centre: float = 0.0
    scale: float = 1.0
    classes: npt.NDArray[Any] | None = None
    balance: npt.NDArray[np.float64] | None = None

    def labels(self, target: npt.NDArray[Any], weights: Weights) -> tuple[npt.NDArray[Any], Weights]:
        """Return a target, of shape (rows,), and weights as XGBoost gets them."""
        if self.classes is None:
            return (np.asarray(target, np.float64) - self.centre) / self.scale, weights
        codes = np.searchsorted(self.classes, target)
        if self.balance is None:
            return codes, weights
        return codes, self.balance[codes] * (1.0 if weights is None else weights)


@dataclass(frozen=True)
class Growth:
    """How trees are to be grown: all that XGBoost is told, beside the rows.

    Attributes
    ----------
    parameters
        Of XGBoost.
    trees
        How many rounds there are.
    categorical
        The columns that hold categories.
    told
        Of the target.
    """

    parameters: Mapping[str, Any]
    trees: int
    categorical: tuple[int, ...]
    told: Told

    @classmethod
    def of(cls, estimator: Any, told: Told) -> Self:
        """Return how the trees of an estimator are to be grown."""
        chosen = {**parameters(estimator), **told.chosen}
        return cls(chosen, estimator.n_estimators, tuple(estimator.categorical_features or ()), told)

    def feature_types(self, columns: int) -> list[str]:
        """Return what XGBoost is told of each column: `c` for a category, `q` for a number."""
        return ["c" if column in self.categorical else "q" for column in range(columns)]


def grow(
    growth: Growth,
    batches: Callable[[], Iterator[Batch]],
    begun: xgboost.Booster | None = None,
    callbacks: Sequence[Any] = (),
) -> xgboost.Booster:
    """Return the trees that XGBoost grows.

    Parameters
    ----------
    growth
        How they are to be grown.
    batches
        Begins a new pass over the rows.
    begun
        The first of the trees, where a fit goes on that was broken off.
    callbacks
        XGBoost's, which see each round.
    """
    # Other estimators do without it.
    import xgboost  # noqa: PLC0415

    # As few threads as scikit-learn's code has, where that is bidden to.
    threads = _openmp_effective_n_threads()
    matrix = xgboost.QuantileDMatrix(
        _iterator(growth, batches), max_bin=growth.parameters["max_bin"], enable_categorical=True, nthread=threads
    )
    return xgboost.train(
        {**growth.parameters, "nthread": threads},
        matrix,
        num_boost_round=growth.trees - (begun.num_boosted_rounds() if begun else 0),
        xgb_model=begun,
        callbacks=list(callbacks),
    )


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
    }


def _iterator(growth: Growth, batches: Callable[[], Iterator[Batch]]) -> xgboost.DataIter:
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
            labels, weights = growth.told.labels(target, weights)
            types = growth.feature_types(features.shape[1])
            input_data(data=features, label=labels, weight=weights, feature_types=types)
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
