"""Prepared parts are read whole, row group by row group, or some rows of them: the same rows each time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from common.errors import DamagedFileError
from common.frames import load_part, row_groups
from data_preparation.preparation import PreparedData

Prepared = Callable[..., PreparedData]


def cut(part: Path, rows: int) -> None:
    """Write a part once more, in row groups of so many rows."""
    pq.write_table(pq.read_table(part), part, row_group_size=rows, write_page_checksum=True)


@pytest.mark.parametrize("problem", ["regression", "classification"])
def test_row_groups_are_the_part(prepared_data: Prepared, problem: str) -> None:
    prepared = prepared_data(problem)
    cut(prepared.train, 50)
    groups = list(row_groups(prepared.train, prepared.profile))
    assert len(groups) > 2
    features, target = load_part(prepared.train, prepared.profile)
    for name in features:
        joined = pd.concat([group[name].astype(object) for group, _, _ in groups], ignore_index=True)
        pd.testing.assert_series_equal(joined, features[name].astype(object))
    assert all(list(group.dtypes.astype(str)) == list(features.dtypes.astype(str)) for group, _, _ in groups)
    np.testing.assert_array_equal(np.concatenate([labels for _, labels, _ in groups]), target)
    assert all(weights is None for _, _, weights in groups)


def test_row_groups_have_weights(prepared_data: Prepared) -> None:
    prepared = prepared_data("regression", weight_column="amount")
    cut(prepared.train, 50)
    groups = list(row_groups(prepared.train, prepared.profile))
    stored = pq.read_table(prepared.train)["amount"].to_numpy()
    np.testing.assert_array_equal(np.concatenate([weights for _, _, weights in groups]), stored)
    assert "amount" not in groups[0][0]


def test_row_groups_of_another_reading_are_refused(prepared_data: Prepared) -> None:
    prepared = prepared_data("regression")
    with pytest.raises(DamagedFileError, match="two readings"):
        next(row_groups(prepared.train, {**prepared.profile, "fingerprint": "0" * 64}))
