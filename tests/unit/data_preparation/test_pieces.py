"""Preparation in pieces: the same rows, split and profile as in one call, whatever the cut."""

from __future__ import annotations

import csv
import datetime as dt
import io
import itertools
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from common.errors import InvalidDatasetError, InvalidRequestError
from common.request import parse_request
from data_preparation.preparation import PreparedData, prepare
from data_preparation.reading import SourceFile
from prepared_in_pieces import prepare_in_pieces

Both = Callable[..., PreparedData]


@pytest.fixture
def both(tmp_path: Path) -> Both:
    """Return a function that prepares files in one call and in pieces, and insists that the results are the same."""

    def compare(contents: Sequence[pd.DataFrame | bytes], cuts: Sequence[int], **fields: Any) -> PreparedData:
        place = Path(tempfile.mkdtemp(dir=tmp_path))
        result = compared(place, contents, cuts, fields)
        assert isinstance(result, PreparedData), result
        return result

    return compare


def compared(
    place: Path, contents: Sequence[pd.DataFrame | bytes], cuts: Sequence[int], fields: dict[str, Any]
) -> PreparedData | str:
    """Prepare files in one call and in pieces; return the result of both, or what both say of files that are none."""
    suffix, champion = fields.pop("suffix", ".csv"), fields.pop("champion", None)
    files = written(place / "files", contents, suffix)
    request = parse_request({"dataset_uri": "s3://bucket/data/", "target": "y", "search_trials": 0, **fields})
    edges = [0, *cuts, len(files)]
    cut = [files[begin:end] for begin, end in itertools.pairwise(edges)]
    ways = {
        "one": lambda folder: prepare(files, request, folder, champion),
        "pieces": lambda folder: prepare_in_pieces(cut, request, folder, champion),
    }
    results = dict[str, PreparedData | str]()
    for name, way in ways.items():
        (place / name).mkdir()
        try:
            results[name] = way(place / name)
        except (InvalidDatasetError, InvalidRequestError) as error:
            # The state machine knows errors by their names.
            results[name] = f"{type(error).__name__}: {error}"
    one, other = results["one"], results["pieces"]
    if isinstance(one, str) or isinstance(other, str):
        assert one == other
        return one
    assert json.dumps(other.profile) == json.dumps(one.profile)
    assert other.request == one.request
    for mine, theirs in ((one.train, other.train), (one.test, other.test)):
        assert mine.read_bytes() == theirs.read_bytes()
    return one


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


CELLS = {
    "whole": st.integers(-1000, 1000).map(str),
    "large": st.integers(2**53, 2**62).map(str),
    "decimal": st.floats(-1e6, 1e6, allow_nan=False).map(repr),
    "tiny": st.floats(1e-300, 1e-290).map(repr),
    "percent": st.integers(0, 100).map("{} %".format),
    "german": st.floats(0, 1e6).map(lambda value: f"{value:.2f}".replace(".", ",")),
    "day": st.dates(dt.date(1990, 1, 1), dt.date(2030, 1, 1)).map(str),
    "slashes": st.dates(dt.date(2000, 1, 1), dt.date(2030, 1, 1)).map("{:%d/%m/%Y}".format),
    "compact": st.dates(dt.date(2000, 1, 1), dt.date(2030, 1, 1)).map("{:%Y%m%d}".format),
    "word": st.sampled_from(["red", "green", " blue", "NA", "Total", "yes", "no"]),
    "code": st.integers(0, 99).map("{:04}".format),
    "flag": st.sampled_from(["true", "false", "TRUE"]),
    "text": st.text("abc ;,\"\n'", max_size=8),
    "none": st.sampled_from(["", "NA", "-", "null"]),
}


@st.composite
def columns_of_cells(draw: st.DrawFn, rows: int) -> list[str]:
    """Draw a column: of one kind, or of two that meet somewhere, with missing values in between."""
    kinds = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=2))
    turn = draw(st.integers(0, rows))
    cells = [draw(CELLS[kinds[0 if at < turn else -1]]) for at in range(rows)]
    missing = draw(st.sampled_from([None, "", "NA", "-"]))
    return cells if missing is None else [missing if draw(st.integers(0, 5)) == 0 else cell for cell in cells]


@st.composite
def data_sets(draw: st.DrawFn) -> tuple[list[bytes], list[int], dict[str, Any]]:
    """Draw files of delimited text, where pieces are cut, and a request."""
    rows = draw(st.integers(20, 40))
    table = [draw(columns_of_cells(rows)) for _ in range(draw(st.integers(1, 3)))]
    names = [f"x{number}" for number in range(len(table))]
    is_class = draw(st.booleans())
    target = [str(draw(st.integers(0, 2)) if is_class else draw(st.integers(0, 10**6)) / 4) for _ in range(rows)]
    separator = draw(st.sampled_from([",", ";", "\t", "|"]))
    edges = [0, *sorted(draw(st.lists(st.integers(0, rows), max_size=4))), rows]
    files = []
    for begin, end in itertools.pairwise(edges):
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter=separator, lineterminator=draw(st.sampled_from(["\n", "\r\n"])))
        writer.writerow([*names, "y"])
        writer.writerows(zip(*(column[begin:end] for column in table), target[begin:end], strict=True))
        files.append(text.getvalue().encode())
    cuts = sorted(draw(st.lists(st.integers(0, len(files)), max_size=3)))
    fields: dict[str, Any] = {"problem": draw(st.sampled_from(["auto", "regression"]))}
    if draw(st.booleans()):
        fields["split_key"] = ["x0"]
    if draw(st.booleans()):
        fields["columns"] = {"x0": draw(st.sampled_from(["category", "number", "text", "date", "ignore"]))}
    return files, cuts, fields


@pytest.mark.slow
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=data_sets())
def test_whatever_the_files_hold_pieces_tell_and_make_the_same(
    tmp_path: Path, data: tuple[list[bytes], list[int], dict[str, Any]]
) -> None:
    """Errors, too, are those of one call."""
    contents, cuts, fields = data
    place = Path(tempfile.mkdtemp(dir=tmp_path))
    event("refused" if isinstance(compared(place, contents, cuts, fields), str) else "prepared")
