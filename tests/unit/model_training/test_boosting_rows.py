"""XGBoost's trees on a part that is read block by block: the model of a fit in memory, or as good a one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import r2_score

from common.frames import PartFile, load_part, load_weights
from common.model_file import load_model, save_model
from common.storage import digest_of
from data_preparation.preparation import PreparedData
from model_training import boosting_rows
from model_training.boosting_rows import fit_block_by_block
from model_training.training import FittedModel, build_pipeline, fit

Make = Callable[..., PreparedData]


def fitted(prepared: PreparedData, watch: Any = None) -> FittedModel:
    part, profile = PartFile(prepared.train, prepared.profile), prepared.profile
    weights = load_weights(prepared.train, profile)
    return fit_block_by_block(
        build_pipeline(prepared.request, profile), part, profile, part.target(), weights, watch=watch
    )


def digest(model: FittedModel, folder: Path) -> str:
    return digest_of(save_model(model.pipeline, folder / "model.skops"))


@pytest.fixture
def small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let features learn of a seventh of the rows or so, and blocks be small."""
    monkeypatch.setattr(boosting_rows, "sample_rows", lambda profile: profile["rows"]["train"] // 7)
    monkeypatch.setattr(boosting_rows, "ROWS_AT_ONCE", 64)


def texts(rows: int = 3000) -> pd.DataFrame:
    """Return a table whose target needs a text of many, one of few of which some are rare, and a time."""
    random = np.random.default_rng(0)
    users = random.integers(0, 300, rows)
    kinds = np.where(random.random(rows) < 0.004, "rare", random.choice(["x", "y"], rows)).astype(object)
    means = random.normal(0, 3, 300)
    frame = pd.DataFrame(
        {
            "user": [f"user {each}" for each in users],
            "kind": kinds,
            "amount": random.normal(10, 3, rows),
            "when": pd.date_range("2024-01-01", periods=rows, freq="31min"),
            "y": means[users] + 20 * (kinds == "rare") + random.normal(0, 0.5, rows),
        }
    )
    frame.loc[::11, "amount"] = None
    return frame


@pytest.mark.parametrize("problem", ["regression", "classification"])
@pytest.mark.parametrize("weighed", [False, True])
def test_what_is_its_own_sample_gives_the_model_of_a_fit_in_memory(
    prepared_data: Make, tmp_path: Path, problem: str, *, weighed: bool
) -> None:
    frame = texts(400).drop(columns="user")
    frame["w"] = np.random.default_rng(1).uniform(0.5, 2, len(frame))
    frame["y"] = frame["y"] if problem == "regression" else np.where(frame["y"] > 0, "high", "low")
    fields = {"weight_column": "w"} if weighed else {}
    prepared = prepared_data(problem, frame, estimator="xgboost", **fields)
    pipeline = build_pipeline(prepared.request, prepared.profile)
    weights = load_weights(prepared.train, prepared.profile)
    assert (weights is not None) == weighed
    whole = fit(pipeline, *load_part(prepared.train, prepared.profile), weights)
    assert digest(fitted(prepared), tmp_path) == digest(whole, tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("small_samples")
def test_features_that_learn_of_a_sample_are_as_good(prepared_data: Make, tmp_path: Path) -> None:
    prepared = prepared_data("regression", texts(), estimator="xgboost")
    whole = fit(
        build_pipeline(prepared.request, prepared.profile), *load_part(prepared.train, prepared.profile)
    ).pipeline
    model = load_model(save_model(fitted(prepared).pipeline, tmp_path / "model.skops"))
    features, target = load_part(prepared.test, prepared.profile)
    scores = [r2_score(target, each.predict(features)) for each in (whole, model)]
    # Of 300 users a seventh of the rows has one or two each.
    assert scores[0] > 0.88
    assert scores[1] > 0.8
    # What few rows have is known, although the sample alone might have none of them.
    levels = model["features"].named_transformers_["categorical"].categories_[0].tolist()
    assert [each for each in levels if isinstance(each, str)] == ["rare", "x", "y"]


@pytest.mark.slow
@pytest.mark.usefixtures("small_samples")
def test_row_groups_make_no_difference_and_each_row_is_seen_once(prepared_data: Make, tmp_path: Path) -> None:
    prepared = prepared_data("regression", texts(), estimator="xgboost")
    found = set()
    for rows in (10_000, 77):
        table = pq.read_table(prepared.train)
        pq.write_table(table, prepared.train, row_group_size=rows, write_page_checksum=True)
        seen = list[Any]()
        found.add(digest(fitted(prepared, seen.append), tmp_path))
        assert sum(batch.num_rows for batch in seen) == table.num_rows
        assert {"user", "kind", "amount", "when", "y"} == set(seen[0].schema.names)
    assert len(found) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("small_samples")
def test_every_row_is_trained_on_once(prepared_data: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = prepared_data("regression", texts(1000), estimator="xgboost", hyperparameters={"n_estimators": 2})
    targets = list[Any]()
    grow = boosting_rows.grow

    def kept(growth: Any, batches: Any) -> Any:
        targets.extend(target for _, target, _ in batches())
        return grow(growth, batches)

    monkeypatch.setattr(boosting_rows, "grow", kept)
    fitted(prepared)
    _, target = load_part(prepared.train, prepared.profile)
    assert len(targets) > 7
    np.testing.assert_array_equal(np.sort(np.concatenate(targets)), np.sort(target))
