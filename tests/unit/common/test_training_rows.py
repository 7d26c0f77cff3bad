"""The record of a model's training rows: it knows them all, and few others."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from common.errors import UntrustedModelError
from common.training_rows import Columns, KnownRows, RowRecorder, TrainingRows

COLUMNS = Columns(("a", "when"), ("when",), "y")


def table(rows: int = 500, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame({"a": random.normal(size=rows), "when": 1.7e9 + np.arange(rows), "y": random.normal(size=rows)})


def batches(frame: pd.DataFrame) -> list[pa.RecordBatch]:
    return pa.Table.from_pandas(frame, preserve_index=False).to_batches(max_chunksize=1 + len(frame) // 8)


def record(frame: pd.DataFrame) -> TrainingRows:
    recorder = RowRecorder(COLUMNS, len(frame))
    for batch in batches(frame):
        recorder.add(batch)
    return recorder.training_rows()


def known(rows: TrainingRows, frame: pd.DataFrame) -> KnownRows:
    found = KnownRows(rows)
    for batch in batches(frame):
        found.add(batch)
    return found


@pytest.mark.parametrize("rows", [1, 7, 1000, 200_000])
def test_every_row_is_known_and_few_others_are_taken_for_one(rows: int) -> None:
    training = record(table(rows))
    assert known(training, table(rows)).rows.all()
    assert len(bytes(training.rows)) == max(8, -(-rows * 10 // 8))
    if rows >= 1000:
        mistaken = known(training, table(200_000, seed=1)).rows.mean()
        assert mistaken == pytest.approx(0.0082, abs=0.002)
        assert mistaken == pytest.approx(training.rows.mistakes(), abs=0.002)


def test_a_row_is_known_by_features_and_target_and_its_features_by_themselves() -> None:
    frame = table()
    training = record(frame)
    assert known(training, frame.sample(frac=1, random_state=1).astype({"a": "float32"})).rows.all()
    corrected = known(training, frame.assign(y=0.5))
    assert corrected.rows.mean() < 0.05
    assert corrected.features.all()
    # A second later is another time, though float32 could not say so.
    later = known(training, frame.assign(when=frame["when"] + 1000.0))
    assert later.features.mean() < 0.05


def test_what_is_read_is_what_was_written() -> None:
    training = record(table())
    read = TrainingRows.read(bytes(training), training.description())
    assert read.columns == COLUMNS
    found = known(read, table())
    assert found.rows.all()
    assert found.features.all()
    assert bytes(read) == bytes(training)


@pytest.mark.parametrize("damage", [b"", b"short", None])
def test_a_file_that_is_not_what_is_said_of_it_is_not_used(damage: bytes | None) -> None:
    rows = record(table())
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
