"""Counts of scored rows: those of training's rows are training's, and pieces are as good as the whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from common.distributions import of_numbers, of_texts, text_codes, texts_by_code
from common.errors import DamagedFileError
from common.request import parse_request
from data_preparation.preparation import prepare
from data_preparation.reading import SourceFile
from scoring.counts import ColumnCounts, Counts, NothingToCompareError
from scoring.drift import compare


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], pa.Table]:
    """Return a profile, and the rows of its training part as they were read."""
    folder, random, rows = tmp_path_factory.mktemp("prepared"), np.random.default_rng(0), 3000
    texts = random.choice(["a", "b", "c"], rows)
    table = pa.table(
        {
            "row": pa.array(np.arange(rows) * 0.5),
            "decimal": pa.array(random.normal(0, 1, rows).round(1), mask=random.random(rows) < 0.1),
            "whole": pa.array(random.integers(0, 1000, rows)),
            "time": pa.array((1.6e9 + random.integers(0, 3e7, rows)) * 1e6).cast(pa.int64()).cast(pa.timestamp("us")),
            "flag": pa.array(random.random(rows) < 0.3),
            "few": pa.array(texts, mask=random.random(rows) < 0.05),
            "many": pa.array([f"text {each}" for each in random.integers(0, 90, rows).tolist()]),
            "y": pa.array(random.normal(size=rows)),
        }
    )
    pyarrow.csv.write_csv(table, folder / "data.csv")
    (folder / "parts").mkdir()
    request = parse_request({"dataset_uri": "s3://bucket/data.csv", "target": "y", "search_trials": 0})
    found = prepare([SourceFile("data.csv", folder / "data.csv")], request, folder / "parts")
    trained = pq.read_table(found.train)["row"].to_numpy() * 2
    return json.loads(json.dumps(found.profile)), table.take(pa.array(trained.astype(int)))


def batches(table: pa.Table, rows: int) -> list[pa.RecordBatch]:
    return table.combine_chunks().to_batches(max_chunksize=rows)


def test_the_rows_of_training_are_counted_as_the_profile_has_them(prepared: tuple[dict[str, Any], pa.Table]) -> None:
    profile, rows = prepared
    counts = Counts(profile)
    for batch in batches(rows, 700):
        counts.add(batch)
    for name, column in counts.columns.items():
        # Of so many texts half of the rows were counted.
        if name != "many":
            np.testing.assert_array_equal(column.cells, column.reference, err_msg=name)
        assert (column.rows, column.missing) == (column.distribution["rows"], column.distribution["missing"])
        assert column.unseen == (None if name == "flag" else 0)
    assert counts.rows == profile["rows"]["train"] == 2400
    assert not compare(counts)["drifted"]


def test_pieces_are_as_good_as_the_whole_and_go_through_json(prepared: tuple[dict[str, Any], pa.Table]) -> None:
    profile, rows = prepared
    predictions = {"of": "prediction", **of_numbers(np.arange(100.0))}
    whole, merged = Counts(profile, predictions), Counts(profile, predictions)
    for batch in reversed(batches(rows, 500)):
        predicted = pa.record_batch({"prediction": batch["whole"].cast(pa.float64())})
        piece = Counts(profile, predictions)
        whole.add(batch, predicted)
        piece.add(batch, predicted)
        merged.merge(json.loads(json.dumps(piece.document())))
    assert merged.document() == whole.document()
    assert compare(merged) == compare(whole)
    assert whole.prediction is not None
    assert whole.prediction.rows == whole.rows == 2400


def test_counts_of_another_model_are_refused(prepared: tuple[dict[str, Any], pa.Table]) -> None:
    profile, _ = prepared
    other = {**profile, "fingerprint": "another"}
    with pytest.raises(DamagedFileError, match="another model's profile: count them again"):
        Counts(profile).merge(Counts(other).document())
    with pytest.raises(DamagedFileError, match="another model's profile"):
        Counts(profile).merge(Counts(profile, {"of": "prediction", **of_numbers(np.arange(9.0))}).document())


def test_a_profile_of_an_earlier_version_is_told(prepared: tuple[dict[str, Any], pa.Table]) -> None:
    profile, _ = prepared
    columns = [{key: each[key] for key in each if key != "distribution"} for each in profile["columns"]]
    with pytest.raises(NothingToCompareError, match="Train again to compare rows with it"):
        Counts({**profile, "columns": columns})


def test_numbers_beyond_training_s_are_new_and_in_the_outermost_bins() -> None:
    counts = ColumnCounts(of_numbers(np.arange(1000.0)))
    counts.add(pa.array([-1.0, 0.0, 500.0, 999.0, 1e9, None]))
    assert (counts.rows, counts.missing, counts.unseen) == (6, 1, 2)
    assert (counts.cells[0], counts.cells[-1], counts.cells.sum()) == (2, 2, 5)


def test_texts_that_are_known_but_not_counted_apart_are_not_new() -> None:
    column = pa.array([f"text {each % 200}" for each in range(2000)]).dictionary_encode()
    counts = ColumnCounts(of_texts(text_codes(column), None))
    counts.add(column)
    counts.add(pa.array(["new", "new", None, "text 7"]).dictionary_encode())
    assert (counts.rows, counts.missing, counts.unseen) == (2004, 1, 2)
    assert counts.cells.sum() == 2003


@pytest.mark.parametrize(
    "labels", [pa.array([1, 2, 3, 3]), pa.array([True, False, True, True]), pa.array(list("abca"))]
)
def test_predicted_classes_are_counted_by_their_labels(labels: pa.Array) -> None:
    texts = labels.cast(pa.string()).dictionary_encode()
    counts = ColumnCounts(of_texts(text_codes(texts), texts_by_code(texts.dictionary.to_pylist())))
    counts.add(labels)
    np.testing.assert_array_equal(counts.cells, counts.reference)
    assert counts.unseen == 0


def test_a_column_that_training_knows_nothing_of_is_new() -> None:
    counts = ColumnCounts(of_numbers(np.full(10, np.nan)))
    counts.add(pa.array([1.0, None]))
    assert (counts.rows, counts.missing, counts.unseen, counts.cells.tolist()) == (2, 1, 1, [])
    texts = ColumnCounts(of_texts(np.zeros(10, np.uint64), {}))
    texts.add(pa.array(["a", None]).dictionary_encode())
    assert (texts.rows, texts.missing, texts.unseen, texts.cells.tolist()) == (2, 1, 1, [1])


def test_what_is_counted_does_not_grow_with_the_rows(prepared: tuple[dict[str, Any], pa.Table], tmp_path: Path) -> None:
    profile, rows = prepared
    counts = Counts(profile)
    sizes = []
    for _ in range(2):
        for batch in batches(rows, 1000):
            counts.add(batch)
        (tmp_path / "counts.json").write_text(json.dumps(counts.document()))
        sizes.append((tmp_path / "counts.json").stat().st_size)
    assert sizes[1] < 1.1 * sizes[0] < 5000
