"""Means and variances of columns, block by block, as imputers and scalers of all rows at once would have them.

References
----------
T. Chan, G. Golub and R. LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances",
COMPSTAT 1982.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from common.metrics import Weights


@dataclass
class Moments:
    """The weight, the mean and the squared deviations of the values so far."""

    weight: float = 0.0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, values: npt.NDArray[Any], weights: Weights = None) -> None:
        """Take in some more values, each of the given weight or of 1."""
        if not len(values):
            return
        # Beside the first of them, so that equal values have no deviation, and a large offset takes no digits.
        shifted = np.subtract(values, values[0], dtype=np.float64)
        weight = float(len(values)) if weights is None else float(weights.sum())
        mean = float(shifted.mean() if weights is None else weights @ shifted / weight)
        shifted -= mean
        squares = float(shifted @ (shifted if weights is None else weights * shifted))
        self.merge(Moments(weight, float(values[0]) + mean, squares))

    def merge(self, other: Moments) -> None:
        """Take in what others are the moments of."""
        if not other.weight:
            return
        change, total = other.mean - self.mean, self.weight + other.weight
        self.squares += other.squares + change * change * (self.weight * other.weight / total)
        self.mean += change * (other.weight / total)
        self.weight = total


@dataclass
class ColumnMoments:
    """What an imputer and a scaler learn of a column: the mean of its values, and the moments with gaps filled by it.

    As in scikit-learn, what fills gaps takes no weights (`model_training.training`).
    """

    values: Moments = field(default_factory=Moments)
    weighted: Moments = field(default_factory=Moments)
    missing: float = 0.0
    """The weight of the rows without a value."""

    def add(self, values: npt.NDArray[Any], weights: Weights) -> None:
        """Take in a block's values, NaN where one is missing."""
        unknown = np.isnan(values)
        if unknown.any():
            self.missing += float(unknown.sum() if weights is None else weights[unknown].sum())
            values, weights = values[~unknown], None if weights is None else weights[~unknown]
        self.values.add(values)
        if weights is not None:
            self.weighted.add(values, weights)

    def filled(self) -> Moments:
        """Return the moments of all rows, weighted if weights were given, with the mean in the place of gaps."""
        moments = replace(self.weighted if self.weighted.weight else self.values)
        moments.merge(Moments(self.missing, self.values.mean))
        return moments
