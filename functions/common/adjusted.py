"""Fitted estimators with what was learned of their errors on rows that they were not fitted on.

The estimator itself stays as it is. These classes hold numbers alone, which `checked` looks at before a model of a file
is used.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from common.errors import UntrustedModelError

Floats = npt.NDArray[np.float64]


def calibrated(
    probabilities: npt.NDArray[np.floating[Any]], slope: float, offsets: npt.NDArray[np.floating[Any]], floor: float
) -> Floats:
    """Return probabilities that are as frequent as they say, shape (rows, classes).

    Parameters
    ----------
    probabilities
        Of an estimator, shape (rows, classes).
    slope
        What their logarithms are multiplied by: below 1 where the estimator is too sure.
    offsets
        What is added then, shape (classes,).
    floor
        The least probability that has a logarithm of its own.

    References
    ----------
    J. Platt, "Probabilistic outputs for support vector machines", Advances in Large Margin Classifiers, 1999: with an
    offset, of two classes.
    C. Guo et al., "On calibration of modern neural networks", ICML 2017: without offsets, of several.
    """
    logarithms = np.log(np.maximum(np.asarray(probabilities, np.float64), floor))
    scaled: Floats = softmax(slope * logarithms + offsets, axis=1)
    return scaled


class _Adjusted(BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """What both kinds share: they are fitted when they are made, and look like the estimator within."""

    estimator: Any

    def fit(self, features: Any, target: Any = None) -> Self:  # noqa: ARG002 (as scikit-learn's FrozenEstimator)
        """Do nothing: what is within is fitted."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    @property
    def n_features_in_(self) -> int:
        """How many columns the estimator takes."""
        return int(self.estimator.n_features_in_)


class AdjustedClassifier(ClassifierMixin, _Adjusted):  # type: ignore[misc] # as above
    """A fitted classifier with calibrated probabilities, or a decision other than for the most probable class.

    Parameters
    ----------
    estimator
        Fitted.
    slope, offsets, floor
        Of `calibrated`; None for the probabilities as they are.
    multipliers
        What each probability is multiplied by before the highest decides, shape (classes,), with a sum of 1: of two
        classes the first is the probability from which on the second is predicted. None for the most probable class.
    """

    def __init__(
        self,
        estimator: Any,
        slope: float | None = None,
        offsets: Floats | None = None,
        floor: float | None = None,
        multipliers: Floats | None = None,
    ) -> None:
        self.estimator = estimator
        self.slope = slope
        self.offsets = offsets
        self.floor = floor
        self.multipliers = multipliers

    @property
    def classes_(self) -> npt.NDArray[Any]:
        """The class labels, sorted."""
        classes: npt.NDArray[Any] = self.estimator.classes_
        return classes

    def predict_proba(self, features: Any) -> npt.NDArray[np.floating[Any]]:
        """Return the probabilities, shape (rows, classes)."""
        probabilities: npt.NDArray[np.floating[Any]] = self.estimator.predict_proba(features)
        if self.slope is None or self.offsets is None or self.floor is None:
            return probabilities
        return calibrated(probabilities, self.slope, self.offsets, self.floor)

    def predict(self, features: Any) -> npt.NDArray[Any]:
        """Return the class that is decided for, shape (rows,)."""
        probabilities = self.predict_proba(features)
        if self.multipliers is not None:
            probabilities = probabilities * self.multipliers
        decided: npt.NDArray[Any] = self.classes_[probabilities.argmax(axis=1)]
        return decided

    def checked(self) -> None:
        """Refuse what a file says of it, and training never writes.

        Raises
        ------
        UntrustedModelError
            If a number is out of its range, or there are not as many as classes.
        """
        calibration = (self.slope, self.offsets, self.floor)
        is_calibrated = all(each is not None for each in calibration)
        right = is_calibrated or all(each is None for each in calibration)
        if is_calibrated:
            right = _is_positive(self.slope) and _is_share(self.floor) and self._is_of_classes(self.offsets)
        if self.multipliers is not None:
            right = right and self._is_of_classes(self.multipliers) and bool((self.multipliers > 0).all())
        if not right:
            raise UntrustedModelError("The model file holds a calibration or a decision that training does not make.")

    def _is_of_classes(self, values: Any) -> bool:
        """Return whether values are one finite number for each class."""
        is_array = type(values) is np.ndarray and values.dtype == np.float64
        return is_array and values.shape == self.classes_.shape and bool(np.isfinite(values).all())


class IntervalRegressor(RegressorMixin, _Adjusted):  # type: ignore[misc] # as above
    """A fitted regressor that knows how far its predictions are off.

    Parameters
    ----------
    estimator
        Fitted.
    share
        Of how many rows the interval is to hold the target.
    width
        How far the interval reaches to each side.
    """

    def __init__(self, estimator: Any, share: float, width: float) -> None:
        self.estimator = estimator
        self.share = share
        self.width = width

    def predict(self, features: Any) -> npt.NDArray[np.floating[Any]]:
        """Return what the estimator predicts, shape (rows,)."""
        predicted: npt.NDArray[np.floating[Any]] = self.estimator.predict(features)
        return predicted

    def checked(self) -> None:
        """Refuse what a file says of it, and training never writes.

        Raises
        ------
        UntrustedModelError
            If a number is out of its range.
        """
        width_is_right = type(self.width) is float and np.isfinite(self.width) and self.width >= 0
        if not (_is_share(self.share) and width_is_right):
            raise UntrustedModelError("The model file holds an interval that training does not make.")


def _is_positive(value: Any) -> bool:
    return type(value) is float and bool(np.isfinite(value)) and value > 0


def _is_share(value: Any) -> bool:
    return _is_positive(value) and value < 1
