"""Sums of products of the columns that features make of rows, and the fit of a linear model on them.

References
----------
A. Miller, "Algorithm AS 274: Least squares routines to supplement those of Gentleman", Applied Statistics 41, 1992:
least squares need to know no more of the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from scipy import linalg, sparse

from common.conversion import numbers
from common.metrics import Weights

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator
    from sklearn.compose import ColumnTransformer

    from common.frames import PartFile

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

_ROUNDING = 1e-13
"""Which share of a sum of squares is what adding them up in any order leaves of 0."""
_REPEATED, _NEARLY_REPEATED = 1e-13, 1e-7
"""Which shares of the largest eigenvalue are those of columns that repeat others nearly, to a digit that is told: what
differs less is rounding, and of what differs more a coefficient keeps nine digits."""


class _Number(NamedTuple):
    """A column that is filled and scaled."""

    name: str
    filling: float
    mean: float
    scale: float


class _OneHot(NamedTuple):
    """A column that becomes one for each of its values: texts, or numbers in ascending order.

    Attributes
    ----------
    values
        Those that are there.
    first
        The place of the first of them among all one-hot columns.
    missing
        The place of a missing value.
    """

    name: str
    values: pa.StringArray | Floats
    first: int
    missing: int

    @classmethod
    def of(cls, name: str, categories: npt.NDArray[Any], first: int) -> Self:
        """Return that of the values that an encoder knows, of which a missing one is the last."""
        known = pd.notna(categories)
        values = categories[known]
        # Where an encoder knows no missing value, all are, and training has put one value in their place.
        missing = first if known.all() else first + len(values)
        return cls(name, pa.array(values, pa.string()) if values.dtype == object else values, first, missing)

    def places(self, column: pa.ChunkedArray) -> Places:
        """Return the place of each row's value, shape (rows,)."""
        if isinstance(self.values, np.ndarray):
            found = numbers(column)
            return np.where(np.isnan(found), self.missing, self.first + np.searchsorted(self.values, found))
        return np.concatenate([self._places_of_texts(chunk) for chunk in column.chunks])

    def _places_of_texts(self, chunk: pa.DictionaryArray) -> Places:
        # A file's dictionary may have texts that no row has.
        known = pc.fill_null(pc.index_in(chunk.dictionary, self.values), 0).to_numpy()
        places = np.append(self.first + known.astype(np.intp), self.missing)
        codes = chunk.indices.fill_null(len(known)) if chunk.null_count else chunk.indices
        found: Places = places[codes.to_numpy()]
        return found


class Design:
    """What fitted features make of a block of rows: dense columns, and where the ones of the one-hot columns are.

    What `features.transform` makes of the rows as a frame, without a frame.

    Parameters
    ----------
    features
        As `model_training.features.build_features` makes it for linear models, fitted.
    part
        The part that the rows are of.
    empty
        The columns that have no value, in whose place training puts one.

    Attributes
    ----------
    dense, one_hot
        The places of either columns among those that `features` makes.
    """

    def __init__(self, features: ColumnTransformer, part: PartFile, empty: frozenset[str]) -> None:
        self._part, self._empty = part, empty
        self._numbers, self._one_hots = list[_Number](), list[_OneHot]()
        self._indicated, self._times, self._dates = list[str](), list[str](), None
        dense, one_hot = list[int](), list[int]()
        for name, steps, columns in features.transformers_:
            places = features.output_indices_[name]
            made = one_hot if name in ("categorical", "values") else dense
            if name.startswith("numeric"):
                scaler = steps["scale"]
                learned = steps["impute"].statistics_, scaler.mean_, scaler.scale_
                self._numbers += [_Number(*each) for each in zip(columns, *learned, strict=True)]
            elif name == "missing":
                self._indicated = list(columns)
            elif name == "dates":
                self._times, self._dates = list(columns), steps
            elif made is one_hot:
                firsts = len(one_hot) + np.cumsum([0, *(len(values) for values in steps.categories_)])
                self._one_hots += map(_OneHot.of, columns, steps.categories_, firsts[:-1].tolist())
            made += range(places.start, places.stop)
        self.dense, self.one_hot = np.array(dense, np.intp), np.array(one_hot, np.intp)

    def of(self, block: pa.Table) -> tuple[Floats, Places]:
        """Return what becomes of a block of rows.

        Returns
        -------
        dense : numpy.ndarray of shape (rows, 1 + dense columns + 1)
            With ones before the dense columns, and behind them a column to be filled.
        ones : numpy.ndarray of shape (rows, columns that are one-hot)
            Which of all one-hot columns are 1.
        """
        dense = np.empty((block.num_rows, len(self.dense) + 2), order="F")
        dense[:, 0] = 1.0
        for at, column in enumerate(self._numbers, 1):
            values = numbers(block[column.name])
            if block[column.name].null_count:
                values = np.where(np.isnan(values), column.filling, values)
            np.subtract(values, column.mean, out=dense[:, at], dtype=np.float64)
            dense[:, at] /= column.scale
        for at, name in enumerate(self._indicated, 1 + len(self._numbers)):
            dense[:, at] = name not in self._empty and np.isnan(numbers(block[name]))
        if self._dates is not None:
            frame = self._part.frame(block, self._times)
            parts = self._dates.transform(frame.fillna(dict.fromkeys(self._empty.intersection(self._times), 0.0)))
            dense[:, -1 - parts.shape[1] : -1] = parts
        ones = np.empty((block.num_rows, len(self._one_hots)), np.intp)
        for at, each in enumerate(self._one_hots):
            ones[:, at] = each.places(block[each.name])
        return dense, ones


class Sums:
    """The sums of the products of each two columns of a design, of ones and of the target, block by block.

    Parameters
    ----------
    design
        What becomes of a block.
    shift
        What is taken from the target, so that a large offset takes no digits.
    intercept
        Whether the model has one: then all is beside the means.
    """

    def __init__(self, design: Design, shift: float, *, intercept: bool) -> None:
        self._design, self._intercept = design, intercept
        self._shift = shift if intercept else 0.0
        dense, one_hot = len(design.dense) + 2, len(design.one_hot)
        self._dense = np.zeros((dense, dense))
        self._mixed = np.zeros((one_hot, dense))
        self._one_hot = np.zeros((one_hot, one_hot))

    def add(self, block: pa.Table, target: npt.NDArray[Any], weights: Weights = None) -> None:
        """Take in some more rows."""
        dense, ones = self._columns(block, target, weights)
        self._dense += dense.T @ dense
        if ones is not None:
            self._mixed += ones.T @ dense
            self._one_hot += (ones.T @ ones).toarray()

    def _columns(
        self, block: pa.Table, target: npt.NDArray[Any], weights: Weights
    ) -> tuple[Floats, sparse.csr_array | None]:
        """Return ones, the dense columns and the target, and the one-hot columns, all times the weights' roots."""
        dense, places = self._design.of(block)
        dense[:, -1] = target - self._shift
        if weights is not None:
            dense *= np.sqrt(weights)[:, None]
        rows, columns = places.shape
        if not columns:
            return dense, None
        starts = np.arange(0, places.size + 1, columns)
        return dense, sparse.csr_array(
            (np.repeat(dense[:, 0], columns), places.ravel(), starts), shape=(rows, len(self._one_hot))
        )

    def few_rows(self) -> FewRows:
        """Return rows that have the sums."""
        weight = self._dense[0, 0]
        sums = np.concatenate([self._dense[0, 1:-1], self._mixed[:, 0], self._dense[0, -1:]])
        mixed, target = self._mixed[:, 1:-1], np.append(self._dense[1:-1, -1], self._mixed[:, -1])
        products = np.block([[self._dense[1:-1, 1:-1], mixed.T], [mixed, self._one_hot]])
        means, size = sums / weight if self._intercept else np.zeros(len(sums)), products.diagonal().max()
        products -= weight * np.outer(means[:-1], means[:-1])
        target -= weight * means[:-1] * means[-1]
        if products.diagonal().max() <= _ROUNDING * size:
            # Nothing differs from its mean, so nothing follows from it.
            target[:] = 0.0
        return FewRows.of(means, products, target)

    def turned(self, block: pa.Table, target: npt.NDArray[Any], weights: Weights, few: FewRows) -> Floats:
        """Return the sums of products of some rows and their target, in directions in which all differ alike.

        Returns
        -------
        numpy.ndarray of shape (columns + 1, columns + 1)
        """
        dense, ones = self._columns(block, target, weights)
        size, basis = dense.shape[1] - 2, few.vectors / few.roots
        beside = dense[:, -1] - dense[:, 0] * few.means[-1]
        turned = dense[:, 1:-1] @ basis[:size] - np.outer(dense[:, 0], few.means[:-1] @ basis)
        if ones is not None:
            turned += ones @ basis[size:]
        products: Floats = np.column_stack([turned, beside])
        return products.T @ products

    def fit(self, model: BaseEstimator, names: Sequence[str] | None, few: FewRows) -> None:
        """Fit a linear model as on all rows.

        Parameters
        ----------
        model
            A linear regression or a ridge, which get the columns of the design.
        names
            Of these, if the model is to know them.
        few
            Rows that have the sums.
        """
        places = np.append(self._design.dense, self._design.one_hot)
        rows, means = np.empty_like(few.rows), np.empty(len(places))
        rows[:, places], means[places] = few.rows, few.means[:-1]
        # Taken off already.
        model.set_params(fit_intercept=False)
        model.fit(rows if names is None else pd.DataFrame(rows, columns=list(names)), few.target)
        model.set_params(fit_intercept=self._intercept)
        if self._intercept:
            model.intercept_ = self._shift + few.means[-1] - means @ model.coef_


@dataclass(frozen=True)
class FewRows:
    """As many rows as there are columns, the dense ones first, that have the sums of products of all rows.

    Attributes
    ----------
    means
        Of the columns and the target of all rows, shape (columns + 1,); 0 where a model has no intercept.
    roots, vectors
        The roots of the eigenvalues of the sums, ascending, shape (columns,), and the eigenvectors, of shape
        (columns, columns).
    rows, target
        Of shape (columns, columns) and (columns,).
    """

    means: Floats
    roots: Floats
    vectors: Floats
    rows: Floats
    target: Floats

    @classmethod
    def of(cls, means: Floats, products: Floats, by_target: Floats) -> Self:
        """Return those of the sums of products of the columns, and of these by the target."""
        roots, vectors = _roots(products)
        return cls(means, roots, vectors, roots[:, None] * vectors.T, vectors.T @ by_target / roots)

    def lose_digits(self) -> bool:
        """Return whether columns nearly repeat others: by what they differ, sums of products have half the digits."""
        shares = np.square(self.roots / self.roots[-1])
        return bool(((shares > _REPEATED) & (shares < _NEARLY_REPEATED)).any())

    def again(self, products: Floats) -> Self:
        """Return them by the sums of products in the directions of the eigenvectors (`Sums.turned`), to all digits."""
        roots, vectors = _roots(products[:-1, :-1])
        rows, target = roots[:, None] * (vectors.T @ self.rows), vectors.T @ products[:-1, -1] / roots
        return replace(self, rows=rows, target=target)


def _roots(products: Floats) -> tuple[Floats, Floats]:
    """Return the roots of the eigenvalues of sums of products, none of them 0, and the eigenvectors."""
    values, vectors = linalg.eigh(products)
    # What is 0 but for rounding is small enough for least squares, which takes it for 0, and beside any penalty.
    floor = max(np.finfo(np.float64).eps * values[-1], np.finfo(np.float64).tiny)
    return np.sqrt(np.maximum(values, floor)), vectors
