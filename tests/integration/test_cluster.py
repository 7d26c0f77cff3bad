"""Trees that several processes grow together over TLS, from row groups on the embedded S3, with one of them killed."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from common import storage
from common.frames import PartFile, load_part
from common.request import parse_request
from crosstrain.local.server import LocalTrainingStack
from data_preparation.preparation import PreparedData, prepare
from data_preparation.reading import SourceFile
from model_training import distributed
from model_training.boosting_rows import fit_block_by_block
from model_training.distributed import Cluster, Workers, started
from model_training.training import FittedModel, build_pipeline

HOST = "127.0.0.1"


def table(rows: int) -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            **{f"a{number}": random.normal(size=rows) for number in range(8)},
            "kind": random.choice(["x", "y", "z"], rows),
        }
    )
    frame.loc[::11, "a1"] = None
    return frame.assign(y=frame["a0"] * 3 + 5 * (frame["kind"] == "x") + frame["a1"].isna())


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedData:
    (tmp_path / "prepared").mkdir()
    table(20_000).to_parquet(tmp_path / "data.parquet", index=False)
    request = parse_request(
        {
            "dataset_uri": "s3://bucket/x", "target": "y", "search_trials": 0, "estimator": "xgboost",
            "hyperparameters": {"n_estimators": 60},
        }
    )  # fmt: skip
    made = prepare([SourceFile("data.parquet", tmp_path / "data.parquet")], request, tmp_path / "prepared")
    pq.write_table(pq.read_table(made.train), made.train, row_group_size=2000, write_page_checksum=True)
    return made


@pytest.fixture
def stored(
    prepared: PreparedData, training_stack: LocalTrainingStack, monkeypatch: pytest.MonkeyPatch
) -> Iterator[storage.Stored]:
    """Return the training part on the embedded S3."""
    environment = training_stack.aws.environment()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    storage.s3_client.cache_clear()
    bucket = training_stack.outputs["ArtifactBucketName"]
    yield storage.upload(
        storage.s3_client(), prepared.train, f"s3://{bucket}/runs/cluster/{uuid.uuid4().hex}/train.parquet"
    )
    storage.s3_client.cache_clear()


@contextmanager
def workers(cluster: Cluster, folder: Path, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    command = [
        sys.executable, "-m", "model_training.cluster_process", "worker", str(folder / "credentials.json"),
        cluster.address,
    ]  # fmt: skip
    with ExitStack() as stack:
        found = []
        for _ in range(count):
            process = stack.enter_context(subprocess.Popen(command))
            stack.callback(process.kill)
            found.append(process)
        cluster.wait(count, 60)
        yield found


def fitted(prepared: PreparedData, cluster: Cluster, stored: storage.Stored, least: int = 1) -> FittedModel:
    part, profile = PartFile(prepared.train, prepared.profile), prepared.profile
    pipeline = build_pipeline(prepared.request, profile)
    elsewhere = Workers(cluster, stored, least)
    return fit_block_by_block(pipeline, part, profile, part.target(), elsewhere=elsewhere)


def alone(prepared: PreparedData) -> FittedModel:
    part, profile = PartFile(prepared.train, prepared.profile), prepared.profile
    return fit_block_by_block(build_pipeline(prepared.request, profile), part, profile, part.target())


def is_as_good(prepared: PreparedData, model: FittedModel) -> bool:
    """Return whether a model predicts the test part nearly as the one of a single machine does."""
    features, target = load_part(prepared.test, prepared.profile)
    errors = [np.abs(each.pipeline.predict(features) - target).mean() for each in (alone(prepared), model)]
    trees = model.pipeline["model"].trees_
    return bool(errors[1] < 1.1 * errors[0] + 0.01 and len(trees["sizes"]) == 60)


@pytest.mark.slow
def test_two_workers_grow_the_trees_that_one_machine_does(
    prepared: PreparedData, stored: storage.Stored, tmp_path: Path
) -> None:
    assert len(PartFile(prepared.train, prepared.profile).rows_of_groups) > 3
    with started(HOST, tmp_path) as cluster, workers(cluster, tmp_path, 2):
        assert cluster.address.startswith("tls://")
        found = [fitted(prepared, cluster, stored, 2) for _ in range(2)]
    assert is_as_good(prepared, found[0])
    one, other = (each.pipeline["model"] for each in found)
    assert all(np.array_equal(one.trees_[name], other.trees_[name]) for name in one.trees_)


@pytest.mark.slow
def test_a_fit_goes_on_without_the_worker_that_was_killed(
    prepared: PreparedData, stored: storage.Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    take = distributed._Grown.take
    monkeypatch.setattr(distributed._Grown, "take", lambda self, event: (told.append(self), take(self, event))[1])
    with started(HOST, tmp_path) as cluster, workers(cluster, tmp_path, 2) as processes:

        def kill() -> None:
            while not told:
                time.sleep(0.01)
            processes[1].kill()

        killer = threading.Thread(target=kill)
        killer.start()
        model = fitted(prepared, cluster, stored)
        killer.join()
        assert len(cluster.workers()) == 1
    assert is_as_good(prepared, model)
    assert len(told[0].begun_at) == 2
    assert told[0].begun_at[1] >= distributed.ROUNDS_BETWEEN
