"""The limit: one warm process, one pass over the data, pyarrow's own type inference, float32, nothing handed over.

It keeps no profile, saves no model, compares with no champion and writes no report: what is left is what any pipeline
on these libraries must spend.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.metrics import root_mean_squared_error
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from benchmarks.contestants.drawn import test_rows
from common.storage import split_uri
from data_preparation.reading import NULL_VALUES

if TYPE_CHECKING:
    import pandas as pd

CATEGORIES = 1000
INTEGERS = {pa.int8(): 2**7 - 1, pa.int16(): 2**15 - 1, pa.float32(): 2**24}
"""The types of whole numbers, and the largest that each holds: with these, float32 stays float32."""


def run(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Return the test rows and their rmse for `{"dataset_uri": …, "target": …}`."""
    table = _read(event["dataset_uri"])
    table = table.filter(pc.is_valid(table[event["target"]]))
    target = pc.cast(table[event["target"]], pa.float64()).to_numpy()
    features = _features(table, event["target"])
    del table
    test = test_rows(len(target))
    train_part, test_part = (_frame(features.filter(pa.array(mask))) for mask in (~test, test))
    del features
    pipeline = _fit(train_part, target[~test])
    return {"rows": int(test.sum()), "rmse": _rmse(pipeline, test_part, target[test])}


def _read(uri: str) -> pa.Table:
    with tempfile.TemporaryDirectory() as folder:
        return _parsed(_download(uri, Path(folder) / "data.csv"))


def _download(uri: str, path: Path) -> Path:
    boto3.client("s3").download_file(*split_uri(uri), str(path))
    return path


def _parsed(path: Path) -> pa.Table:
    options = pa.csv.ConvertOptions(
        null_values=NULL_VALUES,
        strings_can_be_null=True,
        auto_dict_encode=True,
        auto_dict_max_cardinality=CATEGORIES,
    )
    return pa.csv.read_csv(path, convert_options=options)


def _features(table: pa.Table, target: str) -> pa.Table:
    columns = {name: _feature(table[name]) for name in table.column_names if name != target}
    return pa.table({name: column for name, column in columns.items() if column is not None})


def _frame(part: pa.Table) -> pd.DataFrame:
    """Return a part whose categories are Python's own strings, which encoders need not copy for each row."""
    frame = part.to_pandas()
    for name in frame.columns[frame.dtypes == "category"]:
        frame[name] = frame[name].cat.rename_categories(frame[name].cat.categories.astype(object))
    return frame


def _feature(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return the column in the smallest type that pandas keeps, or None where nothing can be learned from it."""
    if pa.types.is_string(column.type) or pa.types.is_null(column.type):
        return None
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
        return column if len(column.chunk(0).dictionary) > 1 else None
    return _number(column)


def _number(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    if pa.types.is_timestamp(column.type):
        microseconds = pc.cast(pc.cast(column, pa.timestamp("us", column.type.tz), safe=False), pa.int64())
        return pc.divide(pc.cast(microseconds, pa.float64()), 1e6)
    if pa.types.is_boolean(column.type):
        return pc.cast(pc.cast(column, pa.uint8()), pa.float32())
    extremes = pc.min_max(column).as_py()
    if extremes["min"] == extremes["max"]:
        return None
    if pa.types.is_integer(column.type) and not column.null_count:
        magnitude = max(-extremes["min"], extremes["max"])
        return pc.cast(column, next((each for each, most in INTEGERS.items() if magnitude <= most), pa.float64()))
    return pc.cast(column, pa.float32(), safe=False)


def _fit(part: pd.DataFrame, target: npt.NDArray[np.float64]) -> Pipeline:
    return _pipeline(part).fit(part, target)


def _rmse(pipeline: Pipeline, part: pd.DataFrame, target: npt.NDArray[np.float64]) -> float:
    return float(root_mean_squared_error(target, pipeline.predict(part)))


def _pipeline(part: pd.DataFrame) -> Pipeline:
    """Return a pipeline that solves in float32: numbers that are wider are narrowed once they are scaled."""
    texts = [name for name in part.columns if part[name].dtype == "category"]
    wide = [name for name in part.columns if name not in texts and part[name].dtype.itemsize > 4]
    numbers = [name for name in part.columns if name not in [*texts, *wide]]
    transformers = [
        ("numbers", Pipeline(_steps()), numbers),
        ("wide", Pipeline([*_steps(), ("narrow", FunctionTransformer(np.float32))]), wide),
        ("texts", OneHotEncoder(handle_unknown="ignore", dtype=np.float32), texts),
    ]
    return Pipeline([("features", ColumnTransformer(transformers)), ("model", Ridge(copy_X=False))])


def _steps() -> list[tuple[str, Any]]:
    return [("impute", SimpleImputer()), ("scale", StandardScaler(copy=False))]
