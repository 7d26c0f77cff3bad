"""What the state machine's tests share: the deployed definition, with mocked results or with scripted functions."""

from __future__ import annotations

import io
import itertools
import json
import re
import sys
import time
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from crosstrain.local.server import TASKS, LocalTrainingStack
from crosstrain.training import execution
from training_stacks import physical_id

from .cases import STEPS
from .scripted_function import PATIENCE_SECONDS

Ended = tuple[list[execution.StateEvent], execution.ExecutionResult]


@dataclass(frozen=True)
class Machine:
    """A state machine to run; calling it with an input waits for the run's end."""

    sfn: Any
    arn: str
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def start(self, request: dict[str, Any], run_id: str, *, case: str | None = None) -> str:
        """Start a run, with the results that a case of mock_config.json names, and return its ARN."""
        return execution.start(self.sfn, f"{self.arn}#{case}" if case else self.arn, request, run_id)

    def __call__(self, request: dict[str, Any] | None = None, *, case: str | None = None) -> Ended:
        """Run to the end, and return the events and the result."""
        started = self.start(request or {}, f"{case or self.arn.split(':')[-1]}-{next(self.numbers)}", case=case)
        return self.end_of(started)

    def run_all(self, runs: Iterable[tuple[Any, str | None]]) -> list[Ended]:
        """Run inputs, of whatever type, each with its case or none, all at once; return what each has ended with."""
        arns = list[str]()
        for document, case in runs:
            name, arn = f"{case or 'input'}-{next(self.numbers)}", f"{self.arn}#{case}" if case else self.arn
            started = self.sfn.start_execution(stateMachineArn=arn, name=name, input=json.dumps(document))
            arns.append(started["executionArn"])
        return [self.end_of(arn) for arn in arns]

    def end_of(self, started: str) -> Ended:
        """Wait for a run's end, and return the events and the result."""
        events = list[execution.StateEvent]()
        result = execution.outcome(self.sfn, started, on_event=events.append)
        return events, result


@dataclass(frozen=True)
class Gate:
    """Holds a step of a run until the test has done what is to be done meanwhile."""

    path: Path

    def before(self, step: str) -> dict[str, dict[str, str]]:
        """Return what an input says, so that `scripted_function.py` waits in this step."""
        return {"held": {step: str(self.path)}}

    def open(self, attempt: int | None = None) -> None:
        """Let the attempts of the run go on; or one alone, counted from 0."""
        (self.path if attempt is None else Path(f"{self.path}.{attempt}")).touch()

    def wait_for_answer(self) -> None:
        """Wait until an attempt has been answered by the function, whoever has listened."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not Path(f"{self.path}.answered").exists():
            assert time.monotonic() < end
            time.sleep(0.01)


class Registry:
    """The model registry's table."""

    def __init__(self, client: Any, table: str) -> None:
        self.client, self.table = client, table

    def items(self, model_name: str) -> dict[str, dict[str, Any]]:
        """Return all items of a model name by their entry."""
        pages = self.client.get_paginator("query").paginate(
            TableName=self.table,
            ConsistentRead=True,
            KeyConditionExpression="model_name = :name",
            ExpressionAttributeValues={":name": {"S": model_name}},
        )
        return {item["entry"]["S"]: item for page in pages for item in page["Items"]}

    def champion(self, model_name: str) -> str | None:
        """Return the version that the pointer points to."""
        pointer = self.items(model_name).get("champion")
        return pointer["champion_version"]["S"] if pointer else None

    def put(self, **attributes: str) -> None:
        """Write an item of strings."""
        self.client.put_item(TableName=self.table, Item={name: {"S": value} for name, value in attributes.items()})

    def challenge(self, name: str, challenger: str) -> None:
        """Let a version challenge the champion, as a canary does."""
        trial = {":version": challenger, ":entry": f"canary#{challenger}"}
        self.client.update_item(
            TableName=self.table,
            Key={"model_name": {"S": name}, "entry": {"S": "champion"}},
            UpdateExpression="SET challenger_version = :version, challenger_entry = :entry",
            ExpressionAttributeValues={key: {"S": value} for key, value in trial.items()},
        )

    def promote(self, name: str, version: str, value: int, *, moves: int, decision: str = "promote") -> None:
        """Write what a promotion writes; of a rejection, the version alone."""
        key = {"model_name": {"S": name}}
        item: dict[str, Any] = {
            **key,
            "entry": {"S": f"version#{version}"},
            "version": {"S": version},
            "value": {"N": str(value)},
            "move": {"N": str(moves)},
            **{each: {"S": "recorded"} for each in ("rule", "reason", "report_uri", "evaluation_uri")},
            "decision": {"S": decision},
        }
        self.client.put_item(TableName=self.table, Item=item)
        if decision == "promote":
            pointer = {"entry": {"S": "champion"}, "champion_version": {"S": version}, "moves": {"N": str(moves)}}
            self.client.put_item(TableName=self.table, Item={**key, **pointer})


@dataclass(frozen=True)
class Metrics:
    """What scoring writes of challengers, written by hand."""

    client: Any
    stack: str

    def fail(self, model_name: str, version: str, at: datetime) -> None:
        """Count an error of a challenger."""
        names = {"stack": self.stack, "model_name": model_name, "version": version}
        dimensions = [{"Name": name, "Value": value} for name, value in names.items()]
        datum = {"MetricName": "ChallengerErrors", "Dimensions": dimensions, "Timestamp": at, "Value": 1}
        self.client.put_metric_data(Namespace="Crosstrain", MetricData=[datum])

    def set_alarm(self, state: str) -> None:
        """Put the alarm on challengers' errors into a state, ALARM or OK."""
        name = f"{self.stack}-challenger-errors"
        self.client.set_alarm_state(AlarmName=name, StateValue=state, StateReason="by hand")


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """Return a gate that is closed."""
    return Gate(tmp_path / "gate")


@pytest.fixture
def registry(training_stack: LocalTrainingStack) -> Registry:
    """Return the registry's table, with root's rights."""
    return Registry(training_stack.aws.client("dynamodb"), training_stack.outputs["ModelRegistryTableName"])


@pytest.fixture(scope="session")
def run_mocked(training_stack: LocalTrainingStack) -> Machine:
    """Run a case of mock_config.json, which knows the state machine by the name `training`."""
    return mocked_machine(training_stack)


@pytest.fixture(scope="session")
def run_scripted(training_stack: LocalTrainingStack) -> Machine:
    """Run with functions that do what the input says (`scripted_function.py`); all else is as it is deployed."""
    return scripted_machine(training_stack)


@pytest.fixture(scope="session")
def run_explaining(training_stack: LocalTrainingStack) -> Machine:
    """Run the failure path alone: the input is what a catcher hands on."""
    deployed = deployed_machine(training_stack)
    definition = json.dumps({**json.loads(deployed["definition"]), "StartAt": "ExplainFailure"})
    return _machine(training_stack, "explaining", definition, deployed["roleArn"])


@pytest.fixture(scope="session")
def rolling_back(training_stack: LocalTrainingStack) -> Machine:
    """Roll back by the deployed definition, under the name that mock_config.json knows."""
    deployed = deployed_machine(training_stack, "RollbackStateMachineArn")
    return _machine(training_stack, "rollback", deployed["definition"], deployed["roleArn"])


@pytest.fixture(scope="session")
def challenging(training_stack: LocalTrainingStack) -> Machine:
    """Move challengers by the deployed definition, under the name that mock_config.json knows."""
    deployed = deployed_machine(training_stack, "CanaryStateMachineArn")
    return _machine(training_stack, "canary", deployed["definition"], deployed["roleArn"])


@pytest.fixture(scope="session")
def challenging_slowly(training_stack: LocalTrainingStack) -> Machine:
    """Move challengers with a second between what was read and the move."""
    deployed = deployed_machine(training_stack, "CanaryStateMachineArn")
    definition = json.dumps(with_pause(json.loads(deployed["definition"]), seconds=1000, before="MoveChallenger"))
    return _machine(training_stack, "slow-canary", definition, deployed["roleArn"])


@pytest.fixture(scope="session")
def challenging_served(training_stack: LocalTrainingStack) -> Machine:
    """Move challengers as in a stack that serves the model `alarmed-served`."""
    deployed = deployed_machine(training_stack, "CanaryStateMachineArn")
    definition = serving(deployed["definition"], "alarmed-served")
    return _machine(training_stack, "served-canary", definition, deployed["roleArn"])


@pytest.fixture
def metrics(training_stack: LocalTrainingStack) -> Metrics:
    """Return the metrics of the session's stack, with root's rights."""
    return Metrics(training_stack.aws.client("cloudwatch"), training_stack.name)


@pytest.fixture(scope="session")
def scoring_batches(training_stack: LocalTrainingStack) -> Machine:
    """Score by the deployed definition, under the name that mock_config.json knows."""
    deployed = deployed_machine(training_stack, "BatchScoringStateMachineArn")
    return _machine(training_stack, "scoring", without_tasks(deployed["definition"]), deployed["roleArn"])


@pytest.fixture(scope="session")
def rolling_back_slowly(training_stack: LocalTrainingStack) -> Machine:
    """Roll back with a second between what was read and the move; the embedded AWS shortens what a state waits."""
    deployed = deployed_machine(training_stack, "RollbackStateMachineArn")
    definition = json.dumps(with_pause(json.loads(deployed["definition"]), seconds=1000))
    return _machine(training_stack, "slow-rollback", definition, deployed["roleArn"])


@pytest.fixture(scope="session")
def retraining(training_stack: LocalTrainingStack, run_scripted: Machine) -> Machine:
    """Retrain by the deployed definition, with scripted functions, under the name that mock_config.json knows."""
    deployed = deployed_machine(training_stack, "RetrainingStateMachineArn")
    definition = deployed["definition"].replace(training_stack.outputs["StateMachineArn"], run_scripted.arn)
    return _machine(training_stack, "retraining", definition, deployed["roleArn"])


@pytest.fixture(scope="session")
def run_approving(training_stack: LocalTrainingStack, run_scripted: Machine) -> Machine:
    """Run with scripted functions where promotions wait for approval."""
    deployed = run_scripted.sfn.describe_state_machine(stateMachineArn=run_scripted.arn)
    definition = asking(deployed["definition"])
    return _machine(training_stack, "approving", definition, deployed["roleArn"])


@pytest.fixture(scope="session")
def answering(training_stack: LocalTrainingStack) -> Machine:
    """Answer a promotion that waits, by the deployed state machine."""
    deployed = deployed_machine(training_stack, "ApprovalStateMachineArn")
    return _machine(training_stack, "approval", deployed["definition"], deployed["roleArn"])


def asking(definition: str) -> str:
    """Return the definition of training as it is where ApprovePromotion is true."""
    assert "'false' = 'true'" in definition
    return definition.replace("'false' = 'true'", "'true' = 'true'")


def serving(definition: str, model_name: str) -> str:
    """Return the definition of a canary as it is where ServeModel names this model."""
    changed, count = re.subn(r"(request\.model_name = )'[\w-]*'", rf"\1'{model_name}'", definition)
    assert count == 1
    return changed


def with_pause(definition: dict[str, Any], seconds: int, before: str = "MoveChampion") -> dict[str, Any]:
    """Return the definition of a rollback, or a canary, with a state `Pause` before the move."""
    states = definition["States"]
    return {
        **definition,
        "States": {
            **states,
            "DescribeMove": {**states["DescribeMove"], "Next": "Pause"},
            "Pause": {"Type": "Wait", "Seconds": seconds, "Next": before},
        },
    }


def deployed_machine(training_stack: LocalTrainingStack, output: str = "StateMachineArn") -> dict[str, Any]:
    """Return a deployed state machine, its definition with every substitution made."""
    sfn = training_stack.aws.client("stepfunctions")
    machine: dict[str, Any] = sfn.describe_state_machine(stateMachineArn=training_stack.outputs[output])
    return machine


def without_tasks(definition: str) -> str:
    """Return the definition of training, or of scoring, as it is where JobSubnetIds is empty."""
    changed, count = re.subn(rf"'{TASKS['JobSubnetIds']}' (!?=) ''", r"'' \1 ''", definition)
    assert count
    return changed


def mocked_machine(training_stack: LocalTrainingStack) -> Machine:
    """Return the deployed definition under the name that mock_config.json knows."""
    deployed = deployed_machine(training_stack)
    return _machine(training_stack, "training", without_tasks(deployed["definition"]), deployed["roleArn"])


def scripted_machine(training_stack: LocalTrainingStack) -> Machine:
    """Return the deployed definition with scripted functions in place of the real ones."""
    deployed = deployed_machine(training_stack)
    definition = deployed["definition"]
    functions = training_stack.aws.client("lambda")
    for step, logical_id in STEPS.items():
        real = functions.get_function(FunctionName=physical_id(training_stack, logical_id))["Configuration"]
        scripted = functions.create_function(
            FunctionName=f"scripted-{step}",
            Runtime="provided.al2023",
            Handler="unused",
            Role=real["Role"],
            Code={"ZipFile": _scripted_code()},
            Environment={"Variables": {"STEP": step}},
        )
        definition = definition.replace(real["FunctionArn"], scripted["FunctionArn"])
    return _machine(training_stack, "scripted", definition, deployed["roleArn"])


def _machine(training_stack: LocalTrainingStack, name: str, definition: str, role_arn: str) -> Machine:
    sfn = training_stack.aws.client("stepfunctions")
    return Machine(sfn, sfn.create_state_machine(name=name, definition=definition, roleArn=role_arn)["stateMachineArn"])


def _scripted_code() -> bytes:
    script = Path(__file__).with_name("scripted_function.py").read_text(encoding="utf-8")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("bootstrap", f'#!/bin/sh\nexec "{sys.executable}" scripted_function.py\n')
        archive.writestr("scripted_function.py", script)
    return buffer.getvalue()
