"""Runs tasks of ECS as processes of this machine, where the embedded AWS has no engine for containers.

A task is the command of its definition, with the session of its role and no more memory than it asks for. Whatever ends
it, nothing of it is left: it runs as a guarded process, and what is left of its group goes with it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import ecs

from crosstrain.local import guarded_process

Answer = tuple[int, dict[str, str], bytes]
SessionOf = Callable[[str, str, str], Mapping[str, str]]
"""Returns the keys of a role's session: of the role's ARN, the ARN of whoever has it, and the session's name."""

# How often a task is looked at, and what one may take to end after it was told to, as on Fargate.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html#container_definition_timeout
# Container engines take whole seconds alone.
_SECONDS, SECONDS_OF_STOP = 0.2, 30
_OUT_OF_MEMORY = 137
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

_ministacks_run_task = ecs._run_task
_ministacks_stop_task = ecs._stop_task
_processes: dict[str, subprocess.Popen[bytes]] = {}


def apply(session_of: SessionOf) -> None:
    """Give the embedded AWS of this process an engine for tasks."""

    def run_task(data: dict[str, Any]) -> Answer:
        answer: Answer = _ministacks_run_task(data)
        for started in json.loads(answer[2]).get("tasks", ()):
            task = ecs._tasks[started["taskArn"]]
            definition = ecs._task_defs[ecs._resolve_td_key(task["taskDefinitionArn"])]
            scope = get_account_id(), get_region()
            threading.Thread(target=_play, args=(task, definition, scope, session_of), daemon=True).start()
        return answer

    ecs._run_task = ecs._ACTION_MAP["RunTask"] = run_task
    ecs._stop_task = ecs._ACTION_MAP["StopTask"] = _stop_task


def memory_of(task: Mapping[str, Any], definition: Mapping[str, Any]) -> int:
    """Return the memory of a task, in MB, which whoever runs it may have said."""
    return int(task["overrides"].get("memory") or definition["memory"])


def environment_of(
    task: Mapping[str, Any], definition: Mapping[str, Any], given: Mapping[str, str], session_of: SessionOf
) -> dict[str, str]:
    """Return the variables of a task: those that it is given, its region, and the keys of a session of its role."""
    arn = task["taskArn"]
    return {
        "AWS_REGION": get_region(),
        "AWS_DEFAULT_REGION": get_region(),
        # So that it finds out soon that nobody waits for it.
        "HEARTBEAT_SECONDS": "1",
        **given,
        **session_of(definition["taskRoleArn"], arn, arn.rpartition("/")[2]),
    }


def _stop_task(data: dict[str, Any]) -> Answer:
    answer: Answer = _ministacks_stop_task(data)
    arn = json.loads(answer[2]).get("task", {}).get("taskArn", "")
    if process := _processes.get(arn):
        threading.Thread(target=_stop, args=(process,), daemon=True).start()
    return answer


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Tell a task to end, and end it if it does not."""
    for member in _group(process.pid):
        if member != process.pid:
            os.kill(member, signal.SIGTERM)
    try:
        process.wait(SECONDS_OF_STOP)
    except subprocess.TimeoutExpired:
        guarded_process.kill(process)


def _play(task: dict[str, Any], definition: dict[str, Any], scope: tuple[str, str], session_of: SessionOf) -> None:
    """Run a task to its end, and tell ECS."""
    arn, overrides = task["taskArn"], task["overrides"]
    directory = Path(tempfile.mkdtemp(prefix="task-"))
    memory = memory_of(task, definition)
    reason, code = "Essential container exited", None
    with request_scope(*scope):
        command = _command(definition, overrides)
        # The server's own has nothing of the user's AWS in it.
        environment = {**os.environ, **environment_of(task, definition, _given(definition, overrides), session_of)}
    with (directory / "log").open("wb") as log:
        process = guarded_process.start_command(
            directory, command, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        _processes[arn] = process
        while process.poll() is None:
            if _end_largest_beyond(process.pid, memory):
                reason = "OutOfMemoryError: Container killed due to memory usage"
                code = _OUT_OF_MEMORY
            time.sleep(_SECONDS)
    # What is left of its group: its own end is not that of its children.
    guarded_process.kill(process)
    del _processes[arn]
    with request_scope(*scope):
        ecs._mark_task_stopped(
            arn, task, reason, "EssentialContainerExited", process.returncode if code is None else code
        )


def _command(definition: Mapping[str, Any], overrides: Mapping[str, Any]) -> list[str]:
    container = definition["containerDefinitions"][0]
    command = _override(overrides).get("command") or container.get("command", [])
    return [*container.get("entryPoint", []), *command]


def _given(definition: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, str]:
    container = definition["containerDefinitions"][0]
    given = [*container.get("environment", []), *_override(overrides).get("environment", [])]
    return {each["name"]: each["value"] for each in given}


def _override(overrides: Mapping[str, Any]) -> Mapping[str, Any]:
    first: Mapping[str, Any] = next(iter(overrides.get("containerOverrides", [])), {})
    return first


def _end_largest_beyond(group: int, memory_mb: int) -> bool:
    """Kill the largest process of a group that takes more than so much memory, as the kernel does in a container."""
    held = {each: _resident_bytes(each) for each in _group(group)}
    if sum(held.values()) <= memory_mb << 20:
        return False
    try:
        os.kill(max(held, key=lambda each: held[each]), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _group(group: int) -> Iterator[int]:
    """Yield the processes of a group; none where there is no /proc."""
    for each in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(each.name)) == group:
                yield int(each.name)
        except ProcessLookupError:
            continue


def _resident_bytes(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0
