"""Workers as tasks of their own, where trees fit no task: how many there are, and how they are started."""

from __future__ import annotations

import json
import logging
import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3

from common.capacity import RESERVE_MB, TaskSize, is_task, largest_task_mb
from common.conversion import Profile
from common.errors import first_few
from common.request import TrainingRequest
from common.storage import Stored, new_call, s3_client, upload
from model_training.boosting_rows import fits_block_by_block
from model_training.distributed import Workers, WorkersGoneError, started

if TYPE_CHECKING:
    from pathlib import Path

SPARE = 1
"""How many workers there are beyond those that have the memory: as many may be lost."""
AT_ONCE = 10
"""How many tasks a call starts: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html"""
SCHEDULER_PORT = 8786
_LOOPBACK = "127.0.0.1"

logger = logging.getLogger(__name__)


def largest_cluster() -> int:
    """Return how many workers there may be at most; 0 where the stack has none."""
    return int(os.environ.get("LARGEST_CLUSTER", "0"))


def workers_for(request: TrainingRequest, needed_mb: int, imports_mb: int) -> int:
    """Return how many workers have the memory for a fit that no task has, without the spare one.

    Parameters
    ----------
    request
        With every choice made.
    needed_mb
        The memory that the fit takes on one machine, in MB.
    imports_mb
        What each worker takes beside it, in MB.

    Returns
    -------
    int
        0 where a task does, where workers do not help, or where too many would be needed.
    """
    largest, most = largest_task_mb() - RESERVE_MB, largest_cluster()
    if not fits_block_by_block(request) or not most or needed_mb <= largest:
        return 0
    count: int = -(-(needed_mb - imports_mb) // (largest - imports_mb))
    return count if count + SPARE <= most else 0


def coordinator_mb(profile: Profile, imports_mb: int, sample_bytes: int) -> int:
    """Return what the task takes that tells workers what to do: the sample, and the target and weights of all rows."""
    rows: int = profile["rows"]["train"]
    return imports_mb + ((sample_bytes + rows * _BYTES_PER_ROW) >> 20)


_BYTES_PER_ROW = 40
"""Target, weight, and what the rows are recorded by."""


@contextmanager
def on_tasks(run_id: str, part: Stored, folder: Path, count: int) -> Iterator[Workers]:
    """Start workers as tasks, and end them at the end.

    Parameters
    ----------
    run_id
        Of the run.
    part
        The training part on S3.
    folder
        Where the certificate is written.
    count
        How many have the memory for the fit.

    Raises
    ------
    WorkersGoneError
        If there were too few of them, with what ECS says of those that it has not started.
    """
    with started(_own_address(), folder, SCHEDULER_PORT) as cluster:
        # Not among what people read of a run, and gone after some weeks.
        uri = f"s3://{os.environ['ARTIFACT_BUCKET']}/large/{run_id}/{new_call()}/credentials.json"
        upload(s3_client(), folder / "credentials.json", uri)
        refused = _start(run_id, uri, cluster.address, count + SPARE)
        try:
            yield Workers(cluster, part, count)
        except WorkersGoneError as error:
            if not refused:
                raise
            raise WorkersGoneError(f"{error} ECS has not started all of them: {first_few(refused)}") from error


def _own_address() -> str:
    """Return the address that this task has in its subnet; where it is none, workers are on this machine.

    References
    ----------
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-fargate.html
    """
    endpoint = os.environ.get("ECS_CONTAINER_METADATA_URI_V4")
    if not is_task() or endpoint is None:
        return _LOOPBACK
    with urllib.request.urlopen(endpoint, timeout=10) as answer:  # noqa: S310 - of the container agent, by http
        return str(json.load(answer)["Networks"][0]["IPv4Addresses"][0])


def _start(run_id: str, credentials: str, address: str, count: int) -> list[str]:
    """Start workers, and return why others could not be."""
    size = TaskSize.of(largest_task_mb() - RESERVE_MB)
    environment = {"CREDENTIALS": credentials, "SCHEDULER": address}
    request: dict[str, Any] = {
        "cluster": os.environ["TASK_CLUSTER_ARN"],
        "taskDefinition": os.environ["WORKER_TASK_DEFINITION"],
        "launchType": "FARGATE",
        "startedBy": run_id[:36],
        "networkConfiguration": {
            "awsvpcConfiguration": {
                "subnets": os.environ["TASK_SUBNET_IDS"].split(","),
                "securityGroups": [os.environ["TASK_SECURITY_GROUP_ID"]],
                "assignPublicIp": "ENABLED",
            }
        },
        "overrides": {
            "cpu": str(size and size.cpu),
            "memory": str(size and size.memory_mb),
            "containerOverrides": [
                {"name": "worker", "environment": [{"name": n, "value": v} for n, v in environment.items()]}
            ],
        },
    }
    ecs, refused = boto3.client("ecs"), list[str]()
    for begin in range(0, count, AT_ONCE):
        answer = ecs.run_task(**request, count=min(AT_ONCE, count - begin))
        # As many as there are do, if they have the memory; else the wait for them tells.
        refused += [str(failure.get("reason")) for failure in answer.get("failures", ())]
    if refused:
        logger.warning("workers could not be started", extra={"reasons": refused})
    return sorted(set(refused))
