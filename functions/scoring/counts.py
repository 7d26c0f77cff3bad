"""Counts rows that are scored by the cells of training's distributions: piece by piece, merged, and bounded in size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from common.conversion import Profile, as_stored, feature_columns
from common.distributions import Distribution, codes_of, measured, text_codes
from common.errors import DamagedFileError

Cells = npt.NDArray[np.int64]


class NothingToCompareError(Exception):
    """The model is of a version of this project that recorded no distributions."""


class ColumnCounts:
    """How often the values of one column fell where.

    Parameters
    ----------
    distribution
        Of the column in training (`common.distributions`).

    Attributes
    ----------
    reference
        How many rows of training are in each bin or category and, of texts, behind them how many have others; shape
        (cells,).
    cells
        The same of the rows that were counted. Numbers beyond the ends are in the outermost bins.
    rows, missing
        How many rows were counted, and how many of them have no value.
    unseen
        Rows with a text that training had not, or a number beyond its least or largest one; None for booleans, and
        where the distribution does not tell.
    """

    def __init__(self, distribution: Distribution) -> None:
        self.distribution = distribution
        self._edges = np.array(distribution.get("edges", ()), np.float64)
        other = [distribution["other"]] if "codes" in distribution else []
        self.reference: Cells = np.array([*distribution["counts"], *other], np.int64)
        self.cells: Cells = np.zeros(len(self.reference), np.int64)
        self.rows, self.missing = 0, 0
        tells = "edges" in distribution or distribution.get("complete", False)
        self.unseen: int | None = 0 if tells else None
        if other:
            codes = codes_of(distribution)
            self._places = np.argsort(codes)
            self._codes = codes[self._places]

    def add(self, column: pa.Array) -> None:
        """Count values as a prepared part stores them, or predictions as they are."""
        if "codes" in self.distribution:
            places, unseen, missing = self._places_of_texts(column)
        else:
            places, unseen, missing = self._places_of_numbers(column)
        if len(self.reference):
            self.cells += np.bincount(places, minlength=len(self.reference))
        self.rows += len(column)
        self.missing += missing
        if self.unseen is not None:
            self.unseen += unseen

    def _places_of_numbers(self, column: pa.Array) -> tuple[npt.NDArray[np.intp], int, int]:
        """Return the cells of the values that are there, and how many are new and how many missing."""
        values = measured(column)
        present = values[~np.isnan(values)]
        missing = len(values) - len(present)
        if "edges" not in self.distribution:
            return present.astype(np.intp), 0, missing
        if not len(self._edges):
            # Training has no value at all.
            return np.zeros(0, np.intp), len(present), missing
        beyond = (present < self._edges[0]) | (present > self._edges[-1])
        return np.searchsorted(self._edges[1:-1], present), int(beyond.sum()), missing

    def _places_of_texts(self, column: pa.Array) -> tuple[npt.NDArray[np.intp], int, int]:
        """Return what `_places_of_numbers` does."""
        if not pa.types.is_dictionary(column.type):
            # Predicted classes, whose labels are texts in the distribution.
            column = pc.cast(column, pa.string()).dictionary_encode()
        codes = text_codes(column)
        present, other = codes[codes != 0], len(self.reference) - 1
        places = np.full(len(present), other, np.intp)
        found = np.zeros(len(present), np.bool_)
        if len(self._codes):
            nearest = np.minimum(np.searchsorted(self._codes, present), len(self._codes) - 1)
            found = self._codes[nearest] == present
            # Known texts that are not counted apart have places beyond.
            places[found] = np.minimum(self._places[nearest[found]], other)
        return places, int((~found).sum()), len(codes) - len(present)

    def merge(self, other: Mapping[str, Any]) -> None:
        """Take in what another piece has counted, as `document` returns it.

        Raises
        ------
        DamagedFileError
            If that was counted by other cells.
        """
        cells = np.array(other["cells"], np.int64)
        if cells.shape != self.cells.shape or (other["unseen"] is None) != (self.unseen is None):
            raise DamagedFileError("Rows were counted by another model's profile: count them again.")
        self.cells += cells
        self.rows += other["rows"]
        self.missing += other["missing"]
        if self.unseen is not None:
            self.unseen += other["unseen"]

    def document(self) -> dict[str, Any]:
        """Return the counts in types of JSON."""
        return {"rows": self.rows, "cells": self.cells.tolist(), "missing": self.missing, "unseen": self.unseen}


class Counts:
    """What is known of scored rows: how many fell into each cell of training's distributions.

    Pieces of a batch are counted apart and merged, in whatever order.

    Parameters
    ----------
    profile
        Of the model's training data.
    predictions
        How the model's predictions of its test part are distributed (`predictions` of `evaluation.json`); None to leave
        predictions out.

    Raises
    ------
    NothingToCompareError
        If the profile has no distributions.
    """

    def __init__(self, profile: Profile, predictions: Distribution | None = None) -> None:
        self._described = {column["name"]: column for column in feature_columns(profile)}
        if not all("distribution" in column for column in self._described.values()):
            raise NothingToCompareError(
                "The model's profile does not say how its columns are distributed: it is from a version of this "
                "project that did not record it. Train again to compare rows with it."
            )
        self.roles = {name: str(each["role"]) for name, each in self._described.items()}
        self._fingerprint = str(profile["fingerprint"])
        self.rows = 0
        self.columns = {name: ColumnCounts(each["distribution"]) for name, each in self._described.items()}
        self.prediction = None if predictions is None else ColumnCounts(predictions)

    def add(self, rows: pa.RecordBatch, predicted: pa.RecordBatch | None = None) -> None:
        """Count more rows.

        Parameters
        ----------
        rows
            Columns as they were read, among them every feature (as `common.conversion.features` takes them).
        predicted
            What was predicted of them, by the columns of a file of predictions: `prediction`, `probability_<label>`.

        Raises
        ------
        pyarrow.ArrowInvalid
            If a column is of a kind that its feature cannot be made of.
        """
        for name, described in self._described.items():
            self.columns[name].add(as_stored(rows[name], described))
        if self.prediction is not None and predicted is not None:
            self.prediction.add(predicted[self.prediction.distribution["of"]])
        self.rows += rows.num_rows

    def merge(self, other: Mapping[str, Any]) -> None:
        """Take in the counts of another piece, as `document` returns them.

        Raises
        ------
        DamagedFileError
            If they are by another model's profile.
        """
        same = other["fingerprint"] == self._fingerprint and other["columns"].keys() == self.columns.keys()
        if not same or (other["prediction"] is None) != (self.prediction is None):
            raise DamagedFileError("Rows were counted by another model's profile: count them again.")
        for name, counted in other["columns"].items():
            self.columns[name].merge(counted)
        if self.prediction is not None:
            self.prediction.merge(other["prediction"])
        self.rows += other["rows"]

    def document(self) -> dict[str, Any]:
        """Return the counts in types of JSON; their size follows from the profile, not from the rows."""
        return {
            "fingerprint": self._fingerprint,
            "rows": self.rows,
            "columns": {name: counted.document() for name, counted in self.columns.items()},
            "prediction": None if self.prediction is None else self.prediction.document(),
        }
