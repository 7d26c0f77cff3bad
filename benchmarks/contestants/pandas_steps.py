"""The three steps as most templates write them: pandas, float64, one-hot columns.

Nothing of this project is in them; which rows are test rows they look up.

The CSV design, Metaflow and Kedro run these; they differ in how they start a step and hand its result to the next.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.metrics import root_mean_squared_error
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from benchmarks.contestants.drawn import test_rows

CATEGORIES = 1000


def split(frame: pd.DataFrame, target: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the training and the test part: rows with a target, columns that can be learned from."""
    frame = frame[frame[target].notna()]
    columns = {}
    for name in frame.columns:
        column = frame[name]
        if name != target and column.nunique() < 2:
            continue
        if pd.api.types.is_numeric_dtype(column):
            columns[name] = column
        elif (times := _as_times(column)) is not None:
            columns[name] = times
        elif column.nunique() <= CATEGORIES:
            columns[name] = column
    used = pd.DataFrame(columns)
    test = test_rows(len(used))
    return used[~test], used[test]


def _as_times(column: pd.Series) -> pd.Series | None:
    """Return texts that are all times as seconds since 1970, or None."""
    try:
        times = pd.to_datetime(column, format="ISO8601", utc=True)
    except ValueError:
        return None
    return (times - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)


def fit(part: pd.DataFrame, target: str) -> Pipeline:
    """Return the fitted pipeline."""
    features = part.drop(columns=target)
    numbers = [name for name in features if pd.api.types.is_numeric_dtype(features[name])]
    texts = [name for name in features if name not in numbers]
    steps = Pipeline([("impute", SimpleImputer()), ("scale", StandardScaler())])
    encoder = OneHotEncoder(handle_unknown="ignore")
    transformer = ColumnTransformer([("n", steps, numbers), ("t", encoder, texts)])
    return Pipeline([("features", transformer), ("model", Ridge())]).fit(features, part[target])


def score(pipeline: Pipeline, part: pd.DataFrame, target: str) -> dict[str, Any]:
    """Return the number of test rows and their rmse."""
    predicted = pipeline.predict(part.drop(columns=target))
    return {"rows": len(part), "rmse": float(root_mean_squared_error(part[target], predicted))}
