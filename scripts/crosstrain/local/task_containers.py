"""Runs tasks of ECS as containers, where functions are containers, too: by ministack's engine, put right.

That engine starts the image with the command and the environment, forwards what it writes, and ends it with the task.
It passes over a definition's entry point, disks and memory, and gives it neither the network nor the keys of its role.
"""

from __future__ import annotations

import logging
from typing import Any

import docker.errors
from ministack.services import cloudwatch_logs, ecs

from crosstrain.local.tasks import SECONDS_OF_STOP, SessionOf, environment_of, memory_of

_logger = logging.getLogger(__name__)

# By these it tells a container of an endpoint for credentials that it does not have.
_NO_CREDENTIALS = "AWS_CONTAINER_"

# The log of each container that writes to one: its stream, and the account and the region that it is of.
_logs: dict[str, tuple[dict[str, Any], str, str]] = {}
# The streams that hold all that their containers have written.
_whole: set[str] = set()

_ministacks_options = ecs._build_run_kwargs
_ministacks_cleanup = ecs._cleanup_task_resources
_ministacks_forward = ecs._forward_awslogs
_ministacks_emit = ecs._emit_awslogs_event


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
    ecs._forward_awslogs = _forward
    ecs._emit_awslogs_event = _emit


def _clean_up(task: dict[str, Any], engine: Any, *more: Any) -> None:
    """Stop and remove the containers of a task, once what they have written last is in its log.

    ministack would give them five seconds to end, and leave those for minutes that have ended by themselves.
    """
    engine = engine or ecs._get_docker()
    for each in list(task.get("_docker_ids") or ()):
        try:
            container = engine.containers.get(each)
            container.stop(timeout=SECONDS_OF_STOP)
            _complete_log(container)
        except docker.errors.NotFound:
            continue
        except docker.errors.DockerException as error:
            _logger.warning("container %s was not stopped as a task is: %s", each, error)
    _ministacks_cleanup(task, engine, *more)


def _forward(container: Any, stream: dict[str, Any], account: str, region: str) -> None:
    _logs[container.id] = (stream, account, region)
    _ministacks_forward(container, stream, account, region)


def _emit(stream: dict[str, Any], line: str) -> None:
    if stream["stream"] not in _whole:
        _ministacks_emit(stream, line)


def _complete_log(container: Any) -> None:
    """Write to a log what a container that has ended has written last, which whoever follows Podman may never get."""
    if container.id not in _logs:
        return
    stream, account, region = _logs.pop(container.id)
    with ecs.request_scope(account, region):
        _whole.add(stream["stream"])
        group = cloudwatch_logs._log_groups.get(stream["group"])
        if group is None or stream["stream"] not in group["streams"]:
            return  # ministack has told that there is no such group
        there = group["streams"][stream["stream"]]["events"]
        written = container.logs(stdout=True, stderr=True).decode("utf-8", errors="replace").splitlines()
        for line in written[len(there) :]:
            _ministacks_emit(stream, line)


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
