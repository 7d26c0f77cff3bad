"""Counts rows that are scored by the bins of training's distributions: piece by piece, merged, and bounded in size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from common.conversion import Profile, as_stored, feature_columns, numbers
from common.distributions import Distribution, codes_of, text_codes
from common.errors import DamagedFileError

Cells = npt.NDArray[np.int64]
PREDICTION = "prediction"


class NothingToCompareError(Exception):
    """The model is of a version of this project that recorded no distributions."""


@dataclass
class Counted:
    """How often the values of a column fell where.

    Attributes
    ----------
    cells
        For each bin or category of the distribution, and behind them all other texts; of numbers beyond the ends the
        outermost bins have them. Shape (cells,).
    missing
        Rows without a value.
    unseen
        Rows with a text that training had not, or a number beyond its least or largest one; None where the
        distribution does not tell.
    """

    cells: Cells
    missing: int = 0
    unseen: int | None = 0

    def add(self, other: Counted) -> None:
        """Take in what another piece has counted."""
        self.cells = self.cells + other.cells
        self.missing += other.missing
        self.unseen = None if self.unseen is None or other.unseen is None else self.unseen + other.unseen

    def document(self) -> dict[str, Any]:
        """Return the counts in types of JSON."""
        return {"cells": self.cells.tolist(), "missing": self.missing, "unseen": self.unseen}

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> Self:
        """Return what `document` has written."""
        return cls(np.array(document["cells"], np.int64), document["missing"], document["unseen"])


class Bins:
    """The cells of one distribution, and which of them values fall into.

    Parameters
    ----------
    distribution
        Of `common.distributions`.
    """

    def __init__(self, distribution: Distribution) -> None:
        self._edges = np.array(distribution.get("edges", ()), np.float64)
        self._of_texts, self._of_numbers = "codes" in distribution, "edges" in distribution
        self._tells_unseen = bool(distribution.get("complete", True))
        #: What training has in each cell, as `Counted.cells` has it.
        self.reference = np.array(
            [*distribution["counts"], *([distribution["other"]] if self._of_texts else [])], np.int64
        )
        if self._of_texts:
            codes = codes_of(distribution)
            self._order = np.argsort(codes)
            self._codes = codes[self._order]

    def empty(self) -> Counted:
        """Return the counts of no row."""
        return Counted(np.zeros(len(self.reference), np.int64), 0, 0 if self._tells_unseen else None)

    def count(self, column: pa.Array) -> Counted:
        """Return the counts of values as a prepared part stores them, or predictions as they are."""
        if self._of_texts:
            return self._count_texts(column if pa.types.is_dictionary(column.type) else column.dictionary_encode())
        values = numbers(column).astype(np.float64)
        present = values[~np.isnan(values)]
        if not len(self.reference):
            # Training had no value at all.
            return Counted(self.reference, len(values) - len(present), len(present))
        places = np.searchsorted(self._edges[1:-1], present) if self._of_numbers else present.astype(np.intp)
        beyond = (present < self._edges[0]) | (present > self._edges[-1]) if self._of_numbers else np.zeros(0)
        cells = np.bincount(places, minlength=len(self.reference)).astype(np.int64)
        return Counted(cells, len(values) - len(present), int(beyond.sum()))

    def _count_texts(self, column: pa.DictionaryArray) -> Counted:
        codes = text_codes(column)
        present = codes[codes != 0]
        other, places = len(self.reference) - 1, np.zeros(len(present), np.intp)
        found = np.zeros(len(present), np.bool_)
        if len(self._codes):
            places = np.minimum(np.searchsorted(self._codes, present), len(self._codes) - 1)
            found = self._codes[places] == present
            places = np.minimum(self._order[places], other)
        places[~found] = other
        cells = np.bincount(places, minlength=len(self.reference)).astype(np.int64)
        return Counted(cells, len(codes) - len(present), int((~found).sum()) if self._tells_unseen else None)


class Counts:
    """What is known of scored rows: how many fell into each bin of training's distributions.

    Pieces of a batch are counted apart and merged; the order does not matter.

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
        self._columns = {column["name"]: column for column in feature_columns(profile)}
        if not all("distribution" in column for column in self._columns.values()):
            raise NothingToCompareError(
                "The model's profile does not say how its columns are distributed: it is from a version of this project "
                "that did not record it. Train again to compare rows with it."
            )
        self.fingerprint = str(profile["fingerprint"])
        self.rows = 0
        self.bins = {name: Bins(column["distribution"]) for name, column in self._columns.items()}
        self.columns = {name: bins.empty() for name, bins in self.bins.items()}
        self.predicted_bins = None if predictions is None else Bins(predictions)
        self.predicted = None if self.predicted_bins is None else self.predicted_bins.empty()
        self._of = None if predictions is None else str(predictions["of"])

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
        for name, column in self._columns.items():
            self.columns[name].add(self.bins[name].count(as_stored(rows[name], column)))
        if self.predicted is not None and self.predicted_bins is not None and predicted is not None:
            column = predicted[self._of]
            if len(self.predicted_bins.reference) and "codes" and not pa.types.is_floating(column.type):
                column = pc.cast(column, pa.string())
            self.predicted.add(self.predicted_bins.count(column))
        self.rows += rows.num_rows

    def merge(self, other: Counts) -> None:
        """Take in the counts of another piece.

        Raises
        ------
        DamagedFileError
            If they are by the bins of another model.
        """
        if other.fingerprint != self.fingerprint or (other.predicted is None) != (self.predicted is None):
            raise DamagedFileError("Counts of two models cannot be added: count all pieces by the same one.")
        for name, counted in other.columns.items():
            self.columns[name].add(counted)
        if self.predicted is not None and other.predicted is not None:
            self.predicted.add(other.predicted)
        self.rows += other.rows

    def document(self) -> dict[str, Any]:
        """Return the counts in types of JSON; their size follows from the profile, not from the rows."""
        return {
            "fingerprint": self.fingerprint,
            "rows": self.rows,
            "columns": {name: counted.document() for name, counted in self.columns.items()},
            "prediction": None if self.predicted is None else self.predicted.document(),
        }

    @classmethod
    def of_document(
        cls, document: Mapping[str, Any], profile: Profile, predictions: Distribution | None = None
    ) -> Counts:
        """Return what `document` has written of rows that were counted by this profile.

        Raises
        ------
        DamagedFileError
            If they were counted by another one.
        """
        counts = cls(profile, predictions)
        if document["fingerprint"] != counts.fingerprint or document["columns"].keys() != counts.columns.keys():
            raise DamagedFileError("The counts are of another model's profile: count the rows again.")
        counts.rows = document["rows"]
        counts.columns = {name: Counted.of_document(each) for name, each in document["columns"].items()}
        if counts.predicted is not None and document["prediction"] is not None:
            counts.predicted = Counted.of_document(document["prediction"])
        return counts
