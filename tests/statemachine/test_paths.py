"""Each path of the state machine, run on the embedded AWS with the definition as it is deployed."""

import io
import itertools
import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import execution
from local_aws import LocalStack

# Starts a run with (input, mocked case), and returns its events and its result when it has ended.
Run = Callable[..., tuple[list[execution.StateEvent], execution.ExecutionResult]]

STEPS = {
    "PrepareData": "DataPreparationFunction",
    "TrainModel": "ModelTrainingFunction",
    "EvaluateModel": "ModelEvaluationFunction",
}
SERVICE_ERRORS = (
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.TooManyRequestsException",
)
MAX_ATTEMPTS = 5
# The case of mock_config.json, the step that fails, the error's name, how the cause goes on after the step's name.
FAILURES = [
    ("InvalidRequestInPrepareData", "PrepareData", "InvalidRequestError", '"traget" is unknown.'),
    ("InvalidRequestInTrainModel", "TrainModel", "InvalidRequestError", '"traget" is unknown.'),
    ("InvalidRequestInEvaluateModel", "EvaluateModel", "InvalidRequestError", '"traget" is unknown.'),
    ("InvalidDatasetInPrepareData", "PrepareData", "InvalidDatasetError", "The data set has no rows."),
    ("InvalidDatasetInTrainModel", "TrainModel", "InvalidDatasetError", "The data set has no rows."),
    ("InvalidDatasetInEvaluateModel", "EvaluateModel", "InvalidDatasetError", "The data set has no rows."),
    ("UntrustedModelInEvaluateModel", "EvaluateModel", "UntrustedModelError", "The model holds os.system."),
]
# As above; of an error that nobody expected, the cause is worth keeping, whatever form it has.
UNEXPECTED = [
    *((f"UnexpectedErrorIn{step}", step, "KeyError", "'price'") for step in STEPS),
    *((f"ThrottledForGoodIn{step}", step, "Lambda.TooManyRequestsException", "Rate Exceeded.") for step in STEPS),
    *((f"TimedOutIn{step}", step, "States.Timeout", "") for step in STEPS),
]


@pytest.fixture(scope="session")
def deployed(local_stack: LocalStack) -> dict[str, Any]:
    """Return the deployed state machine, its definition with every substitution made."""
    sfn = local_stack.aws.client("stepfunctions")
    machine: dict[str, Any] = sfn.describe_state_machine(stateMachineArn=local_stack.outputs["StateMachineArn"])
    return machine


@pytest.fixture(scope="session")
def run_mocked(local_stack: LocalStack, deployed: dict[str, Any]) -> Run:
    """Run a case of mock_config.json, which knows the state machine by the name `training`."""
    return _runner(local_stack, "training", deployed["definition"], deployed["roleArn"])


@pytest.fixture(scope="session")
def run_scripted(local_stack: LocalStack, deployed: dict[str, Any]) -> Run:
    """Run with functions that end as the input's `errors` say: the errors of a step's attempts, in their order."""
    definition = deployed["definition"]
    functions = local_stack.aws.client("lambda")
    for step, logical_id in STEPS.items():
        real = functions.get_function(FunctionName=local_stack.physical_id(logical_id))["Configuration"]
        scripted = functions.create_function(
            FunctionName=f"scripted-{step}",
            Runtime="provided.al2023",
            Handler="unused",
            Role=real["Role"],
            Code={"ZipFile": _scripted_code()},
            Environment={"Variables": {"STEP": step}},
        )
        definition = definition.replace(real["FunctionArn"], scripted["FunctionArn"])
    return _runner(local_stack, "scripted", definition, deployed["roleArn"])


def _runner(local_stack: LocalStack, name: str, definition: str, role_arn: str) -> Run:
    sfn = local_stack.aws.client("stepfunctions")
    arn = sfn.create_state_machine(name=name, definition=definition, roleArn=role_arn)["stateMachineArn"]
    numbers: Iterator[int] = itertools.count(1)

    def run(
        request: dict[str, Any] | None = None, *, case: str | None = None
    ) -> tuple[list[execution.StateEvent], execution.ExecutionResult]:
        run_id = f"{case or name}-{next(numbers)}"
        started = execution.start(sfn, f"{arn}#{case}" if case else arn, request or {}, run_id)
        return list(execution.follow(sfn, started)), execution.outcome(sfn, started)

    return run


def _scripted_code() -> bytes:
    script = Path(__file__).with_name("scripted_function.py").read_text(encoding="utf-8")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("bootstrap", f'#!/bin/sh\nexec "{sys.executable}" scripted_function.py\n')
        archive.writestr("scripted_function.py", script)
    return buffer.getvalue()


@pytest.mark.parametrize(("case", "end"), [("Promoted", "Promote"), ("Rejected", "Reject")])
def test_a_run_that_comes_through_ends_with_the_decision(run_mocked: Run, case: str, end: str) -> None:
    events, result = run_mocked({"target": "price"}, case=case)

    assert [event.state for event in events if event.kind == "entered"] == [*STEPS, "Decide", end]
    assert result.status == "SUCCEEDED"
    assert result.failed_state is None
    assert result.output is not None
    assert set(result.output) == {"run_id", "request", "prepared", "model", "evaluation"}
    assert result.output["run_id"].startswith(case)
    # What data preparation made of the request counts from there on, not the input.
    assert result.output["request"] == {"target": "price", "seed": 42}
    assert result.output["evaluation"]["decision"] == end.lower()


@pytest.mark.parametrize(("case", "step", "error", "cause"), FAILURES)
def test_a_domain_error_ends_the_run_at_once_under_its_name(
    run_mocked: Run, case: str, step: str, error: str, cause: str
) -> None:
    events, result = run_mocked(case=case)

    assert (result.status, result.error, result.cause) == ("FAILED", error, f"{step}: {cause}")
    assert result.failed_state == step
    assert not [event for event in events if event.kind == "retried"]
    assert events[-1].state == "RunFailed"


@pytest.mark.parametrize(("case", "step", "error", "cause"), UNEXPECTED)
def test_any_other_error_ends_the_run_under_its_name(
    run_mocked: Run, case: str, step: str, error: str, cause: str
) -> None:
    events, result = run_mocked(case=case)

    assert (result.status, result.error, result.failed_state) == ("FAILED", error, step)
    assert result.cause is not None
    assert result.cause.startswith(f"{step}: ")
    assert cause in result.cause
    retried = [event for event in events if event.kind == "retried"]
    assert len(retried) == (MAX_ATTEMPTS if error in SERVICE_ERRORS else 0)


@pytest.mark.parametrize("error", SERVICE_ERRORS)
def test_a_service_error_is_retried_until_it_is_over(run_scripted: Run, error: str) -> None:
    events, result = run_scripted({"errors": {step: [error, error] for step in STEPS}})

    assert result.status == "SUCCEEDED"
    assert result.output is not None
    assert result.output["model"]["attempts"] == 3
    retried = [(event.state, event.attempt, event.error) for event in events if event.kind == "retried"]
    assert retried == [(step, attempt, error) for step in STEPS for attempt in (1, 2)]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("error", ["InvalidRequestError", "InvalidDatasetError", "UntrustedModelError", "MemoryError"])
def test_a_functions_own_error_is_never_retried(run_scripted: Run, step: str, error: str) -> None:
    # The second attempt would succeed.
    events, result = run_scripted({"errors": {step: [error]}})

    assert (result.status, result.error, result.failed_state) == ("FAILED", error, step)
    assert result.cause is not None
    assert result.cause.startswith(f"{step}: ")
    assert not [event for event in events if event.kind == "retried"]


def test_every_mocked_case_is_run() -> None:
    mocks = json.loads(Path(__file__).with_name("mock_config.json").read_text(encoding="utf-8"))
    cases = {"Promoted", "Rejected", *(row[0] for row in FAILURES), *(row[0] for row in UNEXPECTED)}

    assert set(mocks["StateMachines"]["training"]["TestCases"]) == cases
