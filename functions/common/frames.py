"""Reads a prepared part into what scikit-learn takes; imported by the functions whose image holds pandas."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

if TYPE_CHECKING:
    import pandas as pd

Profile = Mapping[str, Any]

EXACT_VALUES = 10_000_000
"""Up to this many feature values (80 MB) float32 is widened: linear models solved in it keep 6 digits at best."""


def feature_columns(profile: Profile) -> list[dict[str, Any]]:
    """Return the profile's entries of the columns that are features, in the data set's order."""
    return [column for column in profile["columns"] if column["use"] == "feature"]


def load_part(path: Path, profile: Profile) -> tuple[pd.DataFrame, npt.NDArray[Any]]:
    """Read one part of the prepared data.

    Parameters
    ----------
    path
        `train.parquet` or `test.parquet`.
    profile
        The profile that was written with it.

    Returns
    -------
    features : pandas.DataFrame of shape (rows, features)
        Whole numbers as they are stored; floats, booleans and whole numbers with nulls as float64, or as float32 in a
        part of more than `EXACT_VALUES` values; texts as categories.
    target : numpy.ndarray of shape (rows,)
        float64 for regression; class labels as int64, float64, bool or str.
    """
    target = next(column for column in profile["columns"] if column["use"] == "target")
    names = [column["name"] for column in feature_columns(profile)]
    # One thread for each core is pyarrow's default; the memory map spares a copy of the file.
    table = pq.read_table(path, columns=[*names, target["name"]], memory_map=True)
    labels = _target(table[target["name"]], target, profile["problem"])
    small = table.num_rows * len(names) <= EXACT_VALUES
    features = pa.table({name: _feature(table[name], pa.float64() if small else pa.float32()) for name in names})
    del table
    return features.to_pandas(split_blocks=True, self_destruct=True), labels


def _feature(column: pa.ChunkedArray, floats: pa.DataType) -> pa.ChunkedArray:
    """Return the column in a type that pandas keeps: it would make objects of booleans with nulls."""
    if pa.types.is_boolean(column.type):
        return pc.cast(pc.cast(column, pa.uint8()), floats)
    if pa.types.is_float32(column.type):
        return pc.cast(column, floats)
    if pa.types.is_integer(column.type) and column.null_count:
        # float32 holds every integer up to 2^24, float64 up to 2^53: beyond, the nearest float stands for the number.
        return pc.cast(column, floats if column.type.bit_width <= 16 else pa.float64(), safe=False)
    return column


def _target(column: pa.ChunkedArray, described: Mapping[str, Any], problem: str) -> npt.NDArray[Any]:
    if problem == "regression" or pa.types.is_boolean(column.type):
        return np.asarray(column.to_numpy())
    if pa.types.is_dictionary(column.type):
        return np.asarray(pc.cast(column, pa.string()).to_numpy(), dtype=np.str_)
    return np.asarray(column.to_numpy(), dtype=np.int64 if described["kind"] == "integer" else np.float64)
