"""Trees that several processes grow together over TLS, from row groups on the embedded S3, with one of them killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from distributed import Client
from distributed.security import Security

from common import storage
from common.frames import PartFile, load_part
from common.request import parse_request
from crosstrain.local.server import LocalTrainingStack
from data_preparation.preparation import PreparedData, prepare
from data_preparation.reading import SourceFile
from model_training import distributed
from model_training.boosting_rows import fit_block_by_block
from model_training.cluster_tasks import on_tasks
from model_training.distributed import Cluster, Workers, security_of, started
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
    monkeypatch.setenv("ARTIFACT_BUCKET", bucket)
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


class Fargate:
    """An ECS whose tasks are processes of this machine, told what a task is told."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.processes: list[subprocess.Popen[bytes]] = []

    def run_task(self, **request: Any) -> dict[str, Any]:
        """Start processes."""
        self.requests.append(request)
        (container,) = request["overrides"]["containerOverrides"]
        told = {each["name"]: each["value"] for each in container["environment"]}
        for _ in range(request["count"]):
            command = [sys.executable, "-m", "model_training.cluster_process", "worker"]
            self.processes.append(subprocess.Popen(command, env={**os.environ, **told}))
        return {"failures": []}


@pytest.fixture
def fargate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fargate]:
    found, client = Fargate(), boto3.client
    for name, value in {
        "LARGEST_TASK_MEMORY": "122880", "TASK_CLUSTER_ARN": "cluster", "WORKER_TASK_DEFINITION": "worker:1",
        "TASK_SUBNET_IDS": "subnet-1,subnet-2", "TASK_SECURITY_GROUP_ID": "sg-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "client", lambda name, **given: found if name == "ecs" else client(name, **given))
    yield found
    for process in found.processes:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_tasks_grow_the_trees_that_one_machine_does_and_end(
    prepared: PreparedData, stored: storage.Stored, tmp_path: Path, fargate: Fargate
) -> None:
    part = PartFile(prepared.train, prepared.profile)
    assert len(part.rows_of_groups) > 3
    found = []
    with on_tasks("run-1", stored, tmp_path, count=1) as elsewhere:
        elsewhere.cluster.wait(2, 60)
        assert elsewhere.cluster.address.startswith("tls://")
        for _ in range(2):
            pipeline = build_pipeline(prepared.request, prepared.profile)
            target = part.target()
            found.append(fit_block_by_block(pipeline, part, prepared.profile, target, elsewhere=elsewhere))
    (asked,) = fargate.requests
    assert (asked["count"], asked["overrides"]["cpu"], asked["overrides"]["memory"]) == (2, "16384", "122880")
    assert [process.wait(60) for process in fargate.processes] == [0, 0]
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


@pytest.mark.slow
def test_workers_whose_coordinator_is_killed_end_and_leave_no_process(tmp_path: Path) -> None:
    """As where its task is stopped, or its run: nobody is there to tell them."""
    credentials = tmp_path / "credentials.json"
    credentials.write_text(json.dumps(distributed._credentials(Security.temporary())), encoding="utf-8")
    command = [sys.executable, "-m", "model_training.cluster_process", "scheduler", str(credentials), f"{HOST}:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as scheduler:
        assert scheduler.stdout is not None
        address = scheduler.stdout.readline().strip()
        client = Client(address, security=security_of(json.loads(credentials.read_text(encoding="utf-8"))))
        with workers(Cluster(client, address, HOST), tmp_path, 2) as processes:
            client.close()
            scheduler.kill()
            assert all(process.wait(60) is not None for process in processes)
