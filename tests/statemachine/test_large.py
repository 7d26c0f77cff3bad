"""What does not fit a function goes on as a task; whatever becomes of it, the run says what, and none is left."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from crosstrain.local.server import LocalTrainingStack
from crosstrain.training import execution
from event_queues import event_queue, received
from state_events import follow
from training_stacks import physical_id
from waiting import wait_for

from .conftest import Machine, Registry, _machine, without_tasks

HERE = Path(__file__).parent
TOO_LARGE = {"TrainModel": ["TooLargeForFunctionError"]}
MESSAGE = "It needs much: it runs as a task. [cpu=8192 memory=40960]"


class Tasks:
    """The tasks of the stack's cluster, with root's rights."""

    def __init__(self, stack: LocalTrainingStack) -> None:
        self.ecs, self.cluster = stack.aws.client("ecs"), f"{stack.name}-tasks"

    def all(self, status: str) -> list[dict[str, Any]]:
        """Return those that are to run, or to have stopped."""
        arns = self.ecs.list_tasks(cluster=self.cluster, desiredStatus=status)["taskArns"]
        return list(self.ecs.describe_tasks(cluster=self.cluster, tasks=arns)["tasks"]) if arns else []

    def of(self, run_id: str, status: str) -> list[dict[str, Any]]:
        """Return those of a run, which their events name."""
        return [each for each in self.all(status) if f"/{run_id}/" in json.dumps(each["overrides"])]


def processes_of(run_id: str) -> list[str]:
    """Return the processes of this machine that were told of a run, as tasks are; none where there is no /proc."""
    found = []
    for each in Path("/proc").glob("[0-9]*/environ"):
        # It may be gone by now, or somebody else's.
        with suppress(OSError):
            found += [each.parent.name] * (f"/{run_id}/".encode() in each.read_bytes())
    return found


def decisions(registry: Registry, model_name: str) -> list[str]:
    """Return the versions that the registry has, each of which is one decision."""
    return [entry for entry in registry.items(model_name) if entry.startswith("version#")]


@pytest.fixture
def tasks(training_stack: LocalTrainingStack) -> Tasks:
    return Tasks(training_stack)


@pytest.fixture(scope="module")
def families(
    training_stack: LocalTrainingStack, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Register task definitions that differ from the deployed ones in their handler alone; return whose is whose."""
    more = {
        "PYTHONPATH": f"{project / 'functions'}:{HERE}",
        "ATTEMPTS": str(tmp_path_factory.mktemp("attempts")),
        "HEARTBEAT_SECONDS": "3",
    }
    deployed = [f"{training_stack.name}-{step}" for step in ("data-preparation", "model-training")]
    return {name: _scripted(training_stack.aws.client("ecs"), name, more) for name in deployed}


def _scripted(ecs: Any, family: str, more: dict[str, str]) -> str:
    deployed = ecs.describe_task_definition(taskDefinition=family)["taskDefinition"]
    container = deployed["containerDefinitions"][0]
    kept = [each for each in container["environment"] if each["name"] not in more]
    scripted = {
        **{name: deployed[name] for name in ("cpu", "memory", "taskRoleArn", "executionRoleArn", "networkMode")},
        "family": f"scripted-{family}",
        "requiresCompatibilities": ["FARGATE"],
        "containerDefinitions": [
            {
                **{name: container[name] for name in ("name", "image", "essential")},
                "entryPoint": [sys.executable, "-m", "common.job"],
                "command": ["scripted_job.handler"],
                "environment": [*kept, *({"name": name, "value": value} for name, value in more.items())],
            }
        ],
    }
    ecs.register_task_definition(**scripted)
    return str(scripted["family"])


@pytest.fixture(scope="module")
def definition(run_scripted: Machine, families: dict[str, str]) -> str:
    """Return the deployed definition with scripted functions and with a scripted job."""
    found = str(run_scripted.sfn.describe_state_machine(stateMachineArn=run_scripted.arn)["definition"])
    for deployed, scripted in families.items():
        # As a step looks it up, and as it is for trials.
        found, count = re.subn(rf"(['\"]){deployed}\1", rf"\1{scripted}\1", found)
        assert count
    return found


@pytest.fixture(scope="module")
def make(training_stack: LocalTrainingStack, run_scripted: Machine) -> Callable[[str, str], Machine]:
    """Return a function that makes a state machine of a definition."""
    role = run_scripted.sfn.describe_state_machine(stateMachineArn=run_scripted.arn)["roleArn"]
    return lambda name, text: _machine(training_stack, name, text, role)


@pytest.fixture(scope="module")
def run_large(make: Callable[[str, str], Machine], definition: str) -> Machine:
    return make("large", definition)


def states(events: list[execution.StateEvent], kind: str = "succeeded") -> list[str]:
    return [each.state for each in events if each.kind == kind]


@pytest.mark.slow
def test_what_a_function_has_no_room_for_is_trained_as_a_task_of_the_size_that_it_names(
    run_large: Machine, registry: Registry, tasks: Tasks, training_stack: LocalTrainingStack
) -> None:
    request = {"model_name": "large-1", "errors": TOO_LARGE, "message": MESSAGE, "score": 3}
    started = run_large.start(request, "large-run-1")
    events, result = list(follow(run_large.sfn, started)), execution.outcome(run_large.sfn, started)
    assert result.status == "SUCCEEDED", result.cause
    assert registry.champion("large-1") == "large-run-1"
    assert "RunTask" in states(events)
    (task,) = wait_for(lambda: tasks.of("large-run-1", "STOPPED"))
    assert (task["overrides"]["cpu"], task["overrides"]["memory"]) == ("8192", "40960")
    assert len(json.dumps(task["overrides"])) < 8192
    bucket = training_stack.outputs["ArtifactBucketName"]
    stored = training_stack.aws.client("s3").get_object(Bucket=bucket, Key="large/large-run-1/TrainModel.json")
    event = json.loads(stored["Body"].read())
    assert set(event) == {"run_id", "request", "prepared"}
    # Nothing of the way is left in what goes on.
    assert not any("large" in (each.output or {}) for each in events if each.state in ("TakeUpStep", "EvaluateModel"))


@pytest.mark.slow
def test_parts_that_no_call_puts_together_are_put_together_by_a_task(run_large: Machine, registry: Registry) -> None:
    errors = {"PrepareData": ["TooLargeForFunctionError"], "FinishPreparation": "TooLargeForFunctionError"}
    request = {"model_name": "large-parts", "errors": errors, "pieces": 2, "message": MESSAGE, "score": 3}
    started = run_large.start(request, "large-parts-1")
    events, result = list(follow(run_large.sfn, started)), execution.outcome(run_large.sfn, started)
    assert result.status == "SUCCEEDED", result.cause
    assert registry.champion("large-parts") == "large-parts-1"
    (finished,) = [each for each in events if (each.state, each.kind) == ("TakeUpStep", "succeeded")]
    # As FinishPreparation hands on, and nothing of the way.
    assert finished.output is not None
    assert set(finished.output) == {"run_id", "request", "prepared"}
    event = finished.output["prepared"]["event"]
    assert event == {"task": "finish_pieces", "run_id": "large-parts-1", "pieces": event["pieces"]}
    assert event["pieces"]["count"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("error", ["Sandbox.Timedout", "Lambda.Unknown", "Runtime.ExitError", "States.Timeout"])
def test_a_function_that_was_stopped_goes_on_as_a_task_of_more_than_any_function_has(
    error: str, run_large: Machine, tasks: Tasks
) -> None:
    run_id = f"large-{error.replace('.', '-')}"
    arn = run_large.start({"model_name": run_id, "errors": {"TrainModel": [error]}}, run_id)
    assert execution.outcome(run_large.sfn, arn).status == "SUCCEEDED"
    (task,) = wait_for(lambda: tasks.of(run_id, "STOPPED"))
    assert task["overrides"]["memory"] == "30720"


def test_without_an_error_nothing_of_it_is_passed_through(run_large: Machine) -> None:
    events, result = run_large({"model_name": "large-small"})
    assert result.status == "SUCCEEDED", result.cause
    assert not {"IsTaskOpen", "StoreEvent", "RunTask", "TakeUpStep"} & set(states(events, "entered"))


@pytest.mark.parametrize("closed", ["no subnets", "compute"])
def test_without_tasks_the_run_ends_as_if_there_were_no_such_way(
    closed: str, make: Callable[[str, str], Machine], definition: str
) -> None:
    machine, request = make(f"closed-{closed[:2]}", definition), {"model_name": "large-closed", "errors": TOO_LARGE}
    if closed == "no subnets":
        machine = make("closed", without_tasks(definition))
    else:
        request["compute"] = "lambda"
    events, result = machine(request)
    assert (result.status, result.error) == ("FAILED", "TooLargeForFunctionError")
    assert result.cause == "TrainModel: attempt 1"
    assert "StoreEvent" not in states(events, "entered")


@pytest.mark.slow
def test_an_error_of_a_task_keeps_its_name_and_its_message(run_large: Machine) -> None:
    _, result = run_large({"model_name": "large-refused", "errors": TOO_LARGE, "job": "refuse"})
    assert (result.error, result.cause) == ("InvalidDatasetError", "TrainModel: The data set has no rows.")


def searching(name: str, fails: dict[str, str], **more: Any) -> dict[str, Any]:
    """Return a request for a search of one round, with the errors of its trials."""
    return {"model_name": name, "search_trials": len(fails), "rounds": [len(fails) + 1], "fails": fails, **more}


@pytest.mark.slow
def test_a_trial_that_a_function_has_no_room_or_time_for_is_made_by_a_task(run_large: Machine, tasks: Tasks) -> None:
    fails = {"0": "TooLargeForFunctionError", "1": "Sandbox.Timedout", "2": "Runtime.ExitError"}
    arn = run_large.start(searching("large-trials", fails), "large-trials")
    result = execution.outcome(run_large.sfn, arn)
    assert result.output is not None, result.cause
    trials = result.output["model"]["search"]["trials"]
    # The third has ended by itself, for its seconds were over; the fourth is what any trial is.
    assert [each.get("score") for each in trials] == [0.0, 0.1, None, 0.3]
    assert (trials[2]["error"], trials[2]["compute"]) == ("Runtime.ExitError: trial 2", None)
    first, second = wait_for(lambda: found if len(found := tasks.of("large-trials", "STOPPED")) == 2 else None)
    assert {first["overrides"]["memory"], second["overrides"]["memory"]} == {"30720"}


@pytest.mark.slow
def test_a_trial_that_a_task_refuses_has_failed_and_ends_nothing(run_large: Machine) -> None:
    request = searching("large-trial-refused", {"0": "TooLargeForFunctionError"}, job="refuse")
    _, result = run_large(request)
    assert result.output is not None, result.cause
    first, second = result.output["model"]["search"]["trials"]
    assert first["error"] == "InvalidDatasetError: The data set has no rows."
    assert (first["compute"], first["seconds"]) == ({"kind": "task", "memory_mb": 30720}, 1.5)
    assert second["score"] == 0.1


def test_a_request_without_tasks_has_its_trials_fail_as_ever(run_large: Machine, tasks: Tasks) -> None:
    request = searching("large-trial-closed", {"0": "Lambda.Unknown"}, compute="lambda")
    arn = run_large.start(request, "large-trial-closed")
    result = execution.outcome(run_large.sfn, arn)
    assert result.output is not None, result.cause
    assert result.output["model"]["search"]["trials"][0]["error"] == "Lambda.Unknown: trial 0"
    assert not [*tasks.of("large-trial-closed", "RUNNING"), *tasks.of("large-trial-closed", "STOPPED")]


@pytest.mark.slow
def test_a_task_that_grows_beyond_its_memory_is_killed_and_says_so(run_large: Machine, tasks: Tasks) -> None:
    request = {"model_name": "large-grown", "errors": TOO_LARGE, "message": "cpu=4096 memory=400", "job": "grow"}
    arn = run_large.start(request, "large-grown")
    result = execution.outcome(run_large.sfn, arn)
    assert result.error == "OutOfMemoryError"
    assert "400 MB" in str(result.cause)
    (task,) = wait_for(lambda: tasks.of("large-grown", "STOPPED"))
    assert "OutOfMemoryError" in task["stoppedReason"]


@pytest.mark.slow
def test_a_task_that_is_stopped_is_started_again(run_large: Machine) -> None:
    events, result = run_large({"model_name": "large-stopped", "errors": TOO_LARGE, "job": "die"})
    assert result.status == "SUCCEEDED", result.cause
    (retried,) = [each for each in events if each.kind == "retried"]
    assert (retried.state, retried.error) == ("RunTask", "JobStoppedError")


@pytest.mark.slow
def test_a_task_that_somebody_stops_in_ecs_is_started_again(run_large: Machine, tasks: Tasks) -> None:
    arn = run_large.start({"model_name": "large-ended", "errors": TOO_LARGE, "job": "hang"}, "large-ended")
    (first,) = wait_for(lambda: tasks.of("large-ended", "RUNNING"))
    # What is stopped before it listens answers nobody, and is missed after ten minutes.
    wait_for(lambda: len(processes_of("large-ended")) >= 3)
    time.sleep(2)
    tasks.ecs.stop_task(cluster=tasks.cluster, task=first["taskArn"])
    (second,) = wait_for(lambda: tasks.of("large-ended", "RUNNING"))
    assert second["taskArn"] != first["taskArn"]
    run_large.sfn.stop_execution(executionArn=arn)
    wait_for(lambda: not tasks.of("large-ended", "RUNNING"))


@pytest.mark.slow
def test_a_stopped_execution_leaves_no_task_no_process_and_no_decision(
    run_large: Machine, tasks: Tasks, registry: Registry
) -> None:
    arn = run_large.start({"model_name": "large-left", "errors": TOO_LARGE, "job": "hang"}, "large-left")
    wait_for(lambda: tasks.of("large-left", "RUNNING"))
    # The job, its handler, and what watches both.
    wait_for(lambda: len(processes_of("large-left")) >= 3)
    run_large.sfn.stop_execution(executionArn=arn)
    wait_for(lambda: not tasks.of("large-left", "RUNNING"))
    (task,) = tasks.of("large-left", "STOPPED")
    # It has ended itself: nobody has stopped it.
    assert task["stopCode"] == "EssentialContainerExited"
    assert processes_of("large-left") == []
    assert decisions(registry, "large-left") == []


@pytest.mark.slow
def test_a_task_that_is_killed_as_a_whole_is_missed_and_leaves_no_process(
    make: Callable[[str, str], Machine], definition: str, tasks: Tasks, registry: Registry
) -> None:
    machine = make("deserted", definition.replace('"HeartbeatSeconds": 600', '"HeartbeatSeconds": 1'))
    arn = machine.start({"model_name": "large-killed", "errors": TOO_LARGE, "job": "vanish"}, "large-killed")
    assert execution.outcome(machine.sfn, arn).error == "TaskUnreachableError"
    wait_for(lambda: len(tasks.of("large-killed", "STOPPED")) == 2)
    assert tasks.of("large-killed", "RUNNING") == processes_of("large-killed") == []
    assert decisions(registry, "large-killed") == []


@pytest.mark.slow
def test_a_run_is_decided_and_announced_once_whatever_becomes_of_its_tasks(
    run_large: Machine, registry: Registry, training_stack: LocalTrainingStack
) -> None:
    queue = event_queue(training_stack, "large", ["Model Promoted", "Model Rejected", "Training Failed"])
    ends = {"none": "Model Promoted", "die": "Model Promoted", "refuse": "Training Failed", "grow": "Training Failed"}
    arns = [
        run_large.start(
            {"model_name": f"once-{job}", "errors": TOO_LARGE, "message": "cpu=4096 memory=400", "job": job},
            f"large-once-{job}",
        )
        for job in ends
    ]
    for arn in arns:
        execution.outcome(run_large.sfn, arn)
    assert {job: len(decisions(registry, f"once-{job}")) for job in ends} == {
        job: int(end == "Model Promoted") for job, end in ends.items()
    }
    details = [(each["detail-type"], each["detail"]) for each in received(training_stack, queue, len(ends))]
    # Other tests of this stack announce theirs.
    told = [(kind, detail.get("version") or detail["run_id"]) for kind, detail in details]
    own = [each for each in told if each[1].startswith("large-once-")]
    assert sorted(own) == sorted((end, f"large-once-{job}") for job, end in ends.items())


def test_capacity_that_is_gone_for_good_is_asked_for_again_and_told_in_the_words_of_ecs(
    run_large: Machine, registry: Registry
) -> None:
    request = {"model_name": "large-capacity", "errors": TOO_LARGE, "message": MESSAGE}
    events, result = run_large(request, case="NoCapacityForGood")
    assert (result.status, result.error) == ("FAILED", "ECS.AmazonECSException")
    assert str(result.cause).startswith("TrainModel: Capacity is unavailable at this time.")
    assert [each.error for each in events if each.kind == "retried"] == [result.error] * 6
    assert decisions(registry, "large-capacity") == []


@pytest.mark.slow
def test_a_task_that_does_not_answer_ends_the_run_with_what_to_look_for_and_ends_itself(
    make: Callable[[str, str], Machine], definition: str, tasks: Tasks
) -> None:
    """What cannot pull its image looks like this on AWS: the first heartbeat never comes."""
    machine = make("impatient", definition.replace('"HeartbeatSeconds": 600', '"HeartbeatSeconds": 1'))
    arn = machine.start({"model_name": "large-silent", "errors": TOO_LARGE, "job": "hang"}, "large-silent")
    result = execution.outcome(machine.sfn, arn)
    assert result.error == "TaskUnreachableError"
    for word in ("CannotPullContainerError", "ResourceInitializationError", "JobSubnetIds", "exec format error"):
        assert word in str(result.cause)
    wait_for(lambda: not tasks.of("large-silent", "RUNNING"))
    assert len(tasks.of("large-silent", "STOPPED")) == 2


def test_a_task_definition_has_the_role_and_the_image_of_its_function(training_stack: LocalTrainingStack) -> None:
    ecs, functions = training_stack.aws.client("ecs"), training_stack.aws.client("lambda")
    for step in ("DataPreparation", "ModelTraining", "ModelEvaluation", "BatchScoring"):
        name = re.sub(r"\B([A-Z])", r"-\1", step).lower()
        task = ecs.describe_task_definition(taskDefinition=f"{training_stack.name}-{name}")["taskDefinition"]
        function = functions.get_function(FunctionName=physical_id(training_stack, f"{step}Function"))["Configuration"]
        (container,) = task["containerDefinitions"]
        assert task["taskRoleArn"] == function["Role"]
        assert task["executionRoleArn"] != function["Role"]
        assert container["command"] == [function["Handler"]]
        given = {each["name"]: each["value"] for each in container["environment"]}
        shared = {"ARTIFACT_BUCKET", "IMAGE_URI"}
        if step != "DataPreparation":
            shared |= {"LARGEST_TASK_MEMORY"} | ({"STACK_NAME"} if step == "BatchScoring" else {"RELEASE", "COMMIT"})
        assert {key: given[key] for key in shared} == {key: function["Environment"]["Variables"][key] for key in shared}
