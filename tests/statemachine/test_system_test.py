"""The state machine of the system test: whoever may start it trains the system test's own model, and no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crosstrain.local.server import LocalTrainingStack
from crosstrain.training import execution


@pytest.mark.parametrize(
    "request_document",
    [
        {},
        {"model_name": "default", "target": "price"},
        {"model_name": {"S": "default"}},
        {"Model_Name": "default", "model_name ": "default"},
    ],
)
def test_whatever_is_asked_for_the_model_is_the_system_tests(
    training_stack: LocalTrainingStack, request_document: dict[str, Any]
) -> None:
    sfn, arn = training_stack.aws.client("stepfunctions"), training_stack.outputs["SystemTestStateMachineArn"]
    name = execution.new_run_id()
    result = execution.outcome(sfn, execution.start(sfn, arn, request_document, name))

    assert result.status == "SUCCEEDED", result.cause
    assert result.output is not None
    started = sfn.describe_execution(executionArn=result.output["execution_arn"])
    assert started["stateMachineArn"] == training_stack.outputs["StateMachineArn"]
    assert json.loads(started["input"]) == {**request_document, "model_name": "system-test"}
    # Its files are under runs/system-test-…, so that it writes over no other run's.
    assert started["name"] == f"system-test-{name}"


def test_an_input_that_is_no_object_starts_nothing(training_stack: LocalTrainingStack) -> None:
    sfn, arn = training_stack.aws.client("stepfunctions"), training_stack.outputs["SystemTestStateMachineArn"]
    started = sfn.start_execution(stateMachineArn=arn, input='["model_name", "default"]')["executionArn"]
    assert execution.outcome(sfn, started).status == "FAILED"


def test_the_request_of_the_system_test_has_the_same_models_name(project: Path) -> None:
    test = json.loads((project / "data/system-test.json").read_text())
    definition = (project / "statemachine/system-test.asl.json").read_text()
    assert f"{{'model_name': '{test['request']['model_name']}'}}" in definition
