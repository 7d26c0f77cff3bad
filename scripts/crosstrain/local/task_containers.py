"""Runs tasks of ECS as containers, where functions are containers, too: by ministack's engine, put right.

That engine starts the image with the command and the environment, forwards what it writes, and ends it with the task.
It passes over a definition's entry point, disks and memory, and gives it neither the network nor the keys of its role.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import docker.errors
from ministack.services import ecs

from crosstrain.local.tasks import SECONDS_OF_STOP, SessionOf, environment_of, memory_of

# By these it tells a container of an endpoint for credentials that it does not have.
_NO_CREDENTIALS = "AWS_CONTAINER_"

# How long it is waited for what a container has written last, in seconds.
_SECONDS_OF_LOG = 10.0

_ministacks_options = ecs._build_run_kwargs
_ministacks_cleanup = ecs._cleanup_task_resources


def apply(session_of: SessionOf, network: str, endpoint_url: str) -> None:
    """Let the embedded AWS of this process run tasks on a network whose containers find it at this endpoint."""

    def options(
        container: dict[str, Any],
        definition: dict[str, Any],
        environment: dict[str, str],
        *more: Any,
    ) -> dict[str, Any]:
        *_, task_arn, _, _ = more
        task = ecs._tasks[task_arn]
        given = {name: value for name, value in environment.items() if not name.startswith(_NO_CREDENTIALS)}
        # An address, not a name, as functions have it.
        given["AWS_ENDPOINT_URL"] = endpoint_url
        return {
            **_ministacks_options(container, definition, environment, *more),
            **_of_definition(container),
            **_limits(memory_of(task, definition)),
            "environment": environment_of(task, definition, given, session_of),
            "network": network,
            "security_opt": ["no-new-privileges"],
        }

    ecs._build_run_kwargs = options
    ecs._cleanup_task_resources = _clean_up


def _clean_up(task: dict[str, Any], engine: Any, *more: Any) -> None:
    """Stop and remove the containers of a task, once what they have written last is in its log.

    ministack would give them five seconds to end, and leave those for minutes that have ended by themselves.
    """
    engine = engine or ecs._get_docker()
    for each in list(task.get("_docker_ids") or ()):
        with suppress(docker.errors.DockerException):
            engine.containers.get(each).stop(timeout=SECONDS_OF_STOP)
    identifier = task["taskArn"].rpartition("/")[2]
    for thread in threading.enumerate():
        if thread.name.startswith(f"ministack-ecs-awslogs-{identifier[:8]}"):
            thread.join(_SECONDS_OF_LOG)
    _ministacks_cleanup(task, engine, *more)


def _of_definition(container: dict[str, Any]) -> dict[str, Any]:
    """Return what a definition says of a container's first process and of its disks.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html#container_definitions
    """
    # ministack keeps what is within it as CloudFormation writes it.
    linux = {name.lower(): value for name, value in container.get("linuxParameters", {}).items()}
    return {
        "entrypoint": container.get("entryPoint"),
        "init": linux.get("initprocessenabled", False),
        "read_only": container.get("readonlyRootFilesystem", False),
        # Each is of this machine's disk, and goes with the container: on Fargate a volume has no folder of the host.
        "volumes": [each["containerPath"] for each in container.get("mountPoints", [])],
    }


def _limits(megabytes: int) -> dict[str, str]:
    """Return what the kernel holds a container to, which has nothing to swap to, as on Fargate."""
    return {"mem_limit": f"{megabytes}m", "memswap_limit": f"{megabytes}m"}
