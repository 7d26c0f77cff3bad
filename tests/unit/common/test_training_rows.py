"""The record of a model's training rows: it knows them all, and few others."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from common.errors import UntrustedModelError
from common.training_rows import BloomFilter, Columns, RowHashes, RowRecorder, TrainingRows


def hashes(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, rows, dtype=np.uint64)


@pytest.mark.parametrize("rows", [1, 7, 1000, 200_000])
def test_every_row_is_known_and_few_others_are_taken_for_one(rows: int) -> None:
    known = hashes(rows, 0)
    found = BloomFilter.of(known)
    assert found.contains(known).all()
    assert len(bytes(found)) == max(8, -(-rows * 10 // 8))
    if rows >= 1000:
        mistaken = found.contains(hashes(200_000, 1)).mean()
        assert mistaken == pytest.approx(0.0082, abs=0.002)
        assert mistaken == pytest.approx(found.mistakes(), abs=0.002)


COLUMNS = Columns(("a", "when"), ("when",), "y")


def record(frame: pd.DataFrame) -> tuple[TrainingRows, RowHashes]:
    collected, recorder = RowHashes(COLUMNS), RowRecorder(COLUMNS, len(frame))
    for at in range(0, len(frame), 64):
        batch = pa.RecordBatch.from_pandas(frame[at : at + 64], preserve_index=False)
        collected.add(batch)
        recorder.add(batch)
    assert bytes(recorder.training_rows().rows) == bytes(BloomFilter.of(collected.rows))
    return recorder.training_rows(), collected


def table(rows: int = 500, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame({"a": random.normal(size=rows), "when": 1.7e9 + np.arange(rows), "y": random.normal(size=rows)})


def test_a_row_is_known_by_features_and_target_and_its_features_by_themselves() -> None:
    frame = table()
    rows, _ = record(frame)
    _, same = record(frame.sample(frac=1, random_state=1).astype({"a": "float32"}))
    assert rows.rows.contains(same.rows).all()
    _, corrected = record(frame.assign(y=0.5))
    assert rows.rows.contains(corrected.rows).mean() < 0.05
    assert rows.features.contains(corrected.features).all()
    # A second later is another time, though float32 could not say so.
    _, later = record(frame.assign(when=frame["when"] + 1000.0))
    assert rows.features.contains(later.features).mean() < 0.05


def test_what_is_read_is_what_was_written() -> None:
    rows, collected = record(table())
    read = TrainingRows.read(bytes(rows), rows.description())
    assert read.columns == COLUMNS
    assert read.rows.contains(collected.rows).all()
    assert read.features.contains(collected.features).all()
    assert bytes(read) == bytes(rows)


@pytest.mark.parametrize("damage", [b"", b"short", None])
def test_a_file_that_is_not_what_is_said_of_it_is_not_used(damage: bytes | None) -> None:
    rows, _ = record(table())
    described = {**rows.description(), **({"hashes": 3} if damage is None else {})}
    with pytest.raises(UntrustedModelError, match="not what its description says"):
        TrainingRows.read(bytes(rows) if damage is None else damage, described)


def test_the_columns_are_those_of_the_profile() -> None:
    def column(name: str, use: str, role: str) -> dict[str, str]:
        return {"name": name, "use": use, "role": role}

    profile = {
        "target": "y",
        "columns": [
            column("a", "feature", "numeric"),
            column("when", "feature", "timestamp"),
            column("id", "dropped", "identifier"),
            column("y", "target", "numeric"),
        ],
    }
    assert Columns.of(profile) == COLUMNS
