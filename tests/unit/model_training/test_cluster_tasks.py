"""How many workers a fit needs, which task tells them what to do, and how they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import boto3
import pytest

from common.errors import InvalidDatasetError, TooLargeForFunctionError
from common.request import TrainingRequest, parse_request
from model_training import cluster_tasks
from model_training.distributed import Cluster, WorkersGoneError
from model_training.memory import check_memory, needed_memory_mb, workers_of
from model_training.room import check_room


def asked(estimator: str = "xgboost", **fields: str) -> TrainingRequest:
    document = {"dataset_uri": "s3://b-1/x", "target": "y", "estimator": estimator, **fields}
    return parse_request(document).resolve("regression")


def profile(rows: int) -> dict[str, Any]:
    column = {"use": "feature", "role": "numeric", "kind": "float", "dtype": "float32", "nulls": 0}
    columns = [{**column, "name": str(number)} for number in range(30)]
    return {"rows": {"train": rows}, "columns": columns, "classes": None}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LARGEST_TASK_MEMORY", "122880")
    monkeypatch.setenv("LARGEST_CLUSTER", "4")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "10240")


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(("rows", "workers"), [(10**9, 0), (1_200_000_000, 2), (3 * 10**9, 3), (4 * 10**9, 0)])
def test_as_many_workers_as_have_the_memory_and_one_more_is_no_more_than_there_may_be(rows: int, workers: int) -> None:
    assert workers_of(asked(), profile(rows)) == workers


@pytest.mark.parametrize("name", ["LARGEST_CLUSTER", "LARGEST_TASK_MEMORY"])
@pytest.mark.usefixtures("cluster")
def test_a_stack_without_workers_refuses_what_no_task_has_room_for(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(name)
    with pytest.raises(InvalidDatasetError):
        check_memory(asked(), profile(2 * 10**9), 10_240)


@pytest.mark.usefixtures("cluster")
def test_a_function_hands_on_to_a_task_that_is_as_large_as_telling_workers_takes() -> None:
    with pytest.raises(TooLargeForFunctionError) as caught:
        check_memory(asked(), profile(2 * 10**9), 10_240)
    needed = needed_memory_mb(asked(), profile(2 * 10**9))
    assert (
        f"need about {needed:,} MB for xgboost, and the function has 10,240 MB alone, and 3 tasks of 122,880 MB"
        in str(caught.value)
    )
    assert str(caught.value).endswith("[cpu=16384 memory=81920]")


@pytest.mark.usefixtures("cluster")
def test_so_does_one_whose_request_asks_for_a_task() -> None:
    with pytest.raises(TooLargeForFunctionError, match=r"grow its trees together.*\[cpu=16384 memory=81920\]$"):
        check_room(asked(compute="task"), profile(2 * 10**9), None, 0, 10 << 30, None)


@pytest.mark.usefixtures("cluster")
def test_that_task_does_not_refuse_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSTRAIN_TASK_CPU", "16384")
    check_memory(asked(), profile(2 * 10**9), 81_920 - 256)
    with pytest.raises(InvalidDatasetError):
        check_memory(asked(), profile(2 * 10**9), 20_000)
    with pytest.raises(InvalidDatasetError):
        check_memory(asked("random_forest"), profile(2 * 10**9), 81_920)


class Ecs:
    """An ECS that has capacity for some."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []

    def run_task(self, **request: Any) -> dict[str, Any]:
        """Take down what is asked."""
        self.requests.append(request)
        return {"failures": [{"reason": "Capacity is unavailable at this time."}] * 2}


@pytest.fixture
def ecs(monkeypatch: pytest.MonkeyPatch) -> Ecs:
    found = Ecs()
    for name in ("TASK_CLUSTER_ARN", "WORKER_TASK_DEFINITION", "TASK_SECURITY_GROUP_ID"):
        monkeypatch.setenv(name, name.lower())
    monkeypatch.setenv("TASK_SUBNET_IDS", "subnet-1,subnet-2")
    monkeypatch.setenv("LARGEST_TASK_MEMORY", "30720")
    monkeypatch.setattr(boto3, "client", lambda name: {"ecs": found}[name])
    return found


def test_workers_are_asked_for_ten_at_a_time_and_what_fails_is_told(ecs: Ecs) -> None:
    refused = cluster_tasks._start("run-1", "s3://b-1/credentials.json", "tls://10.0.0.1:8786", 23)
    assert refused == ["Capacity is unavailable at this time."]
    requests = ecs.requests
    assert [each["count"] for each in requests] == [10, 10, 3]
    network = requests[0]["networkConfiguration"]["awsvpcConfiguration"]
    assert (network["subnets"], network["securityGroups"]) == (["subnet-1", "subnet-2"], ["task_security_group_id"])
    assert (requests[0]["overrides"]["cpu"], requests[0]["overrides"]["memory"]) == ("4096", "30720")
    (container,) = requests[0]["overrides"]["containerOverrides"]
    assert container["environment"] == [
        {"name": "CREDENTIALS", "value": "s3://b-1/credentials.json"},
        {"name": "SCHEDULER", "value": "tls://10.0.0.1:8786"},
    ]


@pytest.mark.usefixtures("ecs")
def test_workers_that_do_not_come_end_the_run_with_what_ecs_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    @contextmanager
    def started(host: str, *_: object) -> Iterator[Cluster]:
        client = SimpleNamespace(scheduler_info=lambda **_: {"workers": {"tls://10.0.0.2:1": {}}})
        yield Cluster(cast("Any", client), "tls://10.0.0.1:8786", host)

    monkeypatch.setenv("ARTIFACT_BUCKET", "bucket-1")
    monkeypatch.setattr(cluster_tasks, "started", started)
    monkeypatch.setattr(cluster_tasks, "upload", lambda *_: None)
    monkeypatch.setattr(cluster_tasks, "s3_client", lambda: None)
    with (
        pytest.raises(WorkersGoneError) as gone,
        cluster_tasks.on_tasks("run-1", cast("Any", None), tmp_path, 3) as workers,
    ):
        workers.cluster.wait(3, seconds=0.1)
    assert str(gone.value).startswith("1 of 3 workers have come within 0 s: start the run again, or name subnets of")
    assert str(gone.value).endswith("ECS has not started all of them: Capacity is unavailable at this time.")
