"""What the unit tests share: small prepared data sets for each problem, and models of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from common.frames import load_part
from common.model_file import save_model
from common.request import parse_request
from common.storage import digest_of
from data_preparation.preparation import PreparedData, prepare
from data_preparation.reading import SourceFile
from model_training.training import build_pipeline, fit

ROWS = 300
# What `make local-aws` tells to set, and what a build has: with an endpoint, moto is not asked.
AWS_SETTINGS = ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN", "CROSSTRAIN_STACK")


@pytest.fixture(scope="session", autouse=True)
def no_settings_of_an_aws() -> Iterator[None]:
    """Keep the AWS that the user, or a rehearsal, has at hand out of the unit tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in AWS_SETTINGS:
            patch.delenv(name, raising=False)
        yield


def mixed_frame(problem: str) -> pd.DataFrame:
    """Return a frame with a column of every role, missing values in each, and a target that can be learned."""
    random = np.random.default_rng(0)
    data = pd.DataFrame(
        {
            "amount": random.normal(10, 3, ROWS),
            "count": pd.array(random.integers(0, 300, ROWS), dtype="Int64"),
            "kind": random.choice(["x", "y", "z"], ROWS),
            "flag": pd.array(random.choice([True, False], ROWS), dtype="boolean"),
            "when": pd.date_range("2024-01-01", periods=ROWS, freq="h"),
        }
    )
    signal = data["amount"] + 5 * (data["kind"] == "x") + random.normal(0, 0.5, ROWS)
    data["y"] = signal if problem == "regression" else np.where(signal > signal.median(), "high", "low")
    for position, name in enumerate(["amount", "count", "kind", "flag", "when"]):
        data.loc[position * 7 : position * 7 + 5, name] = None
    return data


@pytest.fixture
def prepared_data(tmp_path: Path) -> Callable[..., PreparedData]:
    """Return a function that prepares `mixed_frame` for a problem, or the given frame."""

    def make(
        problem: str, frame: pd.DataFrame | None = None, *, as_parquet: bool = False, **fields: Any
    ) -> PreparedData:
        workspace = tmp_path / "prepared"
        workspace.mkdir()
        path = tmp_path / ("data.parquet" if as_parquet else "data.csv")
        data = mixed_frame(problem) if frame is None else frame
        data.to_parquet(path, index=False) if as_parquet else data.to_csv(path, index=False)
        request = parse_request(
            {"dataset_uri": "s3://bucket/data.csv", "target": "y", "search_trials": 0, "problem": problem, **fields}
        )
        return prepare([SourceFile(path.name, path)], request, workspace)

    return make


@pytest.fixture
def train_on(prepared_data: Callable[..., PreparedData], tmp_path: Path) -> Callable[..., tuple[PreparedData, Path]]:
    """Return a function that trains on a frame and leaves a folder as `make train` does, of a run that was decided."""

    def train(data: pd.DataFrame, problem: str, decision: str = "promote", **fields: Any) -> tuple[PreparedData, Path]:
        prepared = prepared_data(problem, data, **fields)
        model = fit(build_pipeline(prepared.request, prepared.profile), *load_part(prepared.train, prepared.profile))
        folder = tmp_path / "out"
        folder.mkdir()
        path = save_model(model.pipeline, folder / "model.skops")
        documents = {
            "profile": prepared.profile,
            "model": {"run_id": "run-1", "sha256": {"model": digest_of(path)}},
            "evaluation": {"run_id": "run-1", "decision": decision, "reason": "It is worse."},
        }
        for name, document in documents.items():
            (folder / f"{name}.json").write_text(json.dumps(document))
        return prepared, folder

    return train
