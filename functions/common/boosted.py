"""Boosted trees that XGBoost has grown, as arrays of numbers, predicted by scikit-learn's code for boosted trees.

XGBoost follows the nodes of its own files without a look at bounds: with a byte changed they end the process. Here no
file of its is read, and where predictions are made it is not needed: `checked` looks at every node before any is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils._openmp_helpers import _openmp_effective_n_threads

from common.errors import UntrustedModelError

Floats = npt.NDArray[np.float64]
LOG_LOSSES = frozenset({"poisson", "gamma"})
"""Losses whose trees add up to a logarithm."""
MOST_CATEGORIES = 256
"""How many categories of a column trees can tell apart: for each a bit is set."""
ROWS_AT_ONCE = 1 << 16
"""How many rows are predicted at once: trees take float64, and a copy of all rows would take as much as they do."""
FEW_STEPS = 1_000_000
"""Up to so many trees times rows one thread predicts: others would take longer to begin."""
ARRAYS: Mapping[str, type[np.generic]] = {
    "left": np.int32, "right": np.int32, "feature": np.int32, "value": np.float32, "missing_left": np.uint8,
    "category": np.int32, "sets": np.uint32, "sizes": np.int32, "outputs": np.int32,
}  # fmt: skip


class _Boosted(BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """Trees, and what their sum is added to.

    Attributes
    ----------
    trees_ : dict of numpy.ndarray
        Of all trees' nodes, one tree after the other: `left` and `right`, the children's places in their tree, -1 for a
        leaf; `feature`; `value`, a leaf's or the largest one that goes to the left; `missing_left`; `category`, the row
        of `sets` (8 x 32 bits) that says which categories go to the left, -1 for a number. Of the trees: `sizes`, the
        number of nodes, and `outputs`, which output each adds to.
    base_ : numpy.ndarray of shape (outputs,)
        What each output begins with.
    scale_ : float
        What the sum of the trees is multiplied by.
    n_features_in_ : int
        How many columns it takes.
    """

    OWN: ClassVar[frozenset[str]] = frozenset({"trees_", "base_", "scale_", "n_features_in_"})

    def __init__(  # noqa: PLR0913 - scikit-learn reads the hyperparameters off this signature
        self,
        *,
        n_estimators: int = 100,
        learning_rate: float = 0.3,
        max_depth: int | None = 6,
        max_leaves: int | None = None,
        min_child_weight: float = 1.0,
        reg_lambda: float = 1.0,
        reg_alpha: float = 0.0,
        subsample: float = 1.0,
        colsample_bytree: float = 1.0,
        max_bin: int = 256,
        loss: str = "squared_error",
        quantile: float | None = None,
        class_weight: str | None = None,
        categorical_features: list[int] | None = None,
        random_state: int = 0,
    ) -> None:
        self.n_estimators = n_estimators
        self.learning_rate = learning_rate
        self.max_depth = max_depth
        self.max_leaves = max_leaves
        self.min_child_weight = min_child_weight
        self.reg_lambda = reg_lambda
        self.reg_alpha = reg_alpha
        self.subsample = subsample
        self.colsample_bytree = colsample_bytree
        self.max_bin = max_bin
        self.loss = loss
        self.quantile = quantile
        self.class_weight = class_weight
        self.categorical_features = categorical_features
        self.random_state = random_state

    trees_: Mapping[str, npt.NDArray[Any]]
    base_: Floats
    scale_: float
    n_features_in_: int

    def fit(self, features: Any, target: Any = None) -> Self:  # noqa: ARG002 (as scikit-learn's FrozenEstimator)
        """Do nothing: the trees are there, for they are grown elsewhere."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "trees_")

    def __getstate__(self) -> dict[str, Any]:
        """Return what is saved: not what was assembled to predict with."""
        return {name: value for name, value in vars(self).items() if name != "_assembled"}

    def raw(self, features: Any) -> Floats:
        """Return what the trees add up to, shape (rows, outputs), of features of shape (rows, columns).

        Raises
        ------
        ValueError
            If there are other columns than the trees know.
        """
        if features.shape[1] != self.n_features_in_:
            raise ValueError(f"There are {features.shape[1]:,} columns, and the trees know {self.n_features_in_:,}.")
        if not hasattr(self, "_assembled"):
            self._assembled = _Assembled(self.trees_, self.n_features_in_)
        rows = len(features)
        sums = np.zeros((rows, len(self.base_)))
        for start in range(0, rows, ROWS_AT_ONCE):
            block = slice(start, start + ROWS_AT_ONCE)
            self._assembled.add(as_floats(features, block), sums[block])
        return self.base_ + self.scale_ * sums

    def checked(self) -> None:
        """Refuse what a file says of it, and training never writes.

        Raises
        ------
        UntrustedModelError
            If anything is missing or of another type, or a node leads anywhere else than further into its tree, asks
            for a column or for categories that are not there, or adds to an output that is none.
        """
        if set(vars(self)) != {*self.get_params(), *self.OWN} or not self._is_sound():
            raise UntrustedModelError("The model file holds boosted trees that training does not grow.")

    def _is_sound(self) -> bool:
        trees = self.trees_
        if type(self.n_features_in_) is not int or type(self.scale_) is not float or type(trees) is not dict:
            return False
        if set(trees) != set(ARRAYS) or any(not _is_array(trees[name], dtype) for name, dtype in ARRAYS.items()):
            return False
        finite = np.isfinite(self.scale_) and np.isfinite(trees["value"]).all()
        return bool(finite and _is_array(self.base_, np.float64) and np.isfinite(self.base_).all()) and _leads_inwards(
            trees, self.n_features_in_, self.base_.size
        )


class BoostedRegressor(RegressorMixin, _Boosted):  # type: ignore[misc] # as above
    """Boosted trees that predict a number."""

    def predict(self, features: Any) -> Floats:
        """Return the predictions, shape (rows,), of features of shape (rows, columns)."""
        raw = self.raw(features)[:, 0]
        return np.exp(raw) if self.loss in LOG_LOSSES else raw

    def _is_sound(self) -> bool:
        return super()._is_sound() and self.base_.shape == (1,)


class BoostedClassifier(ClassifierMixin, _Boosted):  # type: ignore[misc] # as above
    """Boosted trees that predict a class.

    Attributes
    ----------
    classes_ : numpy.ndarray of shape (classes,)
        The labels, sorted. Of two, the trees have one output: the log odds of the second.
    """

    classes_: npt.NDArray[Any]
    OWN: ClassVar[frozenset[str]] = _Boosted.OWN | {"classes_"}

    def predict_proba(self, features: Any) -> Floats:
        """Return the probabilities, shape (rows, classes), of features of shape (rows, columns)."""
        raw = self.raw(features)
        if len(self.classes_) > 2:
            probabilities: Floats = softmax(raw, axis=1)
            return probabilities
        second = expit(raw[:, 0])
        return np.column_stack([1 - second, second])

    def predict(self, features: Any) -> npt.NDArray[Any]:
        """Return the most probable class, shape (rows,)."""
        most_probable: npt.NDArray[Any] = self.classes_[self.predict_proba(features).argmax(axis=1)]
        return most_probable

    def _is_sound(self) -> bool:
        classes = self.classes_
        labels = type(classes) is np.ndarray and classes.ndim == 1 and len(classes) > 1 and classes.dtype.kind in "bifU"
        return super()._is_sound() and labels and self.base_.shape == (len(classes) if len(classes) > 2 else 1,)


def as_floats(features: Any, rows: slice) -> npt.NDArray[np.float32]:
    """Return some rows of an array or a frame as trees see them, in float32; what is beyond that is infinite."""
    some = features.iloc[rows] if hasattr(features, "iloc") else features[rows]
    with np.errstate(over="ignore"):
        return np.asarray(some, dtype=np.float32)


class _Assembled:
    """Trees as scikit-learn's code for boosted trees takes them."""

    def __init__(self, trees: Mapping[str, npt.NDArray[Any]], columns: int) -> None:
        from sklearn.ensemble._hist_gradient_boosting.common import (  # noqa: PLC0415 (a file of no trees goes without)
            PREDICTOR_RECORD_DTYPE,
        )

        is_leaf = trees["left"] < 0
        nodes = np.zeros(len(is_leaf), PREDICTOR_RECORD_DTYPE)
        nodes["is_leaf"] = is_leaf
        nodes["value"] = nodes["num_threshold"] = trees["value"]
        nodes["feature_idx"] = trees["feature"]
        nodes["missing_go_to_left"] = trees["missing_left"]
        nodes["left"], nodes["right"] = (np.where(is_leaf, 0, trees[side]) for side in ("left", "right"))
        nodes["is_categorical"] = trees["category"] >= 0
        nodes["bitset_idx"] = np.maximum(trees["category"], 0)
        ends = np.cumsum(trees["sizes"])
        self._trees = [
            (nodes[end - size : end], output)
            for end, size, output in zip(ends, trees["sizes"], trees["outputs"], strict=True)
        ]
        self._sets = np.ascontiguousarray(trees["sets"])
        # Every category is known: what goes to the left is said, and all others go to the right.
        self._known = np.full((1, 8), np.iinfo(np.uint32).max, np.uint32)
        self._place = np.zeros(columns, np.uint32)

    def add(self, features: npt.NDArray[np.float32], sums: Floats) -> None:
        """Add what each tree says of features of shape (rows, columns) to sums of shape (rows, outputs)."""
        from sklearn.ensemble._hist_gradient_boosting._predictor import (  # noqa: PLC0415 (as above)
            _predict_from_raw_data,
        )

        values, found = features.astype(np.float64), np.empty(len(features))
        few = len(features) * len(self._trees) <= FEW_STEPS
        threads = 1 if few else _openmp_effective_n_threads()
        for nodes, output in self._trees:
            _predict_from_raw_data(nodes, values, self._sets, self._known, self._place, threads, found)
            sums[:, output] += found


def _is_array(value: Any, dtype: type[np.generic]) -> bool:
    return type(value) is np.ndarray and value.dtype == dtype


def _leads_inwards(trees: Mapping[str, npt.NDArray[Any]], columns: int, outputs: int) -> bool:
    """Return whether every path through the trees ends in a leaf of its tree, by columns and categories that exist."""
    of_nodes = [trees[name] for name in ("left", "right", "feature", "value", "missing_left", "category")]
    nodes, sets = of_nodes[0].size, trees["sets"]
    sizes = trees["sizes"].astype(np.int64)
    if any(each.shape != (nodes,) for each in of_nodes) or sets.ndim != 2 or sets.shape[1] != MOST_CATEGORIES // 32:
        return False
    if sizes.ndim != 1 or sizes.shape != trees["outputs"].shape or (sizes < 1).any() or sizes.sum() != nodes:
        return False
    inner = trees["left"] != -1
    place = np.arange(nodes) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    children = [trees[side][inner].astype(np.int64) for side in ("left", "right")]
    further = all(((each > place[inner]) & (each < np.repeat(sizes, sizes)[inner])).all() for each in children)
    return bool(
        further
        and (trees["right"][~inner] == -1).all()
        and _is_within(trees["feature"], 0, columns)
        and _is_within(trees["category"], -1, len(sets))
        and (trees["category"][~inner] == -1).all()
        and _is_within(trees["outputs"], 0, outputs)
    )


def _is_within(values: npt.NDArray[Any], least: int, end: int) -> bool:
    return bool(((values >= least) & (values < end)).all())
