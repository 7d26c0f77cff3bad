"""A test part that is read in blocks is predicted as whole, and what looks at features looks at rows of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from common import frames
from common.frames import load_part, load_weights
from common.metrics import predict
from data_preparation.preparation import PreparedData
from model_evaluation import predicted_part
from model_evaluation.evaluation import measure
from model_evaluation.predicted_part import predict_part
from model_training.training import build_pipeline, fit

Make = Callable[..., PreparedData]


def in_groups(path: Path, rows: int) -> None:
    """Write a part again, in row groups of so many rows."""
    pq.write_table(pq.read_table(path), path, row_group_size=rows)


def weighted(problem: str) -> pd.DataFrame:
    """Return rows of all roles but free texts, with weights and missing values."""
    random = np.random.default_rng(0)
    data = pd.DataFrame(
        {
            "amount": random.normal(10, 3, 300),
            "count": pd.array(random.integers(0, 300, 300), dtype="Int64"),
            "kind": random.choice([*"abcdefgh"], 300),
            "when": pd.date_range("2024-01-01", periods=300, freq="h"),
        }
    )
    signal = data["amount"] + 5 * (data["kind"] == "a") + random.normal(0, 0.5, 300)
    data["y"] = signal if problem == "regression" else np.where(signal > signal.median(), "high", "low")
    for name in ("amount", "count", "kind"):
        data.loc[random.random(300) < 0.1, name] = None
    return data.assign(w=random.lognormal(0, 1, 300))


def fitted(prepared: PreparedData) -> Any:
    return fit(
        build_pipeline(prepared.request, prepared.profile), *load_part(prepared.train, prepared.profile)
    ).pipeline


@pytest.mark.slow
@pytest.mark.parametrize("problem", ["regression", "classification"])
@pytest.mark.parametrize("rows", [1, 7, 60])
def test_blocks_are_predicted_as_the_whole(
    prepared_data: Make, problem: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepared_data(problem, weighted(problem), weight_column="w")
    pipeline, profile = fitted(prepared), prepared.profile
    features, target = load_part(prepared.test, profile)
    expected, weights = predict(pipeline, features, problem), load_weights(prepared.test, profile)
    in_groups(prepared.test, rows)
    columns = features.shape[1]
    monkeypatch.setattr(predicted_part, "BLOCK_VALUES", 20 * columns)
    seen = list[int]()
    part, predictions = predict_part(prepared.test, profile, pipeline, 3, [lambda batch: seen.append(batch.num_rows)])
    np.testing.assert_allclose(predictions.outputs, expected.outputs, rtol=1e-12)
    np.testing.assert_array_equal(part.target, target)
    np.testing.assert_array_equal(np.asarray(part.weights), np.asarray(weights))
    assert sum(seen) == len(target)
    whole, bounded = (measure(each, target, weights) for each in (expected, predictions))
    assert bounded.metrics == pytest.approx(whole.metrics, rel=1e-12)
    # The sample's features are those of its rows, whatever the texts of other rows are.
    assert part.sample is not None
    assert len(part.sample) == len(part.features) == 20
    assert np.all(np.diff(part.sample) > 0)
    chosen = features.iloc[part.sample].reset_index(drop=True)
    for name in features.columns:
        if chosen[name].dtype == "category":
            assert part.features[name].astype(object).tolist() == chosen[name].astype(object).tolist()
        else:
            pd.testing.assert_series_equal(part.features[name], chosen[name])
    aligned = part.with_features()
    np.testing.assert_array_equal(aligned.target, target[part.sample])


def test_a_part_of_one_block_is_held_whole(prepared_data: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = prepared_data("regression")
    in_groups(prepared.test, 13)
    features, _ = load_part(prepared.test, prepared.profile)
    monkeypatch.setattr(predicted_part, "BLOCK_VALUES", features.size)
    part, _ = predict_part(prepared.test, prepared.profile, fitted(prepared), 3)
    assert part.sample is None
    assert part.with_features() is part
    pd.testing.assert_frame_equal(part.features, features)


@pytest.mark.slow
def test_the_sample_is_of_the_seed_and_has_rows_from_everywhere(
    prepared_data: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepared_data("regression")
    pipeline = fitted(prepared)
    monkeypatch.setattr(predicted_part, "BLOCK_VALUES", 25 * 5)

    def sample(seed: int) -> list[int]:
        part, _ = predict_part(prepared.test, prepared.profile, pipeline, seed)
        assert part.sample is not None
        return [int(each) for each in part.sample]

    assert sample(1) == sample(1) != sample(2)
    drawn = np.bincount(
        np.concatenate([sample(seed) for seed in range(60)]), minlength=prepared.profile["rows"]["test"]
    )
    assert drawn.min() > 5


def test_blocks_have_no_more_values_than_they_may(prepared_data: Make) -> None:
    prepared = prepared_data("regression")
    in_groups(prepared.test, 9)
    most = 30 * 5
    sizes = [features.size for features, _ in frames.load_blocks(prepared.test, prepared.profile, values=most)]
    assert len(sizes) > 1
    assert max(sizes) <= most
    assert sum(sizes) == load_part(prepared.test, prepared.profile)[0].size
    # A row group is never cut.
    assert {each.shape[0] for each, _ in frames.load_blocks(prepared.test, prepared.profile, values=1)} <= {9, 60 % 9}
