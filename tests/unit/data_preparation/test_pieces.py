"""Preparation in pieces: the same rows, split and profile as in one call, whatever the cut."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from common.request import parse_request
from data_preparation.preparation import PreparedData, prepare
from data_preparation.reading import SourceFile
from prepared_in_pieces import prepare_in_pieces

Both = Callable[..., PreparedData]


@pytest.fixture
def both(tmp_path: Path) -> Both:
    """Return a function that prepares files in one call and in pieces, and insists that the results are the same."""

    def compare(contents: Sequence[pd.DataFrame | bytes], cuts: Sequence[int], **request: Any) -> PreparedData:
        place = tmp_path / str(len(list(tmp_path.iterdir())))
        files = written(place, contents, request.pop("suffix", ".csv"))
        champion = request.pop("champion", None)
        document = parse_request({"dataset_uri": "s3://bucket/data/", "target": "y", "search_trials": 0, **request})
        (place / "one").mkdir()
        (place / "pieces").mkdir()
        one = prepare(files, document, place / "one", champion)
        edges = [0, *cuts, len(files)]
        cut = [files[begin:end] for begin, end in itertools.pairwise(edges)]
        other = prepare_in_pieces(cut, document, place / "pieces", champion)
        assert json.dumps(other.profile) == json.dumps(one.profile)
        assert other.request == one.request
        for mine, theirs in ((one.train, other.train), (one.test, other.test)):
            assert mine.read_bytes() == theirs.read_bytes()
        return one

    return compare


def written(folder: Path, contents: Sequence[pd.DataFrame | bytes], suffix: str) -> list[SourceFile]:
    folder.mkdir()
    files = []
    for number, content in enumerate(contents):
        path = folder / f"part-{number:03}{suffix}"
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif suffix == ".parquet":
            content.to_parquet(path, index=False)
        else:
            content.to_csv(path, index=False)
        files.append(SourceFile(path.name, path))
    return files


def table(rows: int, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "a": random.normal(1e6, 3, rows),
            "few": random.integers(0, 3, rows),
            "part_id": random.integers(0, 10**9, rows),
            "c": np.array(["x", "y", "z", None])[random.integers(0, 4, rows)],
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 10**6, rows), unit="s"),
            "flag": random.choice([True, False], rows),
            "note": [f"text {number}" for number in random.integers(0, rows, rows)],
            "y": random.normal(size=rows),
        }
    )


def parts(data: pd.DataFrame, files: int) -> list[pd.DataFrame]:
    edges = np.linspace(0, len(data), files + 1).astype(int)
    return [data[begin:end] for begin, end in itertools.pairwise(edges)]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"target": "c"},
        {"split_key": ["few", "c"]},
        {"split_time": "day"},
        {"weight_column": "few"},
        {"columns": {"few": "category", "note": "ignore"}, "split_seed": 7},
    ],
)
def test_the_results_are_the_same_however_rows_are_split(both: Both, suffix: str, fields: dict[str, Any]) -> None:
    both(parts(table(300), 7), [1, 4, 5], suffix=suffix, **fields)


def test_a_column_says_which_rows_are_tested(both: Both) -> None:
    data = table(90).assign(part=["train", "test", "train"] * 30)
    both(parts(data, 5), [2], split_column="part")
