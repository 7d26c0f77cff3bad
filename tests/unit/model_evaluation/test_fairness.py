"""Fair rows: what the champion was trained on does not count, and that is seen through chance and repeated rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from common.training_rows import Columns, KnownRows, RowRecorder, TrainingRows
from model_evaluation.fairness import Fairness, equal_features, fair_rows

COLUMNS = Columns(("a",), (), "y")


def batch(frame: pd.DataFrame) -> pa.RecordBatch:
    return pa.RecordBatch.from_pandas(frame[["a", "y"]], preserve_index=False)


def rows(frame: pd.DataFrame) -> TrainingRows:
    recorder = RowRecorder(COLUMNS, len(frame))
    recorder.add(batch(frame))
    return recorder.training_rows()


def known(training: TrainingRows, test: pd.DataFrame) -> KnownRows:
    """Return which test rows are known, found in two batches."""
    found = KnownRows(training)
    for part in (test[:7], test[7:]):
        found.add(batch(part))
    return found


def table(rows_: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame({"a": random.normal(size=rows_), "y": random.normal(size=rows_)})


def compared(own: pd.DataFrame, champion: pd.DataFrame, test: pd.DataFrame) -> Fairness:
    return fair_rows(known(rows(own), test), known(rows(champion), test))


def test_where_the_champion_knows_no_more_than_chance_explains_all_rows_count() -> None:
    found = compared(table(8000, 1), table(8000, 2), table(2000, 3))
    assert found.possible
    assert found.counted.all()
    assert found.words() == ""
    assert 0 < found.seen < 40


@pytest.mark.parametrize(("seen", "possible"), [(300, True), (1400, True), (1850, True), (1920, False), (2000, False)])
def test_rows_that_the_champion_was_trained_on_do_not_count(seen: int, possible: bool) -> None:
    test = table(2000, 3)
    found = compared(table(8000, 1), pd.concat([table(8000, 2), test[:seen]]), test)
    assert not found.counted[:seen].any()
    assert found.counted[seen:].mean() > 0.98 if seen < 2000 else True
    assert found.possible == possible
    assert f"trained on {found.seen:,} of these 2,000 test rows" in found.words()
    assert ("do not count" in found.words()) == possible


def test_rows_that_occur_often_are_no_proof_of_anything() -> None:
    """In a table of few categories every row is known to every model."""
    random = np.random.default_rng(0)
    categories = pd.DataFrame({"a": random.integers(0, 5, 4000).astype(float), "y": random.integers(0, 2, 4000) * 1.0})
    found = compared(categories[:2000], categories[2000:3000], categories[3000:])
    assert found.expected == 1
    assert found.counted.all()
    assert found.possible


@pytest.mark.parametrize(("seen", "possible"), [(8, True), (20, True), (23, False)])
def test_of_a_small_test_part_most_rows_have_to_be_left(seen: int, possible: bool) -> None:
    test = table(88, 3)
    found = compared(table(350, 1), pd.concat([table(350, 2), test[:seen]]), test)
    assert found.counted.sum() <= 88 - seen
    assert found.possible == possible


def test_equal_features_on_both_sides_are_counted_without_what_the_filter_mistakes() -> None:
    train, test = table(8000, 1), table(2000, 2)
    assert equal_features(known(rows(train), test)) < 12
    again = pd.concat([test[:1700], train[:300].assign(y=0.0)])
    assert equal_features(known(rows(train), again)) == pytest.approx(300, abs=12)


def test_what_the_champion_knows_counts_by_weight() -> None:
    test, weights = table(2000, 3), np.ones(2000)
    training = rows(table(8000, 1)), rows(pd.concat([table(8000, 2), test[:40]]))
    own, champion = (known(each, test) for each in training)
    # 2 % of the rows, and hardly any weight.
    weights[:40] = 0.01
    assert fair_rows(own, champion, weights).counted.all()
    weights[:40] = 1
    assert not fair_rows(own, champion, weights).counted[:40].any()
    # Of what is left a single row has nearly all of the weight.
    weights[:40] = weights[100] = 1e9
    assert not fair_rows(own, champion, weights).possible
