"""A task of ECS is a container of its image, with what its definition says, and leaves nothing: here of the base image.

`test_functions_as_containers.py` runs this project's own tasks, which takes the minutes of building their images.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from crosstrain.command import BadInputError
from crosstrain.local.server import REGION, ContainerNetwork, Credentials, LocalAws
from crosstrain.rehearsal.images.containers import Engine, open_network
from waiting import wait_for

# Says where it is, and then waits to be stopped, or lets a child take more memory than there is.
SCRIPT = """
import json, multiprocessing, os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print("told to end", flush=True)))
open("/tmp/written", "w").close()
try:
    open("/written", "w").close()
except OSError as error:
    refused = os.strerror(error.errno)
print(json.dumps({**os.environ, "refused": refused, "is_first": os.getpid() == 1}), flush=True)
if sys.argv[1] == "eat":
    child = multiprocessing.Process(target=bytearray, args=[1 << 29])
    child.start()
    child.join()
    sys.exit(-child.exitcode)
time.sleep(600)
"""
MEGABYTES, LOG = 200, "/aws/ecs/tasks"


@dataclass(frozen=True)
class Tasks:
    """An embedded AWS whose tasks are containers, with a definition of one."""

    aws: LocalAws
    network: ContainerNetwork
    engine: Any

    def run(self, word: str) -> str:
        """Start a task, and return its ARN."""
        override = {"name": "job", "command": [word], "environment": [{"name": "WORD", "value": word}]}
        started = self.aws.client("ecs").run_task(
            cluster="tasks",
            taskDefinition="job",
            launchType="FARGATE",
            networkConfiguration={"awsvpcConfiguration": {"subnets": ["subnet-00000000"]}},
            overrides={"memory": str(MEGABYTES), "containerOverrides": [override]},
        )
        return str(started["tasks"][0]["taskArn"])

    def stopped(self, arn: str) -> dict[str, Any]:
        """Return a task when it has stopped."""
        describe = self.aws.client("ecs").describe_tasks
        return dict(
            wait_for(
                lambda: next(
                    (
                        each
                        for each in describe(cluster="tasks", tasks=[arn])["tasks"]
                        if each["lastStatus"] == "STOPPED"
                    ),
                    None,
                )
            )
        )

    def containers(self) -> list[Any]:
        """Return the containers that there are, without a look at each, which fails for one that is just removed."""
        return list(self.engine.containers.list(all=True, sparse=True, filters={"network": self.network.name}))

    def said(self, arn: str) -> list[str]:
        """Return what a task has written to its log so far."""
        stream = f"said/job/{arn.rpartition('/')[2]}"
        logs = self.aws.client("logs")
        streams = logs.describe_log_streams(logGroupName=LOG, logStreamNamePrefix=stream)["logStreams"]
        if not streams:
            return []
        return [each["message"] for each in logs.get_log_events(logGroupName=LOG, logStreamName=stream)["events"]]


@pytest.fixture(scope="module")
def tasks(opened_engine: Engine, base_image: str) -> Iterator[Tasks]:
    """Start an embedded AWS, and register a task definition like those of the template."""
    with ExitStack() as stack:
        try:
            network = stack.enter_context(open_network(opened_engine))
        except BadInputError as error:
            pytest.skip(str(error))
        aws = stack.enter_context(LocalAws(containers=network))
        trust = {"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        role = aws.client("iam").create_role(RoleName="of-task", AssumeRolePolicyDocument=document)["Role"]["Arn"]
        aws.client("logs").create_log_group(logGroupName=LOG)
        options = {"awslogs-group": LOG, "awslogs-region": REGION, "awslogs-stream-prefix": "said"}
        ecs = aws.client("ecs")
        ecs.create_cluster(clusterName="tasks")
        ecs.register_task_definition(
            family="job",
            requiresCompatibilities=["FARGATE"],
            networkMode="awsvpc",
            cpu="4096",
            memory="8192",
            taskRoleArn=role,
            executionRoleArn=role,
            volumes=[{"name": "tmp"}],
            containerDefinitions=[
                {
                    "name": "job",
                    "image": base_image,
                    "entryPoint": ["python3", "-c", SCRIPT],
                    "command": ["nothing"],
                    "essential": True,
                    "linuxParameters": {"initProcessEnabled": True},
                    "readonlyRootFilesystem": True,
                    "mountPoints": [{"sourceVolume": "tmp", "containerPath": "/tmp"}],  # noqa: S108, it is the container's
                    "environment": [{"name": "GIVEN", "value": "1"}, {"name": "WORD", "value": "none"}],
                    "logConfiguration": {"logDriver": "awslogs", "options": options},
                }
            ],
        )
        yield Tasks(aws, network, opened_engine.client)


@pytest.fixture
def volumes(tasks: Tasks) -> set[str]:
    """Return the volumes that there are before a task."""
    return {each.name for each in tasks.engine.volumes.list()}


def test_a_task_is_what_its_definition_says_until_it_is_stopped(tasks: Tasks, volumes: set[str]) -> None:
    arn = tasks.run("wait")
    found = json.loads(wait_for(lambda: tasks.said(arn))[0])
    (container,) = tasks.containers()
    container.reload()

    assert (found["GIVEN"], found["WORD"]) == ("1", "wait")
    assert (found["refused"], found["is_first"]) == ("Read-only file system", False)
    # The session of its role, by keys alone, and the embedded AWS where the container reaches it.
    keys = (found[f"AWS_{name}"] for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"))
    identity = tasks.aws.client("sts", Credentials(*keys)).get_caller_identity()["Arn"]
    assert identity.split("/")[1:] == ["of-task", arn.rpartition("/")[2]]
    assert not [name for name in found if name.startswith("AWS_CONTAINER_")]
    reach = (
        "import os, urllib.request as r; r.urlopen(os.environ['AWS_ENDPOINT_URL'] + '/_ministack/health', timeout=9)"
    )
    assert container.exec_run(["python3", "-c", reach]) == (0, b"")
    limits = container.attrs["HostConfig"]
    assert (limits["Memory"], limits["MemorySwap"]) == (MEGABYTES << 20, MEGABYTES << 20)
    assert list(container.attrs["NetworkSettings"]["Networks"]) == [tasks.network.name]

    tasks.aws.client("ecs").stop_task(cluster="tasks", task=arn)
    assert tasks.stopped(arn)["stopCode"] == "UserInitiated"
    wait_for(lambda: tasks.said(arn)[-1] == "told to end")
    wait_for(lambda: not tasks.containers())
    assert {each.name for each in tasks.engine.volumes.list()} <= volumes


def test_what_takes_more_memory_than_the_task_has_is_killed_and_nothing_is_left(
    tasks: Tasks, volumes: set[str]
) -> None:
    task = tasks.stopped(tasks.run("eat"))

    # The child was killed, and lived for so long that its parent could tell.
    assert (task["stopCode"], task["containers"][0]["exitCode"]) == ("EssentialContainerExited", 9)
    wait_for(lambda: not tasks.containers())
    assert {each.name for each in tasks.engine.volumes.list()} <= volumes
